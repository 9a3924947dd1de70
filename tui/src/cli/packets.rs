//! The options for recording packets.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::packets::{INTERFACES, Plan, Rotation, Scope, Terms};

/// Where packets go with `--mode pcap`, unless the user says otherwise.
pub const DEFAULT_FILE: &str = "./tlskeytop.pcapng";
/// Seconds that packets wait for their secrets at the most.
const WAIT: u64 = 3;
/// Bytes of packets that wait for their secrets, or for the disk: 0.8 s at 50,000 packets of 1,500 bytes a second.
const HELD: usize = 64 << 20;

/// What is recorded when the interface is asked to: all packets, and the secrets that they need.
pub fn usual(path: PathBuf) -> Plan {
    let wait = Duration::from_secs(WAIT);
    let terms = Terms { scope: Scope::All, all_secrets: false, wait, held: HELD };
    Plan { path, interfaces: Vec::new(), terms, rotation: Rotation::default() }
}

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
    /// Which packets
    #[arg(long, help_heading = "Packets", value_enum, value_name = "SCOPE", default_value = "all")]
    pcap_scope: ScopeArg,
    /// Which secrets
    #[arg(
        long,
        help_heading = "Packets",
        value_enum,
        value_name = "SECRETS",
        default_value = "needed"
    )]
    pcap_secrets: SecretsArg,
    /// Packets wait so long at the most for the secrets of their connection, so that these stand
    /// before them
    #[arg(long, help_heading = "Packets", value_name = "SECS", default_value_t = WAIT, value_parser = clap::value_parser!(u64).range(0..=60))]
    pcap_wait: u64,
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

impl PacketOptions {
    /// What to record, if anything is; `by_mode`: also without a file's name.
    ///
    /// # Errors
    ///
    /// A text for the user, when the options do not go together.
    pub fn check(self, by_mode: bool) -> Result<Option<Plan>, String> {
        let Some(path) = self.pcap_file.or_else(|| by_mode.then(|| DEFAULT_FILE.into())) else {
            if !self.interface.is_empty() {
                return Err("--interface goes with --pcap-file or --mode pcap".to_owned());
            }
            return Ok(None);
        };
        if self.interface.len() > INTERFACES {
            return Err(format!("at most {INTERFACES} interfaces can be named"));
        }
        let is_attached = self.pcap_scope == ScopeArg::Attached;
        Ok(Some(Plan {
            path,
            interfaces: self.interface,
            terms: Terms {
                scope: if is_attached { Scope::Attached } else { Scope::All },
                all_secrets: self.pcap_secrets == SecretsArg::All,
                wait: Duration::from_secs(self.pcap_wait),
                held: HELD,
            },
            rotation: Rotation {
                bytes: self.pcap_rotate_size.map(|mib| mib << 20),
                age: self.pcap_rotate_time.map(Duration::from_secs),
            },
        }))
    }
}
