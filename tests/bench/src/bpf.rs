//! bpf(2) as far as the bench needs it: programs that do little, programs and links of others by their numbers, and what
//! the kernel counts of them.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_map_type, bpf_prog_info,
    bpf_prog_type, bpf_stats_type,
};

use crate::assembly::{self, R0};

/// Bytes of the least program's ring buffer.
const RING: u32 = 4 << 20;
/// Room for what the verifier has to say.
const LOG: usize = 1 << 16;
/// Instructions of one link; those of a tap are fewer.
const MOST_PROBES: usize = 64;

/// A program for uprobes.
pub struct Program(OwnedFd);

/// A probe; removed when dropped.
pub struct Probe {
    _link: OwnedFd,
}

/// How often a program ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// So many times.
    pub count: u64,
    /// For how long, in nanoseconds.
    pub nanoseconds: u64,
}

impl Program {
    /// The least that one can be: it returns at once.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn empty() -> Result<Self> {
        Self::load(&[assembly::number(R0, 0), assembly::exit()]).context("loading an empty program")
    }

    /// The least that tells a secret: it copies a client random, so many bytes behind argument 0, and a secret of 48 bytes,
    /// argument 2, to a ring buffer with the time and who it was. Nobody reads it: it takes some 20,000 hits.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn least(random: u32) -> Result<Self> {
        let ring = ring().context("making a ring buffer")?;
        let program = Self::load(&assembly::least(&ring, random)).context("loading a program")?;
        Ok(program)
    }

    fn load(instructions: &[bpf_insn]) -> Result<Self> {
        let mut log = vec![0u8; LOG];
        let mut attr = nothing_said();
        // SAFETY: every bit pattern is valid in every member of the union.
        let program = unsafe { &mut attr.__bindgen_anon_3 };
        program.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        program.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        program.insns = instructions.as_ptr() as u64;
        program.insn_cnt = instructions.len() as u32;
        program.license = c"GPL".as_ptr() as u64;
        program.log_buf = log.as_mut_ptr() as u64;
        program.log_size = log.len() as u32;
        program.log_level = 1;
        // SAFETY: the pointers are to `insn_cnt` instructions, to a string with its NUL and to `log_size` bytes, which
        // outlive the call.
        let program = unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr) };
        let said = |error| {
            anyhow::anyhow!("{error}: {}", String::from_utf8_lossy(&log).trim_end_matches('\0'))
        };
        program.map(Self).map_err(said)
    }

    /// Somebody's, by its number.
    ///
    /// # Errors
    /// When there is none.
    pub fn by_id(id: u32) -> Result<Self> {
        by_id(bpf_cmd::BPF_PROG_GET_FD_BY_ID, id).map(Self).context("a program by its number")
    }

    /// Puts it on one instruction of a file, in every process, by a multi-uprobe link, as ours are.
    ///
    /// # Errors
    /// When the kernel refuses it: those before 6.6 have no such links.
    pub fn attach(&self, file: &File, offset: u64, cookie: u64) -> Result<Probe> {
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut attr = nothing_said();
        attr.link_create.__bindgen_anon_1.prog_fd = self.0.as_raw_fd() as u32;
        attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        // SAFETY: every bit pattern is valid in every member of the union.
        let multi = unsafe { &mut attr.link_create.__bindgen_anon_3.uprobe_multi };
        multi.path = path.as_ptr() as u64;
        multi.offsets = &raw const offset as u64;
        multi.cookies = &raw const cookie as u64;
        multi.cnt = 1;
        // SAFETY: the pointers are to a string with its NUL and to one number each, which outlive the call.
        let link = unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr) };
        Ok(Probe { _link: link.context("placing a probe")? })
    }

    /// How often it ran while the kernel counted.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn runs(&self) -> Result<Runs> {
        // SAFETY: integers and a bit field of them, of which zeros are one.
        let mut info: bpf_prog_info = unsafe { mem::zeroed() };
        // SAFETY: without pointers in it, the kernel writes to `info` alone.
        unsafe { ask(&self.0, &mut info) }.context("asking for a program")?;
        Ok(Runs { count: info.run_cnt, nanoseconds: info.run_time_ns })
    }
}

impl Runs {
    /// What came since.
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
        }
    }
}

/// A multi-uprobe link of a process: the number of its program, and its instructions with their cookies.
pub struct Link {
    /// For [`Program::by_id`].
    pub program: u32,
    /// Offset in the file, and cookie.
    pub probes: Vec<(u64, u64)>,
}

impl Link {
    /// Those whose descriptors a process holds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(pid: u32) -> Result<Vec<Self>> {
        let mut links = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("it has ended")? {
            // One that was closed meanwhile.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            let is_multi = field("link_type:").is_some_and(|kind| kind.trim() == "uprobe_multi");
            let id = field("link_id:").and_then(|id| id.trim().parse().ok());
            links.extend(id.filter(|_| is_multi).and_then(|id| Self::by_id(id).ok()));
        }
        Ok(links)
    }

    fn by_id(id: u32) -> io::Result<Self> {
        let link = by_id(bpf_cmd::BPF_LINK_GET_FD_BY_ID, id)?;
        let (mut offsets, mut cookies) = ([0u64; MOST_PROBES], [0u64; MOST_PROBES]);
        // SAFETY: a union of integers and structures of them, of which zeros are one.
        let mut info: bpf_link_info = unsafe { mem::zeroed() };
        // SAFETY: every bit pattern is valid in every member of the union.
        let multi = unsafe { &mut info.__bindgen_anon_1.uprobe_multi };
        multi.offsets = offsets.as_mut_ptr() as u64;
        multi.cookies = cookies.as_mut_ptr() as u64;
        multi.count = MOST_PROBES as u32;
        // SAFETY: the pointers are to `count` numbers each, which outlive the call.
        unsafe { ask(&link, &mut info)? };
        // SAFETY: as above.
        let count = unsafe { info.__bindgen_anon_1.uprobe_multi.count } as usize;
        let probes = offsets.into_iter().zip(cookies).take(count).collect();
        Ok(Self { program: info.prog_id, probes })
    }
}

/// While it lives, the kernel counts how often programs run, and for how long. However this process ends, that ends too.
pub struct Statistics {
    _switch: OwnedFd,
}

impl Statistics {
    /// Turns them on.
    ///
    /// # Errors
    /// When the kernel does not count.
    pub fn turn_on() -> Result<Self> {
        let mut attr = nothing_said();
        attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
        // SAFETY: there is no pointer in it.
        let switch = unsafe { descriptor(bpf_cmd::BPF_ENABLE_STATS, &mut attr) };
        Ok(Self { _switch: switch.context("counting runs of programs")? })
    }
}

/// A ring buffer.
fn ring() -> io::Result<OwnedFd> {
    let mut attr = nothing_said();
    // SAFETY: every bit pattern is valid in every member of the union.
    let map = unsafe { &mut attr.__bindgen_anon_1 };
    map.map_type = bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;
    map.max_entries = RING;
    // SAFETY: there is no pointer in it.
    unsafe { descriptor(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

fn nothing_said() -> bpf_attr {
    // SAFETY: a union of integers and arrays of them; zeros are what the kernel wants where nothing is said.
    unsafe { mem::zeroed() }
}

fn by_id(command: bpf_cmd, id: u32) -> io::Result<OwnedFd> {
    let mut attr = nothing_said();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    // SAFETY: there is no pointer in it.
    unsafe { descriptor(command, &mut attr) }
}

/// What the kernel says of a program or link.
///
/// # Safety
///
/// Every pointer in `info` must be to as much room as it says there.
unsafe fn ask<T>(of: &OwnedFd, info: &mut T) -> io::Result<()> {
    let mut attr = nothing_said();
    attr.info.bpf_fd = of.as_raw_fd() as u32;
    attr.info.info_len = mem::size_of::<T>() as u32;
    attr.info.info = (&raw mut *info) as u64;
    // SAFETY: `info` has the size that is given, and what it points to is valid by this function's contract.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

/// bpf(2), for commands that return a new descriptor.
///
/// # Safety
///
/// As [`bpf`].
unsafe fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: by this function's contract.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: these commands return a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2).
///
/// # Safety
///
/// Every pointer in `attr` must be to what the command expects there.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: `attr` has the size that is given, and what it points to is valid by this function's contract.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as u32, attr, mem::size_of::<bpf_attr>()) };
    match RawFd::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
