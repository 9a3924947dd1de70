//! What was found and done, in words.

use std::fmt;

use super::survey::{Coverage, Handshake, Survey};
use crate::text::Foreign;
use crate::tls::ClientRandom;
use crate::wire::Dropped;

/// Most handshakes without secrets that are listed.
const MOST_LISTED: usize = 100;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    survey: Survey,
    added: usize,
    output: Foreign,
    cut: Option<u64>,
}

impl Report {
    pub(super) fn new(survey: Survey, added: usize, output: Foreign, cut: Option<u64>) -> Self {
        Self { survey, added, output, cut }
    }

    /// What the user should know, though it is done.
    pub fn warnings(&self) -> Vec<String> {
        let Dropped { connections, cut, hellos, .. } = self.survey.dropped;
        let lost = connections + cut + hellos;
        let mut warnings = Vec::new();
        if let Some(offset) = self.cut {
            warnings.push(format!(
                "the capture ends within a packet or block, at byte {offset}: what is whole before it was taken"
            ));
        }
        if self.survey.beyond > 0 {
            let beyond = self.survey.beyond;
            warnings.push(format!("{beyond} handshakes were left out: there are too many"));
        }
        if lost > 0 {
            warnings.push(format!(
                "{lost} hellos were not read: too long, too many at once, or broken"
            ));
        }
        warnings
    }

    /// Handshakes of this kind.
    fn count(&self, coverage: Coverage) -> usize {
        let handshakes = self.survey.handshakes.values();
        handshakes.filter(|handshake| handshake.coverage() == coverage).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Survey { packets, handshakes, had, .. } = &self.survey;
        let added = self.added;
        write!(f, "{}: {packets} packets, {added} secrets added", self.output)?;
        if *had > 0 {
            write!(f, " to {had} that were there")?;
        }
        let whole = self.count(Coverage::Whole);
        writeln!(f, "\n{whole} of {} handshakes have their secrets", handshakes.len())?;
        let mut others: Vec<(&ClientRandom, &Handshake)> =
            handshakes.iter().filter(|(_, one)| one.coverage() != Coverage::Whole).collect();
        others.sort_unstable_by_key(|(random, handshake)| (handshake.at, **random));
        for (random, handshake) in others.iter().take(MOST_LISTED) {
            list(f, random, handshake)?;
        }
        if let more @ 1.. = others.len().saturating_sub(MOST_LISTED) {
            writeln!(f, "  and {more} more")?;
        }
        Ok(())
    }
}

/// One line of one handshake.
fn list(f: &mut fmt::Formatter<'_>, random: &ClientRandom, handshake: &Handshake) -> fmt::Result {
    let why = match handshake.coverage() {
        Coverage::Whole => "whole",
        Coverage::Partial => "not all secrets",
        Coverage::Missing if handshake.has_ech => {
            "no secret; with ECH they may be under another random"
        }
        Coverage::Missing => "no secret",
        Coverage::Unanswered => "not answered",
    };
    let Handshake { at, client, server, .. } = handshake;
    write!(f, "  {at} {client} > {server}")?;
    if let Some(name) = &handshake.server_name {
        write!(f, " {name}")?;
    }
    if let Some(version) = handshake.version {
        write!(f, " {version}")?;
    }
    writeln!(f, " random {}: {why}", random.short())
}
