//! The binary that is installed: static, position independent, linked with musl.
//!
//! rustup's std for musl cannot be had everywhere, and Debian packages none. So std is built from Debian's rust-web-src, as
//! `core` is for the eBPF object, against Debian's musl and LLVM's libunwind.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use crate::{ebpf, tool};

/// Debian's rustc-web, whose sources are rust-web-src.
const RUSTC: &str = "/usr/bin/rustc";
/// Debian's musl-dev.
const MUSL: &str = "/usr/lib/x86_64-linux-musl";
/// Debian's libunwind-22-dev.
const UNWIND: &str = "/usr/lib/llvm-22/lib/libunwind.a";
/// What is built for.
pub const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds the sources in `source`, with `target` as cargo's folder.
///
/// # Errors
/// When a part of the toolchain is missing, the build fails, or the binary is not static.
pub fn build(source: &Path, target: &Path) -> Result<PathBuf> {
    for file in [RUSTC, "/usr/lib/rustlib/src/rust/library/std/Cargo.toml", UNWIND] {
        ensure!(Path::new(file).exists(), "no {file}: run this as root on Debian 12");
    }
    let linker = make_linker(&target.join("linker"))?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Clink-self-contained=no".to_owned(),
        format!("--remap-path-prefix={}=tlskeytop", source.display()),
        format!("--remap-path-prefix={}=target", target.display()),
        format!("--remap-path-prefix={}=cargo", ebpf::cargo_home()?.display()),
    ];
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(source)
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // As a flag it would be part of what each crate is known by.
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", linker)
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .args(["build", "--release", "--locked", "--package", "tlskeytop", "--target", TARGET])
        .args(["-Z", "build-std=std,panic_unwind", "--target-dir"])
        .arg(target);
    tool::run(&mut cargo)?;
    let binary = target.join(TARGET).join("release/tlskeytop");
    check_static(&binary)?;
    Ok(binary)
}

/// A linker for static PIEs with musl, which musl-gcc cannot make: ld with musl's start files and library, and with LLVM's
/// libunwind, to which the one function is added that it lacks with musl. By its name rustc speaks to it as to ld.
fn make_linker(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let at = |name: &str| folder.join(name);
    fs::write(at("unwind_musl.c"), include_str!("unwind_musl.c"))?;
    tool::run(Command::new("musl-gcc").current_dir(folder).args([
        "-O2",
        "-fPIC",
        "-c",
        "unwind_musl.c",
    ]))?;
    fs::copy(UNWIND, at("libunwind.a")).with_context(|| format!("cannot copy {UNWIND}"))?;
    // D: without times and owners.
    tool::run(Command::new("ar").arg("rD").args([at("libunwind.a"), at("unwind_musl.o")]))?;
    let here = folder.to_str().context("the target folder's path is not UTF-8")?;
    let script = format!(
        "#!/bin/sh\n\
         exec ld {MUSL}/rcrt1.o {MUSL}/crti.o -L'{here}' -L{MUSL} \\\n    \
         --build-id=sha1 \"$@\" -Bstatic -lunwind -lc {MUSL}/crtn.o\n"
    );
    ensure!(!here.contains('\''), "the target folder's path has a quote in it");
    let linker = at("link");
    fs::write(&linker, script)?;
    fs::set_permissions(&linker, fs::Permissions::from_mode(0o755))?;
    Ok(linker)
}

/// It must need nothing of the machine that it is installed on: no loader, no library.
fn check_static(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let header = elf::FileHeader64::<Endianness>::parse(&*bytes)?;
    let endian = header.endian()?;
    ensure!(header.e_type(endian) == elf::ET_DYN, "{} is not a PIE", binary.display());
    for segment in header.program_headers(endian, &*bytes)? {
        let entries = segment.dynamic(endian, &*bytes)?.unwrap_or_default();
        let needs = entries.iter().any(|entry| entry.tag(endian) == elf::DT_NEEDED);
        ensure!(
            !needs && segment.p_type(endian) != elf::PT_INTERP,
            "{} asks for a loader or a library: it is not static",
            binary.display()
        );
    }
    Ok(())
}
