//! What the process gives up, so that a defect in it is worth less, and so that the secrets it holds stay in it.
//!
//! In this order: [`drop_capabilities`] before there are threads, [`keep_memory`] before there are secrets, and
//! [`forbid_calls`] when everything runs. Each is a defence behind others: where the kernel refuses one, that is told in
//! the log and capture goes on.

use std::collections::BTreeMap;
use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// The capabilities that are kept, with what each is for. See capabilities(7).
const KEPT: [(CapabilitySet, &str); 13] = [
    (CapabilitySet::BPF, "programs and maps"),
    (CapabilitySet::PERFMON, "probes, events of the whole machine"),
    (CapabilitySet::SYS_ADMIN, "uprobes on some kernels, /proc/PID/map_files"),
    (CapabilitySet::SYS_PTRACE, "/proc/PID/root, maps and exe of others"),
    (CapabilitySet::DAC_READ_SEARCH, "libraries and executables of others"),
    (CapabilitySet::DAC_OVERRIDE, "a key log in a folder of the user behind sudo"),
    (CapabilitySet::CHOWN, "giving the key log to the user behind sudo"),
    (CapabilitySet::SETUID, "the command, and the configuration, as the user behind sudo"),
    (CapabilitySet::SETGID, "the same, for the groups"),
    (CapabilitySet::KILL, "passing signals on to the command"),
    (CapabilitySet::SYS_NICE, "following before what it follows"),
    (CapabilitySet::NET_RAW, "packets"),
    (CapabilitySet::IPC_LOCK, "memory that is not swapped out"),
];

/// Gives up what is not in [`KEPT`], for the calling thread and those that it will start. What it runs as root has
/// all of them again: exec gives them back to root.
///
/// # Errors
///
/// The kernel's, when it refuses: nothing is given up then.
pub fn drop_capabilities() -> io::Result<()> {
    let kept = KEPT.iter().fold(CapabilitySet::empty(), |kept, (one, _)| kept | *one);
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    let sets = CapabilitySets {
        effective: effective & kept,
        permitted: permitted & kept,
        inheritable: inheritable & kept,
    };
    Ok(set_capabilities(None, sets)?)
}

/// The secrets that are held must not end in a core file or on a swap partition, nor be read by a debugger of the same
/// user.
pub fn keep_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core files cannot be switched off");
    }
    // Without the capability a limit holds, of which what goes beyond it could not be allocated at all.
    let may_lock =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if !may_lock {
        return tracing::warn!("memory is not locked: CAP_IPC_LOCK is missing");
    }
    // What was never touched takes no memory: pages are locked as they come.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = mlockall(flags) {
        tracing::warn!(%error, "memory cannot be locked: secrets may be swapped out");
    }
}

/// Calls that capture never makes: to run something, to change the kernel, the mounts, the clock or another process, and
/// to be reached from outside.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mknodat,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_personality,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// Refuses [`FORBIDDEN`] with EPERM to all threads of this process, for good. What it runs would inherit that: to be
/// called when the command has been started.
pub fn forbid_calls() {
    let result = filter().and_then(|filter| seccompiler::apply_filter_all_threads(&filter));
    if let Err(error) = result {
        tracing::warn!(%error, "system calls that are not needed cannot be forbidden");
    }
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let rules: BTreeMap<i64, _> = FORBIDDEN.iter().map(|&call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?;
    Ok(BpfProgram::try_from(filter)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Alone in its process, as nextest runs it: none of it can be taken back.
    #[test]
    fn what_is_given_up_is_gone() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("not root: nothing to give up");
        }
        drop_capabilities().unwrap();
        keep_memory();
        let threads = thread::spawn(|| capabilities(None).unwrap().permitted);
        let left = threads.join().unwrap();
        assert!(!left.intersects(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_MODULE));
        let (going_on, goes_on) = std::sync::mpsc::channel::<()>();
        let running = thread::spawn(move || {
            let _ = goes_on.recv();
            Command::new("/bin/true").status().map_err(|error| error.kind())
        });
        assert!(Command::new("/bin/true").status().unwrap().success());
        forbid_calls();
        drop(going_on);
        // Also in a thread that ran before.
        assert_eq!(running.join().unwrap().unwrap_err(), io::ErrorKind::PermissionDenied);
        let refused = TcpListener::bind("127.0.0.1:0").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
}
