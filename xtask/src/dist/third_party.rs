//! The licences of what is linked into the binary: its crates, Rust's own library, musl and LLVM's libunwind.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use super::binary::TARGET;

/// What Debian's packages of the statically linked C libraries, and of Rust, say about themselves.
const SYSTEM: [(&str, &str); 3] = [
    ("Rust's standard library", "/usr/lib/rustlib/src/rust/COPYRIGHT"),
    ("musl", "/usr/share/doc/musl-dev/copyright"),
    ("LLVM's libunwind", "/usr/share/doc/libunwind-22-dev/copyright"),
];
/// How files with licences begin, in lower case.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// One text with everything.
///
/// # Errors
/// When a crate has neither a licence in its Cargo.toml nor a text, or what cargo knows cannot be read.
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
        let found = licence_texts(package)?;
        ensure!(
            package.license.is_some() || !found.is_empty(),
            "{name} says nothing about its licence"
        );
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

/// The crates that end up in the binary, by name: no build scripts, no macros, no tests.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let graph = metadata.resolve.as_ref().context("cargo metadata without a graph")?;
    let root = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "tlskeytop")
        .context("cargo metadata without tlskeytop")?;
    let is_macro =
        |id: &PackageId| metadata[id].targets.iter().any(|target| target.is_proc_macro());
    let (mut seen, mut open) = (HashSet::new(), vec![&root.id]);
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
