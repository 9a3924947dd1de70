//! The finder on made-up code.

use super::*;
use crate::target::sample::{CLIENT_RANDOM as CONSTANTS, Sample};
use crate::target::stack::testing::found_in;
use proptest::prelude::*;

const LOGS_13: u64 = 0x1100;
const LOGS_12: u64 = 0x1200;
const EXPANDS: u64 = 0x1300;
/// The functions that all of them call.
const OTHER: u64 = 0x1400;

/// The three functions as compilers make them.
fn sample() -> Sample {
    let mut sample = Sample::new();
    sample.constants =
        b"\0Error in /s2n/tls/s2n_key_log.c:55\0Error in /s2n/tls/s2n_prf.c:7\0".to_vec();
    add_functions(&mut sample, [CONSTANTS + 1, CONSTANTS + 36]);
    sample
}

/// The same in a sample that has more, with its messages elsewhere.
pub fn add_functions(sample: &mut Sample, [log, prf]: [u64; 2]) {
    // lea rsi, [rbx+offset]; mov edx, length; call
    let part = |sample: &mut Sample, offset: u32, length: u8| {
        sample.raw(&[0x48, 0x8d, 0xb3]).raw(&offset.to_le_bytes());
        sample.raw(&[0xba, length, 0, 0, 0]).call(OTHER);
    };
    // push rbx; mov rbx, rdi; mov r12, rsi; jmp rax; then what only the table leads to: mov ecx, [r12+8]
    sample.at(LOGS_13).raw(&[0x53, 0x48, 0x89, 0xfb, 0x49, 0x89, 0xf4]).lea_rax(log);
    sample.raw(&[0xff, 0xe0, 0x41, 0x8b, 0x4c, 0x24, 0x08]);
    part(sample, 0xad8, 32);
    // cs cs push rbp, at which the kernel refuses a probe; push rbx; mov rbx, rdi
    sample.raw(&[0xc3]).at(LOGS_12).raw(&[0x2e, 0x2e, 0x55, 0x53, 0x48, 0x89, 0xfb]).lea_rax(log);
    part(sample, 0xad8, 32);
    part(sample, 0xe8, 48);
    sample.raw(&[0xc3]).at(EXPANDS).raw(&[0x53, 0x48, 0x89, 0xfb]).lea_rax(prf);
    part(sample, 0xad8, 32);
    part(sample, 0x5e2, 32);
    part(sample, 0xe8, 48);
    sample.raw(&[0x48, 0xb8]).raw(&KEY_EXPANSION.to_le_bytes());
    sample.raw(&[0xc3]).at(OTHER).raw(&[0xc3]).at(0x1500);
    sample.functions = [LOGS_13, LOGS_12, EXPANDS, OTHER].map(|at| at..at + 0x100).to_vec();
}

fn functions(found: &Found) -> Vec<(u64, u64)> {
    found.taps.iter().map(|tap| (tap.function, tap.sites[0].address)).collect()
}

#[test]
fn the_functions_are_known_by_what_they_do() {
    let found = found_in(&sample(), find).unwrap();
    assert_eq!(functions(&found), [(EXPANDS, EXPANDS), (LOGS_13, LOGS_13)], "{}", found.reason);
    let Arguments::Operands(operands) = &found.taps[0].arguments else {
        panic!("{:?}", found.taps[0])
    };
    assert_eq!(operands.record.client_random, Operand::register(7).plus(0xad8));
    assert_eq!(operands.record.secret, Operand::register(7).plus(0xe8));
    assert_eq!(operands.record.secret_length, Operand::constant(48));
    let Arguments::Operands(operands) = &found.taps[1].arguments else {
        panic!("{:?}", found.taps[1])
    };
    assert_eq!(operands.record.secret, Operand::memory(6, 0));
    assert_eq!(operands.labels[5], "EXPORTER_SECRET");
}

#[test]
fn without_the_key_expansion_the_log_is_probed_behind_its_prefixes() {
    let mut sample = sample();
    let label = sample.code.windows(8).position(|bytes| bytes == KEY_EXPANSION.to_le_bytes());
    sample.code[label.unwrap()] = b'K';
    let found = found_in(&sample, find).unwrap();
    assert_eq!(functions(&found), [(LOGS_12, LOGS_12 + 3), (LOGS_13, LOGS_13)]);
}

#[test]
fn messages_alone_are_refused_and_other_files_are_not_looked_at() {
    let mut messages = sample();
    messages.code.fill(0xcc);
    let found = found_in(&messages, find).unwrap();
    assert!(found.taps.is_empty() && found.reason.starts_with("no tap: "), "{}", found.reason);
    let mut table = sample();
    table.functions.clear();
    assert!(found_in(&table, find).unwrap().taps.is_empty());
    assert_eq!(found_in(&Sample::with_function(&[0xc3]), find), None);
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        code in proptest::collection::vec((0usize..0x500, any::<u8>()), 0..24),
        constants in proptest::collection::vec((0usize..80, any::<u8>()), 0..4),
    ) {
        let mut sample = sample();
        for (at, value) in code {
            sample.code[at] = value;
        }
        for (at, value) in constants {
            if let Some(byte) = sample.constants.get_mut(at) {
                *byte = value;
            }
        }
        for tap in found_in(&sample, find).map_or_else(Vec::new, |found| found.taps) {
            prop_assert!([LOGS_13, LOGS_12, EXPANDS, OTHER].contains(&tap.function));
        }
    }
}
