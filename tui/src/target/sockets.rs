//! The TCP connections that a process has open.

use std::collections::HashSet;

use procfs::process::{FDTarget, Process};
use procfs::{ProcResult, net::TcpState};

/// Connections over TCP that the process has open: of all that it could speak TLS over, those that can be counted.
///
/// # Errors
///
/// When the process has ended, or `/proc` cannot be read.
pub fn open_connections(pid: u32) -> ProcResult<usize> {
    let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX))?;
    let sockets: HashSet<u64> = process
        .fd()?
        .flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    if sockets.is_empty() {
        return Ok(0);
    }
    // As the process's own network namespace has them. A kernel without IPv6 has no tcp6.
    let connections = process.tcp()?.into_iter().chain(process.tcp6().unwrap_or_default());
    let is_open = |state: &TcpState| {
        matches!(
            state,
            TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::FinWait2
        )
    };
    let own = connections.filter(|entry| is_open(&entry.state) && sockets.contains(&entry.inode));
    Ok(own.count())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_are_counted_and_listeners_are_not() {
        let own = std::process::id();
        let before = open_connections(own).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(open_connections(own).unwrap(), before);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap();
        assert!(open_connections(own).unwrap() >= before + 2);
        drop((client, server));
        assert!(open_connections((1 << 22) + 1).is_err());
    }
}
