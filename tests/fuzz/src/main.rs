//! Runs one target on the corpus, then on inputs made from it for some seconds: the engine for stable Rust.
//!
//! The input that runs is always in a file, so that it is there whatever ends the process: a panic, no memory, no stack, or a
//! loop without an end.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, setrlimit};
use tlskeytop_fuzz::Target;
use tlskeytop_fuzz::mutator::Mutator;
use tlskeytop_fuzz::random::Random;

/// Memory that a target may have, in bytes.
const MEMORY: u64 = 512 << 20;
/// How long one input may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Options {
    /// Which target
    target: String,
    /// How long it runs on inputs made from the corpus
    #[arg(long, default_value = "5")]
    seconds: u64,
    /// The same seed makes the same inputs
    #[arg(long)]
    seed: u64,
    /// The file that has the input while it runs
    #[arg(long)]
    input: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let target = Target::named(&options.target).context("there is no such target")?;
    let corpus = target.corpus().context("cannot read the corpus")?;
    setrlimit(Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) })?;
    let file = File::create(&options.input).context("cannot write the input")?;
    let count = Arc::new(AtomicU64::new(0));
    watch(Arc::clone(&count));
    let run = |bytes: &[u8]| -> Result<()> {
        file.set_len(0)?;
        file.write_all_at(bytes, 0)?;
        (target.run)(bytes);
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    run(b"")?;
    corpus.iter().try_for_each(|bytes| run(bytes))?;
    let mut mutator = Mutator {
        random: Random::new(options.seed),
        corpus: &corpus,
        words: target.words,
        longest: target.longest,
    };
    let end = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        run(&mutator.input())?;
    }
    fs::remove_file(&options.input)?;
    let made = count.load(Ordering::Relaxed) - corpus.len() as u64;
    println!("{}: {} inputs of the corpus, {made} made from them", target.name, corpus.len());
    Ok(())
}

/// Ends the process when one input takes too long.
fn watch(count: Arc<AtomicU64>) {
    thread::spawn(move || {
        let mut before = None;
        loop {
            let now = count.load(Ordering::Relaxed);
            if before.replace(now) == Some(now) {
                eprintln!("one input took more than {} seconds", PATIENCE.as_secs());
                abort();
            }
            thread::sleep(PATIENCE);
        }
    });
}
