//! Little is allowed to it: few files, no locked memory, another clock than the machine's.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Held, Lab, Maker, Makers, Process, Tlskeytop, Version, check_whole, private_libssl, until,
};

/// A maker and the binary behind a program that changes what it is allowed.
struct Scene {
    makers: Makers,
    maker: Maker,
    /// Last: the others have their files in it.
    lab: Lab,
}

impl Scene {
    fn open() -> Result<Option<Self>> {
        let Some(lab) = Lab::open()? else {
            return Ok(None);
        };
        let makers = Makers::build(&lab)?;
        let maker = makers.start(&lab, "maker", None)?;
        Ok(Some(Self { lab, makers, maker }))
    }

    /// Starts `PROGRAM ARGS tlskeytop --pid MAKER`, and more of its options.
    fn start(&self, before: &[&str], options: &[String]) -> Result<Tlskeytop> {
        let keylog = self.lab.path("captured.keylog");
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).arg(Tlskeytop::binary()?).args(["--mode", "keylog", "-k"]);
        command.arg(&keylog).args(["--pid", &self.maker.pid().to_string()]).args(options);
        command.current_dir(self.lab.folder());
        Tlskeytop::start(command, keylog)
    }

    /// Everything that the maker does is captured, and nothing is left of it.
    fn captures(mut self, tlskeytop: Tlskeytop) -> Result<()> {
        let pid = tlskeytop.process.pid();
        let held = Held::attached(pid)?;
        self.maker.work(Version::Tls13, 1, 50)?;
        self.maker.work(Version::Tls12, 1, 50)?;
        let (ours, _) = tlskeytop.stop()?;
        check_whole(&ours, &self.maker.truth()?)?;
        held.is_gone(pid)
    }
}

fn status(tlskeytop: &Tlskeytop, name: &str) -> Result<Option<String>> {
    let status = fs::read_to_string(format!("/proc/{}/status", tlskeytop.process.pid()))?;
    Ok(status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())))
}

/// Room for its own files and a few images: the one that is needed is attached.
#[test]
fn sixty_four_files() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    // With children it attaches to what others run, too.
    let tlskeytop = scene.start(&["prlimit", "--nofile=64:64"], &["--no-children".to_owned()])?;
    scene.captures(tlskeytop)
}

/// More images than there is room for: it says so, what is attached is captured as a whole, of the others there is nothing, and
/// it ends well.
#[test]
fn more_images_than_files() -> Result<()> {
    const OTHERS: usize = 16;
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let others = (0..OTHERS).map(|number| {
        let folder = private_libssl(&scene.lab, &format!("lib-{number}"))?;
        scene.makers.start(&scene.lab, &format!("other-{number}"), Some(&folder))
    });
    let mut others: Vec<Maker> = others.collect::<Result<_>>()?;
    let args = others.iter().flat_map(|maker| ["--pid".to_owned(), maker.pid().to_string()]);
    let args: Vec<String> = args.collect();
    let tlskeytop = scene.start(&["prlimit", "--nofile=64:64"], &args)?;
    let said = "Too many open files";
    until(said, || Ok(tlskeytop.process.stderr().contains(said).then_some(())))?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    others.push(scene.maker);
    for maker in &mut others {
        maker.work(Version::Tls13, 1, 10)?;
    }
    let (ours, summary) = tlskeytop.stop()?;
    let (mut captured, mut lines) = (0, 0);
    for maker in &others {
        let truth = maker.truth()?;
        let found = ours.lines_of(&truth)?;
        ensure!(found == 0 || found == truth.lines(), "{found} of {}: {summary:?}", truth.lines());
        captured += usize::from(found > 0);
        lines += found;
    }
    // Maybe none: the system's own libraries may take the last files before those that were asked for.
    ensure!(captured < others.len(), "{captured} of {}", others.len());
    ensure!(ours.lines() == lines, "{} lines, and {lines} in the truth", ours.lines());
    held.is_gone(pid)
}

/// As root it may lock memory all the same.
#[test]
fn no_locked_memory() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let tlskeytop = scene.start(&["prlimit", "--memlock=0:0"], &[])?;
    ensure!(status(&tlskeytop, "VmLck:")?.is_some_and(|locked| locked != "0 kB"), "not locked");
    scene.captures(tlskeytop)
}

/// Without the capability nothing is locked, which is told in the log; and all is captured.
#[test]
fn no_locked_memory_and_no_right_to_it() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let log = scene.lab.path("log");
    let options = ["--log-file".to_owned(), log.to_string_lossy().into_owned()];
    let before = ["prlimit", "--memlock=0:0", "setpriv", "--bounding-set=-ipc_lock"];
    let tlskeytop = scene.start(&before, &options)?;
    ensure!(status(&tlskeytop, "VmLck:")?.as_deref() == Some("0 kB"), "memory is locked");
    let said = "memory is not locked: CAP_IPC_LOCK is missing";
    until(said, || Ok(fs::read_to_string(&log)?.contains(said).then_some(())))?;
    scene.captures(tlskeytop)
}

/// Clocks that are not the kernel's, by which the probes tell the time of an event: refused, and told why.
#[test]
fn clocks_of_a_time_namespace() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    for offset in [["--monotonic", "1000000"], ["--boottime", "2000000"]] {
        let mut command = Command::new("unshare");
        command.arg("--time").args(offset).arg(Tlskeytop::binary()?);
        command.args(["--mode", "json", "--all"]).current_dir(lab.folder());
        let ended = Process::run(&mut command)?;
        ensure!(ended.code() == Some(3), "{}: {}", ended.status, ended.stderr);
        ensure!(ended.stderr.contains("time namespace"), "{}", ended.stderr);
    }
    // A namespace alone is no matter.
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let tlskeytop = scene.start(&["unshare", "--time"], &[])?;
    scene.captures(tlskeytop)
}
