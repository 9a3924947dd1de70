//! `sudo tlskeytop` from an ordinary user: the key log is that user's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{Bench, Process, Protocol, Tlskeytop, curl, public_copy};

/// Made by the test and removed after it.
const USER: &str = "tlskeytop-test";
const DROP_IN: &str = "/etc/sudoers.d/tlskeytop-test";

/// An ordinary user who may run one program through sudo.
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    fn make(may_run: &Path) -> Result<Self> {
        // Left behind only by a test that was killed.
        Self::remove();
        let mut useradd = Command::new("/usr/sbin/useradd");
        useradd.args(["--system", "--user-group", "--no-create-home", "--shell", "/bin/sh", USER]);
        Process::run_ok(&mut useradd)?;
        fs::write(DROP_IN, format!("{USER} ALL=(root) NOPASSWD: {}\n", may_run.display()))?;
        fs::set_permissions(DROP_IN, fs::Permissions::from_mode(0o440))?;
        let id = |which| -> Result<u32> {
            Ok(Process::run_ok(Command::new("id").args([which, USER]))?.stdout.trim().parse()?)
        };
        Ok(Self { uid: id("-u")?, gid: id("-g")? })
    }

    fn remove() {
        let _ = fs::remove_file(DROP_IN);
        let _ = Process::run(Command::new("/usr/sbin/userdel").arg(USER));
    }

    /// `sudo BINARY`, started by this user.
    fn sudo(&self, binary: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &self.uid.to_string(), "--regid", &self.gid.to_string()])
            .args(["--init-groups", "sudo", "-n"])
            .arg(binary);
        command
    }
}

impl Drop for User {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// A folder of the user's own.
fn home(parent: &Path, user: &User) -> Result<PathBuf> {
    let home = parent.join("home");
    fs::create_dir(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    std::os::unix::fs::chown(&home, Some(user.uid), Some(user.gid))?;
    Ok(home)
}

#[test]
fn the_key_log_belongs_to_the_user_behind_sudo() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (folder, binary) = public_copy()?;
    let user = User::make(&binary)?;
    let home = home(folder.path(), &user)?;
    let keylog = home.join("tlskeytop.keylog");
    let mut command = user.sudo(&binary);
    command.current_dir(&home).args(["--mode", "keylog", "--name", "curl"]);
    let tlskeytop = Tlskeytop::start(command, keylog.clone())?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    // sudo hands the signal on, and its exit code is tlskeytop's.
    bench.check(tlskeytop, 1)?;
    let metadata = fs::metadata(&keylog).context("the default key log")?;
    ensure!(
        (metadata.uid(), metadata.gid()) == (user.uid, user.gid),
        "owned by {}",
        metadata.uid()
    );
    ensure!(metadata.mode() & 0o7777 == 0o600, "mode {:o}", metadata.mode());
    // The user reads it.
    let mut cat = Command::new("setpriv");
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    cat.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "cat"]).arg(&keylog);
    ensure!(Process::run_ok(&mut cat)?.stdout.lines().count() >= 6);
    Ok(())
}
