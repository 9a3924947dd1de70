//! Capture: loads the eBPF object, attaches the probes of a plan, and reads what they send.

pub(crate) mod again;
mod control;
mod decode;
mod events;
mod kernel;
mod links;
mod multi;
mod probes;
mod processes;
pub mod reading;
mod rules;
pub(crate) mod slots;
mod warm;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, RwLock};

use aya::maps::{Array, HashMap, MapData, MapError, RingBuf};
use aya::programs::{ProgramError, RawTracePoint, SocketFilter};
use aya::{Ebpf, EbpfError, EbpfLoader};

use again::Again;
pub use control::{Control, Orders};
pub use decode::Decoder;
pub use events::Events;
pub use probes::{Attached, Probes};
pub use rules::{Counters, Rules};

use crate::packets::Owners;
use crate::target::plan::Ways;

/// Bytes of the ring buffer, as a rule: 19,000 secrets, some ten seconds at the highest rate that was measured.
pub const RING: u32 = 4 << 20;
/// The object that `cargo xtask ebpf` built.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/tlskeytop.o");
/// The programs that forget rules of processes that became another program or ended, with the kernel's
/// tracepoint of each.
const LIFECYCLE: [(&str, &str); 2] =
    [("process_exec", "sched_process_exec"), ("process_exit", "sched_process_exit")];

/// The maps of the programs for the wire view, which take no memory without it.
const WIRE_MAPS: [&str; 4] = ["FLOWS", "COUNTS", "CONNECTING", "OWNERS"];

/// Why capture failed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The kernel or aya refused the object.
    #[error("loading the eBPF object: {0}")]
    Load(#[from] EbpfError),
    /// The kernel refused the program.
    #[error("loading the eBPF program: {0}")]
    Program(#[from] ProgramError),
    /// A map could not be used.
    #[error("eBPF map {name}: {source}")]
    Map {
        /// Which map.
        name: &'static str,
        /// What happened.
        source: MapError,
    },
    /// The embedded object has no such part: it does not fit this binary.
    #[error("the eBPF object has no {0}: run `cargo xtask ebpf`")]
    Missing(&'static str),
    /// A probe could not be attached.
    #[error("attaching at file offset {offset:#x}: {reason}")]
    Attach {
        /// File offset of the instruction.
        offset: u64,
        /// What the kernel said.
        reason: String,
        /// It did not permit it.
        refused: bool,
    },
    /// More taps than the kernel side has room for.
    #[error("more taps or walks are attached than there is room for")]
    NoSlot,
    /// The ring buffer could not be waited for.
    #[error("waiting for the ring buffer: {0}")]
    Wait(#[from] io::Error),
}

impl CaptureError {
    /// Whether the kernel did not permit a probe.
    pub fn is_refused_probe(&self) -> bool {
        matches!(self, Self::Attach { refused: true, .. })
    }
}

/// The parts of a loaded object. Each has its owner: probes attach off the loop, events are read on it.
pub struct Loaded {
    /// Attaches and detaches.
    pub probes: Probes,
    /// The ring buffer.
    pub events: Events,
    /// Who reports.
    pub rules: Rules,
    /// What was counted.
    pub counters: Counters,
    /// What the wire view needs, if it was wanted and works.
    pub wire: Option<Wire>,
    /// What does not work, and is not needed for capture.
    pub warnings: Vec<String>,
}

/// The programs for the wire view. The tracepoint is watched as long as the object is loaded.
pub struct Wire {
    /// The socket filter of [`Hellos`](crate::packets::Hellos).
    pub filter: OwnedFd,
    /// Whose connections they are.
    pub owners: Owners,
}

/// Loads the object into the kernel, with a ring buffer of `ring_bytes` (a power of two, at least a page), to
/// capture in these ways, and with what the wire view needs.
///
/// # Errors
///
/// [`CaptureError`] when the kernel refuses it or the object does not fit.
pub fn load(ring_bytes: u32, ways: Ways, with_wire: bool) -> Result<Loaded, CaptureError> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("EVENTS", ring_bytes);
    if !with_wire {
        for name in WIRE_MAPS {
            loader.map_max_entries(name, 1);
        }
    }
    let mut ebpf = loader.load(OBJECT)?;
    // While the maps are in it.
    let multi = links::Linker::multi(&ebpf, &probes::PROGRAMS);
    if !with_wire {
        // A descriptor each, where there may be few.
        for name in WIRE_MAPS {
            drop(ebpf.take_map(name));
        }
    }
    let mut take = |name: &'static str| ebpf.take_map(name).ok_or(CaptureError::Missing(name));
    let events = take("EVENTS")?;
    let taps = take("TAPS")?;
    let records = take("RECORDS")?;
    let tokens = take("TOKENS")?;
    let walks = take("WALKS")?;
    let pids = take("PIDS")?;
    let settings = take("SETTINGS")?;
    let counters = take("COUNTERS")?;
    let reader = take("READER")?;
    let seen = take("SEEN")?;
    let named = |name| move |source| CaptureError::Map { name, source };

    let mut warnings: Vec<String> = LIFECYCLE
        .into_iter()
        .filter_map(|(program, tracepoint)| {
            let error = watch(&mut ebpf, program, tracepoint).err()?;
            Some(format!("{tracepoint} cannot be watched: {}", with_causes(&error)))
        })
        .collect();
    match kernel::layout() {
        Ok(layout) => {
            // It stays with the object, whose programs may be loaded later.
            let map = ebpf.map_mut("KERNEL").ok_or(CaptureError::Missing("KERNEL"))?;
            let mut map = Array::try_from(map).map_err(named("KERNEL"))?;
            map.set(0, kernel::PodLayout(layout), 0).map_err(named("KERNEL"))?;
        }
        Err(error) => warnings.push(format!("peers stay unknown: {}", with_causes(&error))),
    }
    let wire = with_wire.then(|| wire(&mut ebpf)).and_then(|wire| {
        let failed = |error| warnings.push(format!("no wire view: {}", with_causes(&error)));
        wire.map_err(failed).ok()
    });
    let tap_slots = Arc::new(RwLock::new(slots::Slots::new(tlskeytop_common::TAP_SLOTS)));
    let walk_slots = Arc::new(RwLock::new(slots::Slots::new(tlskeytop_common::WALK_SLOTS)));
    let decoder = Decoder::new(
        Arc::clone(&tap_slots),
        Arc::clone(&walk_slots),
        Again::new(Some(seen.try_into().map_err(named("SEEN"))?)),
    );
    let tables = probes::Tables {
        taps: taps.try_into().map_err(named("TAPS"))?,
        records: records.try_into().map_err(named("RECORDS"))?,
        tokens: tokens.try_into().map_err(named("TOKENS"))?,
        walks: walks.try_into().map_err(named("WALKS"))?,
        tap_slots,
        walk_slots,
    };
    let ring: RingBuf<MapData> = RingBuf::try_from(events).map_err(named("EVENTS"))?;
    Ok(Loaded {
        events: Events::new(ring, reader.try_into().map_err(named("READER"))?, decoder)?,
        rules: Rules::new(
            pids.try_into().map_err(named("PIDS"))?,
            settings.try_into().map_err(named("SETTINGS"))?,
        ),
        counters: Counters::new(counters.try_into().map_err(named("COUNTERS"))?),
        probes: Probes::new(links::Linker::new(ebpf, multi, &probes::PROGRAMS)?, tables, ways),
        wire,
        warnings,
    })
}

/// Loads what the wire view needs.
fn wire(ebpf: &mut Ebpf) -> Result<Wire, CaptureError> {
    let owners = ebpf.take_map("OWNERS").ok_or(CaptureError::Missing("OWNERS"))?;
    let owners = HashMap::try_from(owners);
    let owners = owners.map_err(|source| CaptureError::Map { name: "OWNERS", source })?;
    let program = ebpf.program_mut("handshakes").ok_or(CaptureError::Missing("handshakes"))?;
    let program: &mut SocketFilter = program.try_into()?;
    program.load()?;
    let filter = program.fd()?.as_fd().try_clone_to_owned()?;
    watch(ebpf, "socket_state", "inet_sock_set_state")?;
    Ok(Wire { filter, owners: Owners::new(owners)? })
}

/// Attaches a program to a raw tracepoint for as long as the object is loaded.
fn watch(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<(), CaptureError> {
    let program = ebpf.program_mut(name).ok_or(CaptureError::Missing(name))?;
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    program.attach(tracepoint)?;
    Ok(())
}

/// Whether a cause is that the kernel did not permit it.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// The whole chain of causes: aya's own message names the system call, its source the reason.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some of our own messages have their source's in them.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
