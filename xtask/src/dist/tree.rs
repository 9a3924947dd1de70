//! The files of the package, where Debian's policy wants them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::third_party;
use crate::tool;

/// Lays everything out under `root`.
///
/// # Errors
/// When a file cannot be made.
pub fn make(binary: &Path, source: &Path, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let tlskeytop = |args: &[&str]| tool::output(Command::new(binary).args(args));
    let documents = "usr/share/doc/tlskeytop";
    let read = |name: &str| {
        fs::read(source.join(name)).with_context(|| format!("cannot read {name} of the commit"))
    };
    put(root, "usr/bin/tlskeytop", &fs::read(binary)?, 0o755)?;
    for (path, text) in [
        ("usr/share/man/man1/tlskeytop.1", tlskeytop(&["man"])?),
        ("usr/share/bash-completion/completions/tlskeytop", tlskeytop(&["completions", "bash"])?),
        ("usr/share/zsh/vendor-completions/_tlskeytop", tlskeytop(&["completions", "zsh"])?),
        (
            "usr/share/fish/vendor_completions.d/tlskeytop.fish",
            tlskeytop(&["completions", "fish"])?,
        ),
    ] {
        put(root, path, text.as_bytes(), 0o644)?;
    }
    for name in ["README.md", "SECURITY.md"] {
        put(root, &format!("{documents}/{name}"), &read(name)?, 0o644)?;
    }
    put(root, &format!("{documents}/changelog"), &read("CHANGELOG.md")?, 0o644)?;
    let mut copyright = include_str!("copyright.txt").as_bytes().to_vec();
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copyright.extend(format!("\n--- {name} ---\n\n").as_bytes());
        copyright.extend(read(name)?);
    }
    put(root, &format!("{documents}/copyright"), &copyright, 0o644)?;
    let third_party = third_party::notices(source)?;
    put(root, &format!("{documents}/THIRD-PARTY"), third_party.as_bytes(), 0o644)?;
    for path in ["usr/share/man/man1/tlskeytop.1"]
        .map(str::to_owned)
        .into_iter()
        .chain(["changelog", "THIRD-PARTY"].map(|name| format!("{documents}/{name}")))
    {
        // Without the time and the name, for the same bytes each time.
        tool::run(Command::new("gzip").args(["-9", "--no-name"]).arg(root.join(path)))?;
    }
    Ok(())
}

/// Writes a file and its folders with modes that do not depend on the umask.
pub fn put(root: &Path, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let file = root.join(path);
    let folder = file.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(&file, Permissions::from_mode(mode))?;
    Ok(())
}
