//! Which processes report.

use core::mem::size_of;

/// What the map `PIDS` says of a process; absent means that [`Settings::report_unknown`] decides.
///
/// 0: its events are dropped in the kernel. Any other number: they are reported. A process that is chosen after it
/// was not gets a number that it did not have, so that what was seen of its connections before, and dropped, is reported
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct PidRule(pub u32);

impl PidRule {
    /// Drop its events.
    pub const NO: Self = Self(0);
    /// Report its events, as those of a process without a rule.
    pub const YES: Self = Self(1);

    /// Whether its events are reported.
    pub const fn reports(self) -> bool {
        self.0 != 0
    }
}

/// The one element of the map `SETTINGS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// 1: a process that is not in `PIDS` reports, and user space decides.
    pub report_unknown: u32,
    /// 0 keeps the struct free of padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Settings>() == 8);
