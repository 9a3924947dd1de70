//! Which file system a device is: `/proc/PID/mountinfo` (proc(5)), which asks no server.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, memfd_create};

/// Most bytes that are read of it: some 20,000 mounts.
const LIMIT: u64 = 4 << 20;
/// Symbolic links that are followed, as by the kernel (path_resolution(7)).
const LINKS: u32 = 40;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Where it is, as those see it whose mounts were read.
    pub path: PathBuf,
    /// The kind of file system, as `ext4`, `fuse.sshfs`.
    pub kind: String,
    /// The options of the file system, separated by commas.
    pub options: String,
}

impl Mount {
    /// A process serves it, as long as it likes to. Who asks can then not even be killed.
    pub fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind == "fuseblk" || self.kind.starts_with("fuse.")
    }

    /// Another machine, or a process, serves it.
    pub fn is_served(&self) -> bool {
        const REMOTE: [&str; 9] =
            ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "coda", "virtiofs"];
        self.is_fuse() || REMOTE.contains(&&*self.kind)
    }
}

/// The mounts that a process sees; `self` is a process, too. Without any it has ended.
pub fn of(process: &str) -> Vec<Mount> {
    let mut text = Vec::new();
    let file = File::open(format!("/proc/{process}/mountinfo"));
    // What was read before an error is as good.
    let _ = file.and_then(|file| file.take(LIMIT).read_to_end(&mut text));
    String::from_utf8_lossy(&text).lines().filter_map(parse).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
pub(crate) fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let (major, minor) = fields.next()?.split_once(':')?;
    let path = fields.nth(1)?;
    let mut fields = file_system.split(' ');
    let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        path: PathBuf::from(unescape(path)),
        kind: kind.to_owned(),
        options: options.to_owned(),
    })
}

/// What the kernel escapes in it: space, tab, line feed and backslash.
fn unescape(path: &str) -> String {
    const ESCAPED: [(&str, &str); 4] =
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    ESCAPED.iter().fold(path.to_owned(), |path, (escaped, plain)| path.replace(escaped, plain))
}

/// Whether what a file of this device says of itself, which this process has mapped, is what the kernel says, and not
/// some server. An overlay says what the file systems below it say. A user namespace of somebody else may show any mount
/// under any path: what is seen from there is not believed.
pub fn is_honest(pid: u32, device: (u32, u32)) -> bool {
    let users = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    if users(&pid.to_string()).is_none_or(|theirs| users("self") != Some(theirs)) {
        return false;
    }
    let mounts = of(&pid.to_string());
    let own = of("self");
    mounts.iter().find(|mount| mount.device == device).is_some_and(|mount| match &*mount.kind {
        // A container's own mounts do not have the paths that it is made of.
        "overlay" => layers(&mount.options).is_some_and(|layers| {
            layers.iter().all(|layer| is_local(layer, &mounts) || is_local(layer, &own))
        }),
        _ => !mount.is_served(),
    })
}

/// The folders that an overlay is made of; `None` when it does not say all of them.
pub(crate) fn layers(options: &str) -> Option<Vec<PathBuf>> {
    let option = |option: &str| {
        let (name, value) = option.split_once('=')?;
        let is_layer = ["lowerdir", "lowerdir+", "datadir+", "upperdir"].contains(&name);
        is_layer.then(|| unescape(value))
    };
    let layers: Vec<PathBuf> = options
        .split(',')
        .filter_map(option)
        .flat_map(|value| value.split(':').map(PathBuf::from).collect::<Vec<_>>())
        .filter(|layer| !layer.as_os_str().is_empty())
        .collect();
    (!layers.is_empty() && layers.iter().all(|layer| layer.is_absolute())).then_some(layers)
}

/// The mount that a path is on.
fn nearest<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.path));
    // Of those at one path the last one hides the others.
    above.max_by_key(|mount| mount.path.components().count())
}

/// Whether a folder is on a file system of this machine, and not on another overlay.
fn is_local(folder: &Path, mounts: &[Mount]) -> bool {
    nearest(folder, mounts).is_some_and(|mount| !mount.is_served() && mount.kind != "overlay")
}

/// Whether a mount is FUSE's, or an overlay over one of it.
fn has_fuse(mount: &Mount, mounts: &[Mount]) -> bool {
    let is_fuse = |folder: &PathBuf| nearest(folder, mounts).is_some_and(Mount::is_fuse);
    let has_below = || layers(&mount.options).is_some_and(|layers| layers.iter().any(is_fuse));
    mount.is_fuse() || mount.kind == "overlay" && has_below()
}

/// Why a file of this device, which this process has mapped, is neither read nor probed; `None` when it may be.
///
/// A server of FUSE may never answer. Whoever waits for one cannot be killed; and while a probe is placed on a page that
/// has to be read first, no process of the machine can fork (`register_for_each_vma` of kernel/events/uprobes.c waits with
/// `dup_mmap_sem` held).
pub fn refusal(pid: u32, device: (u32, u32)) -> Option<&'static str> {
    let of_device = |mounts: &[Mount]| {
        mounts.iter().find(|mount| mount.device == device).map(|mount| has_fuse(mount, mounts))
    };
    // Mostly it is one that we see too; the folders of an overlay are then named as we see them.
    let own = of("self");
    match of_device(&own).or_else(|| of_device(&of(&pid.to_string()))) {
        Some(false) => None,
        Some(true) => Some(FUSE),
        None if memory_device() == Some(device) => None,
        // Without a descriptor to read them with; there is none to open the file with either.
        None if own.is_empty() => None,
        None => Some("its file system is not mounted any more, and may be one that never answers"),
    }
}

/// What is said of a file on FUSE.
pub const FUSE: &str = "it is on a FUSE file system: were its server not to answer, no program of this machine could start";

/// The device of files that are memory alone, which is mounted nowhere: memfd_create(2).
fn memory_device() -> Option<(u32, u32)> {
    static DEVICE: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let file = File::from(memfd_create("device", MemfdFlags::CLOEXEC).ok()?);
        let device = file.metadata().ok()?.dev();
        Some((rustix::fs::major(device), rustix::fs::minor(device)))
    })
}

/// Whether a folder, as this process sees it, is on FUSE.
pub fn is_folder_on_fuse(pid: u32, folder: &Path) -> bool {
    let mounts = of(&pid.to_string());
    nearest(folder, &mounts).is_some_and(|mount| has_fuse(mount, &mounts))
}

/// Whether a path of ours, or what its symbolic links lead to, is on FUSE. No server is asked.
pub fn is_on_fuse(path: &Path) -> bool {
    let mounts = of("self");
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    leads_to_fuse(&path, &mounts)
}

fn leads_to_fuse(path: &Path, mounts: &[Mount]) -> bool {
    let mut left: Vec<OsString> = path.iter().rev().map(OsStr::to_owned).collect();
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(next) = left.pop() {
        if next == ".." {
            at.pop();
            continue;
        }
        // An absolute one begins anew.
        let here = at.join(&next);
        if nearest(&here, mounts).is_some_and(|mount| has_fuse(mount, mounts)) {
            return true;
        }
        match std::fs::read_link(&here) {
            Ok(target) if links < LINKS => {
                links += 1;
                left.extend(target.iter().rev().map(OsStr::to_owned));
            }
            _ => at = here,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "36 35 98:0 /a /mnt\\040two rw,noatime shared:1 master:2 - fuse.sshfs me@it:/ rw,user_id=0";
        let mount = parse(line).unwrap();
        assert_eq!((mount.device, mount.path), ((98, 0), PathBuf::from("/mnt two")));
        assert_eq!((&*mount.kind, &*mount.options), ("fuse.sshfs", "rw,user_id=0"));
        let kind = |kind: &str| parse(&line.replace("fuse.sshfs", kind)).unwrap();
        assert!(kind("fuse").is_fuse() && kind("fuseblk").is_served() && kind("nfs4").is_served());
        assert!(!kind("nfs4").is_fuse() && !kind("fusectl").is_served());
        assert_eq!(parse("36 35 98:0 /a"), None);
    }

    #[test]
    fn an_overlay_is_as_honest_as_what_is_below_it() {
        let mounts: Vec<Mount> = [
            "1 1 254:0 / / rw - ext4 /dev/vda rw",
            "2 1 0:40 / /home/it rw - fuse.sshfs it:/ rw",
            "3 1 0:41 / /run/merged rw - overlay overlay rw",
        ]
        .iter()
        .filter_map(|line| parse(line))
        .collect();
        let local = |folder: &str| is_local(Path::new(folder), &mounts);
        assert!(local("/var/lib/one") && local("/home/item"));
        assert!(!local("/home/it/one") && !local("/home/it") && !local("/run/merged/x"));
        let found = layers("rw,lowerdir=/a:/b\\040c::/d,upperdir=/e,workdir=/f").unwrap();
        assert_eq!(found, ["/a", "/b c", "/d", "/e"].map(PathBuf::from));
        assert_eq!(layers("rw,lowerdir+=/a,lowerdir+=/b").unwrap().len(), 2);
        assert_eq!(layers("rw,lowerdir=l/A:l/B,upperdir=/e"), None);
        assert_eq!(layers("rw"), None);
        let over = |lower: &str| {
            let line = format!("4 1 0:42 / /mnt rw - overlay overlay rw,lowerdir=/usr:{lower}");
            has_fuse(&parse(&line).unwrap(), &mounts)
        };
        assert!(over("/home/it/lower") && !over("/var/lib/one"));
        assert!(nearest(Path::new("/home/it/x"), &mounts).unwrap().is_fuse());
    }

    #[test]
    fn our_own_are_read() {
        let own = of("self");
        assert!(own.iter().any(|mount| mount.path == Path::new("/proc")), "{own:?}");
        let pid = std::process::id();
        let proc = own.iter().find(|mount| mount.kind == "proc").unwrap();
        assert!(refusal(pid, proc.device).is_none() && is_honest(pid, proc.device));
        assert!(refusal(pid, (0, 999_999)).is_some() && !is_honest(pid, (0, 999_999)));
        assert!(refusal(pid, memory_device().unwrap()).is_none());
    }

    #[test]
    fn links_are_followed_to_fuse_and_not_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("2 1 0:40 / {}/served rw - fuse.sshfs it:/ rw", folder.path().display());
        let mounts: Vec<Mount> =
            ["1 1 254:0 / / rw - ext4 /dev/vda rw", &line].into_iter().filter_map(parse).collect();
        let link = |name: &str, target: &str| {
            std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        };
        link("relative", "there/../served");
        link("absolute", &folder.path().join("relative").to_string_lossy());
        link("round", "round");
        let leads = |path: &str| leads_to_fuse(&folder.path().join(path), &mounts);
        assert!(leads("served/x") && leads("relative/x") && leads("absolute/x/y"));
        assert!(!leads("x") && !leads("round/x"));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in ".{0,200}") {
            let _ = (parse(&line), layers(&line));
        }
    }
}
