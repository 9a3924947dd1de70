//! What `cargo xtask audit --offline` asks of every dependency, asked again without cargo-deny, whose installation takes too
//! long for every run of the tests. Both read deny.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use serde::Deserialize;

/// The one registry that `[sources]` allows by default.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The parts of deny.toml that are asked here.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

impl Licenses {
    /// What is allowed of one package.
    fn of(&self, package: &str) -> BTreeSet<String> {
        let own = self.exceptions.iter().filter(|exception| exception.name == package);
        self.allow.iter().chain(own.flat_map(|exception| &exception.allow)).cloned().collect()
    }
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

/// Whether an SPDX expression can be met with these licences. AND binds closer than OR; an exception belongs to its
/// licence (SPDX 2.3, annex D).
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let met = any(&mut rest, allowed);
    met == Some(true) && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all(rest, allowed)?;
    while let Some(after) = rest.strip_prefix(&["OR"]) {
        *rest = after;
        met |= all(rest, allowed)?;
    }
    Some(met)
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(rest, allowed)?;
    while let Some(after) = rest.strip_prefix(&["AND"]) {
        *rest = after;
        met &= one(rest, allowed)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (&first, after) = rest.split_first()?;
    *rest = after;
    if first == "(" {
        let met = any(rest, allowed)?;
        *rest = rest.strip_prefix(&[")"])?;
        return Some(met);
    }
    if let ["WITH", exception, after @ ..] = *rest {
        *rest = after;
        return Some(allowed.contains(&format!("{first} WITH {exception}")));
    }
    Some(allowed.contains(first))
}

/// What is built for a target: the packages that our own need, also to build, but not those that only tests need.
fn needed(metadata: &Metadata) -> BTreeSet<&PackageId> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut waiting: Vec<_> = metadata.workspace_members.iter().collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if needed.insert(id) {
            let is_needed = |dependency: &&cargo_metadata::NodeDep| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            };
            let next = nodes[id].deps.iter().filter(is_needed);
            waiting.extend(next.map(|dependency| &dependency.pkg));
        }
    }
    needed
}

#[test]
fn every_dependency_keeps_to_deny_toml() {
    let root = crate::ebpf::root();
    let rules: Rules =
        toml::from_str(&fs::read_to_string(root.join("deny.toml")).unwrap()).unwrap();
    let sources = [&*rules.sources.unknown_registry, &*rules.sources.unknown_git];
    assert_eq!(sources, ["deny"; 2], "other sources are not looked at here");
    let mut wrong = BTreeSet::new();
    for target in &rules.graph.targets {
        let options = ["--locked", "--offline", "--filter-platform", target].map(str::to_owned);
        let mut command = MetadataCommand::new();
        let metadata = command.current_dir(&root).other_options(options).exec().unwrap();
        let needed = needed(&metadata);
        assert!(needed.len() > 100, "only {} packages for {target}", needed.len());
        let foreign = metadata.packages.iter().filter(|package| package.source.is_some());
        for package in foreign {
            let name = format!("{} {}", package.name, package.version);
            if package.source.as_ref().is_some_and(|source| source.repr != CRATES_IO) {
                wrong.insert(format!("{name}: from elsewhere than crates.io"));
            }
            if rules.bans.deny.iter().any(|banned| banned.name == *package.name) {
                wrong.insert(format!("{name}: is banned"));
            }
            let license = package.license.as_deref().unwrap_or("no licence");
            let allowed = rules.licenses.of(&package.name);
            if needed.contains(&package.id) && !is_allowed(license, &allowed) {
                wrong.insert(format!("{name}: {license}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Apache-2.0", "BSD-3-Clause WITH X"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Apache-2.0", true),
        ("GPL-3.0 OR MIT AND Zlib", false),
        ("MIT AND (Zlib OR (Apache-2.0))", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", false),
        ("BSD-3-Clause WITH X", true),
        ("BSD-3-Clause", false),
        ("MIT Apache-2.0", false),
        ("(MIT", false),
        ("MIT OR", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), met, "{expression}");
    }
}
