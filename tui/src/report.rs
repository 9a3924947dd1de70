//! `tlskeytop scan` and `tlskeytop doctor`.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::json;
use crate::model::target::{Image, Process, Scan};
use crate::preflight::Check;
use crate::target::layout::ProvenLayout;
use crate::target::plan::{FoundBy, ImagePlan, Ways};
use crate::text::sanitize;

/// Every process with its images, by pid, then the images that nobody uses.
fn rows(scan: &Scan) -> Vec<(Option<&Arc<Process>>, &Image)> {
    let mut rows = Vec::new();
    let mut targets: Vec<_> = scan.targets.iter().collect();
    targets.sort_by_key(|target| target.process.pid);
    for target in targets {
        for id in &target.images {
            let image = scan.images.iter().find(|image| image.id == *id);
            rows.extend(image.map(|image| (Some(&target.process), image)));
        }
    }
    let unused = scan
        .images
        .iter()
        .filter(|image| !scan.targets.iter().any(|target| target.images.contains(&image.id)));
    rows.extend(unused.map(|image| (None, image)));
    rows
}

/// The scan as JSON lines.
pub fn scan_json(scan: &Scan) -> String {
    rows(scan)
        .into_iter()
        .map(|(process, image)| json::scan(process.map(|p| &**p), image))
        .collect()
}

/// The scan as a table, the reason for each image below it.
pub fn scan_table(scan: &Scan) -> String {
    let header = ["PID", "PROCESS", "LIBRARY", "LINKAGE", "CAPTURE", "IMAGE"].map(str::to_owned);
    let mut cells = vec![header];
    cells.extend(rows(scan).into_iter().map(|(process, image)| {
        [
            process.map_or_else(|| "-".to_owned(), |process| process.pid.to_string()),
            process.map_or_else(|| "(not in use)".to_owned(), |process| process.comm.to_string()),
            image.library(),
            linkage(image),
            capture(image),
            image.path.to_string(),
        ]
    }));
    let mut text = table(&cells);
    if scan.images.is_empty() {
        text.push_str(
            "No process uses a TLS library that is known, and the loader's cache has none.\n",
        );
    }
    for image in &scan.images {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}\n    {}\n", image.path, sanitize(&image.plan.reason));
        let layout = match &image.plan.layout {
            Ok(proven) => {
                format!("layout of {} {}: {}", proven.library, proven.group, proven.proof)
            }
            Err(refusal) => refusal.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {}", sanitize(&layout));
        for tap in &image.plan.taps {
            let name = tap.symbol.as_deref().map_or_else(|| "no symbol".to_owned(), sanitize);
            let _ = write!(text, "    tap at {:#x} ({name})", tap.function);
            let _ = match tap.arguments.client_random() {
                Some(place) => writeln!(text, ", client random at {place}"),
                None => writeln!(text),
            };
        }
        let _ = writeln!(text, "    {}", open_connections(&image.plan));
    }
    text
}

/// How connections are found that are open when their process is attached to.
fn open_connections(plan: &ImagePlan) -> String {
    let names = plan.data_path(Ways::Auto);
    if let Some(hook) = plan.hooks.iter().find(|hook| names.contains(&hook.name)) {
        let by = match hook.found_by {
            FoundBy::ErrorRecord => ", which their own error records name",
            FoundBy::Export | FoundBy::Symbol => "",
        };
        let what = match plan.layout.as_ref().is_ok_and(ProvenLayout::keeps_handshake_secrets) {
            true => "",
            false => "; of TLS 1.3 without the handshake secrets, which are wiped by then",
        };
        return format!("open connections: found at {}{by}{what}", names.join(", "));
    }
    let why = match &plan.layout {
        Err(_) => "without a layout",
        Ok(proven) if !proven.can_be_walked() => "too little of the layout is proved",
        Ok(_) => "the functions that read and write were not found",
    };
    format!("open connections: not found, {why}")
}

fn linkage(image: &Image) -> String {
    let stripped = if image.plan.stripped { ", stripped" } else { "" };
    format!("{}{stripped}", json::linkage(image.plan.linkage))
}

fn capture(image: &Image) -> String {
    match image.plan.taps.iter().map(|tap| tap.sites.len()).sum::<usize>() {
        0 if image.plan.is_walked(Ways::Auto) => "walk".to_owned(),
        0 => "none".to_owned(),
        1 => "tap, 1 probe".to_owned(),
        probes => format!("tap, {probes} probes"),
    }
}

/// Columns as wide as their widest cell; the last one is not padded.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| unicode_width::UnicodeWidthStr::width(row[column].as_str()))
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                let used = unicode_width::UnicodeWidthStr::width(cell.as_str());
                text.extend(std::iter::repeat_n(' ', widths[column].saturating_sub(used) + 2));
            }
        }
        text.push('\n');
    }
    text
}

/// What `tlskeytop doctor` prints.
pub fn doctor(checks: &[Check]) -> String {
    let mut text: String = checks.iter().map(|check| format!("{check}\n")).collect();
    text.push_str(match checks.iter().any(Check::is_bad) {
        true => "\nThis machine cannot run tlskeytop as things are; see above.\n",
        false => "\nThis machine can run tlskeytop.\n",
    });
    text
}
