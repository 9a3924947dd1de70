//! How far a handshake is by the number of its state.
//!
//! Whether a secret exists is told by its size and its bytes, and where the state says something else they decide: the
//! numbers change from year to year, a layout that several eras share does not tell the era, and the state is a
//! 32-bit number that any wrong layout has. The state decides in one case only, in which the sizes say nothing: whether
//! the session that a client offered, whole before the handshake began, is the one that is resumed.

use crate::target::layout::states::{Machine, States};

/// The state in which the last secret is made: it exists in every later one. (A tool that waits for fixed numbers, as
/// 16, 18, 8 and 14, waits for `send_client_finished`, `read_client_finished`, `read_server_finished` and
/// `read_client_finished` of one era: on a TLS 1.3 client too short, on a server too long.)
const LAST_SECRET: [(Machine, &str); 4] = [
    (Machine::Client, "send_client_key_exchange"),
    (Machine::Server, "read_client_key_exchange"),
    (Machine::Tls13Client, "read_server_finished"),
    (Machine::Tls13Server, "send_server_finished"),
];

/// AWS-LC numbers its client's states as BoringSSL did until 2024-09-24 (`ssl/handshake_client.cc` of both).
pub const AWS_LC: &str = "2024-09-23";

/// Whether a handshake in `state` has all its secrets, by the numbers at `date`; `None` where those are not known.
pub fn has_all_secrets(machine: Machine, date: &str, state: u32) -> Option<bool> {
    let (_, name) = LAST_SECRET.iter().find(|(known, _)| *known == machine)?;
    let states = States::at(machine, date)?;
    // What is no state at all says nothing.
    states.name(state)?;
    Some(state > states.number(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::layout::boringssl::{AWS_LC as ERAS_OF_AWS_LC, BORINGSSL};

    /// The first number at which all secrets are there.
    fn first(machine: Machine, date: &str) -> Option<u32> {
        (0..40).find(|state| has_all_secrets(machine, date, *state) == Some(true))
    }

    #[test]
    fn thresholds_by_era() {
        for (machine, date, expected) in [
            (Machine::Client, "2019-07-18", 15),
            (Machine::Client, "2024-09-23", 15),
            (Machine::Client, "2024-09-24", 14),
            (Machine::Server, "2020-12-08", 12),
            (Machine::Server, "2026-05-13", 13),
            (Machine::Tls13Client, "2019-07-18", 9),
            (Machine::Tls13Client, "2026-05-13", 9),
            (Machine::Tls13Server, "2019-07-18", 7),
            (Machine::Tls13Server, "2026-05-13", 7),
        ] {
            assert_eq!(first(machine, date), Some(expected), "{machine:?} {date}");
        }
    }

    #[test]
    fn every_era_has_its_thresholds_and_nothing_else_does() {
        for era in BORINGSSL.iter().chain(ERAS_OF_AWS_LC.iter()) {
            for (machine, _) in LAST_SECRET {
                assert!(first(machine, era.date).is_some(), "{machine:?} {}", era.date);
                assert_eq!(has_all_secrets(machine, era.date, 0), Some(false));
                assert_eq!(has_all_secrets(machine, era.date, 0x5555_5555), None);
            }
        }
        assert_eq!(has_all_secrets(Machine::Client, "2016-01-01", 16), None);
    }
}
