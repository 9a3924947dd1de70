//! Version strings that lie: the code wins, and where the code says nothing either, nothing is read and `scan` says why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, Captures, LIBSSL, Lab, Method, Process, Protocol, Subject, Tlskeytop, old_library,
    scan_of, shared_library,
};

/// Overwrites every `from` in a file with `to`, of the same length: how many there were.
fn overwrite(path: &Path, from: &str, to: &str) -> Result<usize> {
    ensure!(from.len() == to.len(), "{from:?} and {to:?}");
    let mut bytes = fs::read(path)?;
    let starts = bytes.windows(from.len()).enumerate();
    let places: Vec<usize> =
        starts.filter(|(_, window)| *window == from.as_bytes()).map(|(at, _)| at).collect();
    for at in &places {
        bytes[*at..*at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(path, bytes)?;
    Ok(places.len())
}

/// A copy of a libssl and of the libcrypto beside it, which says another version.
fn lying(lab: &Lab, libssl: &Path, from: &str, to: &str) -> Result<PathBuf> {
    let (folder, name) = (libssl.parent(), libssl.file_name());
    let (folder, name) = (folder.context("no folder")?, name.context("no name")?);
    let (_, suffix) = name.to_str().and_then(|name| name.split_once(".so")).context("no .so")?;
    let mut lies = 0;
    for file in fs::read_dir(folder)? {
        let file = file?.file_name();
        let libcrypto = file.to_string_lossy();
        let beside =
            libcrypto.starts_with("libcrypto") && libcrypto.ends_with(&format!(".so{suffix}"));
        if beside || file == name {
            let copy = lab.folder().join(&file);
            fs::copy(folder.join(&file), &copy)?;
            lies += overwrite(&copy, from, to)?;
        }
    }
    ensure!(lies > 0, "no {from:?} to overwrite in {}", folder.display());
    Ok(lab.folder().join(name))
}

/// A libssl that says another version is captured as what it is, and `scan` says by what.
fn the_code_wins(libssl: Option<PathBuf>, from: &str, to: &str, says: &str) -> Result<()> {
    let (Some(libssl), Some(bench)) = (libssl, Bench::open(Protocol::Http)?) else {
        return Ok(());
    };
    let subject = Subject::libssl(&lying(&bench.lab, &libssl, from, to)?);
    let mut client = subject.start_client(&bench)?;
    let scanned = scan_of(&bench.lab, client.pid())?;
    let layouts: Vec<&str> = scanned.iter().filter_map(|image| image["layout"].as_str()).collect();
    ensure!(layouts.iter().any(|layout| layout.contains(says)), "{says:?} is not in {layouts:?}");
    let captures = Captures::start(&bench.lab, "client", &["--pid", &client.pid().to_string()])?;
    captures.check(&Subject::shake_hands(&bench, &mut client)?)
}

#[test]
fn one_of_1_1_1_that_says_3_0() -> Result<()> {
    let libssl = old_library("psycopg2-binary-2.9.10/psycopg2_binary.libs/libssl-")?;
    the_code_wins(libssl, "OpenSSL 1.1.1w ", "OpenSSL 3.0.17 ", "version 3.0.17, but ")
}

#[test]
fn one_of_3_0_that_says_3_5() -> Result<()> {
    the_code_wins(Some(LIBSSL.into()), "OpenSSL 3.0.", "OpenSSL 3.5.", "3.0.0: version 3.5.")
}

#[test]
fn one_of_3_4_that_says_3_0() -> Result<()> {
    let libssl = old_library("psycopg-binary-3.2.6/psycopg_binary.libs/libssl-")?;
    the_code_wins(libssl, "OpenSSL 3.4.1 ", "OpenSSL 3.0.1 ", "version 3.0.1, but ")
}

#[test]
fn one_that_says_no_version() -> Result<()> {
    let libssl = old_library("psycopg-binary-3.2.4/psycopg_binary.libs/libssl-")?;
    the_code_wins(libssl, "OpenSSL 3.4.0 ", "0penSSL 3.4.0 ", "does not say its version")
}

/// cryptography in the lab, without the names of its functions, and if wanted without its version.
fn stripped_cryptography(lab: &Lab, version: Option<(&str, &str)>) -> Result<Option<Subject>> {
    // Offsets of the section headers' place, number and names in a 64-bit ELF header: elf(5).
    const SECTION_HEADERS: [std::ops::Range<usize>; 2] = [40..48, 60..64];
    let Some(rust) = shared_library("cryptography/hazmat/bindings/_rust")? else {
        return Ok(None);
    };
    let package = rust.ancestors().nth(3).context("not in a package")?;
    Process::run_ok(Command::new("cp").arg("-r").arg(package).arg(lab.folder()))?;
    let copy = lab.folder().join(rust.strip_prefix(package.parent().context("no folder")?)?);
    let mut bytes = fs::read(&copy)?;
    for range in SECTION_HEADERS {
        bytes[range].fill(0);
    }
    fs::write(&copy, bytes)?;
    if let Some((from, to)) = version {
        ensure!(overwrite(&copy, from, to)? > 0, "no {from:?} to overwrite");
    }
    Subject::pyopenssl(&[lab.folder().to_owned()])
}

/// The walk is refused with a reason, in `scan` and at the start; the tap captures it all the same.
fn refused(version: Option<(&str, &str)>, reason: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(subject) = stripped_cryptography(&bench.lab, version)? else {
        return Ok(());
    };
    let mut client = subject.start_client(&bench)?;
    let scanned = scan_of(&bench.lab, client.pid())?;
    let refused = scanned.iter().any(|image| image["walk_obstacle"] == reason);
    ensure!(refused, "{reason:?} is not in {scanned:?}");
    let pid = client.pid().to_string();
    let start = |method: Method| {
        Tlskeytop::keylog_to(&bench.lab, method.name(), ["--method", method.name(), "--pid", &pid])
    };
    let (tap, walk) = (start(Method::Tap)?, start(Method::Walk)?);
    ensure!(walk.targets == 0 && walk.process.stderr().contains(reason), "the walk");
    let truth = Subject::shake_hands(&bench, &mut client)?;
    ensure!(walk.stop()?.0.lines() == 0, "the walk has lines");
    tlskeytop_tests::check_capture(&tap.stop()?.0, &truth)
}

#[test]
fn neither_names_nor_a_version() -> Result<()> {
    refused(Some(("OpenSSL 4.0.3", "0penSSL 4.0.3")), "no layout: the library is not known")
}
