//! Images that are none: a clear error for each, and the rest goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{Bench, LIBSSL, Lab, Process, Protocol, Tlskeytop, curl, make_fifo, until};

// Offsets in a 64-bit ELF header and program header: elf(5).
const E_PHOFF: usize = 32;
const E_PHENTSIZE: usize = 54;
const E_PHNUM: usize = 56;
const FIRST_PHDR: usize = 64;
const PHDR_SIZE: usize = 56;
const P_OFFSET: usize = 8;
const P_VADDR: usize = 16;
const P_FILESZ: usize = 32;

/// A copy of libssl with `value` at `offset`.
fn lie(bytes: &[u8], offset: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset..offset + value.len()].copy_from_slice(value);
    bytes
}

/// The same field in every program header.
fn lie_in_all(bytes: &[u8], field: usize, value: u64) -> Vec<u8> {
    let count = usize::from(u16::from_le_bytes([bytes[E_PHNUM], bytes[E_PHNUM + 1]]));
    let at = |number| FIRST_PHDR + number * PHDR_SIZE + field;
    (0..count).fold(bytes.to_vec(), |bytes, number| lie(&bytes, at(number), &value.to_le_bytes()))
}

/// Everything that is no usable image, by a name that says why.
fn bad_images(lab: &Lab) -> Result<Vec<PathBuf>> {
    let folder = lab.path("bad");
    fs::create_dir(&folder)?;
    let good = fs::read(LIBSSL).with_context(|| format!("cannot read {LIBSSL}"))?;
    let huge = u64::MAX.to_le_bytes();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("text", b"#!/bin/sh\nexit 0\n".to_vec()),
        ("empty", Vec::new()),
        ("one-byte", vec![0x7f]),
        ("magic-alone", good[..4].to_vec()),
        ("half-a-header", good[..40].to_vec()),
        ("truncated", good[..4096].to_vec()),
        ("class-32", lie(&good, 4, &[1])),
        ("big-endian", lie(&good, 5, &[2])),
        ("other-machine", lie(&good, 18, &[0xff, 0xff])),
        ("headers-beyond-the-end", lie(&good, E_PHOFF, &huge)),
        ("header-size-0", lie(&good, E_PHENTSIZE, &[0, 0])),
        ("no-program-headers", lie(&good, E_PHNUM, &[0, 0])),
        ("too-many-program-headers", lie(&good, E_PHNUM, &[0xff, 0xff])),
        ("segments-beyond-the-end", lie_in_all(&good, P_OFFSET, u64::MAX - 4096)),
        ("segments-wrap-around", lie_in_all(&good, P_VADDR, u64::MAX - 16)),
        ("segment-sizes-lie", lie_in_all(&good, P_FILESZ, u64::MAX)),
        ("no-tls", fs::read("/bin/true")?),
    ];
    let mut paths = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        paths.push(path);
    }
    let path = |name: &str| folder.join(name);
    fs::create_dir(path("directory"))?;
    make_fifo(&path("fifo"))?;
    symlink(path("loop"), path("loop"))?;
    paths.extend(["directory", "fifo", "loop", "missing"].map(path));
    paths.push("/dev/zero".into());
    Ok(paths)
}

fn image_options<'a>(images: impl IntoIterator<Item = &'a Path>) -> Vec<&'a Path> {
    images.into_iter().flat_map(|image| [Path::new("--image"), image]).collect()
}

/// On standard error there is a line that names the file.
fn is_named(stderr: &str, image: &Path) -> bool {
    let name = image.to_string_lossy();
    stderr.lines().any(|line| line.contains(&*name))
}

#[test]
fn each_is_named_and_the_good_one_is_captured() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let bad = bad_images(&bench.lab)?;
    let images = bad.iter().map(PathBuf::as_path).chain([Path::new(LIBSSL)]);
    let tlskeytop = Tlskeytop::keylog(&bench.lab, image_options(images))?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    for image in &bad {
        until(&format!("{} is named on stderr", image.display()), || {
            Ok(is_named(&tlskeytop.process.stderr(), image).then_some(()))
        })?;
    }
    ensure!(!tlskeytop.process.stderr().contains("panicked"));
    bench.check(tlskeytop, 1)
}

#[test]
fn alone_each_exits_1_with_its_reason() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut wrong = Vec::new();
    for image in bad_images(&lab)? {
        let mut command = Tlskeytop::command(&lab)?;
        command.args(["--mode", "keylog", "--duration", "20", "--image"]).arg(&image);
        let ended = Process::run(&mut command)?;
        let named = is_named(&ended.stderr, &image);
        if ended.code() != Some(1) || !named || ended.stderr.contains("panicked") {
            wrong.push(format!("{}: {}: {}", image.display(), ended.status, ended.stderr));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
