//! What the callers of the secret-logging function pass: each passes a field of a structure, and with its label the
//! code says which one. This needs no exported function and no symbol.

use std::collections::{BTreeMap, HashMap};

use super::accessors::place_of;
use super::field::{At, Evidence, Field};
use crate::target::arch::{Arch, Effect, Flow, Insn, Reg, Source};
use crate::target::machine::{State, Value};
use crate::target::plan::LabelAt;
use crate::target::walk::Program;
use crate::target::window::ReadError;

/// How evidence from callers is called in a proof.
pub const BY: &str = "the tap's callers";
/// Bytes before a call in which its arguments are looked for.
const NEAR: u64 = 80;
/// Bytes before a call from which decoding starts: far enough to fall in step with the instructions.
const FAR: u64 = 128;
/// Calls that are looked at; a library has 5 to 20.
const MAX_CALLS: usize = 64;

/// Stands for what the register of the frame holds.
const IN_FRAME: Reg = Reg(31);

/// What a label's secret is a field of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    /// The connection, which is argument 0, or what it points to.
    Connection,
    /// A handshake, in another register.
    Handshake,
}

/// Labels whose secret is a field, the field, and that of its length. OpenSSL passes the others from the stack.
const FIELDS: [(&str, Parent, Field, Field); 7] = [
    ("EXPORTER_SECRET", Parent::Connection, Field::Exporter, Field::ExporterLength),
    ("EARLY_EXPORTER_SECRET", Parent::Connection, Field::EarlyExporter, Field::EarlyExporterLength),
    (
        "CLIENT_EARLY_TRAFFIC_SECRET",
        Parent::Handshake,
        Field::EarlyTraffic,
        Field::EarlyTrafficLength,
    ),
    (
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        Parent::Handshake,
        Field::ClientHandshake,
        Field::ClientHandshakeLength,
    ),
    (
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        Parent::Handshake,
        Field::ServerHandshake,
        Field::ServerHandshakeLength,
    ),
    (
        "CLIENT_TRAFFIC_SECRET_0",
        Parent::Handshake,
        Field::ClientTraffic,
        Field::ClientTrafficLength,
    ),
    (
        "SERVER_TRAFFIC_SECRET_0",
        Parent::Handshake,
        Field::ServerTraffic,
        Field::ServerTrafficLength,
    ),
];

/// Adds what the calls at `calls` show.
///
/// # Errors
/// When the file cannot be read.
pub fn look(
    program: &mut Program<'_, '_>,
    calls: impl Iterator<Item = u64>,
    labels: &[LabelAt],
    evidence: &mut Evidence,
) -> Result<(), ReadError> {
    for call in calls.take(MAX_CALLS) {
        if let Some(passed) = arguments(program, call)?
            && let Some(label) = labels.iter().find(|label| label.address == passed.label)
        {
            passed.add_to(evidence, label.name, program.arch.stack());
        }
    }
    Ok(())
}

/// The arguments of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passed {
    connection: Reg,
    label: u64,
    secret: Value,
    /// From where the length was loaded.
    length: Value,
}

impl Passed {
    fn add_to(&self, evidence: &mut Evidence, label: &str, stack: Reg) {
        if label == "CLIENT_RANDOM" {
            self.add_master_key(evidence, stack);
            return;
        }
        let Some(&(_, parent, field, length)) = FIELDS.iter().find(|(name, ..)| *name == label)
        else {
            return;
        };
        for (field, value) in [(field, self.secret), (length, self.length)] {
            let place = match (parent, root_of(value)) {
                (_, None) => None,
                (Parent::Connection, Some(root)) if root != self.connection => None,
                (Parent::Handshake, Some(root)) if root == self.connection || root == stack => None,
                (_, Some(root)) => place_of(value, root).filter(|at| *at != At::direct(0)),
            };
            evidence.add(field, BY, place.into_iter().collect());
        }
    }

    /// OpenSSL passes `connection->session->master_key`; BoringSSL has the session in a register.
    fn add_master_key(&self, evidence: &mut Evidence, stack: Reg) {
        for (field, value) in
            [(Field::MasterKey, self.secret), (Field::MasterKeyLength, self.length)]
        {
            let Some(root) = root_of(value).filter(|root| *root != stack) else { continue };
            match place_of(value, root) {
                Some(At { deref: Some(session), offset }) if root == self.connection => {
                    evidence.add(Field::SessionPointer, BY, vec![At::direct(session)]);
                    evidence.add(field, BY, vec![At::direct(offset)]);
                }
                Some(at @ At { deref: None, offset: 1.. }) if root != self.connection => {
                    evidence.add(field, BY, vec![at]);
                }
                _ => {}
            }
        }
    }
}

fn root_of(value: Value) -> Option<Reg> {
    match value {
        Value::Initial { root, .. } | Value::Loaded { root, .. } => Some(root),
        Value::Constant(_) | Value::Unknown => None,
    }
}

/// The arguments of the call at `call`.
fn arguments(program: &mut Program<'_, '_>, call: u64) -> Result<Option<Passed>, ReadError> {
    let arch = program.arch;
    let [connection, label, secret, length, ..] = *arch.arguments() else { return Ok(None) };
    let mut state = start(arch);
    let mut loaded = Value::Unknown;
    for insn in before(program, call)? {
        if writes(&insn, length) || matches!(insn.flow, Flow::Call(_)) {
            loaded = insn.reads.map_or(Value::Unknown, |place| state.address(&place));
        }
        if matches!(insn.flow, Flow::Jump(_) | Flow::End) {
            // What follows is reached from elsewhere.
            (state, loaded) = (start(arch), Value::Unknown);
        } else {
            state.step(arch, &insn);
        }
    }
    let (Value::Initial { root: connection, offset: 0 }, Value::Constant(label)) =
        (state.get(connection), state.get(label))
    else {
        return Ok(None);
    };
    Ok(Some(Passed { connection, label, secret: state.get(secret), length: loaded }))
}

/// Nothing is known. The register of the frame may hold anything, as most compilers use it: the connection, say.
fn start(arch: &dyn Arch) -> State {
    let mut state = State::new();
    state.set(arch.frame(), Value::Initial { root: IN_FRAME, offset: 0 });
    state
}

/// The instructions before `call`, those that begin at most [`NEAR`] bytes before it. Where the function begins is not
/// known, and instructions cannot be decoded backwards: so every byte further away is tried as a start. Wrong starts
/// soon fall in step with the right ones, or never arrive at the call; most of those that arrive count.
fn before(program: &mut Program<'_, '_>, call: u64) -> Result<Vec<Insn>, ReadError> {
    let mut decoded = HashMap::new();
    for address in call.saturating_sub(FAR)..call {
        if let Some(insn) = program.decode(address)? {
            decoded.insert(address, insn);
        }
    }
    let near = call.saturating_sub(NEAR);
    let mut votes: BTreeMap<u64, u32> = BTreeMap::new();
    for start in call.saturating_sub(FAR)..near {
        let mut address = start;
        let mut first_near = None;
        while address < call
            && let Some(insn) = decoded.get(&address)
        {
            if address >= near {
                first_near.get_or_insert(address);
            }
            address = insn.next();
        }
        if let Some(first) = first_near.filter(|_| address == call) {
            *votes.entry(first).or_insert(0) += 1;
        }
    }
    let all: u32 = votes.values().sum();
    let chosen = votes.into_iter().find(|&(_, count)| count * 2 > all);
    let mut address = chosen.map_or(call, |(first, _)| first);
    let mut line = Vec::new();
    while address < call
        && let Some(insn) = decoded.get(&address)
    {
        line.push(*insn);
        address = insn.next();
    }
    Ok(line)
}

fn writes(insn: &Insn, register: Reg) -> bool {
    let assigned = match insn.effect {
        Effect::Assign(to, Source::Load(_)) | Effect::MayAssign(to, _) | Effect::Pop(to) => {
            to == register
        }
        Effect::Assign(to, _) => to == register,
        Effect::None | Effect::Store(..) | Effect::Push(_) => false,
    };
    assigned || insn.clobbers.contains(register)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::{CLIENT_RANDOM, EXPORTER, FUNCTION, Sample};

    /// What the callers show whose code is `before`, `lea rsi, [label]`, `after`, `call`.
    fn shown(label: u64, name: &'static str, before: &[u8], after: &[u8]) -> Vec<(Field, Vec<At>)> {
        let mut sample = Sample::new();
        sample.raw(&[0x90; 130]).raw(before).lea_rsi(label).raw(after);
        let call = sample.here();
        sample.call(FUNCTION);
        let mut evidence = Evidence::default();
        let labels = [LabelAt { address: label, name }];
        sample.with(|program, _| {
            look(program, [call].into_iter(), &labels, &mut evidence).unwrap();
        });
        evidence.shown.into_iter().map(|shown| (shown.field, shown.places)).collect()
    }

    #[test]
    fn the_exporter_secret_in_the_connection() {
        let before = [0x49, 0x8d, 0x96, 0xfc, 0x07, 0, 0]; // lea rdx, [r14+0x7fc]
        let found = shown(EXPORTER, "EXPORTER_SECRET", &before, &[0x4c, 0x89, 0xf7]); // mov rdi, r14
        assert_eq!(found, [(Field::Exporter, vec![At::direct(0x7fc)])]);
    }

    #[test]
    fn the_master_secret_behind_the_session() {
        let before = [0x48, 0x8b, 0x93, 0x18, 0x09, 0, 0]; // mov rdx, [rbx+0x918]
        let after = [
            0x48, 0x89, 0xdf, // mov rdi, rbx
            0x48, 0x8b, 0x4a, 0x08, // mov rcx, [rdx+8]
            0x48, 0x83, 0xc2, 0x50, // add rdx, 0x50
        ];
        let session = (Field::SessionPointer, vec![At::direct(0x918)]);
        let found = shown(CLIENT_RANDOM, "CLIENT_RANDOM", &before, &after);
        let key = (Field::MasterKey, vec![At::direct(0x50)]);
        let length = (Field::MasterKeyLength, vec![At::direct(8)]);
        assert_eq!(found, [session.clone(), key, session, length]);
    }

    #[test]
    fn a_secret_of_the_handshake_with_its_length() {
        let before = [
            0x4c, 0x89, 0xe2, // mov rdx, r12: where it is was computed earlier
            0x41, 0x0f, 0xb6, 0x8e, 0x14, 0x01, 0, 0, // movzx ecx, byte [r14+0x114]
        ];
        let found = shown(EXPORTER, "CLIENT_TRAFFIC_SECRET_0", &before, &[0x48, 0x89, 0xdf]);
        assert_eq!(found, [(Field::ClientTrafficLength, vec![At::direct(0x114)])]);
    }

    #[test]
    fn the_connection_in_the_frame_register() {
        let before = [0x48, 0x8b, 0x95, 0x18, 0x09, 0, 0]; // mov rdx, [rbp+0x918]
        let after = [0x48, 0x89, 0xef, 0x48, 0x83, 0xc2, 0x50]; // mov rdi, rbp; add rdx, 0x50
        let session = (Field::SessionPointer, vec![At::direct(0x918)]);
        let found = shown(CLIENT_RANDOM, "CLIENT_RANDOM", &before, &after);
        assert_eq!(found, [session, (Field::MasterKey, vec![At::direct(0x50)])]);
    }

    #[test]
    fn secrets_on_the_stack_show_nothing() {
        let before = [0x48, 0x8d, 0x54, 0x24, 0x20]; // lea rdx, [rsp+0x20]
        let after = [0x48, 0x89, 0xdf];
        assert!(shown(EXPORTER, "SERVER_TRAFFIC_SECRET_0", &before, &after).is_empty());
    }
}
