//! Key log paths that must be refused, and a disk that is full for a while.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, KeyLog, Lab, OwnCurl, Process, Protocol, SmallDisk, Summary, Tlskeytop, check_capture,
    curl, make_fifo, until,
};

/// Refused: exit 1 with a message that names the path, and at once.
fn is_refused(lab: &Lab, keylog: &Path) -> Result<()> {
    let mut command = Tlskeytop::command(lab)?;
    command.args(["--mode", "keylog", "--duration", "20", "-k"]).arg(keylog);
    let ended = Process::run(&mut command)?;
    ensure!(ended.code() == Some(1), "{}: {}\n{}", keylog.display(), ended.status, ended.stderr);
    ensure!(ended.stderr.contains(&*keylog.to_string_lossy()), "not named: {}", ended.stderr);
    ensure!(!ended.stderr.contains("tlskeytop: ready"), "refused only after it was ready");
    Ok(())
}

/// A file with this mode and a line of its own, which must be left as it is.
fn file(path: &Path, mode: u32) -> Result<()> {
    fs::write(path, "# mine\n")?;
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

#[test]
fn a_symlink_is_refused() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    file(&lab.path("target"), 0o600)?;
    symlink(lab.path("target"), lab.path("link"))?;
    symlink(lab.path("nowhere"), lab.path("dangling"))?;
    is_refused(&lab, &lab.path("link"))?;
    is_refused(&lab, &lab.path("dangling"))?;
    ensure!(fs::read_to_string(lab.path("target"))? == "# mine\n");
    ensure!(!lab.path("nowhere").exists());
    Ok(())
}

#[test]
fn a_file_that_others_can_read_or_own_is_refused() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    for mode in [0o644, 0o640, 0o602, 0o610] {
        let path = lab.path(&format!("mode-{mode:o}"));
        file(&path, mode)?;
        is_refused(&lab, &path)?;
        ensure!(fs::read_to_string(&path)? == "# mine\n");
        ensure!(fs::metadata(&path)?.permissions().mode() & 0o777 == mode, "its mode changed");
    }
    let path = lab.path("of-another");
    file(&path, 0o600)?;
    chown(&path, Some(65534), Some(65534))?;
    is_refused(&lab, &path)?;
    let path = lab.path("two-links");
    file(&path, 0o600)?;
    fs::hard_link(&path, lab.path("second-link"))?;
    is_refused(&lab, &path)
}

#[test]
fn what_is_no_file_is_refused() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    fs::create_dir(lab.path("folder"))?;
    is_refused(&lab, &lab.path("folder"))?;
    make_fifo(&lab.path("fifo"))?;
    is_refused(&lab, &lab.path("fifo"))?;
    is_refused(&lab, &lab.path("missing/keylog"))?;
    is_refused(&lab, Path::new("/dev/null"))
}

#[test]
fn a_read_only_file_system_is_refused() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let disk = SmallDisk::mount(&lab, "size=64k,ro")?;
    is_refused(&lab, &disk.path("keylog"))
}

#[test]
fn an_existing_file_is_appended_to_after_a_missing_newline() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let path = bench.lab.path("captured.keylog");
    fs::write(&path, "# mine, without its end")?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let peer = &bench.peers[0];
    // Twice: the second run finds the lines of the first.
    for _ in 0..2 {
        let mut tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "curl"])?;
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
        ensure!(tlskeytop.interrupt()?.code() == Some(0));
    }
    let text = fs::read_to_string(&path)?;
    let rest = text.strip_prefix("# mine, without its end\n");
    ensure!(rest.is_some(), "the text before is not as it was: {:?}", &text[..40]);
    check_capture(&KeyLog::parse_strict(rest.unwrap_or_default())?, &peer.whole_truth(2)?)
}

#[test]
fn a_new_file_is_private() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&lab, ["--all"])?;
    let mode = fs::metadata(tlskeytop.keylog_path())?.permissions().mode();
    ensure!(mode & 0o7777 == 0o600, "{mode:o}");
    Ok(())
}

#[test]
fn a_full_disk_is_shown_and_its_lines_come_when_there_is_room() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    // Under its own name: another test's curl could write before the disk is full.
    let own = OwnCurl::copy(&bench.lab)?;
    let disk = SmallDisk::mount(&bench.lab, "size=64k")?;
    let keylog = disk.path("keylog");
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "keylog", "--name", &own.name, "-k"]).arg(&keylog);
    let tlskeytop = Tlskeytop::start(command, keylog.clone())?;
    let filler = disk.fill("filler")?;
    for peer in &bench.peers {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    }
    tlskeytop.process.wait_stderr("message about the full disk", |line| {
        line.contains("No space left").then_some(())
    })?;
    ensure!(fs::read_to_string(&keylog)?.is_empty(), "the disk was not full");
    fs::remove_file(filler)?;
    // Tried again by itself, with no new handshake.
    until("the pending lines are written", || {
        Ok((fs::read_to_string(&keylog)?.lines().count() >= 6).then_some(()))
    })?;
    bench.check(tlskeytop, 1)
}

#[test]
fn a_disk_that_stays_full_is_a_failure_with_the_number_of_lines() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let disk = SmallDisk::mount(&bench.lab, "size=64k")?;
    let keylog = disk.path("keylog");
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "keylog", "--name", &own.name, "-k"]).arg(&keylog);
    let mut tlskeytop = Tlskeytop::start(command, keylog)?;
    disk.fill("filler")?;
    Process::run_ok(&mut own.request(&bench.lab, bench.peers[0].port(), ""))?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(1), "{}", ended.status);
    ensure!(ended.stderr.contains("5 secrets could not be written"), "{}", ended.stderr);
    let summary = Summary::parse(&ended.stderr)?;
    ensure!((summary.secrets, summary.saved) == (5, 0), "{summary:?}");
    Ok(())
}

#[test]
fn a_file_that_is_moved_away_is_made_again_with_everything_held() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "curl"])?;
    let keylog = tlskeytop.keylog_path().to_owned();
    let [first, second] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    Process::run_ok(&mut curl(&bench.lab, first.port(), ""))?;
    until("the first lines", || {
        Ok((fs::read_to_string(&keylog)?.lines().count() == 5).then_some(()))
    })?;
    fs::rename(&keylog, bench.lab.path("moved"))?;
    Process::run_ok(&mut curl(&bench.lab, second.port(), ""))?;
    // The new file has also what the first one had.
    bench.check(tlskeytop, 1)?;
    check_capture(&KeyLog::strict(&bench.lab.path("moved"))?, &first.whole_truth(1)?)
}
