//! What `/proc` says of a process. All of it is read with a limit, since another process chose it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::cgroup;
use crate::clock::boot_time;
use crate::model::target::{Ancestor, Birth, Process, Target};
use crate::text::Foreign;

/// Most bytes read of a small file in `/proc`.
const SMALL: u64 = 64 << 10;
/// Ancestors that are looked for: as many processes above one another are only made on purpose.
const ANCESTORS: usize = 64;
/// Threads that are asked for children at the most: some milliseconds.
const THREADS: usize = 256;
/// The largest family that is told.
const FAMILY: usize = 256;

/// Every process id there is, in no order.
///
/// # Errors
///
/// When `/proc` cannot be listed.
pub fn all_pids() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Reads what is known of a process.
///
/// # Errors
///
/// When it has ended, or is not ours to read.
pub fn read(pid: u32) -> io::Result<Process> {
    let folder = format!("/proc/{pid}");
    let folder = Path::new(&folder);
    let stat = read_stat(pid)?;
    let comm = read_small(&folder.join("comm"))?;
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    let Birth { parent, start_ticks } = birth_of(&stat)?;
    let cgroup = read_small(&folder.join("cgroup")).ok();
    Ok(Process {
        pid,
        parent,
        start_ticks,
        comm: Foreign::from_bytes(comm),
        exe: fs::read_link(folder.join("exe"))
            .ok()
            .map(|path| Foreign::from(as_seen_by(pid, path).as_os_str())),
        is_container_known: cgroup.is_some(),
        container: cgroup.and_then(|text| cgroup::container(&text)),
        inner_pid: read_inner_pid(folder),
        is_past: false,
        ancestors: [].into(),
    })
}

/// The same with its ancestors, as far as they live.
///
/// # Errors
///
/// When it has ended, or is not ours to read.
pub fn read_with_ancestors(pid: u32) -> io::Result<Process> {
    let process = read(pid)?;
    let own = Birth { parent: process.parent, start_ticks: process.start_ticks };
    Ok(Process { ancestors: above(own, birth).into(), ..process })
}

/// Whether this says of a process that it has ended (proc(5)).
pub fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(libc::ENOENT) || code == Some(libc::ESRCH)
}

/// The number of threads of a process: field 20 of `/proc/PID/stat`.
///
/// # Errors
///
/// When it has ended.
pub fn threads(pid: u32) -> io::Result<u32> {
    stat_field(&read_stat(pid)?, 20).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A process, its parent and its children; `None` where it has too many threads or children to ask for all. Not the first
/// process of all, whose children most have nothing in common.
pub fn with_family(pid: u32) -> Option<Vec<u32>> {
    let parent = birth(pid).ok().map(|birth| birth.parent).filter(|parent| *parent > 1);
    let mut family: Vec<u32> = [pid].into_iter().chain(parent).collect();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    for (index, thread) in threads.flatten().enumerate() {
        let pids = read_small(&thread.path().join("children")).unwrap_or_default();
        let pids = pids.split(u8::is_ascii_whitespace);
        family.extend(pids.filter_map(|pid| str::from_utf8(pid).ok()?.parse::<u32>().ok()));
        if index >= THREADS || family.len() > FAMILY {
            return None;
        }
    }
    Some(family)
}

/// From whom a process was born, and when.
///
/// # Errors
///
/// When it has ended, or the fields are not there.
fn birth(pid: u32) -> io::Result<Birth> {
    birth_of(&read_stat(pid)?)
}

pub(crate) fn birth_of(stat: &[u8]) -> io::Result<Birth> {
    Ok(Birth { parent: parent_field(stat)?, start_ticks: start_field(stat)? })
}

/// The ancestors of a process, the nearest first, up to the first one that cannot be looked at.
fn above(mut below: Birth, look: impl Fn(u32) -> io::Result<Birth>) -> Vec<Ancestor> {
    let mut ancestors = Vec::new();
    while below.parent != 0 && ancestors.len() < ANCESTORS {
        let pid = below.parent;
        let Ok(birth) = look(pid) else { break };
        // One that is younger than its child is another process, with the id of the parent that has ended.
        if birth.start_ticks > below.start_ticks {
            break;
        }
        ancestors.push(Ancestor { pid, start_ticks: birth.start_ticks });
        below = birth;
    }
    ancestors
}

/// Most processes are in our own namespace, and the link says so for less than the text costs.
fn read_inner_pid(folder: &Path) -> Option<u32> {
    let own = fs::read_link("/proc/self/ns/pid").ok()?;
    match fs::read_link(folder.join("ns/pid")) {
        Ok(namespace) if namespace == own => None,
        _ => inner_pid(&read_small(&folder.join("status")).ok()?),
    }
}

/// The id of a process in its own pid namespace, when it has another one there: `NSpid` of `/proc/PID/status`
/// (proc(5)), from our namespace to the innermost.
pub(crate) fn inner_pid(status: &[u8]) -> Option<u32> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    let mut pids = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (outer, inner) = (pids.next()?, pids.next_back()?);
    (outer != inner).then(|| inner.parse().ok()).flatten()
}

/// A path that `/proc` shows of a process, as the process itself sees it. In another mount namespace these are the
/// same; below a root folder of its own (chroot(2)), `/proc` shows the whole way from outside.
fn as_seen_by(pid: u32, path: PathBuf) -> PathBuf {
    match root_of(pid) {
        Some(root) => inside(&root, path),
        None => path,
    }
}

/// The root folder of a process, where it has one of its own (chroot(2)).
pub(super) fn root_of(pid: u32) -> Option<PathBuf> {
    let root = fs::read_link(format!("/proc/{pid}/root")).ok()?;
    (root != Path::new("/")).then_some(root)
}

/// A path as a process sees it that has this root folder.
pub(super) fn inside(root: &Path, path: PathBuf) -> PathBuf {
    match path.strip_prefix(root) {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => path,
    }
}

/// Most bytes read of a command line.
const COMMAND_LINE: u64 = 1024;

/// The command line that a process shows (`/proc/PID/cmdline`), with spaces between its arguments, and an ellipsis
/// where it is longer than 1024 bytes. It may block: the kernel reads the process's own memory.
///
/// # Errors
///
/// When it has ended, is another process than the one that started at `start` (0: any), or is not ours to read.
pub fn command_line(pid: u32, start: u64) -> io::Result<Foreign> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))?.take(COMMAND_LINE).read_to_end(&mut bytes)?;
    // Afterwards, so that what was read is not another process's.
    if start != 0 && start_ticks(pid)? != start {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(command_line_text(bytes))
}

pub(crate) fn command_line_text(mut bytes: Vec<u8>) -> Foreign {
    let is_cut = bytes.len() as u64 == COMMAND_LINE;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    if is_cut {
        bytes.extend_from_slice("…".as_bytes());
    }
    Foreign::from_bytes(&bytes)
}

/// Clock ticks from boot to the start of a process: field 22 of `/proc/PID/stat` (proc(5)).
///
/// # Errors
///
/// When it has ended, or the field is not there.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    start_field(&read_stat(pid)?)
}

/// The parents of those processes that are between the given ones: with them, the nearest of the given ones above
/// each can be found.
pub fn ancestors(processes: &[Target]) -> BTreeMap<u32, u32> {
    let known: BTreeSet<u32> = processes.iter().map(|target| target.process.pid).collect();
    let mut parents = BTreeMap::new();
    for target in processes {
        let mut pid = target.process.parent;
        // Also ends where ids that were used again make a circle.
        while pid != 0 && !known.contains(&pid) && !parents.contains_key(&pid) {
            let Ok(parent) = read_stat(pid).and_then(|stat| parent_field(&stat)) else { break };
            parents.insert(pid, parent);
            pid = parent;
        }
    }
    parents
}

fn read_stat(pid: u32) -> io::Result<Vec<u8>> {
    read_small(Path::new(&format!("/proc/{pid}/stat")))
}

fn start_field(stat: &[u8]) -> io::Result<u64> {
    stat_field(stat, 22)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat has no start"))
}

fn parent_field(stat: &[u8]) -> io::Result<u32> {
    stat_field(stat, 4)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat has no parent"))
}

/// Clock ticks from boot to now, as in [`start_ticks`].
pub fn ticks_since_boot() -> u64 {
    ticks_at(boot_time())
}

/// Clock ticks from boot to a time (nanoseconds of `CLOCK_BOOTTIME`), as in [`start_ticks`].
pub fn ticks_at(time: u64) -> u64 {
    time / tick()
}

/// Nanoseconds of a clock tick.
pub fn tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// Whether this process leads its session. Not `getsid` of rustix: it takes 0, the session of a leader outside of
/// our pid namespace, for impossible.
pub fn leads_its_session() -> bool {
    read_stat(std::process::id())
        .ok()
        .and_then(|stat| stat_field::<u32>(&stat, 6))
        .is_some_and(|leader| leader == std::process::id())
}

/// Whether the terminal sends its signals, as of Ctrl-C, to this process's group: fields 5 and 8 of `/proc/self/stat`.
pub fn is_in_foreground() -> bool {
    read_stat(std::process::id()).is_ok_and(|stat| {
        let group = stat_field::<i32>(&stat, 5);
        group.is_some_and(|group| group > 0) && group == stat_field::<i32>(&stat, 8)
    })
}

/// Whether there is a process with this id.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A field of `/proc/PID/stat` by its number in proc(5), from 3 on: the name in parentheses, which is the second, may
/// itself contain `)` and spaces, so that fields are counted after the last one.
fn stat_field<T: FromStr>(stat: &[u8], number: usize) -> Option<T> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = stat[after_name..].split(|&byte| byte == b' ').filter(|f| !f.is_empty());
    let field = fields.nth(number.checked_sub(3)?)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_process_is_read() {
        let process = read(std::process::id()).unwrap();
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        let target =
            Target { process: Arc::new(process.clone()), images: Vec::new(), command: None };
        let above = ancestors(&[target]);
        assert!(process.parent == 0 || above.contains_key(&process.parent), "{above:?}");
        assert!(!leads_its_session(), "a test is started by another program");
        assert!(process.start_ticks > 0 && process.start_ticks <= ticks_since_boot());
        let started = process.start_ticks * tick();
        assert_eq!(
            [started - 1, started].map(ticks_at),
            [process.start_ticks - 1, process.start_ticks]
        );
        assert!(exists(process.pid) && !exists((1 << 22) + 1));
        assert!(process.exe.unwrap().raw().contains("tlskeytop"));
    }

    #[test]
    fn a_family_has_parent_and_children() {
        let own = std::process::id();
        let mut child = std::process::Command::new("cat");
        let child = child.stdin(std::process::Stdio::piped());
        let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
        let [ours, its] = [own, child.id()].map(|pid| with_family(pid).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ours.contains(&own) && ours.contains(&child.id()), "{ours:?}");
        assert!(its.contains(&own) && its.contains(&child.id()), "{its:?}");
    }

    #[test]
    fn a_family_is_told_whole_or_not_at_all() {
        let run = |threads: usize| {
            let are_there = std::sync::Barrier::new(threads + 1);
            let told = std::sync::Barrier::new(threads + 1);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        are_there.wait();
                        told.wait();
                    });
                }
                are_there.wait();
                let family = with_family(std::process::id());
                told.wait();
                family
            })
        };
        assert!(run(THREADS / 2).is_some());
        assert_eq!(run(THREADS), None);
    }

    #[test]
    fn a_command_line_is_read_of_one_process_only() {
        let own = read(std::process::id()).unwrap();
        let text = command_line(own.pid, own.start_ticks).unwrap();
        assert!(text.raw().contains("tlskeytop") && !text.raw().contains('\0'));
        let other = command_line(own.pid, own.start_ticks + 1).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::NotFound);
        assert!(command_line((1 << 22) + 1, 0).is_err());
        let text = command_line_text(b"nginx\0-g\0daemon off;\0".to_vec());
        assert_eq!(text.raw(), "nginx -g daemon off;");
        let long = command_line_text(vec![b'x'; COMMAND_LINE as usize]);
        assert_eq!(long.raw().chars().count() as u64, COMMAND_LINE + 1);
        assert!(long.raw().ends_with('…'));
        assert_eq!(command_line_text(b"a\x1b[2J\0".to_vec()).to_string(), "a\\x1b[2J");
    }

    #[test]
    fn paths_are_as_the_process_sees_them() {
        let inside = |root: &str, path: &str| inside(Path::new(root), path.into());
        assert_eq!(inside("/srv/root", "/srv/root/lib/x (deleted)"), Path::new("/lib/x (deleted)"));
        assert_eq!(inside("/", "/lib/x"), Path::new("/lib/x"));
        // Of another mount namespace, or held from before chroot.
        assert_eq!(inside("/srv/root", "/lib/x"), Path::new("/lib/x"));
        assert_eq!(inside("/srv/root", "/srv/rooted/x"), Path::new("/srv/rooted/x"));
        assert_eq!(inside("/srv/root", "/memfd:x (deleted)"), Path::new("/memfd:x (deleted)"));
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = b"42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9";
        assert_eq!(start_field(stat).unwrap(), 987_654);
        assert_eq!(parent_field(stat).unwrap(), 1);
        assert!(start_field(b"42 (a").is_err() && parent_field(b"42 (a) S").is_err());
    }

    #[test]
    fn our_own_ancestors_are_read() {
        let own = read_with_ancestors(std::process::id()).unwrap();
        assert_eq!(
            own.ancestors.first().map(|above| above.pid),
            (own.parent != 0).then_some(own.parent)
        );
        assert!(own.ancestors.iter().all(|above| above.start_ticks <= own.start_ticks));
        assert_eq!(own.inner_pid, None);
    }

    #[test]
    fn ancestors_end_with_circles_and_with_ids_that_were_used_again() {
        let born = |parent, start_ticks| Birth { parent, start_ticks };
        let circle = above(born(2, 9), |pid| Ok(born(3 - pid, 9)));
        assert_eq!(circle.len(), ANCESTORS);
        let reused = above(born(5, 10), |pid| Ok(if pid == 5 { born(6, 8) } else { born(1, 9) }));
        assert_eq!(reused, [Ancestor { pid: 5, start_ticks: 8 }], "6 is younger than its child");
        let gone = above(born(5, 10), |_| Err(io::ErrorKind::NotFound.into()));
        assert_eq!(gone, []);
    }

    #[test]
    fn the_innermost_namespace_counts() {
        assert_eq!(inner_pid(b"Name:\tx\nNSpid:\t4711\t12\t7\nNSpgid:\t1\n"), Some(7));
        assert_eq!(inner_pid(b"Name:\tx\nNSpid:\t4711\n"), None);
        // What a process calls itself is escaped by the kernel, and on a line of its own.
        assert_eq!(inner_pid(b"Name:\tNSpid:\\n1 2\n"), None);
        assert_eq!(inner_pid(b"NSpid:\t1\t99999999999\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (start_field(&bytes), parent_field(&bytes));
            let _ = (inner_pid(&bytes), birth_of(&bytes));
        }
    }
}
