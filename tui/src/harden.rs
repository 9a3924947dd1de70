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
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// The capabilities that are kept, with what each is for. See capabilities(7).
const KEPT: [(CapabilitySet, &str); 11] = [
    (CapabilitySet::BPF, "programs and maps"),
    (CapabilitySet::PERFMON, "probes, events of the whole machine"),
    (CapabilitySet::SYS_ADMIN, "uprobes on some kernels, /proc/PID/map_files"),
    (CapabilitySet::SYS_PTRACE, "/proc/PID/root, maps and exe of others"),
    (CapabilitySet::DAC_READ_SEARCH, "libraries and executables of others"),
    (
        CapabilitySet::DAC_OVERRIDE,
        "without sudo, a key log in a folder of another user; a user's display",
    ),
    (CapabilitySet::SETUID, "files and the command, as the user behind sudo"),
    (CapabilitySet::SETGID, "the same, for the groups"),
    (CapabilitySet::KILL, "passing signals on to the command"),
    (CapabilitySet::SYS_NICE, "following before what it follows"),
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
    libc::SYS_pidfd_getfd,
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
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
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
    libc::SYS_quotactl_fd,
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

/// Namespaces that a new thread or process would get by clone(2).
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Refuses [`FORBIDDEN`], and [`NAMESPACES`], with EPERM to all threads of this process, for good. What it runs would
/// inherit that: to be called when the command has been started.
pub fn forbid_calls() {
    // The second one is installed where the first one already holds.
    let result = filter().and_then(|filter| {
        seccompiler::apply_filter_all_threads(&filter)?;
        seccompiler::apply_filter_all_threads(&by_number())
    });
    if let Err(error) = result {
        tracing::warn!(%error, "system calls that are not needed cannot be forbidden");
    }
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, _> = FORBIDDEN.iter().map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, NAMESPACES.map(with_flag).into_iter().collect::<Result<_, _>>()?);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// A call with this flag among the bits of its first argument.
fn with_flag(flag: libc::c_int) -> Result<SeccompRule, seccompiler::BackendError> {
    let flag = u64::from(flag.unsigned_abs());
    let has = SeccompCmpOp::MaskedEq(flag);
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, has, flag)?])
}

/// What the number alone decides and seccompiler has no rules for.
///
/// - The x32 calls, each another way to a forbidden one: `__X32_SYSCALL_BIT` of asm/unistd.h is set, and the architecture
///   is that of the others. EPERM.
/// - clone3(2), whose flags are in memory, where no filter can look. ENOSYS: the C library then takes clone(2).
fn by_number() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    // The number comes first in `seccomp_data` (linux/seccomp.h).
    let load =
        sock_filter { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 };
    let jump =
        |test, k, jf| sock_filter { code: code(libc::BPF_JMP | test | libc::BPF_K), jt: 0, jf, k };
    let answer = |k| sock_filter { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k };
    let error = |number: libc::c_int| answer(libc::SECCOMP_RET_ERRNO | number.unsigned_abs());
    vec![
        load,
        jump(libc::BPF_JGE, X32, 1),
        error(libc::EPERM),
        jump(libc::BPF_JEQ, libc::SYS_clone3 as u32, 1),
        error(libc::ENOSYS),
        answer(libc::SECCOMP_RET_ALLOW),
    ]
}

/// An instruction's code has 16 bits (linux/filter.h).
fn code(bits: u32) -> u16 {
    bits as u16
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// None of it can be taken back: it is done by another process of this test, which has the variable.
    #[test]
    fn what_is_given_up_is_gone() {
        const ALONE: &str = "TLSKEYTOP_TEST_ALONE";
        const NAME: &str = "harden::tests::what_is_given_up_is_gone";
        if !rustix::process::geteuid().is_root() {
            return eprintln!("not root: nothing to give up");
        }
        if std::env::var_os(ALONE).is_some() {
            return is_gone();
        }
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let ended = alone.args([NAME, "--exact", "--nocapture"]).env(ALONE, "").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    }

    fn is_gone() {
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
        assert_eq!(call(libc::SYS_mknod, 0), libc::EFAULT);
        forbid_calls();
        drop(going_on);
        // Also in a thread that ran before.
        assert_eq!(running.join().unwrap().unwrap_err(), io::ErrorKind::PermissionDenied);
        let refused = TcpListener::bind("127.0.0.1:0").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        for forbidden in [libc::SYS_mknod, libc::SYS_pidfd_getfd, libc::SYS_quotactl_fd] {
            assert_eq!(call(forbidden, 0), libc::EPERM, "{forbidden}");
        }
        // Without CLONE_VM the kernel refuses CLONE_SIGHAND: what is not forbidden makes no process either.
        assert_eq!(call(libc::SYS_clone, libc::CLONE_SIGHAND), libc::EINVAL);
        for namespace in NAMESPACES {
            let flags = namespace | libc::CLONE_SIGHAND;
            assert_eq!(call(libc::SYS_clone, flags), libc::EPERM, "{namespace:#x}");
        }
        assert_eq!(call(libc::SYS_clone3, 0), libc::ENOSYS);
        // getppid(2) as x32 has it.
        assert_eq!(call(libc::SYS_getppid | 0x4000_0000, 0), libc::EPERM);
        assert!(thread::spawn(|| ()).join().is_ok(), "threads are still possible");
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }

    /// The error of a call that fails in any case.
    fn call(number: libc::c_long, first: libc::c_int) -> libc::c_int {
        // SAFETY: each of them only fails with these arguments: null pointers, descriptor 0 for what is none of theirs,
        // and flags that exclude each other.
        let result = unsafe { libc::syscall(number, first, 0, 0, 0, 0, 0) };
        assert_eq!(result, -1, "{number}");
        io::Error::last_os_error().raw_os_error().unwrap()
    }
}
