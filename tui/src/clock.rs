//! The machine's clocks.

use rustix::time::{ClockId, clock_gettime};

use crate::model::Time;

/// Nanoseconds since boot, as in the kernel's records and events (`CLOCK_BOOTTIME`).
pub fn boot_time() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// The time of day, as the kernel notes when a packet came.
pub fn time_of_day() -> Time {
    Time(nanoseconds(ClockId::Realtime))
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let of = |number: i64| u64::try_from(number).unwrap_or(0);
    of(time.tv_sec) * 1_000_000_000 + of(time.tv_nsec)
}
