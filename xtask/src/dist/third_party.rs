//! The licences of what is linked into the binary: its crates, Rust's own library, musl and LLVM's libunwind.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use super::binary::TARGET;

/// What Debian's packages of the statically linked C libraries, and of Rust, say about themselves.
const SYSTEM: [(&str, &str); 3] = [
    ("Rust's standard library", "/usr/lib/rustlib/src/rust/COPYRIGHT"),
    ("musl", "/usr/share/doc/musl-dev/copyright"),
    ("LLVM's libunwind", "/usr/share/doc/libunwind-22-dev/copyright"),
];
/// The MIT licence's text, without its first line.
const MIT: &str = include_str!("mit.txt");
/// Crates with neither a text of the MIT licence nor authors: whose copyright the head of their source files says it is.
const HOLDERS: [(&str, &str); 1] = [("iced-x86", "2018-present iced project and contributors")];
/// How files with licences begin, in lower case.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// One text with everything.
///
/// # Errors
/// When there is no text of a crate's licence, or what cargo knows cannot be read.
pub fn notices(source: &Path) -> Result<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(source.join("Cargo.toml"))
        .other_options(["--locked", "--filter-platform", TARGET].map(str::to_owned))
        .exec()
        .context("cargo metadata")?;
    let crates = linked(&metadata)?;
    let mut out = String::from("What tlskeytop's binary contains, and under which licence.\n\n");
    // Equal texts once, with the crates that they belong to.
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in crates {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its text");
        let mut found = licence_texts(package)?;
        if found.is_empty() {
            found.push(made_up(package).with_context(|| format!("{name} has no licence's text"))?);
        }
        let _ = writeln!(out, "{name}: {licence}; {}", authors(package));
        for text in found {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    for (text, names) in texts {
        let names: Vec<_> = names.into_iter().collect();
        let _ = write!(out, "\n{}\n{}\n\n{text}", "=".repeat(80), names.join(", "));
    }
    for (name, path) in SYSTEM {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let _ = write!(out, "\n{}\n{name}\n\n{text}", "=".repeat(80));
    }
    Ok(out)
}

fn authors(package: &Package) -> String {
    let home = package.repository.as_deref().unwrap_or("no repository given");
    match package.authors.as_slice() {
        [] => home.to_owned(),
        authors => format!("{}; {home}", authors.join(", ")),
    }
}

/// The text of a licence that a crate names and leaves out.
fn made_up(package: &Package) -> Option<String> {
    let licences = package.license.as_deref()?;
    if !licences.split([' ', '/', '(', ')']).any(|licence| licence == "MIT") {
        return None;
    }
    let holder = HOLDERS.iter().find(|(name, _)| *name == package.name.as_str());
    let holder = holder.map(|(_, holder)| (*holder).to_owned());
    let authors = || (!package.authors.is_empty()).then(|| package.authors.join(", "));
    Some(format!("Copyright (c) {}\n\n{MIT}", holder.or_else(authors)?))
}

/// The crates that end up in the binary, and in the eBPF object in it, by name: no build scripts, no macros, no tests.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let graph = metadata.resolve.as_ref().context("cargo metadata without a graph")?;
    let root = |name: &str| {
        let found = metadata.packages.iter().find(|package| package.name.as_str() == name);
        found.with_context(|| format!("cargo metadata without {name}"))
    };
    let roots = [root("tlskeytop")?, root("tlskeytop-ebpf")?];
    let is_macro =
        |id: &PackageId| metadata[id].targets.iter().any(|target| target.is_proc_macro());
    let (mut seen, mut open) = (HashSet::new(), Vec::from(roots.map(|root| &root.id)));
    while let Some(id) = open.pop() {
        if is_macro(id) || !seen.insert(id) {
            continue;
        }
        let node = graph.nodes.iter().find(|node| node.id == *id);
        for dependency in &node.context("a crate that is not in the graph")?.deps {
            if dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                open.push(&dependency.pkg);
            }
        }
    }
    let mut packages: Vec<_> = seen
        .into_iter()
        .map(|id| &metadata[id])
        .filter(|package| package.source.is_some())
        .collect();
    packages.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    Ok(packages)
}

fn licence_texts(package: &Package) -> Result<Vec<String>> {
    let folder = package.manifest_path.parent().context("a manifest without a folder")?;
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let is_licence = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && NAMES.iter().any(|start| name.starts_with(start))
    };
    files
        .iter()
        .filter(|path| is_licence(path))
        .map(|path| {
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the whole tree here. What Debian's packages say is left out where they are not installed.
    #[test]
    fn every_crate_in_the_binary_and_in_the_object_has_a_text() {
        let metadata = MetadataCommand::new()
            .manifest_path(crate::ebpf::root().join("Cargo.toml"))
            .other_options(["--locked", "--filter-platform", TARGET].map(str::to_owned))
            .exec()
            .unwrap();
        let crates = linked(&metadata).unwrap();
        for name in ["ratatui", "iced-x86", "aya-ebpf", "aya-ebpf-cty"] {
            assert!(crates.iter().any(|package| package.name.as_str() == name), "{name}");
        }
        for package in crates {
            let texts = licence_texts(package).unwrap();
            assert!(!texts.is_empty() || made_up(package).is_some(), "{}", package.name);
        }
        let iced = metadata.packages.iter().find(|package| package.name.as_str() == "iced-x86");
        let text = made_up(iced.unwrap()).unwrap();
        assert!(text.starts_with("Copyright (c) 2018-present iced project"), "{text}");
        assert!(text.contains("Permission is hereby granted"), "{text}");
    }
}
