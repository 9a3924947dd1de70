//! What a kernel must give, and what it gave.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::guest::Said;
use super::kernels::Kernel;

/// The oldest kernel on which tlskeytop runs; below it, it must say so.
const FLOOR: (u32, u32) = (5, 15);
/// The oldest kernel with the multi-uprobe links that tlskeytop uses.
const MULTI: (u32, u32) = (6, 10);
/// The exit code of "not permitted or not supported".
const NOT_SUPPORTED: &str = "3";
/// The captures of init.sh.
const CAPTURES: [&str; 5] = ["tap", "walk", "open", "clock", "packets"];
/// What it shows of handshakes that have no secret.
const MISSING: (&str, &str) = ("wire", "2 rows");

/// The first line of the table.
pub const HEADER: &str = "| kernel | from | doctor | links | tap | walk | open connection | clock that jumps | packets | missing |\n|---|---|---|---|---|---|---|---|---|---|";

/// One row.
pub struct Verdict {
    /// The kernel.
    pub kernel: Kernel,
    /// Its console.
    pub log: PathBuf,
    /// What is not as it must be.
    pub problems: Vec<String>,
    cells: Vec<String>,
}

impl Verdict {
    /// Judges what the guest said.
    ///
    /// # Errors
    /// When the kernel's release is not a version.
    pub fn new(kernel: Kernel, said: &Said, log: PathBuf) -> Result<Self> {
        let version = version(&kernel.release)
            .with_context(|| format!("{} is not a version", kernel.release))?;
        let value = |name: &str| {
            said.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
        };
        let mut problems: Vec<String> =
            said.iter().filter(|(key, _)| key == "problem").map(|(_, v)| v.clone()).collect();
        let mut expect = |name: &str, wanted: &str, is_it: bool| {
            if !is_it {
                problems.push(format!("{name}: `{}` where {wanted} was expected", value(name)));
            }
        };
        let cells = if version < FLOOR {
            expect("doctor", "exit code 3", value("doctor") == NOT_SUPPORTED);
            let refused = value("refused").contains("Linux 5.15 or later")
                || said.iter().any(|(_, value)| value.contains("Linux 5.15 or later"));
            expect("capture", "the reason", refused);
            expect("capture", "exit code 3", value("capture").starts_with(NOT_SUPPORTED));
            let mut cells = vec!["refuses, and says why".to_owned()];
            cells.resize(CAPTURES.len() + 3, String::new());
            cells
        } else {
            let links = if version < MULTI { "perf" } else { "multi" };
            expect("doctor", "exit code 0", value("doctor") == "0");
            expect("links", links, value("links") == links);
            for name in CAPTURES {
                expect(name, "the peer's lines", value(name).ends_with(" lines"));
            }
            let (wire, rows) = MISSING;
            expect(wire, rows, value(wire) == rows);
            let captures = CAPTURES.iter().chain([&wire]).map(|name| value(name).to_owned());
            let doctor = if value("doctor") == "0" { "ok" } else { "failed" };
            [doctor.to_owned(), value("links").to_owned()].into_iter().chain(captures).collect()
        };
        Ok(Self { kernel, log, problems, cells })
    }

    /// Everything is as it must be.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {} | {} |",
            self.kernel.release,
            self.kernel.suite,
            self.cells.join(" | ")
        )
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(release: &str, said: &[(&str, &str)]) -> Verdict {
        let kernel =
            Kernel { suite: "x".to_owned(), release: release.to_owned(), image: PathBuf::new() };
        let said = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Verdict::new(kernel, &said.collect(), PathBuf::new()).unwrap()
    }

    #[test]
    fn a_kernel_must_give_every_capture_by_its_own_links() {
        let captures = [
            ("tap", "6 lines"),
            ("walk", "6 lines"),
            ("open", "5 lines"),
            ("clock", "3 lines"),
            ("packets", "6 lines"),
            ("wire", "2 rows"),
        ];
        let said = |links| [&[("doctor", "0"), ("links", links)][..], &captures].concat();
        assert!(verdict("6.1.0-50-amd64", &said("perf")).is_good());
        assert!(verdict("6.10.1+deb13-amd64", &said("multi")).is_good());
        assert!(!verdict("6.10.1+deb13-amd64", &said("perf")).is_good());
        assert!(!verdict("6.1.0-50-amd64", &said("perf")[..4]).is_good());
        assert!(!verdict("6.1.0-50-amd64", &[]).is_good());
    }

    #[test]
    fn below_the_floor_it_must_refuse_and_say_why() {
        let why = "3 tlskeytop: kernel: Linux 5.15 or later is needed";
        assert!(verdict("5.10.0-32-amd64", &[("doctor", "3"), ("capture", why)]).is_good());
        assert!(!verdict("5.10.0-32-amd64", &[("doctor", "3"), ("capture", "3 no")]).is_good());
        assert!(!verdict("5.10.0-32-amd64", &[("doctor", "0")]).is_good());
    }
}
