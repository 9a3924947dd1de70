//! The ports of a server that cannot choose them itself, one for each TLS version.

use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result, bail};

use crate::peer::Version;
use crate::process::Process;
use crate::wait::until;

/// One port for each version.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) tls13: u16,
    pub(crate) tls12: u16,
}

impl Ports {
    /// Two that were free a moment ago.
    pub(crate) fn free() -> Result<Self> {
        let bind = || TcpListener::bind(("127.0.0.1", 0)).context("no free port");
        let (first, second) = (bind()?, bind()?);
        Ok(Self { tls13: first.local_addr()?.port(), tls12: second.local_addr()?.port() })
    }

    /// Waits until the server accepts at both.
    pub(crate) fn wait(self, name: &str, server: &mut Process) -> Result<()> {
        for port in [self.tls13, self.tls12] {
            until(&format!("{name} accepts"), || {
                if !server.is_running()? {
                    bail!("{name} ended: {}", server.stderr());
                }
                Ok(TcpStream::connect(("127.0.0.1", port)).ok())
            })?;
        }
        Ok(())
    }

    /// The one that speaks only this version.
    pub(crate) fn of(self, version: Version) -> u16 {
        match version {
            Version::Tls13 => self.tls13,
            Version::Tls12 => self.tls12,
        }
    }
}
