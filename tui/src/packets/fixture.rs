//! Secrets on their way to the packets, made up.

use crate::model::PacketKey;
use crate::model::fixture::process;
use crate::tls::{ClientRandom, KeyLine, Label, Role, Secret};

/// A secret of a process called curl, whose client random is all `random` and whose bytes are all `value`.
pub fn key(label: &Label, random: u8, value: u8, pid: u32, role: Role) -> PacketKey {
    let len = if *label == Label::ClientRandom { 48 } else { 32 };
    let secret = Secret::new(label, &[value; 48], len).unwrap();
    let client_random = ClientRandom([random; 32]);
    PacketKey {
        line: KeyLine { label: label.clone(), client_random, secret },
        process: process(pid, "curl"),
        role: Some(role),
    }
}
