//! Images on a file system whose server takes each request and never answers it: nobody may ask it, nor place a probe that
//! would. While one waits, no process of the machine can fork.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    Bench, CClient, Fuse, LIBSSL, Linked, OwnCurl, Peer, Process, Protocol, Tlskeytop,
    check_capture, scan_of, until,
};

/// How soon it must have ended, a file system that does not answer or not.
const QUIT: Duration = Duration::from_secs(2);

/// A client, its library on the mount, and another program that has nothing to do with it.
struct Scene {
    // The first to go: whoever waits is set free.
    fuse: Fuse,
    bench: Bench,
    program: PathBuf,
    name: String,
    own: OwnCurl,
}

impl Scene {
    fn open() -> Result<Option<Self>> {
        let Some(bench) = Bench::open(Protocol::Http)? else {
            return Ok(None);
        };
        let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
            return Ok(None);
        };
        let Some(fuse) = Fuse::mount(&bench.lab, Path::new(LIBSSL))? else {
            return Ok(None);
        };
        // The kernel keeps 15 bytes of a name.
        let name = format!("fuse-{}", std::process::id());
        let program = bench.lab.path(&name);
        client.copy(&program)?;
        let own = OwnCurl::copy(&bench.lab)?;
        Ok(Some(Self { fuse, bench, program, name, own }))
    }

    fn peers(&self) -> (&Peer, &Peer) {
        (&self.bench.peers[0], &self.bench.peers[1])
    }

    /// From its own mount, or another folder that shows the same.
    fn start_client(&self, libraries: &Path) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .arg(&self.bench.lab.certificate.certificate)
            .args(["1", &self.peers().0.port().to_string()])
            .env("LD_LIBRARY_PATH", libraries);
        CClient::start(&mut command)
    }

    fn capture(&self) -> Result<Tlskeytop> {
        Tlskeytop::keylog(&self.bench.lab, ["--name", &self.name, "--name", &self.own.name])
    }

    /// The other program shakes hands, and it is saved at once.
    fn another_is_captured(&self, tlskeytop: &Tlskeytop) -> Result<()> {
        let (_, peer) = self.peers();
        Process::run_ok(&mut self.own.request(&self.bench.lab, peer.port(), ""))?;
        let truth = peer.whole_truth(1)?;
        until("the other program's secrets", || {
            let ours = tlskeytop_tests::KeyLog::truth(tlskeytop.keylog_path())?;
            Ok(check_capture(&ours, &truth).ok())
        })
    }
}

fn quits_at_once(mut tlskeytop: Tlskeytop) -> Result<()> {
    let start = Instant::now();
    let ended = tlskeytop.interrupt()?;
    let took = start.elapsed();
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    eprintln!("it ended after {took:?}");
    ensure!(took < QUIT, "it ended after {took:?}");
    Ok(())
}

/// From its start to its end, and by `scan`.
fn is_never_asked(scene: &Scene, libraries: &Path) -> Result<()> {
    // The server answers the client alone, and counts whoever else asks.
    scene.fuse.answer_only(&scene.name);
    let mut before = scene.start_client(libraries)?;
    let tlskeytop = scene.capture()?;
    let mut after = scene.start_client(libraries)?;
    scene.another_is_captured(&tlskeytop)?;
    CClient::shake_hands(&mut after)?;
    // What is not captured is told, with the reason.
    let found = scan_of(&scene.bench.lab, before.pid())?;
    let reasons: Vec<&Value> = found.iter().map(|image| &image["reason"]).collect();
    let tells = |reason: &&Value| reason.as_str().is_some_and(|r| r.contains("on a FUSE"));
    ensure!(reasons.iter().any(tells), "{found:?}");
    CClient::shake_hands(&mut before)?;
    quits_at_once(tlskeytop)?;
    let asked = scene.fuse.unanswered();
    ensure!(asked == 0, "{asked} requests by others than the client");
    Ok(())
}

#[test]
fn a_library_on_a_mount_is_never_asked_for() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    is_never_asked(&scene, scene.fuse.folder())?;
    let doctor = Process::run_ok(Tlskeytop::command(&scene.bench.lab)?.arg("doctor"))?;
    let folder = scene.fuse.folder().to_string_lossy();
    let line = doctor.stdout.lines().find(|line| line.contains("FUSE on"));
    ensure!(line.context("doctor says nothing")?.contains(&*folder), "{}", doctor.stdout);
    Ok(())
}

/// An overlay over one; unmounted when dropped.
struct Overlay(PathBuf);

impl Overlay {
    fn mount(scene: &Scene) -> Result<Self> {
        let (folder, below) = (scene.bench.lab.path("overlay"), scene.bench.lab.path("below"));
        fs::create_dir(&folder)?;
        fs::create_dir(&below)?;
        let layers = format!("lowerdir={}:{}", scene.fuse.folder().display(), below.display());
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "-o", &layers, "overlay"]).arg(&folder);
        Process::run_ok(&mut mount)?;
        Ok(Self(folder))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.args(["-i", "--no-canonicalize", "--lazy"]).arg(&self.0);
        let _ = umount.status();
    }
}

#[test]
fn a_library_on_an_overlay_over_a_mount_is_never_asked_for() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let overlay = Overlay::mount(&scene)?;
    is_never_asked(&scene, &overlay.0)
}

/// The user named it, by itself or by a link: that is refused, and nothing waits.
#[test]
fn a_named_image_on_a_mount_is_refused() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    scene.fuse.answer_only("nobody");
    let link = scene.bench.lab.path("link");
    std::os::unix::fs::symlink(scene.fuse.folder(), &link)?;
    for image in [scene.fuse.file(), link.join("libssl.so.3")] {
        let mut command = Tlskeytop::command(&scene.bench.lab)?;
        command.args(["--mode", "keylog", "--all", "--exclude-image"]).arg(&image);
        let ended = Process::start(command.arg("--image").arg(&image))?.wait()?;
        ensure!(ended.status.code() == Some(1), "{}", ended.status);
        ensure!(ended.stderr.contains("on a FUSE"), "{}", ended.stderr);
    }
    ensure!(scene.fuse.unanswered() == 0, "{}", scene.fuse.unanswered());
    Ok(())
}
