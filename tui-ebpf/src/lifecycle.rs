//! A process that becomes another program, or ends, is decided on anew: a rule not to report goes.
//!
//! A rule to report stays. User space forgets it, and drops what came in the meantime; and the first thread
//! of a process may end long before the others, which still have to report.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use tlskeytop_common::PidRule;

use crate::maps::PIDS;

/// The present task has become another program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    forget_no(ctx.tgid());
    0
}

/// The present task, a thread, is about to end.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(ctx: RawTracePointContext) -> i32 {
    // The kernel's pid is the thread's; that of the first thread is the process's.
    if ctx.pid() == ctx.tgid() {
        forget_no(ctx.tgid());
    }
    0
}

#[inline(always)]
fn forget_no(pid: u32) {
    // SAFETY: the value is one word that user space replaces as a whole.
    let rule = unsafe { PIDS.get(pid) };
    if rule.is_some_and(|rule| *rule == PidRule::NO.0) {
        // It only fails when user space was faster.
        let _ = PIDS.remove(pid);
    }
}
