//! The libraries that the loader will map for a program, before it is started: ld.so(8), without what a process asks
//! for later (dlopen). What cannot be found is left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::dynamic::Dynamic;
use super::elf::Elf;
use super::follow::looking::open_regular;
use super::loader_cache;
use super::window::Window;

/// Files that are looked at for one command; a browser has some 200.
const MOST: usize = 1024;
/// The loader's own folders, with those that Debian, Fedora and others build in.
const TRUSTED: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// What the loader is told by the environment and the machine.
#[derive(Debug, Default)]
pub struct Loader {
    /// `LD_LIBRARY_PATH`.
    library_path: Vec<u8>,
    /// `LD_PRELOAD`.
    preload: Vec<u8>,
    cache: BTreeMap<Vec<u8>, Vec<PathBuf>>,
}

/// A file that is still to be looked at.
struct Next {
    path: PathBuf,
    /// `DT_RPATH` of those that need it, with their own folders put in.
    inherited: Vec<PathBuf>,
}

impl Loader {
    /// With these two variables, and this machine's cache.
    pub fn new(library_path: Option<&OsStr>, preload: Option<&OsStr>) -> Self {
        let bytes = |text: Option<&OsStr>| text.map_or(Vec::new(), |text| text.as_bytes().to_vec());
        Self {
            library_path: bytes(library_path),
            preload: bytes(preload),
            cache: loader_cache::by_name(),
        }
    }

    /// The programs and all that they need, each once, under the paths that processes map them by.
    pub fn closure(&self, programs: &[PathBuf]) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        let mut queue = VecDeque::new();
        let add = |queue: &mut VecDeque<Next>,
                   path: &Path,
                   inherited: &[PathBuf],
                   found: &mut BTreeSet<PathBuf>| {
            // A device or a FIFO is not even opened.
            let Ok(path) = path.canonicalize() else { return };
            let is_new = found.len() < MOST && path.is_file() && found.insert(path.clone());
            if is_new {
                queue.push_back(Next { path, inherited: inherited.to_vec() });
            }
        };
        for program in programs {
            add(&mut queue, program, &[], &mut found);
        }
        let preloads = self.preload.split(|byte| matches!(byte, b':' | b' '));
        for preload in preloads.filter(|name| !name.is_empty()) {
            for path in self.find(preload, None, &[]) {
                add(&mut queue, &path, &[], &mut found);
            }
        }
        while let Some(next) = queue.pop_front() {
            let Some(dynamic) = dynamic_of(&next.path) else { continue };
            let origin = next.path.parent().unwrap_or(Path::new("/"));
            let own = |list: &Option<String>| {
                list.as_ref().map(|list| folders(list.as_bytes(), Some(origin)))
            };
            let runpath = own(&dynamic.runpath);
            // With a RUNPATH, no RPATH counts: neither its own, nor those of whoever needs it.
            let inherited = match (&runpath, own(&dynamic.rpath)) {
                (Some(_), _) => Vec::new(),
                (None, rpath) => [rpath.unwrap_or_default(), next.inherited].concat(),
            };
            for name in &dynamic.needed {
                for path in self.find(name.as_bytes(), runpath.as_deref(), &inherited) {
                    add(&mut queue, &path, &inherited, &mut found);
                }
            }
        }
        found.into_iter().collect()
    }

    /// The files that the loader can take for a name, in its order: the first folder that has one; of the cache all of
    /// that name, since which one is the CPU's matter.
    fn find(&self, name: &[u8], runpath: Option<&[PathBuf]>, rpath: &[PathBuf]) -> Vec<PathBuf> {
        let name_path = Path::new(OsStr::from_bytes(name));
        if name.contains(&b'/') {
            return vec![name_path.to_owned()];
        }
        let in_folders = |folders: &[PathBuf]| {
            folders.iter().map(|folder| folder.join(name_path)).find(|path| path.is_file())
        };
        let library_path = folders(&self.library_path, None);
        let first = in_folders(rpath)
            .or_else(|| in_folders(&library_path))
            .or_else(|| in_folders(runpath.unwrap_or_default()));
        if let Some(path) = first {
            return vec![path];
        }
        match self.cache.get(name) {
            Some(paths) => paths.clone(),
            None => in_folders(&TRUSTED.map(PathBuf::from)).into_iter().collect(),
        }
    }
}

/// A list of folders as in `LD_LIBRARY_PATH` and `DT_RUNPATH`; an empty one is the present folder. `$ORIGIN` is the
/// folder of the file that has the list; with other variables (`$LIB`, `$PLATFORM`) nothing is found.
fn folders(list: &[u8], origin: Option<&Path>) -> Vec<PathBuf> {
    if list.is_empty() {
        return Vec::new();
    }
    let expand = |folder: &[u8]| {
        for variable in [&b"$ORIGIN"[..], b"${ORIGIN}"] {
            if let (Some(rest), Some(origin)) = (folder.strip_prefix(variable), origin) {
                let mut path = origin.as_os_str().as_bytes().to_vec();
                path.extend_from_slice(rest);
                return PathBuf::from(OsStr::from_bytes(&path));
            }
        }
        match folder {
            b"" => PathBuf::from("."),
            _ => PathBuf::from(OsStr::from_bytes(folder)),
        }
    };
    list.split(|byte| matches!(byte, b':' | b';')).map(expand).collect()
}

fn dynamic_of(path: &Path) -> Option<Dynamic> {
    let file = open_regular(path).ok()?;
    let mut window = Window::new(&file).ok()?;
    let elf = Elf::read(&mut window).ok()?;
    Some(Dynamic::read(&mut window, &elf))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURL: &str = "/usr/bin/curl";
    const LIBSSL: &str = "libssl.so.3";

    fn libssl(found: &[PathBuf]) -> Vec<&PathBuf> {
        found.iter().filter(|path| path.file_name().is_some_and(|name| name == LIBSSL)).collect()
    }

    #[test]
    fn the_libraries_of_libraries_are_found() {
        if !Path::new(CURL).exists() {
            return;
        }
        // Through libcurl.
        let found = Loader::new(None, None).closure(&[CURL.into()]);
        assert_eq!(libssl(&found).len(), 1, "{found:?}");
        assert!(found.iter().any(|path| path == Path::new(CURL)));
    }

    #[test]
    fn the_environments_folders_come_first() {
        let system = loader_cache::by_name();
        let Some([system, ..]) = system.get(LIBSSL.as_bytes()).map(Vec::as_slice) else { return };
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap().join(LIBSSL);
        std::fs::copy(system, &own).unwrap();
        let found = Loader::new(Some(folder.path().as_os_str()), None).closure(&[CURL.into()]);
        assert_eq!(libssl(&found), [&own]);
        let found = Loader::new(None, Some(own.as_os_str())).closure(&["/bin/true".into()]);
        assert_eq!(libssl(&found), [&own]);
    }

    #[test]
    fn lists_of_folders() {
        let origin = Some(Path::new("/opt/app/bin"));
        let of = |list: &str| folders(list.as_bytes(), origin);
        assert_eq!(of("$ORIGIN/../lib:/x"), [PathBuf::from("/opt/app/bin/../lib"), "/x".into()]);
        assert_eq!(of("${ORIGIN}"), [PathBuf::from("/opt/app/bin")]);
        assert_eq!(of(":/y"), [PathBuf::from("."), "/y".into()]);
        assert!(of("").is_empty());
    }

    #[test]
    fn what_is_no_program_needs_nothing() {
        let found = Loader::default().closure(&["/dev/null".into(), "/".into(), "/none".into()]);
        assert!(found.is_empty(), "{found:?}");
    }
}
