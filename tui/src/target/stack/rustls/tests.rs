//! The finder on made-up code.

use super::*;
use crate::target::sample::{CODE, Sample};
use crate::target::stack::testing::found_in;
use proptest::prelude::*;

const RANDOM_LABEL: u64 = 0x2020;
const HANDSHAKE_LABEL: u64 = 0x2040;
const TABLE: u64 = 0x3020;
const FUNCTION: u64 = 0x1140;
const TEST_AND_JE: [u8; 4] = [0x84, 0xc0, 0x74, 0];

fn empty() -> Sample {
    let mut sample = Sample::new();
    sample.constants = vec![b'x'; 0x60];
    for (at, text) in
        [(0, "/rustls-0.23.1/src"), (0x20, TLS12), (0x40, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")]
    {
        sample.constants[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    // Without an unwind table: calls of four functions before the one with the labels.
    for number in 0..4 {
        sample.call(0x1100 + number * 0x10);
    }
    sample.raw(&[0xc3]);
    for number in 0..4 {
        sample.at(0x1100 + number * 0x10).raw(&[0xc3]);
    }
    sample.at(FUNCTION);
    sample
}

/// `will_log` of what `label` has put into rsi and rdx, and `log`: the address of the jump.
fn asks(sample: &mut Sample, label: impl Fn(&mut Sample), between: &[u8]) -> u64 {
    label(sample);
    sample.raw(&[0xff, 0x10]).raw(&TEST_AND_JE);
    let jump = sample.here();
    // mov rax, [rsp+0x40]; mov [rsp], rax
    sample.raw(between).raw(&[0x48, 0x8b, 0x44, 0x24, 0x40, 0x48, 0x89, 0x04, 0x24]);
    label(sample);
    // lea rcx, [rsp+0x10]; mov r8d, 32; lea r9, [rsp+0x20]; call [rbx]
    sample.raw(&[0x48, 0x8d, 0x4c, 0x24, 0x10, 0x41, 0xb8, 32, 0, 0, 0]);
    sample.raw(&[0x4c, 0x8d, 0x4c, 0x24, 0x20, 0xff, 0x13]);
    let length = (sample.here() - jump) as u8;
    sample.code[(jump - CODE) as usize - 1] = length;
    jump - 2
}

fn handshake(sample: &mut Sample) {
    sample.lea_rsi(HANDSHAKE_LABEL).raw(&[0xba, 0x1f, 0, 0, 0]);
}

/// mov r8d, 32; mov qword [rsp], 48; lea rsi, label; mov edx, 13; call [rbx]: the address of the call.
pub fn logs(sample: &mut Sample, label: u64) -> u64 {
    sample.raw(&[0x41, 0xb8, 32, 0, 0, 0, 0x48, 0xc7, 0x04, 0x24, 48, 0, 0, 0]);
    sample.lea_rsi(label).raw(&[0xba, 13, 0, 0, 0, 0xff, 0x13, 0xc3]);
    sample.here() - 3
}

fn operands(tap: &Tap) -> &Operands {
    match &tap.arguments {
        Arguments::Operands(operands) => operands,
        other => panic!("{other:?}"),
    }
}

#[test]
fn labels_in_the_code() {
    let mut sample = empty();
    let jump = asks(&mut sample, handshake, &[]);
    let call = logs(&mut sample, RANDOM_LABEL);
    let found = found_in(&sample, find).unwrap();
    assert_eq!(found.library.version.as_deref(), Some("0.23.1"));
    assert_eq!(found.taps.len(), 2, "{}", found.reason);
    let (asked, logged) = (&found.taps[0], &found.taps[1]);
    assert_eq!((asked.sites[0].address, asked.sites[0].kind), (jump, SiteKind::Emulated));
    assert_eq!(operands(asked).labels, ["CLIENT_HANDSHAKE_TRAFFIC_SECRET"]);
    let record = operands(asked).record;
    assert_eq!(record.client_random, Operand::register(4).plus(0x10));
    assert_eq!(record.secret, Operand::register(4).plus(0x20));
    assert_eq!(record.secret_length, Operand::memory(4, 0x40));
    assert_eq!((logged.sites[0].address, logged.sites[0].kind), (call, SiteKind::Inside));
    // Whoever comes to the call passes its own label.
    let Operands { record, labels } = operands(logged);
    assert!(labels.is_empty());
    assert_eq!((record.label, record.label_length), (Operand::register(6), Operand::register(2)));
    assert_eq!(found.labels.len(), 2);
}

#[test]
fn labels_in_a_table() {
    let mut sample = empty();
    sample.data[0x20..0x28].copy_from_slice(&HANDSHAKE_LABEL.to_le_bytes());
    // lea rax, table; mov r15, [r14+rax]
    sample.lea_rax(TABLE).raw(&[0x4d, 0x8b, 0x3c, 0x06]);
    // mov rsi, r15; mov rdx, r12
    let jump = asks(
        &mut sample,
        |sample| {
            sample.raw(&[0x4c, 0x89, 0xfe, 0x4c, 0x89, 0xe2]);
        },
        &[],
    );
    sample.raw(&[0xc3]);
    let found = found_in(&sample, find).unwrap();
    assert_eq!(found.taps.len(), 1, "{}", found.reason);
    assert_eq!(found.taps[0].sites[0].address, jump);
    let Operands { record, labels } = operands(&found.taps[0]);
    assert!(labels.is_empty());
    assert_eq!((record.label, record.label_length), (Operand::register(15), Operand::register(12)));
}

const SERVER_LABEL: u64 = 0x2060;

/// With `SERVER_HANDSHAKE_TRAFFIC_SECRET` as well.
fn with_two_labels() -> Sample {
    let mut sample = empty();
    let text = b"SERVER_HANDSHAKE_TRAFFIC_SECRET";
    sample.constants.resize(0x80, b'x');
    sample.constants[0x60..0x60 + text.len()].copy_from_slice(text);
    sample
}

/// mov rsi, r12; mov rdx, r13
fn from_registers(sample: &mut Sample) {
    sample.raw(&[0x4c, 0x89, 0xe6, 0x4c, 0x89, 0xea]);
}

#[test]
fn one_jump_for_two_labels_reads_the_label() {
    let mut sample = with_two_labels();
    // test edi, edi; je 1f; lea rsi, B; mov r12, rsi; jmp 2f; 1: lea rsi, A; mov r12, rsi; 2: mov r13d, 31
    sample.raw(&[0x85, 0xff, 0x74, 12]);
    sample.lea_rsi(SERVER_LABEL).raw(&[0x49, 0x89, 0xf4, 0xeb, 10]);
    sample.lea_rsi(HANDSHAKE_LABEL).raw(&[0x49, 0x89, 0xf4]);
    sample.raw(&[0x41, 0xbd, 31, 0, 0, 0]);
    let jump = asks(&mut sample, from_registers, &[]);
    sample.raw(&[0xc3]);
    let found = found_in(&sample, find).unwrap();
    assert_eq!(found.taps.len(), 1, "{}", found.reason);
    assert_eq!(found.taps[0].sites.len(), 1);
    assert_eq!(found.taps[0].sites[0].address, jump);
    let Operands { record, labels } = operands(&found.taps[0]);
    assert!(labels.is_empty());
    assert_eq!((record.label, record.label_length), (Operand::register(12), Operand::register(13)));
}

#[test]
fn one_jump_before_two_logs_is_refused() {
    let mut sample = with_two_labels();
    handshake(&mut sample);
    sample.raw(&[0xff, 0x10]).raw(&TEST_AND_JE);
    let jump = sample.here();
    // test edi, edi; je the second
    sample.raw(&[0x85, 0xff, 0x74, 0]);
    let between = sample.here();
    for label in [HANDSHAKE_LABEL, SERVER_LABEL] {
        if label == SERVER_LABEL {
            let length = (sample.here() - between) as u8;
            sample.code[(between - CODE) as usize - 1] = length;
        }
        // lea rcx, [rsp+0x10]; mov r8d, 32; lea r9, [rsp+0x20]; call [rbx]
        sample.lea_rsi(label).raw(&[0xba, 0x1f, 0, 0, 0]);
        sample.raw(&[0x48, 0x8d, 0x4c, 0x24, 0x10, 0x41, 0xb8, 32, 0, 0, 0]);
        sample.raw(&[0x4c, 0x8d, 0x4c, 0x24, 0x20, 0xff, 0x13]);
    }
    let length = (sample.here() - jump) as u8;
    sample.code[(jump - CODE) as usize - 1] = length;
    sample.raw(&[0xc3]);
    assert_eq!(found_in(&sample, find).unwrap().taps, []);
}

#[test]
fn what_is_written_only_behind_the_jump_is_refused() {
    for between in [
        // movups [rsp+0x20], xmm0, and [rsp+0x50]: into the secret. Into its end:
        &[0x0f, 0x11, 0x44, 0x24, 0x20][..],
        &[0x0f, 0x11, 0x44, 0x24, 0x50],
        // mov [rsp+0x2f], al: into the client random's end, and what comes before the secret.
        &[0x88, 0x44, 0x24, 0x2f],
        // rep movsb; mov [rdi], rax: anywhere.
        &[0xf3, 0xa4],
        &[0x48, 0x89, 0x07],
    ] {
        let mut sample = empty();
        let _ = asks(&mut sample, handshake, between);
        sample.raw(&[0xc3]);
        assert_eq!(found_in(&sample, find).unwrap().taps, [], "{between:x?}");
    }
    // movups [rsp+0x60], xmm0: behind both.
    let mut sample = empty();
    let _ = asks(&mut sample, handshake, &[0x0f, 0x11, 0x44, 0x24, 0x60]);
    sample.raw(&[0xc3]);
    assert_eq!(found_in(&sample, find).unwrap().taps.len(), 1);
}

#[test]
fn a_secret_that_is_made_only_for_the_log_is_refused() {
    let mut sample = empty();
    // call rel32, into what does not return by itself.
    let _ = asks(&mut sample, handshake, &[0xe8, 0, 0, 0, 0]);
    logs(&mut sample, RANDOM_LABEL);
    let found = found_in(&sample, find).unwrap();
    assert_eq!(found.taps.len(), 1);
    assert!(found.reason.contains("not CLIENT_HANDSHAKE_TRAFFIC_SECRET"), "{}", found.reason);
}

#[test]
fn an_argument_that_is_not_certain_is_refused() {
    for between in [
        // cmovne rsp, rcx; and rsp, -16: where the stack is.
        &[0x48, 0x0f, 0x45, 0xe1][..],
        &[0x48, 0x83, 0xe4, 0xf0],
        // mov [rcx], rax; mov byte [rsp+0x44], 1: what the length is.
        &[0x48, 0x89, 0x01],
        &[0xc6, 0x44, 0x24, 0x44, 1],
    ] {
        let mut sample = empty();
        let _ = asks(&mut sample, handshake, between);
        sample.raw(&[0xc3]);
        let found = found_in(&sample, find).unwrap();
        assert_eq!(found.taps, [], "{between:x?}");
    }
}

#[test]
fn the_labels_alone_are_refused_and_other_programs_are_not_looked_at() {
    let mut labels = empty();
    labels.raw(&[0xc3]);
    let found = found_in(&labels, find).unwrap();
    assert!(found.taps.is_empty() && found.labels.is_empty());
    assert!(
        found.reason.starts_with("no tap: rustls's labels are in the file"),
        "{}",
        found.reason
    );
    labels.constants[..0x20].fill(b'x');
    assert_eq!(found_in(&labels, find), None);
    assert_eq!(found_in(&Sample::with_function(&[0xc3]), find), None);
}

#[test]
fn versions() {
    assert_eq!(version_at(b"-0.23.46/src"), Some("0.23.46".to_owned()));
    assert_eq!(version_at(b"-0.24.0-dev.1/"), Some("0.24.0-dev.1".to_owned()));
    for text in [&b"-native-certs-0.8.1/"[..], b"-0.23/", b"-0.23.46", b"::client", b"-..1/", b""] {
        assert_eq!(version_at(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        code in proptest::collection::vec((0usize..0x200, any::<u8>()), 0..16),
        constants in proptest::collection::vec((0usize..0x60, any::<u8>()), 0..3),
    ) {
        let mut sample = empty();
        let _ = asks(&mut sample, handshake, &[]);
        logs(&mut sample, RANDOM_LABEL);
        for (at, value) in code {
            if let Some(byte) = sample.code.get_mut(at) {
                *byte = value;
            }
        }
        for (at, value) in constants {
            sample.constants[at] = value;
        }
        let _ = found_in(&sample, find);
    }
}
