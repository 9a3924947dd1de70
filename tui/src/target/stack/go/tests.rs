//! Small images with a table of functions as Go writes it.

use std::path::Path;

use proptest::prelude::*;

use crate::target::image::plan_image;
use crate::target::plan::{ImagePlan, SiteKind};
use crate::target::sample::{CLIENT_RANDOM, CODE, FUNCTION, Sample, file_of};

/// Where the data starts, which holds everything but the code.
const DATA: u64 = 0x3000;
/// Where the note, the labels, `runtime.moduledata` and the table are in it.
const LABELS: usize = 0x40;
const MODULE: usize = 0x100;
const TABLE: usize = 0x200;
/// Where the names and the rows are in the table.
const NAMES: usize = 0x48;
const ROWS: usize = 0x100;
/// Where the records are, from the rows.
const RECORDS: usize = 0x80;

const OURS: &str = "crypto/tls.(*Config).writeKeyLog";
const FORK: &str = "github.com/refraction-networking/utls.(*Config).writeKeyLog";

const QTLS: &str = "github.com/marten-seemann/qtls-go1-19.(*config).writeKeyLog";

/// A function as Go 1.17 and later begin it: `cmp rsp, [r14+0x10]; jbe`, and what it jumps to.
fn function(words: usize) -> Vec<u8> {
    // push rbp; pop rbp; ret
    grows(vec![0x49, 0x3b, 0x66, 0x10, 0x76, 0x03, 0x55, 0x5d, 0xc3], words)
}

/// The same with the code that the function begins with: what keeps the words, grows the stack, and starts again.
fn grows(mut code: Vec<u8>, words: usize) -> Vec<u8> {
    // mov [rsp+8*n], register: prefix, opcode, register and form.
    const STORES: [[u8; 3]; 9] = [
        [0x48, 0x89, 0x44],
        [0x48, 0x89, 0x5c],
        [0x48, 0x89, 0x4c],
        [0x48, 0x89, 0x7c],
        [0x48, 0x89, 0x74],
        [0x4c, 0x89, 0x44],
        [0x4c, 0x89, 0x4c],
        [0x4c, 0x89, 0x54],
        [0x4c, 0x89, 0x5c],
    ];
    for (slot, store) in (1u8..).zip(STORES.iter().take(words)) {
        code.extend(store);
        code.extend([0x24, 8 * slot]);
    }
    code.extend([0xe8, 0, 0, 0, 0]);
    // mov register, [rsp+8*n]
    for (slot, [prefix, _, form]) in (1u8..).zip(STORES.into_iter().take(words)) {
        code.extend([prefix, 0x8b, form, 0x24, 8 * slot]);
    }
    // jmp to the start
    let back = -(code.len() as i32 + 5);
    code.push(0xe9);
    code.extend(back.to_le_bytes());
    code
}

/// The numbers of a table and of the module.
struct Image {
    magic: u8,
    text: u64,
    module_text: u64,
    names: Vec<&'static str>,
    code: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let (text, module_text, names) = (0, CODE, vec!["main.main", OURS]);
        Self { magic: 0xf1, text, module_text, names, code: function(9) }
    }

    /// The functions are one after the other, from [`FUNCTION`] on.
    fn sample(&self) -> Sample {
        let mut data = vec![0u8; 0x800];
        let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\xff Go buildinf:\x08\x02");
        put(32, b"\x08go1.27.3");
        put(LABELS, b"..CLIENT_HANDSHAKE_TRAFFIC_SECRETCLIENT_RANDOM..");
        let table = DATA + TABLE as u64;
        put(MODULE, &table.to_le_bytes());
        put(MODULE + 8, &(table + NAMES as u64).to_le_bytes());
        put(MODULE + 22 * 8, &self.module_text.to_le_bytes());
        put(TABLE, &[self.magic, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
        let count = self.names.len() as u64;
        let (names, rows) = (NAMES as u64, ROWS as u64);
        for (number, word) in (1..).zip([count, 1, self.text, names, rows, rows, rows, rows]) {
            put(TABLE + 8 * number, &word.to_le_bytes());
        }
        let mut name_at = 1;
        for (number, name) in self.names.iter().enumerate() {
            put(TABLE + NAMES + name_at, name.as_bytes());
            let address = (FUNCTION - CODE) as u32 + 0x100 * number as u32;
            let record = RECORDS + 0x20 * number;
            put(TABLE + ROWS + 8 * number, &address.to_le_bytes());
            put(TABLE + ROWS + 8 * number + 4, &(record as u32).to_le_bytes());
            put(TABLE + ROWS + record, &address.to_le_bytes());
            put(TABLE + ROWS + record + 4, &(name_at as u32).to_le_bytes());
            name_at += name.len() + 1;
        }
        let end = (FUNCTION - CODE) as u32 + 0x100 * self.names.len() as u32;
        put(TABLE + ROWS + 8 * self.names.len(), &end.to_le_bytes());
        let mut sample = Sample::new();
        for number in 0..self.names.len() as u64 {
            sample.at(FUNCTION + 0x100 * number).raw(&self.code);
        }
        sample.data = data;
        sample
    }

    fn plan(&self) -> ImagePlan {
        plan(&self.sample().bytes())
    }
}

fn plan(bytes: &[u8]) -> ImagePlan {
    plan_image(&file_of(bytes), Path::new("/usr/bin/program")).unwrap()
}

/// The addresses of the functions that are tapped.
fn functions(plan: &ImagePlan) -> Vec<u64> {
    plan.taps.iter().map(|tap| tap.function).collect()
}

#[test]
fn a_tap_by_the_name_of_the_function() {
    let plan = Image::new().plan();
    assert_eq!(functions(&plan), [FUNCTION + 0x100], "{}", plan.reason);
    let tap = &plan.taps[0];
    assert_eq!(tap.symbol.as_deref(), Some(OURS));
    assert_eq!(tap.arguments.client_random().as_deref(), Some("rdi"));
    // The jump behind the comparison.
    assert_eq!((tap.sites.len(), tap.sites[0].address), (1, FUNCTION + 0x104));
    assert_eq!(tap.sites[0].kind, SiteKind::Emulated);
    let library = plan.library.as_ref().unwrap();
    assert_eq!((library.name, library.version.as_deref()), ("Go", Some("1.27.3")));
    let labels: Vec<_> = plan.labels.iter().map(|label| (label.address, label.name)).collect();
    let text = DATA + LABELS as u64 + 2;
    // Of longer strings also the ends: no pointer is there.
    assert!(labels.contains(&(text, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")), "{labels:x?}");
    assert!(labels.contains(&(text + 31, "CLIENT_RANDOM")), "{labels:x?}");
}

#[test]
fn where_the_code_starts_is_in_the_header_or_in_the_module() {
    let with = |text, module_text| {
        let plan = Image { text, module_text, ..Image::new() }.plan();
        (functions(&plan), plan.reason)
    };
    assert_eq!(with(CODE, CODE).0, [FUNCTION + 0x100]);
    // They disagree, or neither is in code.
    for (text, module_text) in [(CODE, CODE + 0x10), (0, 0), (0, u64::MAX), (0, DATA)] {
        let (functions, reason) = with(text, module_text);
        assert!(functions.is_empty() && reason.starts_with("no tap: "), "{reason}");
    }
}

#[test]
fn forks_are_tapped_too() {
    let plan = Image { names: vec![OURS, FORK], ..Image::new() }.plan();
    assert_eq!(functions(&plan), [FUNCTION, FUNCTION + 0x100], "{}", plan.reason);
    assert_eq!(plan.taps[1].symbol.as_deref(), Some(FORK));
    let plan = Image { names: vec![OURS, QTLS], ..Image::new() }.plan();
    assert_eq!(functions(&plan), [FUNCTION, FUNCTION + 0x100], "{}", plan.reason);
    assert_eq!(plan.taps[1].symbol.as_deref(), Some(QTLS));
}

#[test]
fn an_entry_within_the_first_instruction_is_refused() {
    // lea r12, [rsp-0x80]; cmp r12, [r14+0x10]; jbe; ret. One byte further on it is lea esp, [rsp-0x80].
    let large =
        grows(vec![0x4c, 0x8d, 0x64, 0x24, 0x80, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x01, 0xc3], 9);
    let plan = Image { code: large.clone(), ..Image::new() }.plan();
    assert_eq!(functions(&plan), [FUNCTION + 0x100], "{}", plan.reason);
    let code = large[1..].to_vec();
    let plan = Image { code, ..Image::new() }.plan();
    assert!(plan.taps.is_empty(), "{}", plan.reason);
}

#[test]
fn what_is_not_proved_is_refused_with_a_reason() {
    let refused = |image: Image, why: &str| {
        let plan = image.plan();
        assert!(plan.taps.is_empty() && plan.is_tls(), "{}", plan.reason);
        assert!(
            plan.reason.starts_with("no tap: ") && plan.reason.contains(why),
            "{}",
            plan.reason
        );
    };
    // mov rcx, fs:[-8]; cmp rsp, [rcx+0x10]: Go 1.16.
    let mut code =
        vec![0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10];
    code.extend(&function(9)[4..]);
    refused(Image { code, ..Image::new() }, "does not begin as Go 1.17");
    refused(Image { code: function(8), ..Image::new() }, "nine words");
    refused(Image { magic: 0xfb, ..Image::new() }, "Go 1.15 and older");
    refused(Image { names: vec!["main.main"], ..Image::new() }, "no function of Go's table");
    // A table of that form has addresses of 64 bits.
    refused(Image { magic: 0xfa, ..Image::new() }, "no tap");
    // The jump leaves the function.
    let mut code = function(9);
    code[5] = 0xf0;
    refused(Image { code, ..Image::new() }, "does not begin as Go 1.17");
}

#[test]
fn what_is_not_go_or_has_no_tls_is_nothing() {
    let mut sample = Image::new().sample();
    sample.data[1] = b'x';
    assert!(!plan(&sample.bytes()).is_tls());
    let mut sample = Image::new().sample();
    sample.data[LABELS + 2..LABELS + 60].fill(0);
    let mut bytes = sample.bytes();
    bytes[CLIENT_RANDOM as usize] = b'X';
    assert!(!plan(&bytes).is_tls());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the numbers say: no panic, and no probe but where the code proves it.
    #[test]
    fn damaged_tables_never_panic_and_never_lead_elsewhere(
        changes in proptest::collection::vec((MODULE..0x600usize, any::<u8>()), 1..12),
    ) {
        let mut sample = Image { names: vec![OURS, FORK], ..Image::new() }.sample();
        for (at, value) in changes {
            sample.data[at] = value;
        }
        for function in functions(&plan(&sample.bytes())) {
            prop_assert!([FUNCTION, FUNCTION + 0x100].contains(&function), "{function:#x}");
        }
    }

    #[test]
    fn any_table_never_panics(table in proptest::collection::vec(any::<u8>(), 72..0x5f8)) {
        for magic in [0xfa, 0xf0, 0xf1] {
            let mut sample = Image { magic, ..Image::new() }.sample();
            sample.data[TABLE + 8..TABLE + 8 + table.len()].copy_from_slice(&table);
            let _ = plan(&sample.bytes());
        }
    }

    #[test]
    fn damaged_code_is_never_probed_in_the_middle_of_an_instruction(
        changes in proptest::collection::vec((0..114usize, any::<u8>()), 1..6),
    ) {
        let mut image = Image::new();
        for (at, value) in changes {
            if let Some(byte) = image.code.get_mut(at) {
                *byte = value;
            }
        }
        for tap in image.plan().taps {
            let site = tap.sites[0].address;
            image.sample().with(|program, _| {
                let mut address = tap.function;
                while address < site {
                    address = program.decode(address).unwrap().unwrap().next();
                }
                assert_eq!(address, site);
            });
        }
    }
}
