//! `sudo tlskeytop` from an ordinary user: the key log is that user's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, KeyLog, Process, Protocol, Tlskeytop, check_capture, curl, public_copy, require_live,
};

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

    /// A program that this user starts.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &self.uid.to_string(), "--regid", &self.gid.to_string()])
            .args(["--init-groups", program]);
        command
    }

    /// `sudo BINARY`, started by this user.
    fn sudo(&self, binary: &Path) -> Command {
        let mut command = self.command("sudo");
        command.arg("-n").arg(binary);
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
    ensure!(Process::run_ok(user.command("cat").arg(&keylog))?.stdout.lines().count() >= 6);
    Ok(())
}

/// A folder that only root may write, with these files, which only root may read.
fn roots_folder(parent: &Path, files: &[&str]) -> Result<PathBuf> {
    let folder = parent.join("roots");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for file in files {
        fs::write(folder.join(file), "")?;
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600))?;
    }
    Ok(folder)
}

/// In a folder of root's the names are what they were, and the files as empty as they were.
fn is_untouched(folder: &Path, files: &[&str]) -> Result<()> {
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    ensure!(entries.len() == files.len(), "{entries:?}");
    for file in files {
        let metadata = fs::metadata(folder.join(file))?;
        ensure!((metadata.uid(), metadata.len()) == (0, 0), "{file}: {metadata:?}");
    }
    Ok(())
}

/// What every file that it opens for the user behind sudo must not become: one that this user could not have made.
const NOT_PERMITTED: &str = "not permitted to the user behind sudo";

/// Named directly, and by a link on the way.
#[test]
fn nothing_is_made_where_only_root_may() -> Result<()> {
    const OF_ROOT: [&str; 1] = ["old"];
    if !require_live()? {
        return Ok(());
    }
    let (folder, binary) = public_copy()?;
    let user = User::make(&binary)?;
    let home = home(folder.path(), &user)?;
    let roots = roots_folder(folder.path(), &OF_ROOT)?;
    std::os::unix::fs::symlink(&roots, home.join("link"))?;
    for option in ["-k", "--log-file"] {
        for path in ["../roots/new", "../roots/old", "link/new", "link/old"] {
            let mut command = user.sudo(&binary);
            command.current_dir(&home).args(["--mode", "json", "--name", "none", option, path]);
            let ended = Process::run(&mut command)?;
            ensure!(ended.code() == Some(1), "{option} {path}: {}", ended.stderr);
            ensure!(ended.stderr.contains(NOT_PERMITTED), "{option} {path}: {}", ended.stderr);
            is_untouched(&roots, &OF_ROOT)?;
        }
    }
    Ok(())
}

/// The path is a fixed one, and while it runs the user has its folder lead to this one of root's.
fn leads_nowhere(files: &[&str]) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (folder, binary) = public_copy()?;
    let user = User::make(&binary)?;
    let home = home(folder.path(), &user)?;
    let roots = roots_folder(folder.path(), files)?;
    let run = |script: &str| -> Result<()> {
        let mut shell = user.command("sh");
        Process::run_ok(shell.current_dir(&home).args(["-ec", script])).map(drop)
    };
    run("mkdir d")?;
    let keylog = home.join("d/keys");
    let mut command = user.sudo(&binary);
    command.current_dir(&home).args(["--mode", "keylog", "--name", "curl", "-k"]).arg(&keylog);
    let tlskeytop = Tlskeytop::start(command, keylog.clone())?;
    run("mv d moved; ln -s ../roots d")?;
    let told = |line: &str| line.contains(NOT_PERMITTED).then_some(());
    tlskeytop.process.wait_stderr(NOT_PERMITTED, told)?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    is_untouched(&roots, files)?;
    run("rm d; mv moved d")?;
    // What was pending is written, to the file that was open before.
    bench.check(tlskeytop, 1)?;
    ensure!(fs::metadata(&keylog)?.uid() == user.uid);
    is_untouched(&roots, files)
}

#[test]
fn a_folder_that_turns_into_a_link_makes_no_file() -> Result<()> {
    leads_nowhere(&[])
}

#[test]
fn a_folder_that_turns_into_a_link_reaches_no_file() -> Result<()> {
    leads_nowhere(&["keys"])
}

/// The command behind `--` is the user's: id, groups, home, shell and environment; and so is its key log.
#[test]
fn a_command_runs_as_the_user_behind_sudo() -> Result<()> {
    const GROUP: &str = "users";
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (folder, binary) = public_copy()?;
    let user = User::make(&binary)?;
    Process::run_ok(Command::new("/usr/sbin/usermod").args(["-a", "-G", GROUP, USER]))?;
    let home = home(folder.path(), &user)?;
    Process::run_ok(Command::new("/usr/sbin/usermod").arg("--home").arg(&home).arg(USER))?;
    // A copy that the user can read: the lab is root's.
    let certificate = folder.path().join("cert.pem");
    fs::copy(&bench.lab.certificate.certificate, &certificate)?;
    let peer = &bench.peers[0];
    let script = format!(
        "id; cd; pwd; echo $USER $LOGNAME $SHELL; env | grep ^SUDO_; cat /etc/shadow; \
         curl -s --cacert {} https://localhost:{}/ > got; exit 6",
        certificate.display(),
        peer.port()
    );
    let keylog = home.join("keys");
    let mut command = user.sudo(&binary);
    command.current_dir(&home).arg("-k").arg(&keylog).args(["--", "sh", "-c", &script]);
    let ended = Process::run(&mut command)?;
    ensure!(ended.code() == Some(6), "{}\n{}", ended.status, ended.stderr);
    let mut lines = ended.stdout.lines();
    let id = lines.next().context("no id")?;
    let directly = Process::run_ok(Command::new("id").arg(USER))?.stdout;
    ensure!(id == directly.trim() && id.contains(GROUP), "{id}\nbut it is\n{directly}");
    ensure!(!id.contains("root"), "{id}");
    ensure!(lines.next() == home.to_str(), "{}", ended.stdout);
    let names = format!("{USER} {USER} /bin/sh");
    ensure!(lines.next() == Some(&*names), "{}", ended.stdout);
    ensure!(lines.next().is_none(), "more than that: {}", ended.stdout);
    ensure!(ended.stderr.contains("/etc/shadow"), "{}", ended.stderr);
    for file in [&keylog, &home.join("got")] {
        let metadata = fs::metadata(file)?;
        ensure!((metadata.uid(), metadata.gid()) == (user.uid, user.gid), "{}", file.display());
    }
    ensure!(fs::metadata(&keylog)?.mode() & 0o7777 == 0o600);
    check_capture(&KeyLog::strict(&keylog)?, &peer.whole_truth(1)?)?;
    // What root could run, and the user cannot.
    let closed = home.join("closed");
    fs::copy("/bin/true", &closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let mut command = user.sudo(&binary);
    command.current_dir(&home).arg("-k").arg(&keylog).arg("--").arg(&closed);
    let ended = Process::run(&mut command)?;
    ensure!(ended.code() == Some(126), "{}\n{}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("as the user behind sudo"), "{}", ended.stderr);
    ensure!(!ended.stderr.contains("ready"), "{}", ended.stderr);
    Ok(())
}
