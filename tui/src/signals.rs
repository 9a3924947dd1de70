//! Signals that were ignored when we started, as `nohup` and `trap ''` have it: they stay so.

use std::io;
use std::mem::MaybeUninit;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether a signal is ignored.
pub fn is_ignored(number: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is set, and the pointer is to a whole `sigaction`, which is read only when it was written.
    unsafe {
        libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Ignores a signal, or lets it do what it does by default. A system call alone: also for a process between fork(2) and
/// execve(2).
///
/// # Errors
///
/// When there is no such signal.
pub fn set_ignored(number: libc::c_int, ignored: bool) -> io::Result<()> {
    // SAFETY: a `sigaction` of zeros is a valid one, without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: the pointer is to a whole `sigaction` without a function, and nothing is written.
    match unsafe { libc::sigaction(number, &action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Listens for a signal, unless it is ignored: then it stays so, also for what we start. To be called within a tokio
/// runtime, before anybody else listens for it.
///
/// # Errors
///
/// When the kernel refuses.
pub fn unless_ignored(kind: SignalKind) -> io::Result<Option<Signal>> {
    match is_ignored(kind.as_raw_value()) {
        true => Ok(None),
        false => signal(kind).map(Some),
    }
}

/// Waits for a signal, for ever where nobody listens. Cancel-safe.
pub async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_ignored_stays_so() {
        // Nobody else in this program uses it.
        let kind = SignalKind::user_defined2();
        set_ignored(libc::SIGUSR2, true).unwrap();
        assert!(is_ignored(libc::SIGUSR2) && unless_ignored(kind).unwrap().is_none());
        assert!(is_ignored(libc::SIGUSR2));
        set_ignored(libc::SIGUSR2, false).unwrap();
        assert!(!is_ignored(libc::SIGUSR2) && unless_ignored(kind).unwrap().is_some());
        assert!(set_ignored(libc::SIGKILL, true).is_err());
    }
}
