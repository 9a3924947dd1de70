//! What comes into the model, and what it asks for.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::command::Ending;
use super::recording::{PacketKey, Recorded, RecordingMsg};
use super::saving::{KnownLine, PendingLine};
use super::session::Captured;
use super::stats::KernelCounters;
use super::target::{Change, Image, ImageId, Scan};
use super::ui::Exported;
use super::wire::WireMsg;
use crate::hidden::Hidden;
use crate::text::Foreign;
use crate::tls::ClientRandom;

/// Something that happened.
#[derive(Debug)]
pub enum Msg {
    /// A secret came out of the ring buffer.
    Secret(Captured),
    /// A record came out of the ring buffer that cannot be right.
    Rejected {
        /// The process.
        pid: u32,
        /// The name of its thread.
        thread: Foreign,
        /// Why.
        reason: String,
    },
    /// A record whose label neither the kernel nor the file gave.
    LabelLost,
    /// What the kernel side counted.
    Counters(KernelCounters),
    /// A look at the machine.
    Scanned(Scan),
    /// An image that was not known; the next look at the machine says who has it mapped.
    Found(Image),
    /// An attach was carried out.
    Attached {
        /// The image.
        image: ImageId,
        /// The number of probes, or why there are none.
        result: Result<usize, String>,
    },
    /// The kernel did not permit any probe of an image; the [`Msg::Attached`] that follows says more.
    Refused(ImageId),
    /// A [`Change::CatchUp`] was carried out.
    CatchingUp {
        /// The process.
        pid: u32,
        /// The image.
        image: ImageId,
        /// TCP connections that the process has open, as far as that could be told; or why there are no probes.
        result: Result<Option<usize>, String>,
    },
    /// Something about the key log.
    KeyLog(KeyLogMsg),
    /// Something that the user should know.
    Warning(String),
    /// The command line of a process, by its id and `start_ticks`, or why it is not known.
    CommandLine {
        /// Process id and `start_ticks`.
        process: (u32, u64),
        /// With spaces where it had NULs.
        result: Result<Foreign, String>,
    },
    /// An [`Effect::Export`] was carried out.
    Exported(Exported),
    /// Time goes on.
    Tick,
    /// Choose or drop a process.
    ChoosePid(u32, bool),
    /// Choose or drop everything, now and in future.
    ChooseAll(bool),
    /// What became of a recording of packets.
    Recording(RecordingMsg),
    /// What the recorder of packets has done.
    Recorded(Recorded),
    /// What the wire showed.
    Wire(WireMsg),
    /// Turn saving on or off.
    Save(bool),
    /// Turn saving on, to this path.
    SaveTo(PathBuf),
    /// Write what is left now, though the last attempt failed a moment ago.
    Flush,
    /// The command that was run is over.
    CommandEnded(Ending),
}

/// What the key log's writer reports.
#[derive(Debug)]
pub enum KeyLogMsg {
    /// A file is open, and these lines are in it: the one that was asked for, or a new one, since the path
    /// no longer named the old one. Batches of an earlier generation were not written.
    Opened {
        /// Counts the files; a batch belongs to one.
        generation: u64,
        /// Lines in the file.
        known: Vec<KnownLine>,
    },
    /// It could not be opened.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// A batch was written, or a part of it.
    Wrote {
        /// The batch's generation.
        generation: u64,
        /// Lines written.
        written: usize,
        /// Why the others were not.
        error: Option<String>,
    },
    /// The path no longer names the open file, and it could not be made again; or, without a reason, it
    /// names it again.
    Checked {
        /// Why not.
        error: Option<String>,
    },
    /// Whoever read the key log from our stdout is gone.
    ReaderGone,
}

/// Something to do, outside of the model.
#[derive(Debug)]
pub enum Effect {
    /// Change what is attached, or who reports.
    Capture(Change),
    /// Open the key log.
    OpenKeyLog(PathBuf),
    /// Close it.
    CloseKeyLog,
    /// Write these lines, each with one `write`.
    WriteLines {
        /// Of the file that they are for.
        generation: u64,
        /// The lines.
        lines: Vec<PendingLine>,
    },
    /// Record packets to this file; [`Msg::Recording`] says what became of that.
    StartRecording(PathBuf),
    /// End that, also when it has not begun yet.
    StopRecording,
    /// Give a secret to the recorder of packets.
    Record(PacketKey),
    /// Give the recorder of packets, which has begun, the secrets that were there before.
    RecordEarlier {
        /// The secrets, oldest first.
        keys: Vec<PacketKey>,
        /// How many older ones it does not get.
        left_out: u64,
    },
    /// Find out whose a connection is.
    FindOwners {
        /// The handshake in it.
        client_random: ClientRandom,
        /// Who sent the ClientHello.
        client: SocketAddr,
        /// To whom.
        server: SocketAddr,
    },
    /// Put a text on the clipboard.
    Copy {
        /// The text.
        text: Hidden<String>,
        /// What it is, for the user.
        what: &'static str,
    },
    /// Read the command line of a process.
    LookAt {
        /// Process id.
        pid: u32,
        /// Its start, so that it is no other process; 0 when that is not known.
        start_ticks: u64,
    },
    /// Write key lines to a file that is not the key log.
    Export {
        /// The file.
        path: PathBuf,
        /// The sessions whose lines they are.
        sessions: usize,
        /// The lines.
        lines: Vec<PendingLine>,
    },
    /// Tell the log.
    Warn(String),
    /// Run the command: everything is attached.
    StartCommand,
    /// Look at the machine now.
    Rescan,
    /// Ask for what is known of the machine, without another look at it.
    Report,
    /// End the program.
    Quit,
}
