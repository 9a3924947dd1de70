//! Many probes in one link of the kernel (`BPF_TRACE_UPROBE_MULTI`).
//!
//! Removing a probe that was attached through perf takes the kernel some 90 ms (it waits until no CPU can be in it),
//! one after the other however many threads ask: ten seconds for a hundred probes. A multi-uprobe link waits once for
//! all of its probes, and beside others. aya 0.14 does not offer it, so its programs are loaded once more here, from
//! the same object and with the same maps.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::thread::{self, ScopedJoinHandle};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya_obj::generated::{
    BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type,
};
use aya_obj::relocation::EbpfRelocationError;
use aya_obj::{Object, ParseError};

/// The first release whose links tell the process, and not only its first thread, from others (Linux commit
/// 46ba0e49b642; the link itself came with 6.6).
const SINCE: (u32, u32) = (6, 10);

/// Why programs cannot be loaded for such links.
#[derive(Debug, thiserror::Error)]
pub(super) enum MultiError {
    /// The kernel is too old.
    #[error("it came with Linux {}.{}", SINCE.0, SINCE.1)]
    Kernel,
    /// The embedded object could not be read again.
    #[error("the eBPF object: {0}")]
    Parse(#[from] ParseError),
    /// The same.
    #[error("the eBPF object: {0}")]
    Relocation(#[from] EbpfRelocationError),
    /// The object has no such program.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// The kernel refused the program.
    #[error("loading {0}: {1}")]
    Load(&'static str, io::Error),
}

/// One probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// Offset in the file.
    pub file_offset: u64,
    /// The attach cookie.
    pub cookie: u64,
}

/// A loaded program, and whether it runs at the return of a function.
#[derive(Debug)]
struct Program {
    fd: OwnedFd,
    at_return: bool,
}

/// The programs, loaded for multi-uprobe links.
#[derive(Debug)]
pub(super) struct Multi {
    programs: HashMap<&'static str, Program>,
}

impl Multi {
    /// Loads the programs with these names, and whether each runs at a return. To be called while all maps are still
    /// in `ebpf`.
    ///
    /// # Errors
    ///
    /// [`MultiError`] when the kernel does not have such links, or the object does not fit.
    pub fn load(
        ebpf: &Ebpf,
        object: &[u8],
        names: &[(&'static str, bool)],
    ) -> Result<Self, MultiError> {
        if crate::preflight::release().is_none_or(|release| release < SINCE) {
            return Err(MultiError::Kernel);
        }
        let mut object = Object::parse(object)?;
        let code: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let definitions = object.maps.clone();
        let maps = definitions.iter().filter_map(|(name, definition)| {
            let fd: RawFd = data(ebpf.map(name)?)?.fd().as_fd().as_raw_fd();
            Some((name.as_str(), fd, definition))
        });
        object.relocate_maps(maps, &code)?;
        object.relocate_calls(&code)?;
        let programs = load_all(&object, names)?;
        Ok(Self { programs })
    }

    /// Attaches a program to all of these instructions of a file, in one process or in all. The probes go when the
    /// descriptor is closed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one of them; then none is attached.
    pub fn attach(
        &self,
        program: &'static str,
        file: &File,
        probes: &[Probe],
        process: Option<NonZeroU32>,
    ) -> io::Result<OwnedFd> {
        let program = self.programs.get(program).ok_or(io::ErrorKind::NotFound)?;
        // Through our own descriptor it is this file and no other, whatever its path names by now.
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let offsets: Vec<u64> = probes.iter().map(|probe| probe.file_offset).collect();
        let cookies: Vec<u64> = probes.iter().map(|probe| probe.cookie).collect();
        // SAFETY: `bpf_attr` is a union of integers and arrays of them; zeros are what the kernel wants where nothing
        // is said.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        attr.link_create.__bindgen_anon_1.prog_fd = program.fd.as_raw_fd() as u32;
        attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        // SAFETY: every bit pattern is valid in every member of the union. Field by field: the kernel wants zeros also in
        // the padding behind them.
        let multi = unsafe { &mut attr.link_create.__bindgen_anon_3.uprobe_multi };
        multi.path = path.as_ptr() as u64;
        multi.offsets = offsets.as_ptr() as u64;
        multi.cookies = cookies.as_ptr() as u64;
        multi.cnt = probes.len() as u32;
        multi.flags = if program.at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 };
        multi.pid = process.map_or(0, NonZeroU32::get);
        // SAFETY: all pointers in `attr` are to memory that lives until the end of this function: a string with its
        // NUL, and arrays of `cnt` elements.
        unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &attr) }
    }
}

/// What of a map has its descriptor; the kinds that our programs use.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// Loads them at the same time: the verifier takes up to 90 ms for one, which is most of the start.
fn load_all(
    object: &Object,
    names: &[(&'static str, bool)],
) -> Result<HashMap<&'static str, Program>, MultiError> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for &(name, at_return) in names {
            let program = object.programs.get(name).ok_or(MultiError::Missing(name))?;
            let key = (program.section_index, program.address);
            let function = object.functions.get(&key).ok_or(MultiError::Missing(name))?;
            let load = || load(name, &program.license, &function.instructions);
            let thread = thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, load);
            threads.push((name, at_return, thread.map_err(|error| MultiError::Load(name, error))?));
        }
        let join =
            |(name, at_return, thread): (_, _, ScopedJoinHandle<'_, io::Result<OwnedFd>>)| {
                let loaded = thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
                let fd = loaded.map_err(|error| MultiError::Load(name, error))?;
                Ok((name, Program { fd, at_return }))
            };
        threads.into_iter().map(join).collect()
    })
}

fn load(name: &str, license: &CStr, instructions: &[bpf_insn]) -> io::Result<OwnedFd> {
    // SAFETY: as in `Multi::attach`.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: every bit pattern is valid in every member of the union.
    let program = unsafe { &mut attr.__bindgen_anon_3 };
    // The last byte stays 0.
    for (place, byte) in program.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *place = byte as _;
    }
    program.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    program.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    program.insns = instructions.as_ptr() as u64;
    program.insn_cnt = instructions.len() as u32;
    program.license = license.as_ptr() as u64;
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
