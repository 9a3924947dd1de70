//! Functions to hook a walk to in a file where nothing has a name: their error records tell which they are.
//!
//! What is not proved is not hooked. A function counts when following its code from its start shows a record of a
//! function that is looked for, and a load through argument 0 that only a connection allows (or that argument 0 is
//! passed on to a function that counts). The compiler may have put the one that is looked for into it; then it gets
//! the connection all the same, and does what that one does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::arch::ProbeCost;
use super::called;
use super::eh_frame::Frames;
use super::elf::ElfError;
use super::error_records::{Body, Record, near};
use super::plan::{Arguments, FoundBy, Hook, Library, Tap};
use super::record_names::{Family, Functions, Strings};
use super::walk::Program;
use super::window::ReadError;

/// Functions that are followed in one file: a limit for hostile files, above the references to be expected in one
/// source file.
const MAX_FUNCTIONS: usize = 1_000;
/// OpenSSL's connection starts with a number of 4 bytes: the version, or from 3.2 the type of the object. Up to 3.1
/// `handshake_func` is at 48 (`ssl/ssl_local.h`, `struct ssl_st`). Offset and size in bytes.
const OPENSSL_LOADS: [(i64, u8); 2] = [(0, 4), (48, 8)];
/// What should be found.
const WANTED: [(&str, &[&str]); 3] = [
    ("reading", &["SSL_read", "ssl_read_internal", "ssl_read_impl"]),
    ("writing", &["SSL_write", "ssl_write_internal"]),
    ("the handshake", &["SSL_do_handshake"]),
];

/// The hooks of a file, and how they were found or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By address; several may have one name.
    pub hooks: Vec<Hook>,
    /// One sentence.
    pub reason: String,
}

impl Found {
    /// Why nothing was found.
    pub fn nothing(why: &str) -> Self {
        Self { hooks: Vec::new(), reason: format!("no hooks: {why}") }
    }
}

/// Finds the functions. `references` are instructions that load one of the addresses of `strings`.
///
/// # Errors
/// When the file cannot be read.
pub fn find(
    program: &mut Program<'_, '_>,
    library: &Library,
    taps: &[Tap],
    strings: &Strings,
    references: &[(u64, u64)],
) -> Result<Found, ElfError> {
    let Some(family) = Family::of(library) else {
        return Ok(Found::nothing("its functions have no names, and no known error records"));
    };
    let mut search = Search { strings, loads: loads(family, taps), bodies: BTreeMap::new() };
    let (mut records, rest) = search.by_unwind_table(program, references)?;
    let mut places = Vec::new();
    for (place, string) in rest {
        let record = match family {
            Family::Named => Some(Record::Named(string)),
            Family::Numbered | Family::Ordered => near(program, place, strings)?,
        };
        places.extend(record.map(|record| (place, record)));
    }
    records.extend(places.iter().map(|&(_, record)| record));
    if records.is_empty() {
        return Ok(Found::nothing("its functions have no names, and no error records were found"));
    }
    let Some(functions) = Functions::of(family, strings, &records) else {
        return Ok(Found::nothing("its error records are not in the order that is known"));
    };
    places.retain(|(_, record)| functions.name(record).is_some());
    search.by_calls(program, &places)?;
    search.finish(program, &functions)
}

/// The loads through argument 0 that prove it to be a connection.
fn loads(family: Family, taps: &[Tap]) -> Vec<(i64, u8)> {
    match family {
        Family::Named | Family::Numbered => OPENSSL_LOADS.to_vec(),
        // The same pointer (`s3`) as on the tap's way to the client random.
        Family::Ordered => {
            let pointers = taps.iter().filter_map(|tap| match &tap.arguments {
                Arguments::Connection(random) => random.deref,
                Arguments::Operands(_) | Arguments::Key(_) | Arguments::Token(_) => None,
            });
            pointers.map(|offset| (i64::from(offset), 8)).collect()
        }
    }
}

/// Functions that were followed.
struct Search<'s> {
    strings: &'s Strings,
    loads: Vec<(i64, u8)>,
    /// By address.
    bodies: BTreeMap<u64, Body>,
}

/// Instructions and the strings that they refer to.
type References = Vec<(u64, u64)>;

impl Search<'_> {
    /// Follows the functions that the unwind table knows. Returns their records, and the references for which it
    /// knows no function.
    fn by_unwind_table(
        &mut self,
        program: &mut Program<'_, '_>,
        references: &[(u64, u64)],
    ) -> Result<(BTreeSet<Record>, References), ReadError> {
        let frames = Frames::find(program.window, program.elf);
        let mut rest = Vec::new();
        for &(place, string) in references {
            let covers = |frames: Frames<'_>| frames.function_at(program.window, place);
            match frames.and_then(covers) {
                Some(function) if self.bodies.contains_key(&function.start) => {}
                Some(function) if self.bodies.len() < MAX_FUNCTIONS => {
                    let body = Body::of(program, &function, self.strings)?;
                    self.bodies.insert(function.start, body);
                }
                Some(_) => break,
                None => rest.push((place, string)),
            }
        }
        let records = self.bodies.values().flat_map(|body| &body.records).copied().collect();
        Ok((records, rest))
    }

    /// Follows functions that are called and hold one of `places` with its record.
    fn by_calls(
        &mut self,
        program: &mut Program<'_, '_>,
        places: &[(u64, Record)],
    ) -> Result<(), ElfError> {
        let mut open: Vec<(u64, Record)> = places.to_vec();
        let addresses: Vec<u64> = places.iter().map(|&(place, _)| place).collect();
        called::search(program, &addresses, |program, candidates| {
            let mut still_open = Vec::new();
            for &(place, record) in &open {
                let mut is_open = true;
                for function in candidates.around(place) {
                    if self
                        .follow(program, &function)?
                        .is_some_and(|body| body.records.contains(&record))
                    {
                        is_open = false;
                        break;
                    }
                }
                if is_open {
                    still_open.push((place, record));
                }
            }
            open = still_open;
            Ok(open.is_empty())
        })
    }

    /// The body of `function`, if it is one that gets a connection.
    fn follow(
        &mut self,
        program: &mut Program<'_, '_>,
        function: &Range<u64>,
    ) -> Result<Option<&Body>, ReadError> {
        if !self.bodies.contains_key(&function.start) && self.bodies.len() < MAX_FUNCTIONS {
            let body = Body::of(program, function, self.strings)?;
            self.bodies.insert(function.start, body);
        }
        let gets_one = |body: &&Body| self.loads_from(body) || !body.passed.is_empty();
        Ok(self.bodies.get(&function.start).filter(gets_one))
    }

    fn loads_from(&self, body: &Body) -> bool {
        self.loads.iter().any(|load| body.reads.contains(load))
    }

    fn finish(
        self,
        program: &mut Program<'_, '_>,
        functions: &Functions<'_>,
    ) -> Result<Found, ElfError> {
        let ranks = functions.ranks();
        let name = |body: &Body| {
            let names: BTreeSet<_> =
                body.records.iter().filter_map(|record| functions.name(record)).collect();
            ranks.iter().copied().find(|name| names.contains(name))
        };
        let named: Vec<(u64, &Body, &'static str)> = self
            .bodies
            .iter()
            .filter_map(|(&start, body)| Some((start, body, name(body)?)))
            .collect();
        let mut proved: BTreeSet<u64> = named
            .iter()
            .filter(|(_, body, _)| self.loads_from(body))
            .map(|&(start, _, _)| start)
            .collect();
        // Functions that only pass the connection on; one that is passed to may itself be such a one.
        for _ in 0..ranks.len() {
            let passes = |body: &Body| body.passed.iter().any(|to| proved.contains(to));
            let more: Vec<u64> = named
                .iter()
                .filter(|(_, body, _)| passes(body))
                .map(|&(start, ..)| start)
                .collect();
            proved.extend(more);
        }
        let mut found = Found::default();
        let mut doubts = Vec::new();
        if self.bodies.is_empty() {
            doubts.push("nothing tells where the functions with error records start".to_owned());
        }
        for (address, _, name) in named {
            if !proved.contains(&address) {
                doubts.push(format!("{name} at {address:#x} is not proved to get the connection"));
                continue;
            }
            let arch = program.arch;
            let cost = program.bytes_at(address)?.map(|bytes| arch.probe_cost(bytes));
            match program.elf.file_offset(address) {
                Some(file_offset) if cost.is_some_and(|cost| cost != ProbeCost::Unusable) => {
                    let found_by = FoundBy::ErrorRecord;
                    found.hooks.push(Hook {
                        name,
                        found_by,
                        address,
                        file_offset,
                        probe_offset: file_offset,
                    });
                }
                _ => doubts.push(format!("the kernel would refuse a probe on {name}")),
            }
        }
        for (what, names) in WANTED {
            if !found.hooks.iter().any(|hook| names.contains(&hook.name)) {
                doubts.push(format!("no function for {what}"));
            }
        }
        let names: Vec<&str> = found.hooks.iter().map(|hook| hook.name).collect();
        let start = match names.is_empty() {
            true => "no hooks: its functions have no names".to_owned(),
            false => format!("found by their error records: {}", names.join(", ")),
        };
        found.reason = [vec![start], doubts].concat().join("; ");
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::RandomPath;
    use super::super::sample::{CLIENT_RANDOM, Sample};
    use super::super::tap;
    use super::*;
    use proptest::prelude::*;

    const PATH: u64 = 0x3000;
    const HANDSHAKE: u64 = 0x1800;
    const READ: u64 = 0x1840;
    const PEEK: u64 = 0x1880;
    const WRITE: u64 = 0x18c0;
    /// `mov rax, [rdi+0x30]`
    const LOAD: [u8; 4] = [0x48, 0x8b, 0x47, 0x30];

    /// Files a record: `lea rcx, path; mov edi, 16; xor esi, esi; mov edx, reason; mov r8d, line; call`.
    fn put_error(sample: &mut Sample, reason: u8, line: u8) {
        sample.to(&[0x48, 0x8d, 0x0d], PATH).raw(&[0xbf, 16, 0, 0, 0, 0x31, 0xf6]);
        sample.raw(&[0xba, reason, 0, 0, 0, 0x41, 0xb8, line, 0, 0, 0]).call(0x1f00);
    }

    /// The functions of BoringSSL's `ssl_lib.cc` that matter, called in `calls`; all but `without` read the pointer.
    fn sample(calls: &[u64], without: u64) -> Sample {
        let mut sample = Sample::new();
        sample.data = b"/b/ssl/ssl_lib.cc\0".to_vec();
        for &function in calls {
            sample.call(function);
        }
        let functions: [(u64, &[(u8, u8)]); 4] = [
            (HANDSHAKE, &[(134, 10)]),
            (READ, &[(226, 20)]),
            (PEEK, &[(66, 30)]),
            (WRITE, &[(66, 40), (226, 45)]),
        ];
        for (function, records) in functions {
            sample.at(function).raw(if function == without { &[0x90] } else { &LOAD });
            for &(reason, line) in records {
                put_error(&mut sample, reason, line);
            }
            sample.raw(&[0xc3]);
        }
        sample.at(0x1f00).raw(&[0xc3]);
        sample
    }

    fn found(sample: &Sample) -> Found {
        let library = Library { name: "BoringSSL", version: None };
        let client_random = RandomPath { deref: Some(0x30), offset: 0x30 };
        let tap = Tap {
            function: 0x1000,
            symbol: None,
            arguments: Arguments::Connection(client_random),
            sites: Vec::new(),
        };
        sample.with(|program, labels| {
            let strings = Strings::find(program.window, program.elf, Family::Ordered).unwrap();
            let search = tap::search(program, labels, &strings.addresses()).unwrap();
            find(program, &library, &[tap], &strings, &search.others).unwrap()
        })
    }

    fn hooks(found: &Found) -> Vec<(&str, u64)> {
        found.hooks.iter().map(|hook| (hook.name, hook.address)).collect()
    }

    const ALL: [u64; 4] = [HANDSHAKE, READ, PEEK, WRITE];

    #[test]
    fn functions_by_their_records() {
        let found = found(&sample(&ALL, 0));
        let all = [("SSL_do_handshake", HANDSHAKE), ("ssl_read_impl", READ), ("SSL_write", WRITE)];
        assert_eq!(hooks(&found), all, "{}", found.reason);
        assert_eq!(found.hooks[0].file_offset, HANDSHAKE);
    }

    #[test]
    fn what_is_not_proved_is_not_hooked() {
        // Nothing calls it.
        let uncalled = found(&sample(&[HANDSHAKE, WRITE], 0));
        assert_eq!(hooks(&uncalled), [("SSL_do_handshake", HANDSHAKE), ("SSL_write", WRITE)]);
        assert!(uncalled.reason.ends_with("; no function for reading"), "{}", uncalled.reason);
        // Its argument 0 is not seen to be a connection.
        let unproved = found(&sample(&ALL, WRITE));
        assert_eq!(hooks(&unproved), [("SSL_do_handshake", HANDSHAKE), ("ssl_read_impl", READ)]);
        assert!(unproved.reason.ends_with("; no function for writing"), "{}", unproved.reason);
        // Without one record the order is not the known one.
        let mut other = sample(&ALL, 0);
        let line = other.code.iter().rposition(|&byte| byte == 45).unwrap();
        other.code[line] = 80;
        let refused = found(&other);
        assert_eq!(hooks(&refused), []);
        assert!(refused.reason.starts_with("no hooks: its error records"), "{}", refused.reason);
        // No strings at all.
        let mut other = sample(&ALL, 0);
        other.data[8] = b'X';
        assert_eq!(hooks(&found(&other)), []);
    }

    proptest! {
        #[test]
        fn changed_code_never_panics(
            changes in proptest::collection::vec((0usize..0xf00, any::<u8>()), 1..40),
            address in any::<u64>(),
        ) {
            let mut sample = sample(&ALL, 0);
            for (at, value) in changes {
                sample.code[at] = value;
            }
            sample.to(&[0x48, 0x8d, 0x0d], address ^ CLIENT_RANDOM);
            let found = found(&sample);
            prop_assert!(found.hooks.len() <= 4);
        }
    }
}
