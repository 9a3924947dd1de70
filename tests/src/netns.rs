//! A network namespace of its own, joined to ours by a pair of interfaces, as a container has it.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::Result;

use crate::process::Process;

/// The namespace; it and the interfaces are removed when it is dropped.
pub struct Netns {
    name: String,
    number: u32,
}

impl Netns {
    /// Makes it, with IPv4 and IPv6.
    ///
    /// # Errors
    /// When that is not permitted.
    pub fn make() -> Result<Self> {
        // An interface's name may have 15 characters.
        let number = std::process::id() % (1 << 20);
        let netns = Self { name: format!("tlst{number}"), number };
        ip(&["netns", "add", &netns.name])?;
        ip(&["link", "add", &netns.name, "type", "veth", "peer", "eth0", "netns", &netns.name])?;
        for (side, before) in [(1, &[][..]), (2, &["-n", &netns.name])] {
            let interface = if side == 1 { &netns.name } else { "eth0" };
            let [v4, v6] = [format!("{}/30", netns.v4(side)), format!("{}/64", netns.v6(side))];
            ip(&[before, &["addr", "add", &v4, "dev", interface]].concat())?;
            ip(&[before, &["addr", "add", &v6, "dev", interface, "nodad"]].concat())?;
            ip(&[before, &["link", "set", interface, "up"]].concat())?;
        }
        Ok(netns)
    }

    /// Our interface.
    pub fn interface(&self) -> &str {
        &self.name
    }

    /// Our IPv4 address (side 1) or the namespace's (side 2).
    pub fn v4(&self, side: u32) -> String {
        let number = (10 << 24 | 64 << 16) + self.number * 4 % (1 << 22) + side;
        std::net::Ipv4Addr::from(number).to_string()
    }

    /// The same of IPv6.
    pub fn v6(&self, side: u32) -> String {
        format!("fd00:7:{:x}:{:x}::{side}", self.number >> 16, self.number & 0xffff)
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name]);
        // It goes with its other end, but a moment later.
        let _ = Process::run(Command::new("ip").args(["link", "delete", &self.name]));
    }
}

fn ip(args: &[&str]) -> Result<()> {
    Process::run_ok(Command::new("ip").args(args)).map(|_| ())
}
