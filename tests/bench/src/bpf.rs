//! The least that a uprobe can be: a program that returns at once, and what the kernel says of programs that ran.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    BPF_JMP, BPF_K, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type,
};

/// `BPF_EXIT` and `BPF_ALU64 | BPF_MOV` (`linux/bpf.h`).
const EXIT: u32 = 0x90;
const MOVE: u32 = 0xb7;

/// Empty probes on instructions of a file, in every process; removed when dropped.
pub struct EmptyProbes {
    _link: OwnedFd,
}

impl EmptyProbes {
    /// Attaches them by one multi-uprobe link, as ours are.
    ///
    /// # Errors
    /// When the kernel refuses them: those before 6.6 have no such links.
    pub fn attach(file: &File, offsets: &[u64]) -> Result<Self> {
        let program = load().context("loading an empty program")?;
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        // SAFETY: `bpf_attr` is a union of integers and arrays of them; zeros are what the kernel wants where nothing
        // is said.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        // SAFETY: every bit pattern is valid in every member of the union.
        let multi = unsafe { &mut attr.link_create.__bindgen_anon_3.uprobe_multi };
        multi.path = path.as_ptr() as u64;
        multi.offsets = offsets.as_ptr() as u64;
        multi.cnt = u32::try_from(offsets.len())?;
        // SAFETY: the pointers are to a string with its NUL and an array of `cnt` elements, which outlive the call.
        let link = unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &attr) };
        Ok(Self { _link: link.context("attaching an empty program")? })
    }
}

fn load() -> io::Result<OwnedFd> {
    let instruction = |code: u32| {
        // SAFETY: integers and a bit field of them, of which zeros are one.
        bpf_insn { code: code as u8, ..unsafe { mem::zeroed() } }
    };
    // r0 = 0; exit
    let instructions = [instruction(MOVE), instruction(BPF_JMP | BPF_K | EXIT)];
    // SAFETY: as in `EmptyProbes::attach`.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: every bit pattern is valid in every member of the union.
    let program = unsafe { &mut attr.__bindgen_anon_3 };
    program.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    program.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    program.insns = instructions.as_ptr() as u64;
    program.insn_cnt = instructions.len() as u32;
    program.license = c"GPL".as_ptr() as u64;
    // SAFETY: the pointers are to `insn_cnt` instructions and to a string with its NUL, which outlive the call.
    unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &attr) }
}

/// bpf(2), for commands that return a new descriptor.
///
/// # Safety
///
/// Every pointer in `attr` must be to what the command expects there.
unsafe fn bpf(command: bpf_cmd, attr: &bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: `attr` has the size that is given, and what it points to is valid by this function's contract.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as u32, attr, mem::size_of::<bpf_attr>()) };
    match RawFd::try_from(result) {
        // SAFETY: these commands return a descriptor that nobody else has.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// While it lives, the kernel counts how often programs run, and for how long.
pub struct Statistics {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Turns them on.
    ///
    /// # Errors
    /// When the kernel has no such switch.
    pub fn turn_on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context(SWITCH)?;
        fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// What the programs of a process did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// How often they ran.
    pub count: u64,
    /// For how long, in nanoseconds.
    pub nanoseconds: u64,
}

impl Runs {
    /// Of all programs whose descriptors this process holds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(pid: u32) -> Result<Self> {
        let mut runs = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("it has ended")? {
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| -> u64 {
                let value = text.lines().find_map(|line| line.strip_prefix(name));
                value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
            };
            runs.count += field("run_cnt:");
            runs.nanoseconds += field("run_time_ns:");
        }
        Ok(runs)
    }

    /// What came since.
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
        }
    }
}
