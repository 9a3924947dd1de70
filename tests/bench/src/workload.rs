//! tests/peers/workload.c: both ends of TLS in one process, measured section by section.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tlskeytop_tests::{KeyLog, Lab, Process, build_workload, private_libssl};

/// The built program.
pub struct Program {
    file: PathBuf,
    /// A folder with a libssl of its own.
    libssl: PathBuf,
}

/// What it does in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Handshakes.
    Handshakes {
        /// `1.2` or `1.3`.
        version: &'static str,
        /// Over a socket, and not from memory to memory.
        loopback: bool,
        /// Of a session that was there before: hardly anything but the hits.
        resumed: bool,
        /// So many a second; 0 for as many as it can.
        rate: u32,
    },
    /// From the client to the server over TLS 1.3, in memory, in records of so many bytes.
    Bulk(u32),
    /// The same over the loopback, to another thread.
    Stream(u32),
}

impl Work {
    /// Whole handshakes in memory, as many as it can.
    pub const fn handshakes(version: &'static str) -> Self {
        Self::Handshakes { version, loopback: false, resumed: false, rate: 0 }
    }

    fn command(self, seconds: f64) -> String {
        match self {
            Self::Handshakes { version, loopback, resumed, rate } => {
                let wire = if loopback { "loopback" } else { "memory" };
                let kind = if resumed { "resumed" } else { "full" };
                format!("handshakes {version} {wire} {kind} {seconds} {rate}")
            }
            Self::Bulk(size) => format!("bulk memory {size} {seconds}"),
            Self::Stream(size) => format!("bulk loopback {size} {seconds}"),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshakes { version, loopback, resumed, .. } => {
                let resumed = if *resumed { "resumed " } else { "" };
                let wire = if *loopback { ", over the loopback" } else { "" };
                write!(f, "{resumed}handshakes, TLS {version}{wire}")
            }
            Self::Bulk(size) => write!(f, "bulk, {} KiB", size / 1024),
            Self::Stream(size) => write!(f, "bulk over the loopback, {} KiB", size / 1024),
        }
    }
}

/// What one section did.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Section {
    /// Handshakes, records or hits.
    pub count: u64,
    /// Of the clock on the wall.
    pub seconds: f64,
    /// Of all processors.
    pub cpu: f64,
}

impl Section {
    /// Nothing, in no time.
    pub const NONE: Self = Self { count: 0, seconds: 0.0, cpu: 0.0 };

    /// Both as one.
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            seconds: self.seconds + other.seconds,
            cpu: self.cpu + other.cpu,
        }
    }

    /// How many in a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Seconds of a processor for each.
    pub fn cost(&self) -> f64 {
        self.cpu / self.count as f64
    }
}

/// Calls of a probed function for one connection of TLS 1.2, as the library calls the one that logs secrets.
#[derive(Clone, Copy, Debug)]
pub struct Hits {
    /// Over a socket, and not from memory to memory.
    pub loopback: bool,
    /// Of the secret that it is called with.
    pub label: &'static str,
}

/// Calls at a time: few enough for the ring buffer.
const HITS: u32 = 2000;

/// Where in the program's file the probed call is.
#[derive(Deserialize)]
struct Place {
    offset: u64,
}

/// Every answer has its number.
#[derive(Deserialize)]
struct Numbered {
    answer: usize,
}

/// What its own key log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// None: the library's function returns at once.
    None,
    /// The client's lines in memory, with the moment of each, until they are saved.
    Memory,
    /// The same of both ends: each line comes twice.
    Both,
    /// A file, line by line, as programs do with `SSLKEYLOGFILE`.
    File,
}

/// A running workload.
pub struct Workload {
    process: Process,
    answers: Cell<usize>,
    keylog: PathBuf,
}

impl Program {
    /// Builds it in the lab.
    ///
    /// # Errors
    /// When there is no compiler, or no libssl-dev.
    pub fn build(lab: &Lab) -> Result<Self> {
        let libssl = private_libssl(lab, "libssl-apart")?;
        Ok(Self { file: build_workload(lab, "workload")?, libssl })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Starts one, whose key log has this name in the lab, and waits until it waits.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&self, lab: &Lab, keylog: &str) -> Result<Workload> {
        self.start_by(Command::new("setsid"), lab, keylog)
    }

    /// The same in a network namespace of its own, and with a libssl of its own: what is attached to the other one has no probe
    /// there.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_apart(&self, lab: &Lab, keylog: &str) -> Result<Workload> {
        const APART: &str = r#"ip link set lo up && exec "$@""#;
        let mut command = Command::new("setsid");
        command.args(["unshare", "--net", "sh", "-c", APART, "apart"]);
        command.env("LD_LIBRARY_PATH", &self.libssl);
        self.start_by(command, lab, keylog)
    }

    /// By a command that takes the program and its arguments.
    fn start_by(&self, mut command: Command, lab: &Lab, keylog: &str) -> Result<Workload> {
        let keylog = lab.path(keylog);
        // In a session of its own, as from another terminal than the tools: the kernel divides the processors among sessions
        // first (sched(7), autogroup).
        command
            .arg(&self.file)
            .arg(&lab.certificate.certificate)
            .arg(&lab.certificate.key)
            .arg(&keylog);
        let process = Process::start(&mut command)?;
        let workload = Workload { process, answers: Cell::new(0), keylog };
        workload.answer::<serde_json::Value>()?;
        Ok(workload)
    }
}

impl Workload {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Works for so long, and says how much that was.
    ///
    /// # Errors
    /// When it fails.
    pub fn work(&mut self, work: Work, seconds: f64) -> Result<Section> {
        self.begin(work, seconds)?;
        self.end()
    }

    /// Begins to work, beside others.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin(&mut self, work: Work, seconds: f64) -> Result<()> {
        self.process.say(&work.command(seconds))
    }

    /// Waits for the end of what was begun.
    ///
    /// # Errors
    /// When it fails.
    pub fn end(&self) -> Result<Section> {
        let section: Section = self.answer()?;
        if section.count == 0 {
            bail!("the workload did nothing: the section is too short");
        }
        Ok(section)
    }

    /// Calls the probed function some thousand times, and says how long that took.
    ///
    /// # Errors
    /// When it fails.
    pub fn hit(&mut self, hits: Hits) -> Result<Section> {
        let wire = if hits.loopback { "loopback" } else { "memory" };
        self.process.say(&format!("hits {wire} {HITS} {}", hits.label))?;
        self.end()
    }

    /// Where in its file the probed call is.
    ///
    /// # Errors
    /// When it fails.
    pub fn place(&mut self) -> Result<u64> {
        self.process.say("place")?;
        self.answer::<Place>().map(|place| place.offset)
    }

    /// Changes what its own key log is.
    ///
    /// # Errors
    /// When it fails.
    pub fn log(&mut self, log: Log) -> Result<()> {
        let name = match log {
            Log::None => "none",
            Log::Memory => "memory",
            Log::Both => "both",
            Log::File => "file",
        };
        self.process.say(&format!("log {name}"))?;
        self.answer::<serde_json::Value>().map(drop)
    }

    /// What it logged in memory.
    ///
    /// # Errors
    /// When it fails.
    pub fn truth(&mut self) -> Result<KeyLog> {
        self.save()?;
        KeyLog::truth(&self.keylog)
    }

    /// The moment of each line that it logged in memory, in nanoseconds of `CLOCK_MONOTONIC`, beside the line.
    ///
    /// # Errors
    /// When it fails.
    pub fn moments(&mut self) -> Result<Vec<(String, u64)>> {
        self.save()?;
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        let lines = read(&self.keylog)?;
        let times = read(&self.keylog.with_extension("times"))?;
        let parse = |(line, time): (&str, &str)| {
            Ok((line.to_owned(), time.parse().context("the moment of a line")?))
        };
        lines.lines().zip(times.lines()).map(parse).collect()
    }

    fn save(&mut self) -> Result<()> {
        self.process.say("save")?;
        self.answer::<serde_json::Value>().map(drop)
    }

    /// The next line that it says.
    fn answer<T: DeserializeOwned>(&self) -> Result<T> {
        let number = self.answers.get();
        let said = |line: &str| {
            let is_it =
                serde_json::from_str(line).is_ok_and(|said: Numbered| said.answer == number);
            let is_error = line.starts_with("{\"error\"");
            (is_it || is_error).then(|| line.to_owned())
        };
        let line = self.process.wait_stdout("answer", said)?;
        self.answers.set(number + 1);
        serde_json::from_str(&line).with_context(|| format!("the workload: {line}"))
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.process.close_stdin();
        // One that does not end so is killed with its process.
        let _ = self.process.wait();
    }
}
