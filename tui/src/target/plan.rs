//! The plan: what will be attached to an image, and the reason for each choice.

use std::borrow::Cow;

use tlskeytop_common::{Operand, REGISTERS as REGISTER_COUNT, RecordConfig, TokenConfig};

use super::functions;
use super::layout::{self, Evidence, Forced, LayoutRefusal, Layouted, ProvenLayout};
use super::stack::Found;

/// How code of a TLS library came into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// A shared library that the system's loader finds (`libssl.so.3`).
    Shared,
    /// A shared object that carries the library inside it or beside it (`libssl-1c5a3f9d.so.3`, `_wrapper.abi3.so`).
    Bundled,
    /// An executable with the library linked in.
    Static,
}

/// The name and version of a TLS library, as far as the file says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Library {
    /// `OpenSSL`, `quictls`, `BoringSSL`, `AWS-LC`, `LibreSSL`, `GnuTLS`, `NSS`, `Go`.
    pub name: &'static str,
    /// As in the file's own version string (`3.0.17`); `None` where it has none (BoringSSL).
    pub version: Option<String>,
}

/// Where the client random is, seen from the connection pointer (argument 0 of the tap).
///
/// `deref = None`: `connection + offset`. `deref = Some(d)`: `*(connection + d) + offset`. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RandomPath {
    /// Offset of a pointer to follow first, if any.
    pub deref: Option<u32>,
    /// Offset of the 32 bytes.
    pub offset: u32,
}

/// Where a tap finds connection, label, secret and client random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// The function is called as `log_secret(connection, label, secret, length)` is in C, and the client random is
    /// found from the connection.
    Connection(RandomPath),
    /// Elsewhere.
    Operands(Operands),
    /// The secret is the handle of an object in a PKCS #11 module, of which the plan is in another file; everything else
    /// is where the operands say.
    Key(Operands),
    /// No secret: an object of such a module, on its way to its handle.
    Token(TokenConfig),
}

impl Arguments {
    /// Where the client random is, as people write it: `[rdi+0x30]+0x30`; `None` where there is none.
    pub fn client_random(&self) -> Option<String> {
        Some(match self {
            Self::Connection(RandomPath { deref: Some(deref), offset }) => {
                format!("[arg0+{deref:#x}]+{offset:#x}")
            }
            Self::Connection(RandomPath { deref: None, offset }) => format!("arg0+{offset:#x}"),
            Self::Operands(operands) | Self::Key(operands) => place(&operands.record.client_random),
            Self::Token(_) => return None,
        })
    }
}

/// x86-64's names of the registers, by the numbers of its instruction set.
const REGISTERS: [&str; REGISTER_COUNT] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

fn place(operand: &Operand) -> String {
    if operand.is_there == Operand::CONSTANT {
        return operand.add.to_string();
    }
    let mut text = REGISTERS[usize::from(operand.register) % REGISTERS.len()].to_owned();
    for at in operand.at.iter().take(operand.follows.into()) {
        text = format!("[{text}{at:+#x}]");
    }
    match operand.add {
        0 => text,
        add => format!("{text}{add:+#x}"),
    }
}

/// The values of a tap with a convention of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operands {
    /// Where each value is, at the probed instruction.
    pub record: RecordConfig,
    /// The labels by the number that the library passes, from 0; empty where it passes the label itself.
    pub labels: &'static [&'static str],
}

/// Why a site was chosen: it decides what a hit costs (facts, part 1, step 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SiteKind {
    /// An instruction near the entry that the kernel emulates, with the arguments still in their registers.
    Emulated,
    /// A direct call or tail jump to the function, which the kernel emulates.
    Call,
    /// The entry, single-stepped by the kernel.
    Entry,
    /// An instruction further down in the function, single-stepped by the kernel.
    Inside,
}

/// One instruction to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Virtual address as in the file's program headers.
    pub address: u64,
    /// Offset in the file: `address - p_vaddr + p_offset`.
    pub file_offset: u64,
    /// Why this instruction.
    pub kind: SiteKind,
}

/// A probe on the image's own secret-logging function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Virtual address of the function's entry.
    pub function: u64,
    /// Name of the function where the file has a symbol for it.
    pub symbol: Option<String>,
    /// Where its values are.
    pub arguments: Arguments,
    /// The instructions to probe; never empty.
    pub sites: Vec<Site>,
}

/// A label of the key log in the file.
///
/// The program that reads a label through the tap's argument 1 may find its page not resident (facts, part 1): then
/// `pointer - instruction pointer + site address` is the label's address here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelAt {
    /// Virtual address as in the file's program headers.
    pub address: u64,
    /// The label, without the NUL that ends it in the file.
    pub name: &'static str,
}

/// How a function was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// The file exports its name.
    Export,
    /// The file exports none of the names, and has a symbol for it.
    Symbol,
    /// Its own error records name it.
    ErrorRecord,
}

/// A function of the library that the walk may be hooked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// `SSL_do_handshake`. Of one that was found by its error records it is the function that files them, which the
    /// compiler may have put into several others: there may be more than one hook of a name.
    pub name: &'static str,
    /// How it was found.
    pub found_by: FoundBy,
    /// Virtual address of its entry as in the file's program headers.
    pub address: u64,
    /// Offset in the file: `address - p_vaddr + p_offset`.
    pub file_offset: u64,
    /// Offset in the file of the instruction that a probe at the entry is put on: one that the kernel emulates, if there
    /// is one behind the entry with the connection still in its register, since the others cost ten times as much.
    pub probe_offset: u64,
}

impl Hook {
    /// Whether the function is called on each read or write of a connection, or at its end: for catching up only.
    pub fn is_on_data_path(&self) -> bool {
        functions::is_data_path(self.name)
    }
}

/// Everything that is known about one image, and what will be attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    /// It has the labels, and is for a processor that cannot be captured: why not. Then nothing else is known of it.
    pub unsupported: Option<&'static str>,
    /// The GNU build id, if the file has one.
    pub build_id: Option<Vec<u8>>,
    /// Shared, bundled or static.
    pub linkage: Linkage,
    /// No `.symtab`: only exported symbols, or none.
    pub stripped: bool,
    /// The TLS library, where it could be recognised.
    pub library: Option<Library>,
    /// Further TLS libraries in the same file.
    pub others: Vec<Library>,
    /// The taps that were found; a file with two TLS stacks has two.
    pub taps: Vec<Tap>,
    /// The known labels in the file, by address.
    pub labels: Vec<LabelAt>,
    /// How the taps were found, or why there is none: one sentence for `scan`.
    pub reason: String,
    /// Where the library's structures have their fields, as far as that is proved.
    pub layout: Layouted,
    /// What the code shows of the layout: for [`ImagePlan::prove_layout`].
    pub evidence: Evidence,
    /// The functions that the walk may be hooked to.
    pub hooks: Vec<Hook>,
    /// How the hooks were found, or why there is none: one sentence for `scan`.
    pub hooks_reason: String,
}

/// Which ways of capture are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// A tap where there is one, else a walk.
    #[default]
    Auto,
    /// Taps only.
    Tap,
    /// Walks only.
    Walk,
}

impl ImagePlan {
    /// Of a file of which nothing is known, and to which nothing is attached.
    pub fn nothing(reason: &str) -> Self {
        Self {
            unsupported: None,
            build_id: None,
            linkage: Linkage::Shared,
            stripped: false,
            library: None,
            others: Vec::new(),
            taps: Vec::new(),
            labels: Vec::new(),
            reason: reason.to_owned(),
            layout: Err(LayoutRefusal(reason.to_owned())),
            evidence: Evidence::default(),
            hooks: Vec::new(),
            hooks_reason: reason.to_owned(),
        }
    }

    /// The taps that are attached.
    pub fn taps_for(&self, ways: Ways) -> &[Tap] {
        match ways {
            Ways::Auto | Ways::Tap => &self.taps,
            Ways::Walk => &[],
        }
    }

    /// Whether a walk is attached.
    pub fn is_walked(&self, ways: Ways) -> bool {
        let wanted = match ways {
            // A tap of another stack in the file gets none of this one's secrets.
            Ways::Auto => {
                !self.taps.iter().any(|tap| matches!(tap.arguments, Arguments::Connection(_)))
            }
            Ways::Tap => false,
            Ways::Walk => true,
        };
        wanted
            && !self.hooks.is_empty()
            && self.layout.as_ref().is_ok_and(ProvenLayout::can_be_walked)
    }

    /// Whether connections can be read that were open before anything was attached.
    pub fn can_catch_up(&self, ways: Ways) -> bool {
        ways != Ways::Tap
            && self.layout.as_ref().is_ok_and(ProvenLayout::can_be_walked)
            && self.hooks.iter().any(Hook::is_on_data_path)
    }

    /// The functions at which open connections are read, each once; none where they cannot be.
    pub fn data_path(&self, ways: Ways) -> Vec<&'static str> {
        if !self.can_catch_up(ways) {
            return Vec::new();
        }
        let hooks = self.hooks.iter().filter(|hook| hook.is_on_data_path());
        let mut names: Vec<_> = hooks.map(|hook| hook.name).collect();
        names.dedup();
        names
    }

    /// Why nothing is attached in these ways. Of one that is attached it says nothing.
    pub fn obstacle(&self, ways: Ways) -> Cow<'_, str> {
        if let Some(why) = self.unsupported {
            return Cow::Borrowed(why);
        }
        match (ways, &self.layout) {
            (Ways::Auto | Ways::Tap, _) => {
                Cow::Borrowed(self.reason.strip_prefix("no tap: ").unwrap_or(&self.reason))
            }
            (Ways::Walk, Err(refusal)) => Cow::Owned(refusal.to_string()),
            (Ways::Walk, Ok(proven)) if !proven.can_be_walked() => {
                Cow::Owned(format!("{} cannot be walked yet", proven.library))
            }
            (Ways::Walk, Ok(_)) => Cow::Borrowed(&self.hooks_reason),
        }
    }

    /// How many probes are attached in steady state.
    pub fn steady_probes(&self, ways: Ways) -> usize {
        let taps: usize = self.taps_for(ways).iter().map(|tap| tap.sites.len()).sum();
        let walk = |hook: &Hook| {
            // One at the entry and one at the return.
            2 * usize::from(functions::shakes_hands(hook.name))
                + usize::from(functions::finds_it_done(hook.name))
        };
        match self.is_walked(ways) {
            true => taps + self.hooks.iter().map(walk).sum::<usize>(),
            false => taps,
        }
    }

    /// Whether its secrets are in another file, the one that [`ImagePlan::is_token`].
    pub fn wants_token(&self) -> bool {
        self.taps.iter().any(|tap| matches!(tap.arguments, Arguments::Key(_)))
    }

    /// Whether it has no secrets of its own, and is attached for the sake of another image.
    pub fn is_token(&self) -> bool {
        let is_token = |tap: &Tap| matches!(tap.arguments, Arguments::Token(_));
        !self.taps.is_empty() && self.taps.iter().all(is_token)
    }

    /// Whether anything is attached.
    pub fn is_captured(&self, ways: Ways) -> bool {
        !self.taps_for(ways).is_empty() || self.is_walked(ways)
    }

    /// Whether the file holds TLS code as far as could be told: a tap was found, or a library recognised.
    pub fn is_tls(&self) -> bool {
        !self.taps.is_empty() || self.library.is_some() || self.unsupported.is_some()
    }

    /// Adds a stack that was found beside what is known, or is what was only recognised.
    pub fn add(&mut self, found: Found) {
        // What is said of a library that was recognised, and has no tap, still holds.
        let is_only = self.library.as_ref().is_none_or(|known| known.name == found.library.name);
        match &self.library {
            Some(known) if known.name != found.library.name => self.others.push(found.library),
            // Those taps are of a library whose name is not known.
            None if !self.taps.is_empty() => self.others.push(found.library),
            _ => self.library = Some(found.library),
        }
        // That nothing else is in the file does not matter any more.
        let is_first = self.taps.is_empty() && is_only;
        self.reason = match is_first || self.reason.is_empty() {
            true => found.reason,
            false => format!("{}; {}", self.reason, found.reason),
        };
        self.taps.extend(found.taps);
        self.labels.extend(found.labels);
        self.labels.sort_unstable_by_key(|label| label.address);
        self.labels.dedup();
    }

    /// Finds the layout again, after the library's version has become known.
    pub fn prove_layout(&mut self) {
        self.layout = layout::prove(self.library.as_ref(), &self.evidence);
    }

    /// Takes the layout that the user says, if it is one of this library.
    pub fn force_layout(&mut self, forced: &Forced) {
        if let Some(layout) = forced.over(self.library.as_ref(), &self.layout) {
            self.layout = Ok(layout);
        }
    }

    /// Whether the other plan attaches the same probes to the same build. What depends on the path by which the
    /// file was found is left out: one file has several.
    pub fn attaches_as(&self, other: &Self) -> bool {
        (&self.build_id, &self.library) == (&other.build_id, &other.library)
            && (&self.taps, &self.labels) == (&other.taps, &other.labels)
            && (&self.hooks, &self.evidence) == (&other.hooks, &other.evidence)
    }
}
