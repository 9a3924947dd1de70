//! Images on a file system whose server takes each request and never answers it.

use std::path::{Path, PathBuf};
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

    fn start_client(&self) -> Result<Process> {
        let mut command = std::process::Command::new(&self.program);
        command
            .arg(&self.bench.lab.certificate.certificate)
            .args(["1", &self.peers().0.port().to_string()])
            .env("LD_LIBRARY_PATH", self.fuse.folder());
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

#[test]
fn a_library_on_a_mount_that_answers() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let mut before = scene.start_client()?;
    let tlskeytop = scene.capture()?;
    CClient::shake_hands(&mut before)?;
    let truth = scene.peers().0.whole_truth(1)?;
    scene.another_is_captured(&tlskeytop)?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)
}

#[test]
fn a_mount_that_is_dead_at_the_start() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    let client = scene.start_client()?;
    scene.fuse.answer_only(&scene.name);
    let start = Instant::now();
    let tlskeytop = scene.capture()?;
    eprintln!("ready after {:?}", start.elapsed());
    ensure!(scene.fuse.unanswered() > 0, "nobody has asked it: this proves nothing");
    scene.another_is_captured(&tlskeytop)?;
    quits_at_once(tlskeytop)?;
    // What is wrong is told.
    let found = scan_of(&scene.bench.lab, client.pid())?;
    let reasons: Vec<&Value> = found.iter().map(|image| &image["reason"]).collect();
    let tells = |reason: &&Value| reason.as_str().is_some_and(|r| r.contains("does not answer"));
    ensure!(reasons.iter().any(tells), "{found:?}");
    let doctor = Process::run_ok(Tlskeytop::command(&scene.bench.lab)?.arg("doctor"))?;
    let folder = scene.fuse.folder().to_string_lossy();
    let line = doctor.stdout.lines().find(|line| line.contains("no answer from"));
    ensure!(line.context("doctor says nothing")?.contains(&*folder), "{}", doctor.stdout);
    Ok(())
}

/// The user named it: that is told, and nothing waits.
#[test]
fn a_named_image_on_a_dead_mount() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    scene.fuse.answer_only("nobody");
    let image = scene.fuse.file();
    let start = Instant::now();
    let mut command = Tlskeytop::command(&scene.bench.lab)?;
    command.args(["--mode", "keylog", "--all", "--image"]).arg(&image);
    let ended = Process::start(&mut command)?.wait()?;
    ensure!(ended.status.code() == Some(1), "{}", ended.status);
    ensure!(ended.stderr.contains("does not answer"), "{}", ended.stderr);
    ensure!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    Ok(())
}

/// It answers the process that maps the file, and nobody else.
#[test]
fn a_mount_that_is_dead_for_us_while_it_is_followed() -> Result<()> {
    let Some(scene) = Scene::open()? else {
        return Ok(());
    };
    scene.fuse.answer_only(&scene.name);
    let tlskeytop = scene.capture()?;
    let mut client = scene.start_client()?;
    until("somebody asks the mount", || Ok((scene.fuse.unanswered() > 0).then_some(())))?;
    scene.another_is_captured(&tlskeytop)?;
    CClient::shake_hands(&mut client)?;
    quits_at_once(tlskeytop)
}
