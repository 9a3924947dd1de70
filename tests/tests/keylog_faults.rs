//! What is done to the key log's path while it is open: nothing is lost, and all is there when the path is good again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Held, Lab, Maker, Makers, Process, SmallDisk, Tlskeytop, Version, check_whole, make_fifo, until,
};

/// One that is captured, with its lines on a disk of its own.
struct Scene {
    maker: Maker,
    tlskeytop: Tlskeytop,
    held: Held,
    disk: SmallDisk,
    /// Last: the others have their files in it.
    lab: Lab,
}

impl Scene {
    fn open() -> Result<Option<Self>> {
        let Some(lab) = Lab::open()? else {
            return Ok(None);
        };
        let disk = SmallDisk::mount(&lab, "size=16m")?;
        let mut maker = Makers::build(&lab)?.start(&lab, "maker", None)?;
        let keylog = disk.path("keylog");
        let mut command = Tlskeytop::command(&lab)?;
        command.args(["--mode", "keylog", "--pid", &maker.pid().to_string(), "-k"]).arg(&keylog);
        let tlskeytop = Tlskeytop::start(command, keylog)?;
        let held = Held::attached(tlskeytop.process.pid())?;
        maker.work(Version::Tls13, 1, 20)?;
        let scene = Self { lab, disk, maker, tlskeytop, held };
        scene.is_whole()?;
        Ok(Some(scene))
    }

    fn keylog(&self) -> PathBuf {
        self.tlskeytop.keylog_path().to_owned()
    }

    /// Waits until the file at the path has all that was made.
    fn is_whole(&self) -> Result<()> {
        let truth = self.maker.truth()?;
        until("every line in the file", || {
            let ours = tlskeytop_tests::KeyLog::strict(self.tlskeytop.keylog_path());
            Ok(ours.and_then(|ours| check_whole(&ours, &truth)).ok())
        })
    }

    fn is_told(&self, what: &str) -> Result<()> {
        self.tlskeytop.process.wait_stderr(what, |line| line.contains(what).then_some(()))
    }

    /// It goes on, and ends with nothing lost and nothing left.
    fn ends_well(mut self) -> Result<()> {
        self.maker.work(Version::Tls12, 1, 20)?;
        self.is_whole()?;
        let pid = self.tlskeytop.process.pid();
        let (ours, _) = self.tlskeytop.stop()?;
        check_whole(&ours, &self.maker.truth()?)?;
        self.held.is_gone(pid)
    }
}

#[test]
fn deleted() -> Result<()> {
    let Some(mut scene) = Scene::open()? else {
        return Ok(());
    };
    fs::remove_file(scene.keylog())?;
    scene.maker.work(Version::Tls13, 1, 20)?;
    scene.is_whole()?;
    scene.ends_well()
}

/// A pipe that nobody reads must not hold it up.
#[test]
fn replaced_by_a_fifo() -> Result<()> {
    let Some(mut scene) = Scene::open()? else {
        return Ok(());
    };
    let keylog = scene.keylog();
    let fifo = scene.disk.path("fifo");
    make_fifo(&fifo)?;
    fs::rename(&fifo, &keylog)?;
    scene.maker.work(Version::Tls13, 1, 20)?;
    scene.is_told("not a regular file")?;
    fs::remove_file(&keylog)?;
    scene.is_whole()?;
    scene.ends_well()
}

/// A mount over the folder of the key log; unmounted when dropped.
struct Over(PathBuf);

impl Over {
    fn mount(folder: &Path, options: &str) -> Result<Self> {
        let mut mount = Command::new("mount");
        Process::run_ok(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder))?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        let _ = Process::run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// The kernel remounts no file system read-only that has a file open for writing; it does so by itself after an error, and
/// another one may be mounted over it: the path is read-only then.
#[test]
fn read_only_for_a_while() -> Result<()> {
    let Some(mut scene) = Scene::open()? else {
        return Ok(());
    };
    let folder = scene.lab.path("disk");
    let mut remount = Command::new("mount");
    let busy = Process::run(remount.args(["-o", "remount,ro"]).arg(&folder))?;
    ensure!(!busy.status.success(), "a disk is read-only on which a file is open");
    let over = Over::mount(&folder, "size=64k,ro")?;
    scene.maker.work(Version::Tls13, 1, 20)?;
    scene.is_told("Read-only file system")?;
    drop(over);
    scene.is_whole()?;
    scene.ends_well()
}
