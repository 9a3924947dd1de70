//! Builds the eBPF object that is embedded in the binary, and proves that it is up to date.
//!
//! `tui/ebpf/tlskeytop.o` is the object and `tui/ebpf/record.toml` says from which sources and with
//! which toolchain it was built. The build is reproducible: paths are remapped and DWARF is stripped.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::tool;

/// What the object was built from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// SHA-256 over the sources and the locked versions of the crates that they use.
    sources: String,
    /// SHA-256 of the object.
    object: String,
    toolchain: Toolchain,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Toolchain {
    /// `rustc --version`.
    rustc: String,
    /// The LLVM of that rustc, which must be bpf-linker's too.
    llvm: String,
    /// `bpf-linker --version`.
    bpf_linker: String,
}

/// The rustc with the sources of `core`, and the linker.
struct Tools {
    rustc: PathBuf,
    linker: PathBuf,
    strip: PathBuf,
    toolchain: Toolchain,
}

/// Debian's rustc-web: the one compiler on Debian 12 whose LLVM is bpf-linker's.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STRIP: &str = "/usr/lib/llvm-22/bin/llvm-strip";
const TARGET: &str = "bpfel-unknown-none";

/// The workspace's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Builds the object and writes it with its record.
pub fn build() -> anyhow::Result<()> {
    let tools = Tools::find()?.context(
        "no toolchain for eBPF: run `cargo xtask setup` as root on Debian 12 (rustc-web, \
         rust-web-src and bpf-linker), or set TLSKEYTOP_BPF_RUSTC, TLSKEYTOP_BPF_LINKER and TLSKEYTOP_BPF_STRIP",
    )?;
    let object = compile(&tools)?;
    let record = Record {
        sources: hash_sources()?,
        object: hex::encode(Sha256::digest(&object)),
        toolchain: tools.toolchain,
    };
    fs::create_dir_all(folder())?;
    fs::write(object_path(), &object).context("writing the object")?;
    fs::write(record_path(), toml::to_string(&record)?).context("writing the record")?;
    println!("{}: {} bytes, {}", object_path().display(), object.len(), record.object);
    Ok(())
}

/// Fails when the object is not the one that the sources give.
pub fn check() -> anyhow::Result<()> {
    let text = fs::read_to_string(record_path()).context("reading tui/ebpf/record.toml")?;
    let record: Record = toml::from_str(&text).context("tui/ebpf/record.toml")?;
    let object = fs::read(object_path()).context("reading the embedded object")?;
    ensure!(
        hex::encode(Sha256::digest(&object)) == record.object,
        "{} is not the object that record.toml names: run `cargo xtask ebpf`",
        object_path().display()
    );
    ensure!(
        hash_sources()? == record.sources,
        "the eBPF sources changed and the embedded object did not: run `cargo xtask ebpf`"
    );
    match Tools::find()? {
        Some(tools) if tools.toolchain == record.toolchain => {
            ensure!(
                compile(&tools)? == object,
                "the same sources and toolchain gave another object: run `cargo xtask ebpf`, and \
                 look for what is not reproducible"
            );
            println!("ebpf: sources unchanged, rebuilt object is identical");
        }
        Some(tools) => println!(
            "ebpf: sources unchanged; not rebuilt, since the toolchain here ({}, {}) is not the \
             recorded one ({}, {})",
            tools.toolchain.rustc,
            tools.toolchain.bpf_linker,
            record.toolchain.rustc,
            record.toolchain.bpf_linker
        ),
        None => println!("ebpf: sources unchanged; not rebuilt, no eBPF toolchain here"),
    }
    Ok(())
}

fn folder() -> PathBuf {
    root().join("tui/ebpf")
}

fn object_path() -> PathBuf {
    folder().join("tlskeytop.o")
}

fn record_path() -> PathBuf {
    folder().join("record.toml")
}

impl Tools {
    /// `None` when a part of the toolchain is not installed.
    fn find() -> anyhow::Result<Option<Self>> {
        let rustc = env::var_os("TLSKEYTOP_BPF_RUSTC").map_or(DEBIAN_RUSTC.into(), PathBuf::from);
        let linker = env::var_os("TLSKEYTOP_BPF_LINKER")
            .map_or_else(|| root().join("target/toolchain/bin/bpf-linker"), PathBuf::from);
        let strip = env::var_os("TLSKEYTOP_BPF_STRIP").map_or(DEBIAN_STRIP.into(), PathBuf::from);
        if !rustc.exists() || !linker.exists() || !strip.exists() {
            return Ok(None);
        }
        let verbose = tool::output(Command::new(&rustc).arg("-vV"))?;
        let field = |name: &str| {
            verbose.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").to_owned()
        };
        let toolchain = Toolchain {
            rustc: verbose.lines().next().unwrap_or("unknown").to_owned(),
            llvm: field("LLVM version: "),
            bpf_linker: tool::output(Command::new(&linker).arg("--version"))?.trim().to_owned(),
        };
        let sysroot = tool::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
        Ok(core.exists().then_some(Self { rustc, linker, strip, toolchain }))
    }
}

/// Builds in a folder of its own, so that host builds and this one do not invalidate each other.
fn compile(tools: &Tools) -> anyhow::Result<Vec<u8>> {
    let root = root();
    let target_dir = root.join("target/ebpf");
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", tools.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
        format!("--remap-path-prefix={}=cargo", cargo_home()?.display()),
    ];
    let status = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(&root)
        .env("RUSTC", &tools.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .args(["build", "--quiet", "--release", "--locked", "--package", "tlskeytop-ebpf"])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .status()
        .context("starting cargo for the eBPF object")?;
    ensure!(status.success(), "building the eBPF object failed");
    let linked = target_dir.join(TARGET).join("release/tlskeytop");
    let built = target_dir.join("tlskeytop.o");
    // DWARF goes, BTF stays.
    tool::output(
        Command::new(&tools.strip).arg("--strip-debug").arg("-o").arg(&built).arg(&linked),
    )?;
    fs::read(&built).with_context(|| format!("reading {}", built.display()))
}

/// Cargo's own folder.
///
/// # Errors
/// When the environment does not say.
pub fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

/// Files under the two crates, in the order of their names, and the lock's entries for what they use.
fn hash_sources() -> anyhow::Result<String> {
    let root = root();
    let mut files = Vec::new();
    for folder in ["tui-ebpf", "tui-common"] {
        list(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        let bytes = fs::read(&file).with_context(|| format!("reading {name}"))?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.update(locked_versions(&fs::read_to_string(root.join("Cargo.lock"))?)?);
    Ok(hex::encode(hash.finalize()))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// `name version checksum` of every locked crate whose name begins with `aya-ebpf`.
fn locked_versions(lock: &str) -> anyhow::Result<String> {
    let lock: toml::Table = lock.parse().context("Cargo.lock")?;
    let Some(packages) = lock.get("package").and_then(toml::Value::as_array) else {
        bail!("Cargo.lock has no packages");
    };
    let mut lines: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            let field = |name: &str| package.get(name).and_then(toml::Value::as_str);
            let name = field("name")?;
            if !name.starts_with("aya-ebpf") {
                return None;
            }
            Some(format!("{name} {} {}\n", field("version")?, field("checksum")?))
        })
        .collect();
    lines.sort();
    Ok(lines.concat())
}
