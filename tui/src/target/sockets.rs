//! The connections that a process has open.

use std::collections::HashSet;

use procfs::process::{FDTarget, Process};
use procfs::{ProcResult, net::TcpState};

/// Descriptors up to this one are stdin, stdout and stderr: under systemd a socket to the journal.
const STANDARD: i32 = 2;

/// Connections that the process has open and that TLS may be spoken over: those over TCP. `None` where it has none of
/// those but other sockets (Unix, UDP), of which there is no telling.
///
/// # Errors
///
/// When the process has ended, or `/proc` cannot be read.
pub fn open_connections(pid: u32) -> ProcResult<Option<usize>> {
    let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX))?;
    let sockets: HashSet<u64> = process
        .fd()?
        .flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) if fd.fd > STANDARD => Some(inode),
            _ => None,
        })
        .collect();
    if sockets.is_empty() {
        return Ok(Some(0));
    }
    // As the process's own network namespace has them. A kernel without IPv6 has no tcp6.
    let mut over_tcp = process.tcp()?;
    over_tcp.extend(process.tcp6().unwrap_or_default());
    over_tcp.retain(|entry| sockets.contains(&entry.inode));
    let is_open = |state: &TcpState| {
        use TcpState::{CloseWait, Established, FinWait1, FinWait2};
        matches!(state, Established | CloseWait | FinWait1 | FinWait2)
    };
    let open = over_tcp.iter().filter(|entry| is_open(&entry.state)).count();
    let has_others = sockets.len() > over_tcp.len();
    Ok((open > 0 || !has_others).then_some(open))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_are_counted_and_listeners_are_not() {
        let own = std::process::id();
        // Other tests of this process may have sockets, too.
        let count = || open_connections(own).unwrap().unwrap_or(0);
        let before = count();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap();
        assert!(count() >= before + 2);
        drop((client, server));
        assert!(open_connections((1 << 22) + 1).is_err());
    }
}
