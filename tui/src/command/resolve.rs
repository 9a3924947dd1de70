//! Finding a program as execvp(3) does, and the programs that it will start, as far as its arguments name them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{CommandError, User};
use crate::target::follow::looking::open_regular;
use crate::text::Foreign;

/// execvp(3): without a `PATH`, `confstr(_CS_PATH)` of glibc.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// What execvp(3) runs a text without an interpreter with.
const SHELL: &str = "/bin/sh";
/// Bytes of a script's first line that the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;
/// Interpreters of interpreters that the kernel follows (`exec_binprm`).
const DEPTH: usize = 5;
/// Words of the arguments that are looked for. More than any command line by hand has.
const WORDS: usize = 256;
/// Programs that are prepared for one command.
const PROGRAMS: usize = 32;

/// Where programs are looked for.
#[derive(Debug)]
pub(super) struct Search {
    path: OsString,
    as_whom: &'static str,
}

impl Search {
    pub fn of(user: &User) -> Self {
        let path = user.variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        Self { path, as_whom: user.as_whom() }
    }

    /// The file that would be run.
    pub fn program(&self, name: &OsStr) -> Result<PathBuf, CommandError> {
        let shown = Foreign::from(name);
        let refused = |error: io::Error| CommandError::NotExecutable {
            program: shown.clone(),
            as_whom: self.as_whom,
            reason: error.to_string(),
        };
        let mut refusal = None;
        for path in self.candidates(name) {
            match can_run(&path) {
                Ok(()) => return Ok(path),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                    // execvp(3) goes on, and tells this when it finds no other.
                    _ => refusal = refusal.or(Some(error)),
                },
            }
        }
        Err(refusal.map_or_else(|| CommandError::NotFound(shown.clone()), refused))
    }

    fn candidates(&self, name: &OsStr) -> Vec<PathBuf> {
        if name.is_empty() {
            return Vec::new();
        }
        if name.as_bytes().contains(&b'/') {
            return vec![PathBuf::from(name)];
        }
        // An empty folder is the present one: joined, it is the name alone.
        std::env::split_paths(&self.path).map(|folder| folder.join(name)).collect()
    }

    /// The program, its interpreters, and every program that a word of the arguments names: `timeout 5 curl`,
    /// `sh -c 'node x.js'`. A word too many costs a look at a file, and misses nothing.
    pub fn programs(&self, program: &Path, arguments: &[OsString]) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        self.with_interpreters(program, &mut found);
        let words = arguments.iter().skip(1).flat_map(|argument| words(argument.as_bytes()));
        for word in words.take(WORDS) {
            if found.len() >= PROGRAMS {
                break;
            }
            if let Ok(path) = self.program(OsStr::from_bytes(word)) {
                self.with_interpreters(&path, &mut found);
            }
        }
        found.into_iter().collect()
    }

    fn with_interpreters(&self, program: &Path, found: &mut BTreeSet<PathBuf>) {
        let mut next = vec![program.to_owned()];
        for _ in 0..=DEPTH {
            for path in std::mem::take(&mut next) {
                let line = first_line(&path);
                if !found.insert(path) {
                    continue;
                }
                match line.as_deref() {
                    Ok([b'#', b'!', line @ ..]) => {
                        // `#!/usr/bin/env -S node --x`: whatever of it is a program.
                        let programs = words(line)
                            .filter_map(|word| self.program(OsStr::from_bytes(word)).ok());
                        next.extend(programs.take(PROGRAMS));
                    }
                    Ok([0x7f, b'E', b'L', b'F', ..]) | Err(_) => {}
                    Ok(_) => next.push(SHELL.into()),
                }
            }
        }
    }
}

/// Whether the calling thread may run this file.
fn can_run(path: &Path) -> io::Result<()> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        // What execve(2) says of a device or a FIFO.
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(FIRST_LINE).read_to_end(&mut bytes)?;
    bytes.truncate(memchr::memchr(b'\n', &bytes).unwrap_or(bytes.len()));
    Ok(bytes)
}

/// What is between spaces and what means something to a shell.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"\0;&|()<>{}$`'\"=".contains(byte);
    text.split(is_between).filter(|word| !word.is_empty() && word.len() <= 4096)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn search(path: &Path) -> Search {
        Search { path: path.into(), as_whom: "" }
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_found_as_shells_find_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("runs"), "x", 0o755);
        write(&at("data"), "x", 0o644);
        fs::create_dir(at("folder")).unwrap();
        let search = search(folder.path());
        assert_eq!(search.program("runs".as_ref()).unwrap(), at("runs"));
        assert_eq!(search.program(at("runs").as_os_str()).unwrap(), at("runs"));
        for (name, code) in
            [("none", 127), ("data", 126), ("folder", 126), ("", 127), ("runs/x", 127)]
        {
            let error = search.program(name.as_ref()).unwrap_err();
            assert_eq!(error.exit_code(), code, "{error}");
        }
        let error = search.program("/dev/null".as_ref()).unwrap_err();
        assert_eq!(error.exit_code(), 126, "{error}");
    }

    #[test]
    fn interpreters_and_words_are_prepared_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("elf"), "\x7fELF", 0o755);
        write(&at("env"), "\x7fELF", 0o755);
        write(&at("other"), "\x7fELF", 0o755);
        write(&at("inner"), &format!("#!{} -S elf --x\n", at("env").display()), 0o755);
        write(&at("outer"), &format!("#! {}\n", at("inner").display()), 0o755);
        write(&at("text"), "echo\n", 0o755);
        let search = search(folder.path());
        let programs = |program: &str, arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            search.programs(&at(program), &arguments)
        };
        let outer = programs("outer", &["outer"]);
        assert_eq!(outer, ["elf", "env", "inner", "outer"].map(at));
        let elf = programs("elf", &["elf", "-c", "x=1 other|y& (z)"]);
        assert_eq!(elf, ["elf", "other"].map(at));
        assert!(programs("text", &["text"]).contains(&SHELL.into()));
    }

    #[test]
    fn a_circle_of_interpreters_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("round");
        write(&path, &format!("#!{}\n", path.display()), 0o755);
        assert_eq!(search(folder.path()).programs(&path, &[]), [path]);
    }
}
