//! The numbers of the states of BoringSSL's handshake over time (`tui/layouts/boringssl_states.tsv`).
//!
//! They tell how far a handshake is. Whether a secret exists is told by its length, never by them.

use std::sync::LazyLock;

use super::table::Table;

/// A state machine of BoringSSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// `hs->state` on a client.
    Client,
    /// `hs->state` on a server.
    Server,
    /// `hs->tls13_state` on a client.
    Tls13Client,
    /// `hs->tls13_state` on a server.
    Tls13Server,
}

/// The numbering of one machine from a commit on.
#[derive(Clone, Debug)]
pub struct States {
    /// The machine.
    pub machine: Machine,
    /// The date of the commit, `2024-09-24`.
    pub since: &'static str,
    /// Names, without what they all begin with (`read_server_hello`), and numbers.
    states: Vec<(&'static str, u32)>,
}

/// All rows, by machine and date.
pub static STATES: LazyLock<Vec<States>> = LazyLock::new(|| {
    let table = Table::parse(include_str!("../../../layouts/boringssl_states.tsv"));
    table
        .rows()
        .filter_map(|row| {
            Some(States {
                machine: machine(row.text("machine"))?,
                since: row.text("date"),
                states: row.text("states").split(' ').filter_map(state).collect(),
            })
        })
        .collect()
});

/// The names of the table: source files at first, later enumerations in `internal.h`.
fn machine(name: &str) -> Option<Machine> {
    Some(match name {
        "handshake_client" => Machine::Client,
        "handshake_server" | "internal.h:ssl|tls12_server_hs_state_t" => Machine::Server,
        "tls13_client" => Machine::Tls13Client,
        "tls13_server" | "internal.h:tls13_server_hs_state_t" => Machine::Tls13Server,
        _ => return None,
    })
}

fn state(text: &'static str) -> Option<(&'static str, u32)> {
    let (name, number) = text.split_once('=')?;
    let name = name.strip_prefix("state").unwrap_or(name).trim_start_matches(['1', '2', '3']);
    Some((name.strip_prefix('_')?, number.parse().ok()?))
}

impl States {
    /// The numbering of `machine` at `date` (`2024-09-24`).
    pub fn at(machine: Machine, date: &str) -> Option<&'static Self> {
        let known = STATES.iter().filter(|states| states.machine == machine);
        known.filter(|states| states.since <= date).max_by_key(|states| states.since)
    }

    /// The number of a state.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.states.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
    }

    /// The name of a state.
    pub fn name(&self, number: u32) -> Option<&'static str> {
        self.states.iter().find(|(_, known)| *known == number).map(|&(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let text = include_str!("../../../layouts/boringssl_states.tsv");
        assert_eq!(STATES.len(), text.lines().count() - 1);
        for states in STATES.iter() {
            assert!(states.states.len() >= 13, "{states:?}");
            assert!(states.number("done").is_some(), "{states:?}");
            let numbered = states.states.iter().enumerate();
            assert!(numbered.into_iter().all(|(index, (_, number))| index as u32 == *number));
        }
    }

    #[test]
    fn numbers_change_with_time() {
        let number = |machine, date, name| States::at(machine, date)?.number(name);
        let finish = "finish_flight";
        assert_eq!(number(Machine::Client, "2018-08-10", finish), Some(16));
        assert_eq!(number(Machine::Client, "2020-01-01", finish), Some(17));
        assert_eq!(number(Machine::Client, "2026-01-01", finish), Some(16));
        assert_eq!(number(Machine::Tls13Client, "2026-01-01", "read_server_finished"), Some(8));
        let flight = "read_second_client_flight";
        assert_eq!(number(Machine::Tls13Server, "2019-12-31", flight), Some(7));
        assert_eq!(number(Machine::Tls13Server, "2026-01-01", flight), Some(8));
        assert_eq!(number(Machine::Server, "2016-01-01", "done"), None);
        let now = States::at(Machine::Server, "2026-01-01").unwrap();
        assert_eq!(now.name(18), Some("read_client_finished"));
        assert_eq!(now.name(99), None);
    }
}
