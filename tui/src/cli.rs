//! The command line: what was typed, then what it means, checked.

mod packets;

pub use packets::Recordings;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use globset::{Glob, GlobMatcher};

use crate::capture::RING;
use crate::config::{CATCH_UP, Config, DEFAULT_KEYLOG};
use crate::inject::Injection;
use crate::model::CATCH_UP_LIMIT;
use crate::model::container::ContainerPattern;
use crate::model::selection::Excluded;
use crate::model::target::Selection;
use crate::target::layout::Forced;
use crate::target::plan::Ways;

/// Most seconds of `--duration`, 100 years: the clock cannot count on for just any number.
const LONGEST: f64 = 100.0 * 365.25 * 86_400.0;

/// See the TLS handshakes of this machine as they happen, and log their secrets for Wireshark.
///
/// Without a selection the terminal interface opens with nothing attached and lets you pick; without a
/// terminal, all processes are captured to the key log.
#[derive(Debug, Parser)]
#[command(
    name = "tlskeytop",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Options {
    /// Capture every TLS process, present and future
    #[arg(short, long, help_heading = "What to capture")]
    all: bool,
    /// Capture this process and its children; may be given several times
    #[arg(short, long, help_heading = "What to capture", value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Capture processes whose name matches, as `nginx` or `python3*`; may be given several times
    #[arg(short, long, help_heading = "What to capture", value_name = "GLOB")]
    name: Vec<String>,
    /// Capture processes in this container, pod or systemd unit: an id, its first digits, or a name
    /// as `nginx.service`, globs too; may be given several times
    #[arg(long, help_heading = "What to capture", value_name = "GLOB")]
    container: Vec<String>,
    /// Capture only what uses this library or executable; may be given several times
    #[arg(long, help_heading = "What to capture", value_name = "PATH")]
    image: Vec<PathBuf>,
    /// Not the children of processes that are chosen by --pid or in the interface, nor their children
    #[arg(long, help_heading = "What to capture")]
    no_children: bool,
    /// Not this process (nor its children, without --no-children), whatever chooses it
    #[arg(long, help_heading = "What to capture", value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    exclude_pid: Vec<u32>,
    /// Not processes whose name matches, whatever chooses them
    #[arg(long, help_heading = "What to capture", value_name = "GLOB")]
    exclude_name: Vec<String>,
    /// Not by this library or executable
    #[arg(long, help_heading = "What to capture", value_name = "PATH")]
    exclude_image: Vec<PathBuf>,
    /// Not processes in this container, pod or systemd unit, whatever chooses them
    #[arg(long, help_heading = "What to capture", value_name = "GLOB")]
    exclude_container: Vec<String>,
    /// How to capture
    #[arg(
        long,
        help_heading = "How to capture",
        value_enum,
        value_name = "METHOD",
        default_value = "auto"
    )]
    method: MethodArg,
    /// Watch the reads and writes of a process for so long when it is attached to, for the
    /// connections that it has open; 0: do not (default 60; --method tap never does)
    #[arg(long, help_heading = "How to capture", value_name = "SECS", value_parser = clap::value_parser!(u64).range(CATCH_UP.start..CATCH_UP.end))]
    catch_up: Option<u64>,
    /// Bytes of the ring buffer, for tests of what is lost: a power of two, a page at the least
    #[arg(long, hide = true, value_name = "BYTES", value_parser = ring_bytes)]
    ring_buffer: Option<u32>,
    /// Force where the images of one library have their fields, as `3.0.0` or `3.5.0 no-psk`,
    /// whatever their code shows; a wrong one gives nothing, or rejected readings
    #[arg(long, help_heading = "How to capture", value_name = "GROUP", value_parser = Forced::named)]
    layout: Option<Forced>,
    /// Write secrets to this file (default ./tlskeytop.keylog; '-' is stdout, without the
    /// interface only)
    #[arg(short, long, help_heading = "Where secrets go", value_name = "FILE")]
    keylog_file: Option<PathBuf>,
    /// Write secrets from the start (implied by -k)
    #[arg(short, long, help_heading = "Where secrets go")]
    save: bool,
    /// Show secrets in full (they are masked otherwise)
    #[arg(long, help_heading = "Where secrets go")]
    reveal: bool,
    #[command(flatten)]
    packets: packets::PacketOptions,
    /// What to show; without a terminal the default is keylog, with --pcap-file and no key log pcap
    #[arg(long, help_heading = "What to show", value_enum, value_name = "MODE")]
    mode: Option<ModeArg>,
    /// Do not look at the handshakes on the network: which of them have no secret, and server name,
    /// peer and ALPN of those that have one
    #[arg(long, help_heading = "What to show")]
    no_wire: bool,
    /// Use the mouse in the interface: wheel, clicks, double clicks. Text is then selected with
    /// Shift held
    #[arg(long, help_heading = "What to show")]
    mouse: bool,
    /// Stop after so many seconds (without the interface)
    #[arg(long, help_heading = "What to show", value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Stop after so many complete sessions (without the interface)
    #[arg(long, help_heading = "What to show", value_name = "SESSIONS", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Read the configuration from this file (default ~/.config/tlskeytop/config.toml of the user
    /// behind sudo)
    #[arg(long, help_heading = "Configuration and log", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the default configuration, with comments
    #[arg(long, help_heading = "Configuration and log", exclusive = true)]
    print_config: bool,
    /// Log to this file
    #[arg(long, help_heading = "Configuration and log", value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// How much to log
    #[arg(
        long,
        help_heading = "Configuration and log",
        value_enum,
        value_name = "LEVEL",
        default_value = "info"
    )]
    log_level: LogLevel,
    /// Run this command once everything is attached, and capture it and all its descendants
    ///
    /// It runs as the user behind sudo, and its exit code is passed on (128 and its number for a signal; 127 when
    /// there is no such program, 126 when it cannot be run). The default mode is then that without a terminal, since the
    /// terminal is the command's; the end of the command is the end of the capture, also of children that outlive it. With --duration
    /// and --count the capture may end before: then the command goes on. With --mode tui the command has no terminal
    /// and its output is not shown; the interface stays when the command has ended, and leaving it ends the command.
    #[arg(last = true, num_args = 1.., value_name = "COMMAND", help_heading = "What to capture")]
    run: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show which processes use which TLS library, and how each would be captured
    Scan {
        /// One JSON object for each process and image
        #[arg(long)]
        json: bool,
        /// As if captured with this --layout
        #[arg(long, value_name = "GROUP", value_parser = Forced::named)]
        layout: Option<Forced>,
    },
    /// Check whether this machine can run tlskeytop, and say what to do if not
    Doctor,
    /// Add to a capture the secrets that its handshakes need, so that Wireshark decrypts it without a
    /// key log
    ///
    /// The secrets stand in the new file as Decryption Secrets Blocks, and no others than those of its handshakes: the
    /// file can be given away without the rest of the key log. It is private (mode 0600); nothing is overwritten. Lists
    /// the handshakes for which the key log has no secrets. Needs no root.
    Inject {
        /// The key log: an SSLKEYLOGFILE
        #[arg(short, long, value_name = "FILE")]
        keylog_file: PathBuf,
        /// The capture: pcap or pcapng
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// The pcapng file to make
        #[arg(value_name = "OUT")]
        output: PathBuf,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// The terminal interface
    Tui,
    /// Key log lines to the key log, nothing on the terminal
    #[value(alias = "key")]
    Keylog,
    /// One JSON object a line on stdout for each session that changed
    Json,
    /// Packets and their secrets to one file, nothing on the terminal
    Pcap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodArg {
    /// A tap where one is found, else a walk
    Auto,
    /// Probes on the library's own secret-logging function
    Tap,
    /// Probes on exported functions that read the library's structures
    Walk,
}

/// How much to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what went wrong.
    Error,
    /// Also rejections, failed writes, conflicts.
    Warn,
    /// Also each saved secret (never its value).
    Info,
    /// Also what is attached.
    Debug,
    /// Everything.
    Trace,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The terminal interface.
    Tui,
    /// Key log lines only.
    Keylog,
    /// JSON lines.
    Json,
    /// Packets and their secrets only.
    Pcap,
}

/// What to do, checked.
#[derive(Debug)]
pub enum Task {
    /// Capture.
    Capture(Box<CaptureTask>),
    /// List what could be captured.
    Scan {
        /// As JSON.
        json: bool,
        /// The layout of images of one library.
        layout: Option<Forced>,
    },
    /// Check the machine.
    Doctor,
    /// Add secrets to a capture.
    Inject(Injection),
    /// Print the default configuration.
    PrintConfig,
    /// Print completions.
    Completions(clap_complete::Shell),
    /// Print the man page.
    Man,
}

/// A capture, as it was asked for.
#[derive(Debug)]
pub struct CaptureTask {
    /// Terminal interface, key log, JSON or packets.
    pub mode: Mode,
    /// Which processes.
    pub selection: Selection,
    /// Images that were named.
    pub images: Vec<PathBuf>,
    /// Images that are left out.
    pub excluded_images: Vec<PathBuf>,
    /// The layout of images of one library.
    pub layout: Option<Forced>,
    /// The key log; `-` is stdout.
    pub keylog: PathBuf,
    /// How long the open connections of a process are looked for.
    pub catch_up: Duration,
    /// Bytes of the ring buffer, when they are not the usual ones.
    pub ring_bytes: Option<u32>,
    /// Write secrets from the start.
    pub save: bool,
    /// Packets that are recorded, and where.
    pub packets: Recordings,
    /// Look at the handshakes on the network.
    pub wire: bool,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Stop after so many complete sessions.
    pub count: Option<u64>,
    /// Show secrets in full.
    pub reveal: bool,
    /// Log file and level.
    pub log: Option<(PathBuf, LogLevel)>,
    /// Use the mouse.
    pub mouse: bool,
    /// What to run and capture, with its arguments; nothing if it is empty.
    pub command: Vec<OsString>,
    /// The configuration, when it is not the usual one.
    pub config: Option<PathBuf>,
    /// Which of these the command line left open.
    open: Open,
}

/// What the configuration decides when the command line does not.
#[derive(Debug)]
struct Open {
    keylog: bool,
    catch_up: bool,
}

impl CaptureTask {
    /// Takes from the configuration what the command line left open, and gives it back with what the command line
    /// says.
    pub fn configure(&mut self, mut config: Config) -> Config {
        if self.open.keylog {
            self.keylog.clone_from(&config.save_path);
        }
        if self.open.catch_up {
            self.catch_up = config.catch_up;
        }
        self.selection.children &= config.children;
        config.mouse |= self.mouse;
        config
    }
}

/// Reads the command line.
///
/// # Errors
///
/// clap's error, also for `--help` and `--version`: it knows how to print itself and its exit code.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Task, clap::Error> {
    let cli = Cli::try_parse_from(args)?;
    match cli.command {
        Some(Command::Scan { json, layout }) => Ok(Task::Scan { json, layout }),
        Some(Command::Doctor) => Ok(Task::Doctor),
        Some(Command::Inject { keylog_file, input, output }) => {
            Ok(Task::Inject(Injection { keys: keylog_file, input, output }))
        }
        Some(Command::Completions { shell }) => Ok(Task::Completions(shell)),
        Some(Command::Man) => Ok(Task::Man),
        None if cli.options.print_config => Ok(Task::PrintConfig),
        None => cli.options.check().map(Box::new).map(Task::Capture),
    }
}

/// The command, for completions and the man page.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Options {
    fn check(self) -> Result<CaptureTask, clap::Error> {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let mode = match self.mode {
            Some(ModeArg::Tui) => Mode::Tui,
            Some(ModeArg::Keylog) => Mode::Keylog,
            Some(ModeArg::Json) => Mode::Json,
            Some(ModeArg::Pcap) => Mode::Pcap,
            // The terminal is the command's.
            None if terminal && self.run.is_empty() => Mode::Tui,
            // What is named is what is made.
            None if self.packets.has_file() && !self.save && self.keylog_file.is_none() => {
                Mode::Pcap
            }
            None => Mode::Keylog,
        };
        if mode == Mode::Tui && !terminal {
            return Err(usage("--mode tui needs a terminal on stdin and stdout"));
        }
        if mode == Mode::Tui && (self.duration.is_some() || self.count.is_some()) {
            return Err(usage("--duration and --count go with --mode keylog, json or pcap"));
        }
        let to_stdout = self.keylog_file.as_ref().is_some_and(|path| path.as_os_str() == "-");
        if to_stdout && mode != Mode::Keylog {
            return Err(usage("'-k -' goes with --mode keylog only: stdout is in use otherwise"));
        }
        let packets = self.packets.check(mode).map_err(|text| usage(&text))?;
        let names = globs("--name", &self.name)?;
        let containers = containers("--container", &self.container)?;
        let excluded = Excluded {
            pids: self.exclude_pid.into_iter().map(|pid| (pid, 0)).collect(),
            names: globs("--exclude-name", &self.exclude_name)?,
            containers: self::containers("--exclude-container", &self.exclude_container)?,
            ..Excluded::default()
        };
        let by_pattern = !names.is_empty() || !containers.is_empty();
        let chosen = self.all || !self.pid.is_empty() || by_pattern || !self.run.is_empty();
        // An image alone means everything that uses it; headless, nothing at all means everything.
        let all = self.all || (!chosen && (mode != Mode::Tui || !self.image.is_empty()));
        Ok(CaptureTask {
            mode,
            selection: Selection {
                all,
                // Of which process each is, is looked up when the capture starts.
                pids: self.pid.into_iter().map(|pid| (pid, 0)).collect(),
                names,
                containers,
                children: !self.no_children,
                excluded,
                // Known when the capture starts, too.
                root: None,
                only_named_images: !self.image.is_empty(),
                ways: match self.method {
                    MethodArg::Auto => Ways::Auto,
                    MethodArg::Tap => Ways::Tap,
                    MethodArg::Walk => Ways::Walk,
                },
                ..Selection::default()
            },
            packets,
            wire: !self.no_wire,
            images: self.image,
            excluded_images: self.exclude_image,
            open: Open { keylog: self.keylog_file.is_none(), catch_up: self.catch_up.is_none() },
            catch_up: self.catch_up.map_or(CATCH_UP_LIMIT, Duration::from_secs),
            ring_bytes: self.ring_buffer,
            mouse: self.mouse,
            command: self.run,
            config: self.config,
            layout: self.layout,
            save: self.save || self.keylog_file.is_some() || mode == Mode::Keylog,
            keylog: self.keylog_file.unwrap_or_else(|| DEFAULT_KEYLOG.into()),
            duration: self.duration,
            count: self.count,
            reveal: self.reveal,
            log: self.log_file.map(|path| (path, self.log_level)),
        })
    }
}

fn globs(option: &str, texts: &[String]) -> Result<Vec<GlobMatcher>, clap::Error> {
    let glob = |text: &String| Ok(Glob::new(text)?.compile_matcher());
    read_all(option, texts, glob)
}

fn containers(option: &str, texts: &[String]) -> Result<Vec<ContainerPattern>, clap::Error> {
    read_all(option, texts, |text| ContainerPattern::new(text))
}

/// Bytes of a glob. One that is much longer becomes an automaton for which globset finds no room, and panics.
const PATTERN: usize = 4096;

fn read_all<T>(
    option: &str,
    texts: &[String],
    read: impl Fn(&String) -> Result<T, globset::Error>,
) -> Result<Vec<T>, clap::Error> {
    let read = |text: &String| {
        if text.len() > PATTERN {
            return Err(usage(&format!("{option}: a pattern has at most {PATTERN} bytes")));
        }
        read(text).map_err(|error| usage(&format!("{option}: {error}")))
    };
    texts.iter().map(read).collect()
}

/// What the kernel takes for a ring buffer, and no more than the usual one: what is made from its size holds for that.
fn ring_bytes(text: &str) -> Result<u32, String> {
    let page = u32::try_from(rustix::param::page_size()).map_err(|error| error.to_string())?;
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (page..=RING).contains(&bytes) => Ok(bytes),
        _ => Err(format!("a power of two from {page} to {RING}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds > LONGEST {
        return Err("more than 100 years".to_owned());
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("not a number of seconds above 0".to_owned()),
    }
}

fn usage(text: &str) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, text)
}

#[cfg(test)]
mod tests;
