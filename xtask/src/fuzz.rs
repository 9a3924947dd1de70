//! Hostile bytes for every reader of foreign bytes: the package `fuzz`, by one of two engines.
//!
//! libFuzzer looks for inputs that reach new code, and needs nightly and cargo-fuzz; what it finds worth keeping goes to
//! `target/fuzz/corpus`. Where they are missing, and in `cargo xtask test`, which must not depend on them, inputs are made
//! from the corpus by chance.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use cargo_metadata::MetadataCommand;

use crate::tool;

const PACKAGE: &str = "tlskeytop-fuzz";
/// Processes at a time: one for each core of the smallest machines.
const AT_ONCE: usize = 2;
/// Memory that a target may have, in MiB.
const MEMORY: u32 = 512;
/// Seconds that one input may take.
const PATIENCE: u32 = 20;
/// Most bytes of an input.
const LONGEST: u32 = 64 << 10;

/// Runs the targets that are named, or all.
///
/// # Errors
/// When one cannot be built, or an input breaks it.
pub fn all(seconds: u64, stable: bool, names: &[String]) -> Result<()> {
    let known = targets()?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("there is no target {unknown}: there are {}", known.join(", "));
    }
    let targets = if names.is_empty() { &known } else { names };
    match libfuzzer() {
        Ok(engine) if !stable => {
            println!("fuzz: {} targets, {seconds} s each, by libFuzzer", targets.len());
            targets.iter().try_for_each(|target| engine.build(target))?;
            at_once(targets, |target| engine.run(target, seconds))
        }
        missing => {
            if let (Err(why), false) = (missing, stable) {
                println!("fuzz: not by libFuzzer: {why:#}");
            }
            by_chance(targets, seconds)
        }
    }
}

/// Runs the targets on stable Rust for a short time: what `cargo xtask test` does.
///
/// # Errors
/// As [`all`].
pub fn short() -> Result<()> {
    all(5, true, &[])
}

/// The names of libFuzzer's binaries.
fn targets() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().current_dir(crate::ebpf::root()).no_deps().exec()?;
    let package = metadata.packages.iter().find(|package| *package.name == PACKAGE);
    let package = package.with_context(|| format!("no package {PACKAGE}"))?;
    let binaries = package.targets.iter().filter(|target| !target.required_features.is_empty());
    Ok(binaries.map(|target| target.name.clone()).collect())
}

/// Runs several at a time. All are run, whichever fails.
fn at_once(targets: &[String], run: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    let mut failed = Vec::new();
    for some in targets.chunks(AT_ONCE) {
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|target| scope.spawn(|| run(target))).collect();
            let wait = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
                thread.join().unwrap_or_else(|_| bail!("xtask itself panicked"))
            };
            running.into_iter().map(wait).collect()
        });
        failed.extend(results.into_iter().filter_map(Result::err));
    }
    ensure!(
        failed.is_empty(),
        "{}",
        failed.iter().map(|e| format!("{e:#}")).collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

fn by_chance(targets: &[String], seconds: u64) -> Result<()> {
    // Other inputs at each run; by the number they can be had again.
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |t| t.as_secs());
    println!("fuzz: {} targets, {seconds} s each, by chance, with seed {seed}", targets.len());
    tool::run(tool::cargo().args(["build", "--locked", "-p", PACKAGE, "--bin", "mutate"]))?;
    let program = tool::target().join("debug/mutate");
    let folder = folder("running")?;
    at_once(targets, |target| {
        let input = folder.join(target);
        let mut mutate = Command::new(&program);
        mutate.arg(target).args(["--seconds", &seconds.to_string()]);
        mutate.args(["--seed", &seed.to_string(), "--input"]).arg(&input);
        tool::run(&mut mutate)
            .with_context(|| format!("{target} with {}, seed {seed}", input.display()))
    })
}

struct LibFuzzer {
    cargo_fuzz: PathBuf,
}

/// What it needs.
fn libfuzzer() -> Result<LibFuzzer> {
    let mut rustc = tool::nightly("rustc");
    tool::output(rustc.arg("--version")).context("nightly is not installed")?;
    let own = tool::target().join("tools/bin/cargo-fuzz");
    let found = if own.is_file() { Some(own) } else { tool::find("cargo-fuzz") };
    let cargo_fuzz = found.context(
        "cargo-fuzz is not installed: `cargo install cargo-fuzz --locked --root target/tools`",
    )?;
    Ok(LibFuzzer { cargo_fuzz })
}

impl LibFuzzer {
    /// One at a time: the other engine, which is in the same package, cannot be linked with libFuzzer's flags.
    fn build(&self, target: &str) -> Result<()> {
        let mut command = tool::nightly(&self.cargo_fuzz);
        // Optimising across crates takes minutes and finds nothing.
        command.env("CARGO_PROFILE_RELEASE_LTO", "off");
        // The code is safe but for few places, which `cargo xtask sanitize` looks at.
        command.args([
            "fuzz",
            "build",
            target,
            "--fuzz-dir",
            "tests/fuzz",
            "--features",
            "libfuzzer",
        ]);
        tool::run(command.args(["--sanitizer", "none"]))
    }

    fn run(&self, target: &str, seconds: u64) -> Result<()> {
        let found = folder("corpus")?.join(target);
        fs::create_dir_all(&found)?;
        let broken = folder("broken")?;
        let program = tool::target().join("x86_64-unknown-linux-gnu/release").join(target);
        let mut fuzzer = Command::new(program);
        fuzzer.current_dir(crate::ebpf::root());
        fuzzer.arg(found).arg(format!("tests/fuzz/corpus/{target}"));
        fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={MEMORY}"));
        fuzzer.arg(format!("-timeout={PATIENCE}")).arg(format!("-max_len={LONGEST}"));
        fuzzer.arg(format!("-artifact_prefix={}/{target}-", broken.display()));
        fuzzer.args(["-print_final_stats=1", "-verbosity=0"]);
        tool::run(&mut fuzzer)
            .with_context(|| format!("{target}: the input is in {}", broken.display()))
    }
}

/// A folder of what fuzzing leaves.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = tool::target().join("fuzz").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
