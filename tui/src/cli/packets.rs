//! The options for recording packets.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Mode;
use crate::packets::{INTERFACES, Plan, Rotation, Scope, Terms};

/// Where packets go with `--mode pcap`, unless the user says otherwise.
pub const DEFAULT_FILE: &str = "./tlskeytop.pcapng";
/// Seconds that packets wait for their secrets at the most.
const WAIT: u64 = 3;
/// Bytes of packets that wait for their secrets, or for the disk: 0.8 s at 50,000 packets of 1,500 bytes a second.
const HELD: usize = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct PacketOptions {
    /// Record packets to this file, as pcapng, with the secrets that decrypt them: Wireshark shows
    /// what was said. An earlier capture in it is replaced (default with --mode pcap
    /// ./tlskeytop.pcapng)
    #[arg(long, help_heading = "Packets", value_name = "FILE")]
    pcap_file: Option<PathBuf>,
    /// Record packets of this interface only; may be given several times
    #[arg(short, long, help_heading = "Packets", value_name = "IFACE")]
    interface: Vec<String>,
    /// Which packets (default all)
    #[arg(long, help_heading = "Packets", value_enum, value_name = "SCOPE")]
    pcap_scope: Option<ScopeArg>,
    /// Which secrets (default needed)
    #[arg(long, help_heading = "Packets", value_enum, value_name = "SECRETS")]
    pcap_secrets: Option<SecretsArg>,
    /// Packets wait so long at the most for the secrets of their connection, so that these stand
    /// before them (default 3)
    #[arg(long, help_heading = "Packets", value_name = "SECS", value_parser = clap::value_parser!(u64).range(0..=60))]
    pcap_wait: Option<u64>,
    /// Go on with another file, FILE-1 and so on, when one has so many MiB
    #[arg(long, help_heading = "Packets", value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pcap_rotate_size: Option<u64>,
    /// Go on with another file after so many seconds
    #[arg(long, help_heading = "Packets", value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pcap_rotate_time: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeArg {
    /// All packets
    All,
    /// Those of TLS connections of the processes that are captured
    Attached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SecretsArg {
    /// Those of connections that are in the file
    Needed,
    /// All that are captured
    All,
}

/// What to record.
#[derive(Clone, Debug)]
pub struct Recordings {
    /// From the start on.
    pub first: Option<Plan>,
    /// When the interface is asked to, to a file of another name.
    pub later: Plan,
}

impl PacketOptions {
    /// What to record in this mode.
    ///
    /// # Errors
    ///
    /// A text for the user, when the options do not go together.
    pub fn check(self, mode: Mode) -> Result<Recordings, String> {
        let usual = || (mode == Mode::Pcap).then(|| DEFAULT_FILE.into());
        let path = self.pcap_file.clone().or_else(usual);
        // The interface may be asked to record.
        if path.is_none()
            && mode != Mode::Tui
            && let Some(option) = self.given()
        {
            return Err(format!("{option} goes with --pcap-file or --mode pcap"));
        }
        if self.interface.len() > INTERFACES {
            return Err(format!("at most {INTERFACES} interfaces can be named"));
        }
        let later = self.plan();
        let first = path.map(|path| Plan { path, replaces: true, ..later.clone() });
        Ok(Recordings { first, later })
    }

    /// Whether a file is named.
    pub fn has_file(&self) -> bool {
        self.pcap_file.is_some()
    }

    /// An option that says how to record.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("--interface", !self.interface.is_empty()),
            ("--pcap-scope", self.pcap_scope.is_some()),
            ("--pcap-secrets", self.pcap_secrets.is_some()),
            ("--pcap-wait", self.pcap_wait.is_some()),
            ("--pcap-rotate-size", self.pcap_rotate_size.is_some()),
            ("--pcap-rotate-time", self.pcap_rotate_time.is_some()),
        ];
        given.into_iter().find_map(|(option, is_given)| is_given.then_some(option))
    }

    /// To a file that has no name yet, and replaces none.
    fn plan(self) -> Plan {
        let is_attached = self.pcap_scope == Some(ScopeArg::Attached);
        Plan {
            path: PathBuf::new(),
            replaces: false,
            interfaces: self.interface,
            terms: Terms {
                scope: if is_attached { Scope::Attached } else { Scope::All },
                all_secrets: self.pcap_secrets == Some(SecretsArg::All),
                wait: Duration::from_secs(self.pcap_wait.unwrap_or(WAIT)),
                held: HELD,
            },
            rotation: Rotation {
                bytes: self.pcap_rotate_size.map(|mib| mib << 20),
                age: self.pcap_rotate_time.map(Duration::from_secs),
            },
        }
    }
}
