//! What tlskeytop costs its targets and itself, measured side by side: `cargo xtask bench`.

mod assembly;
mod bpf;
mod effort;
mod hits;
mod inside;
mod latency;
mod load;
mod machine;
#[path = "../../../tui/benches/made_up/mod.rs"]
mod made_up;
mod model;
mod own;
mod packets;
mod pairs;
mod report;
mod row;
mod sample;
mod tool;
mod twins;
mod wire;
mod workload;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use tlskeytop_tests::Lab;

use effort::Effort;
use pairs::Pairs;
use report::Report;
use tool::Tool;
use workload::Program;

/// Measure tlskeytop beside what there is without it. As root; TLSKEYTOP_BIN names the binary.
#[derive(Parser)]
struct Options {
    /// Only prove that everything can be measured: the figures say nothing
    #[arg(long)]
    short: bool,
    /// Put the figures between the marks of this file
    #[arg(long)]
    update: Option<PathBuf>,
    /// Only these parts
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Measure so many pairs with each tool, and twice as many alternations of a hit [default: 20]
    #[arg(long, conflicts_with = "short", value_parser = clap::value_parser!(u16).range(1..))]
    pairs: Option<u16>,
    /// A Chromium to plan [default: Debian's]
    #[arg(long)]
    chromium: Option<PathBuf>,
    /// Print the MiB that so many sessions take, and end
    #[arg(long, hide = true)]
    memory_of: Option<usize>,
    /// With all of them saved
    #[arg(long, hide = true, requires = "memory_of")]
    saved: bool,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Rates attached and not attached
    Pairs,
    /// The cost of one hit
    Hits,
    /// Every key at the highest rate
    Load,
    /// From the secret to the line in the file
    Latency,
    /// Start, processor, memory
    Own,
    /// Recording packets, and the wire view
    Packets,
    /// The model, the interface, the planner
    Inside,
    /// Other tools
    Others,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(sessions) = options.memory_of {
        return model::print_memory(sessions, options.saved);
    }
    let effort = match options.pairs {
        _ if options.short => Effort::SHORT,
        Some(pairs) => Effort::FULL.with_pairs(pairs.into()),
        None => Effort::FULL,
    };
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    let Some(lab) = Lab::open()? else {
        anyhow::bail!("the bench attaches uprobes, which only root can");
    };
    let program = Program::build(&lab)?;
    let others = [Tool::OwnLog, Tool::Bpftrace, Tool::FriTap];
    let mut report = Report::new(&machine::describe(&others));
    if wants(Part::Pairs) || wants(Part::Others) {
        let mut tools = vec![Tool::Tlskeytop];
        if wants(Part::Others) {
            tools.extend(others.into_iter().filter(|tool| tool.version().is_some()));
        }
        let pairs = Pairs::measure(&lab, &program, &tools, &effort);
        for (heading, rows) in pairs.tables() {
            report.table(&heading, &rows);
        }
        if wants(Part::Others) {
            report.any_table("All side by side", &pairs.side_by_side());
            report.table("Beside the best other tool", &pairs.ahead());
        }
    }
    if wants(Part::Hits) {
        let parts = [hits::costs, hits::counts].map(|part| part(&lab, &program, &effort));
        report.parts("What one hit costs", parts);
    }
    if wants(Part::Load) {
        report.parts("Whether every key is captured", load::rows(&lab, &program, &effort));
    }
    if wants(Part::Latency) {
        report.parts("How soon", [latency::rows(&lab, &program, &effort)]);
    }
    if wants(Part::Own) {
        let parts = [own::starts, own::headless, own::with_interface];
        let parts = parts.map(|part| part(&lab, &program, &effort));
        report.parts("What it takes for itself", parts);
    }
    if wants(Part::Packets) {
        let parts = [packets::rows(&lab, &effort), wire::rows(&lab, &program, &effort)];
        report.parts("Packets and handshakes on the wire", parts);
    }
    if wants(Part::Inside) {
        let plans = inside::plans(&effort, options.chromium.as_deref());
        let parts =
            [model::memory(&effort), model::ingest(&effort), inside::frames(&effort), plans];
        report.parts("Inside", parts);
    }
    report.verdict();
    if let Some(file) = &options.update {
        report.update(file)?;
    }
    report.is_whole()
}
