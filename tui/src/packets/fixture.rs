//! Secrets on their way to the packets, made up, and a place for them.

use std::path::Path;
use std::time::Duration;

use super::{Plan, Rotation, Scope, Terms};
use crate::model::PacketKey;
use crate::model::fixture::process;
use crate::tls::{ClientRandom, KeyLine, Label, Role, Secret};

/// A secret of a process called curl, whose client random is all `random` and whose bytes are all `value`.
pub fn key(label: &Label, random: u8, value: u8, pid: u32, role: Role) -> PacketKey {
    let len = if *label == Label::ClientRandom { 48 } else { 32 };
    let secret = Secret::new(label, &[value; 48], len).unwrap();
    let client_random = ClientRandom([random; 32]);
    PacketKey {
        line: KeyLine::boxed(label.clone(), client_random, &secret),
        process: process(pid, "curl"),
        role: Some(role),
    }
}

/// A recording of the loopback to a new file.
pub fn plan(path: &Path) -> Plan {
    let wait = Duration::from_secs(3);
    Plan {
        path: path.to_owned(),
        replaces: false,
        interfaces: vec!["lo".to_owned()],
        terms: Terms { scope: Scope::Attached, all_secrets: false, wait, held: 1 << 20 },
        rotation: Rotation::default(),
    }
}
