//! How much of a session's secrets is there.

use super::session::Entry;
use crate::tls::{Label, Version};

/// How much of a session's secrets is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretState {
    /// None yet.
    Waiting,
    /// Some of those with which it is complete.
    Partial {
        /// Captured.
        have: u8,
        /// Needed.
        need: u8,
    },
    /// All that decrypt the traffic.
    Complete,
    /// Seen, and all zero.
    Null,
    /// The handshake was seen on the wire, and no secret came.
    Missing,
}

impl SecretState {
    /// As it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Partial { .. } => "partial",
            Self::Complete => "complete",
            Self::Null => "null",
            Self::Missing => "missing",
        }
    }

    /// Of a session with these entries; without any it waits.
    pub(super) fn of(entries: &[Entry], version: Option<Version>) -> Self {
        let captured =
            |label: &Label| entries.iter().any(|entry| entry.label == *label && !entry.is_null());
        if entries.is_empty() {
            return Self::Waiting;
        }
        if entries.iter().all(Entry::is_null) {
            return Self::Null;
        }
        if !version.is_some_and(Version::has_traffic_secrets) {
            return match captured(&Label::ClientRandom) {
                true => Self::Complete,
                false => Self::Partial { have: 0, need: 1 },
            };
        }
        let need = Label::TLS13_COMPLETE.len() as u8;
        match Label::TLS13_COMPLETE.iter().filter(|label| captured(label)).count() as u8 {
            have if have == need => Self::Complete,
            have => Self::Partial { have, need },
        }
    }
}
