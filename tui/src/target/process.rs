//! What `/proc` says of a process. All of it is read with a limit, since another process chose it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::str::FromStr;

use rustix::time::{ClockId, clock_gettime};

use crate::model::target::{Process, Target};
use crate::text::Foreign;

/// Most bytes read of a small file in `/proc`.
const SMALL: u64 = 64 << 10;

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
    Ok(Process {
        pid,
        parent: parent_field(&stat)?,
        start_ticks: start_field(&stat)?,
        comm: Foreign::from_bytes(comm),
        exe: fs::read_link(folder.join("exe")).ok().map(|path| Foreign::from(path.as_os_str())),
        container: read_small(&folder.join("cgroup")).ok().and_then(|text| container(&text)),
        ancestors: [].into(),
    })
}

/// The number of threads of a process: field 20 of `/proc/PID/stat`.
///
/// # Errors
///
/// When it has ended.
pub fn threads(pid: u32) -> io::Result<u32> {
    stat_field(&read_stat(pid)?, 20).ok_or_else(|| io::ErrorKind::InvalidData.into())
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

fn command_line_text(mut bytes: Vec<u8>) -> Foreign {
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
    let now = clock_gettime(ClockId::Boottime);
    let of = |number: i64| u64::try_from(number).unwrap_or(0);
    let per_second = rustix::param::clock_ticks_per_second();
    of(now.tv_sec) * per_second + of(now.tv_nsec) * per_second / 1_000_000_000
}

/// Whether this process leads its session. Not `getsid` of rustix: it takes 0, the session of a leader outside of
/// our pid namespace, for impossible.
pub fn leads_its_session() -> bool {
    read_stat(std::process::id())
        .ok()
        .and_then(|stat| stat_field::<u32>(&stat, 6))
        .is_some_and(|leader| leader == std::process::id())
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

/// The id of a container: the last path component that has 64 hexadecimal digits in a row (docker,
/// containerd, podman, cri-o), without prefixes such as `docker-` and suffixes such as `.scope`.
fn container(cgroup: &[u8]) -> Option<Foreign> {
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    cgroup.split(|&byte| byte == b'\n').find_map(|line| {
        let path = line.splitn(3, |&byte| byte == b':').nth(2)?;
        let ids = path
            .rsplit(|&byte| byte == b'/')
            .filter_map(|part| part.split(|byte| !is_hex(byte)).find(|run| run.len() == 64));
        ids.map(Foreign::from_bytes).next()
    })
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
        assert!(exists(process.pid) && !exists((1 << 22) + 1));
        assert!(process.exe.unwrap().raw().contains("tlskeytop"));
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
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = b"42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9";
        assert_eq!(start_field(stat).unwrap(), 987_654);
        assert_eq!(parent_field(stat).unwrap(), 1);
        assert!(start_field(b"42 (a").is_err() && parent_field(b"42 (a) S").is_err());
    }

    #[test]
    fn container_ids_are_found_in_the_usual_paths() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"),
            format!("12:cpu:/docker/{id}\n"),
            format!("0::/machine.slice/libpod-{id}.scope/container\n"),
        ] {
            assert_eq!(container(path.as_bytes()).unwrap().raw(), id, "{path}");
        }
        assert_eq!(container(b"0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (start_field(&bytes), parent_field(&bytes));
            let _ = container(&bytes);
        }
    }
}
