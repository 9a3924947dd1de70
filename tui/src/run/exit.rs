//! Exit codes, and the last words of what failed.

use std::io;
use std::process::ExitCode;

use crate::capture::CaptureError;
use crate::config::file::FileError;
use crate::headless::{HeadlessError, say};
use crate::packets::RecorderError;
use crate::text::{Foreign, sanitize};

/// Failed while running.
const FAILED: u8 = 1;
/// Wrong usage.
pub(super) const USAGE: u8 = 2;
/// Not permitted, or not supported.
pub(super) const NOT_PERMITTED: u8 = 3;

/// Says why, and which code that is.
pub(super) fn failed(error: &anyhow::Error) -> ExitCode {
    say(&sanitize(&chain(error)));
    ExitCode::from(exit_code(error))
}

/// The error and its causes, each that the one before does not say already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Which of the codes an error is.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    if error.is::<SameFile>() || error.is::<FileError>() {
        USAGE
    } else if error.is::<CaptureError>() && error.chain().any(is_refused)
        || matches!(error.downcast_ref(), Some(HeadlessError::Refused(_)))
        || error.is::<RecorderError>() && error.chain().any(is_refused)
    {
        NOT_PERMITTED
    } else {
        FAILED
    }
}

/// Log and secrets in one file would spoil both.
#[derive(Debug, thiserror::Error)]
#[error("the log and the key log are the same file, {0}: give --log-file another one")]
pub(super) struct SameFile(pub(super) Foreign);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refuses_is_not_permitted() {
        use aya::programs::ProgramError;
        use aya::sys::SyscallError;

        let load = |number| {
            let io_error = io::Error::from_raw_os_error(number);
            let error = SyscallError { call: "bpf_prog_load", io_error };
            anyhow::Error::from(CaptureError::Program(ProgramError::SyscallError(error)))
        };
        assert_eq!(exit_code(&load(libc::EPERM)), NOT_PERMITTED);
        assert_eq!(exit_code(&load(libc::EACCES)), NOT_PERMITTED);
        assert_eq!(exit_code(&load(libc::E2BIG)), FAILED);
        let unreadable = anyhow::Error::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(exit_code(&unreadable), FAILED, "a file's own refusal is another matter");
    }
}
