//! What people install: a static binary with man page, completions and licences, as .deb and .tar.gz, with checksums.

pub mod binary;
mod deb;
mod install;
mod source;
mod third_party;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::{ebpf, setup};

/// What else is to be done.
#[derive(clap::Args)]
pub struct Options {
    /// Build everything a second time, from another folder, and compare every byte
    #[arg(long)]
    twice: bool,
    /// Install, use and remove the package in a fresh Debian (debootstrap, as root)
    #[arg(long)]
    install: bool,
    /// The Debian to install it in
    #[arg(long, value_name = "SUITE", default_value = "bookworm", requires = "install")]
    suite: String,
    /// Pack nothing: use the package of the last time
    #[arg(long, requires = "install", conflicts_with = "twice")]
    no_build: bool,
}

/// Where the packages are put.
pub fn folder() -> PathBuf {
    ebpf::root().join("target/dist")
}

/// Packs the last commit.
///
/// # Errors
/// When a part of the toolchain is missing, a build fails, two builds differ, or the package does not do in a fresh Debian what
/// it should.
pub fn all(options: &Options) -> Result<()> {
    if !options.no_build {
        setup::dist()?;
        let folder = folder();
        let packages = pack(&folder)?;
        if options.twice {
            // Deeper, so that a path of another length would be seen, too.
            compare(&packages, &pack(&folder.join("another/place"))?)?;
        }
    }
    if options.install {
        setup::install()?;
        install::try_out(&deb::path(&folder()), &options.suite)?;
    }
    Ok(())
}

/// Builds the last commit in `folder`.
fn pack(folder: &Path) -> Result<Vec<PathBuf>> {
    let (sources, tree) = (folder.join("source"), folder.join("tree"));
    source::export(&sources)?;
    let epoch = source::epoch()?;
    let binary = binary::build(&sources, &folder.join("build"))?;
    tree::make(&binary, &sources, &tree)?;
    let mut packages =
        vec![deb::debian(&tree, folder, epoch)?, deb::archive(&tree, folder, epoch)?];
    packages.push(deb::sums(&packages, folder)?);
    packages.iter().for_each(|package| println!("dist: {}", package.display()));
    Ok(packages)
}

fn compare(first: &[PathBuf], second: &[PathBuf]) -> Result<()> {
    for (first, second) in first.iter().zip(second) {
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        ensure!(
            read(first)? == read(second)?,
            "not reproducible: {} and {} differ",
            first.display(),
            second.display()
        );
    }
    println!("dist: two builds in two folders gave the same bytes");
    Ok(())
}
