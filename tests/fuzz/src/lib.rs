//! Hostile bytes for every reader of foreign bytes: each target takes any bytes and asserts what must hold of the result.
//!
//! Two engines drive them. `mutate` is built by stable Rust and changes the inputs of the corpus at random; libFuzzer, by
//! cargo-fuzz on nightly, looks for inputs that reach new code. `cargo xtask fuzz` runs either.

pub mod config;
pub mod elf;
pub mod event;
pub mod filter;
pub mod hello;
pub mod keylog;
pub mod memory;
pub mod mutator;
pub mod packet;
pub mod patched;
pub mod pcap;
pub mod pclntab;
pub mod proc;
pub mod random;
pub mod recording;
pub mod shown;
pub mod text;

use std::fs;
use std::io;
use std::path::PathBuf;

/// One reader of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its corpus and of libFuzzer's binary.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
    /// Most bytes of an input.
    pub longest: usize,
    /// Words of its language, which chance would not find.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "elf", run: elf::run, longest: 64 << 10, words: &[] },
    Target { name: "patched", run: patched::run, longest: 512, words: &[] },
    Target { name: "pclntab", run: pclntab::run, longest: 64 << 10, words: &[] },
    Target { name: "proc", run: proc::run, longest: 4096, words: proc::WORDS },
    Target { name: "event", run: event::run, longest: 2048, words: event::WORDS },
    Target { name: "keylog", run: keylog::run, longest: 16 << 10, words: keylog::WORDS },
    Target { name: "config", run: config::run, longest: 4096, words: config::WORDS },
    Target { name: "filter", run: filter::run, longest: 1024, words: filter::WORDS },
    Target { name: "text", run: text::run, longest: 1024, words: text::WORDS },
    Target { name: "packet", run: packet::run, longest: 8192, words: packet::WORDS },
    Target { name: "hello", run: hello::run, longest: 8192, words: hello::WORDS },
    Target { name: "pcap", run: pcap::run, longest: 16 << 10, words: pcap::WORDS },
    Target { name: "recording", run: recording::run, longest: 8192, words: recording::WORDS },
];

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// The inputs that are part of the repository: seeds, and what once was a defect.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn corpus(&self) -> io::Result<Vec<Vec<u8>>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            files.push(entry?.path());
        }
        files.sort();
        files.into_iter().map(fs::read).collect()
    }
}
