//! What tlskeytop costs its targets and itself, measured side by side: `cargo xtask bench`.

mod bpf;
mod effort;
mod hits;
mod inside;
mod latency;
mod load;
mod machine;
#[path = "../../../tui/benches/made_up/mod.rs"]
mod made_up;
mod own;
mod packets;
mod pairs;
mod report;
mod row;
mod sample;
mod tool;
mod workload;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use tlskeytop_tests::Lab;

use effort::Effort;
use pairs::Ratios;
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
    /// Measure so many pairs and rounds, and half as many of each other tool [default: 20]
    #[arg(long, conflicts_with = "short", value_parser = clap::value_parser!(u16).range(1..))]
    pairs: Option<u16>,
    /// A Chromium to plan [default: Debian's]
    #[arg(long)]
    chromium: Option<PathBuf>,
    /// Print the MiB that so many sessions take, and end
    #[arg(long, hide = true)]
    memory_of: Option<usize>,
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
    /// Recording packets
    Packets,
    /// The model, the interface, the planner
    Inside,
    /// Other tools
    Others,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(sessions) = options.memory_of {
        return inside::print_memory(sessions);
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
    let mut side_by_side = Vec::new();
    if wants(Part::Pairs) || wants(Part::Others) {
        let ours = Ratios::measure(&lab, &program, Tool::Tlskeytop, &effort)?;
        report.table("What it leaves of its targets' rates", &ours.rows());
        side_by_side.push(ours);
    }
    if wants(Part::Others) {
        for tool in others.into_iter().filter(|tool| tool.version().is_some()) {
            match Ratios::measure(&lab, &program, tool, &effort) {
                Ok(ratios) => {
                    report.table(&format!("The same with {}", tool.name()), &ratios.rows());
                    side_by_side.push(ratios);
                }
                // A failure of another tool is no failure of ours.
                Err(error) => eprintln!("bench: {}: {error:#}", tool.name()),
            }
        }
        report.any_table("Beside other tools", &Ratios::side_by_side(&side_by_side));
    }
    if wants(Part::Hits) {
        let mut rows = hits::costs(&lab, &program, &effort)?;
        rows.extend(hits::counts(&lab, &program, &effort)?);
        report.table("What one hit costs", &rows);
    }
    if wants(Part::Load) {
        report.table("Whether every key is captured", &load::rows(&lab, &program, &effort)?);
    }
    if wants(Part::Latency) {
        report.table("How soon", &latency::rows(&lab, &program, &effort)?);
    }
    if wants(Part::Own) {
        let mut rows = own::starts(&lab, &program, &effort)?;
        rows.extend(own::usage(&lab, &program, &effort)?);
        report.table("What it takes for itself", &rows);
    }
    if wants(Part::Packets) {
        report.table("Recording packets", &packets::rows(&lab, &effort)?);
    }
    if wants(Part::Inside) {
        let mut rows = inside::memory(&effort)?;
        rows.extend(inside::ingest(&effort)?);
        rows.extend(inside::frames(&effort)?);
        rows.extend(inside::plans(&effort, options.chromium.as_deref())?);
        report.table("Inside", &rows);
    }
    report.verdict();
    match &options.update {
        Some(file) => report.update(file),
        None => Ok(()),
    }
}
