//! Functions to hook a walk to in a file where nothing has a name: their error records tell which they are.
//!
//! What is not proved is not hooked. A function counts when following its code from its start shows a record of a
//! function that is looked for, and a load through argument 0 that only a connection allows (or that argument 0 is
//! passed on to a function that counts). The compiler may have put the one that is looked for into it; then it gets
//! the connection all the same, and does what that one does.

use std::collections::{BTreeMap, BTreeSet};

use super::arch::ProbeCost;
use super::called;
use super::eh_frame::Frames;
use super::elf::ElfError;
use super::error_records::{Body, Record, near};
use super::plan::{FoundBy, Hook, Library, Tap};
use super::record_names::{Family, Functions, Strings};
use super::walk::Program;
use super::window::ReadError;

/// Functions that are followed in one file; the most that a real file needed is 160 (node 10).
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
            let pointers = taps.iter().filter_map(|tap| tap.client_random.deref);
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
                    let body = Body::of(program, function.start, self.strings)?;
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
                for start in candidates.before(place) {
                    if self
                        .follow(program, start)?
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

    /// The body of the function at `start`, if it is one that gets a connection.
    fn follow(
        &mut self,
        program: &mut Program<'_, '_>,
        start: u64,
    ) -> Result<Option<&Body>, ReadError> {
        if !self.bodies.contains_key(&start) && self.bodies.len() < MAX_FUNCTIONS {
            let body = Body::of(program, start, self.strings)?;
            self.bodies.insert(start, body);
        }
        Ok(self.bodies.get(&start).filter(|body| self.loads_from(body) || !body.passed.is_empty()))
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
                    found.hooks.push(Hook { name, found_by, address, file_offset });
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
