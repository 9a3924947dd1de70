//! Build, test and run tlskeytop.

mod ebpf;

use clap::Parser;

#[derive(Parser)]
enum Command {
    /// Rebuild the eBPF object that is embedded, or check that it is the one its sources give
    Ebpf {
        /// Fail when the sources changed and the object did not
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Ebpf { check: true } => ebpf::check(),
        Command::Ebpf { check: false } => ebpf::build(),
    }
}
