//! tlskeytop on the oldest and the newest kernels that Debian offers, each in a virtual machine with nothing but this
//! program, busybox and openssl.

mod guest;
mod initramfs;
mod kernels;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::setup;
use crate::{dist, ebpf};
use verdict::Verdict;

/// Boots every kernel of the table and prints what came of it.
///
/// # Errors
/// When a machine cannot be made, or a kernel does not give what it must.
pub fn test(binary: Option<&Path>, only: &[String]) -> Result<()> {
    setup::vm()?;
    let binary = match binary {
        Some(binary) => binary.to_path_buf(),
        None => dist::binary::build(&ebpf::root(), &dist::folder().join("build"))?,
    };
    let folder = ebpf::root().join("target/vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let initramfs = initramfs::make(&binary, &folder)?;
    let suites = setup::kernel_suites()?;
    let suites: Vec<_> =
        suites.into_iter().filter(|suite| only.is_empty() || only.contains(suite)).collect();
    ensure!(!suites.is_empty(), "no such suite");
    let mut verdicts = Vec::new();
    for kernel in kernels::fetch(&folder, &suites)? {
        println!("vm-test: {} from {}", kernel.release, kernel.suite);
        let log: PathBuf = folder.join(format!("{}.log", kernel.release));
        let said = guest::run(&kernel.image, &initramfs, &log)?;
        verdicts.push(Verdict::new(kernel, &said, log)?);
    }
    println!("\n{}", verdict::HEADER);
    for verdict in &verdicts {
        println!("{verdict}");
    }
    let bad: Vec<_> = verdicts.iter().filter(|verdict| !verdict.is_good()).collect();
    for verdict in &bad {
        println!("\n{}: see {}", verdict.kernel.release, verdict.log.display());
        verdict.problems.iter().for_each(|problem| println!("  {problem}"));
    }
    ensure!(bad.is_empty(), "{} of {} kernels failed", bad.len(), verdicts.len());
    Ok(())
}
