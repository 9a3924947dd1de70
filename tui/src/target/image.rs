//! The plan for one image, from an open file.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::arch::x86_64::X86_64;
use super::dynamic::Dynamic;
use super::elf::{Elf, ElfError};
use super::functions::{self, Functions};
use super::labels::{LabelSet, Labels};
use super::layout::{self, accessors, callers};
use super::library;
use super::linkage::linkage;
use super::notes::{self, SymbolTable};
use super::plan::{Arguments, FoundBy, ImagePlan, Library, Linkage, RandomPath, Tap};
use super::random::{Evidence, Rule};
use super::record_hooks;
use super::record_names::{Family, Strings};
use super::site;
use super::stack::{self, Clues};
use super::tap::{self, Candidate, Search};
use super::walk::Program;
use super::window::{ReadError, Window};

/// Instructions that are decoded for one file on all walks together: under a second. The most that a real file
/// needed is 23,000 (Debian's libssl).
const BUDGET: u32 = 1_000_000;
/// Taps in one file: two TLS stacks, and as many again.
const MAX_TAPS: usize = 4;
/// The exported function that copies the client random out.
const ACCESSOR: &str = "SSL_get_client_random";

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is no image that can be planned.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl PlanError {
    /// Whether the system failed to read, rather than the file being unusable.
    pub fn is_io(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Io { .. }) | Self::Elf(ElfError::Read(ReadError::Io { .. }))
        )
    }
}

/// Plans `file`. `path_hint` is its path as the target sees it: only the linkage is judged by it.
///
/// A file without the key log's labels is done after one pass over its bytes; its plan has no taps, and no library
/// unless it exports `SSL_new`: [`ImagePlan::is_tls`] is the question to ask.
///
/// # Errors
/// [`PlanError::Elf`] for what is not an x86-64 image, [`PlanError::Read`] when reading fails.
pub fn plan_image(file: &File, path_hint: &Path) -> Result<ImagePlan, PlanError> {
    plan(file, path_hint, true)
}

/// Plans `file` as if its functions had no names to hook, only error records: where they have names, one way to find
/// them can be checked against the other.
///
/// # Errors
/// As [`plan_image`].
pub fn plan_by_records(file: &File, path_hint: &Path) -> Result<ImagePlan, PlanError> {
    plan(file, path_hint, false)
}

/// The plan of a file for another kind of processor: none, but what has TLS code is told. The headers are not those
/// that we can read, so that the labels are looked for in the whole file.
fn unsupported(
    window: &mut Window<'_>,
    path_hint: &Path,
    error: ElfError,
) -> Result<ImagePlan, PlanError> {
    let why = match &error {
        ElfError::ThirtyTwoBit => "32-bit programs cannot be captured",
        ElfError::Aarch64 => "aarch64 programs cannot be captured on x86-64",
        ElfError::Machine(_) => "programs for another processor cannot be captured",
        _ => return Err(error.into()),
    };
    if !Labels::find_anywhere(window)?.all().has(LabelSet::NEEDED) {
        return Err(error.into());
    }
    let is_library = path_hint
        .file_name()
        .is_some_and(|name| memchr::memmem::find(name.as_encoded_bytes(), b".so").is_some());
    Ok(ImagePlan {
        unsupported: Some(why),
        linkage: if is_library { Linkage::Shared } else { Linkage::Static },
        stripped: true,
        reason: format!("no tap: {why}"),
        ..ImagePlan::nothing(why)
    })
}

fn plan(file: &File, path_hint: &Path, by_name: bool) -> Result<ImagePlan, PlanError> {
    let mut window = Window::new(file)?;
    let elf = match Elf::read(&mut window) {
        Ok(elf) => elf,
        Err(error) => return unsupported(&mut window, path_hint, error),
    };
    let labels = Labels::find(&mut window, &elf)?;
    let dynamic = Dynamic::read(&mut window, &elf);
    let mut plan = ImagePlan {
        build_id: notes::build_id(&mut window, &elf),
        linkage: linkage(&elf, &dynamic, path_hint),
        labels: labels.named(),
        reason: String::new(),
        hooks_reason: String::new(),
        ..ImagePlan::nothing("the library is not known")
    };
    let symbols = SymbolTable::find(&mut window, &elf);
    plan.stripped = symbols.is_none();
    let known = labels.all() != LabelSet::default()
        || ["SSL_new", "gnutls_init"]
            .iter()
            .any(|name| dynamic.export(&mut window, &elf, name).is_some());
    if known {
        plan.library =
            library::recognise(&mut window, &elf, &dynamic, labels.addresses().as_slice());
    }
    let walked = plan.library.as_ref().is_some_and(|library| layout::is_known(library.name));
    let functions = match walked {
        true => Functions::find(&mut window, &elf, &dynamic, symbols),
        false => Functions::default(),
    };
    if by_name {
        plan.hooks = functions.hooks(&elf);
    }
    let strings = match &plan.library {
        Some(library) if walked && plan.hooks.is_empty() => match Family::of(library) {
            Some(family) => Strings::find(&mut window, &elf, family)?,
            None => Strings::default(),
        },
        _ => Strings::default(),
    };
    let mut program = Program::new(&mut window, &elf, &X86_64, BUDGET);
    let seen = find_taps(&mut program, &labels, &strings, &dynamic, symbols, &mut plan)?;
    if walked {
        plan.evidence = evidence(&mut program, &functions, &seen.calls, &plan)?;
        find_hooks(&mut program, &strings, &seen.strings, &mut plan)?;
    }
    program.budget = BUDGET;
    for found in stack::find(&mut program, &Clues { dynamic: &dynamic, symbols, labels: &labels })?
    {
        plan.add(found);
    }
    plan.prove_layout();
    Ok(plan)
}

/// What the search for the taps saw on its way.
#[derive(Debug, Default)]
struct Seen {
    /// The calls that pass a label to a tap.
    calls: BTreeSet<u64>,
    /// The references to the strings of error records.
    strings: Vec<(u64, u64)>,
}

/// Says how the functions to hook were found; where nothing has a name, looks for them by their error records.
fn find_hooks(
    program: &mut Program<'_, '_>,
    strings: &Strings,
    references: &[(u64, u64)],
    plan: &mut ImagePlan,
) -> Result<(), PlanError> {
    if let (Some(library), true) = (&plan.library, plan.hooks.is_empty()) {
        program.budget = BUDGET;
        let found = record_hooks::find(program, library, &plan.taps, strings, references)?;
        (plan.hooks, plan.hooks_reason) = (found.hooks, found.reason);
    } else if let Some(hook) = plan.hooks.first() {
        plan.hooks_reason = match hook.found_by {
            FoundBy::Export => "found by their exported names".to_owned(),
            _ => "found by their symbols".to_owned(),
        };
    }
    program.budget = BUDGET;
    for hook in plan.hooks.iter_mut().filter(|hook| !functions::shakes_hands(hook.name)) {
        let emulated = site::emulated_with_connection(program, hook.address)?;
        let offset = emulated.and_then(|address| program.elf.file_offset(address));
        hook.probe_offset = offset.unwrap_or(hook.probe_offset);
    }
    Ok(())
}

/// Finds the taps.
fn find_taps(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    strings: &Strings,
    dynamic: &Dynamic,
    symbols: Option<SymbolTable>,
    plan: &mut ImagePlan,
) -> Result<Seen, PlanError> {
    let mut seen = Seen::default();
    if !labels.all().has(LabelSet::NEEDED) {
        plan.reason = "no tap: the file does not hold the labels of the key log format".to_owned();
        return Ok(seen);
    }
    if let Some(Library { name: "GnuTLS" | "NSS", .. }) = plan.library {
        // They have a search of their own.
        return Ok(seen);
    }
    let mut search = tap::search(program, labels, &strings.addresses())?;
    seen.strings = std::mem::take(&mut search.others);
    let accessor = match dynamic.export(program.window, program.elf, ACCESSOR) {
        Some(address) => Evidence::of(program, address)?,
        None => Evidence::default(),
    };
    let mut clauses = vec![summary(&search, labels.cut)];
    for candidate in search.candidates.iter().take(MAX_TAPS) {
        let (tap, clause) = tap_of(program, candidate, &accessor)?;
        clauses.push(format!("{:#x}: {clause}", candidate.function));
        if let Some(mut tap) = tap {
            tap.symbol = symbols.and_then(|table| table.name_at(program.window, tap.function));
            plan.taps.push(tap);
            seen.calls.extend(&candidate.calls);
        }
    }
    plan.reason = clauses.join("; ");
    Ok(seen)
}

/// What the code shows of the layout: the accessors, the taps, and their callers.
fn evidence(
    program: &mut Program<'_, '_>,
    functions: &Functions,
    calls: &BTreeSet<u64>,
    plan: &ImagePlan,
) -> Result<layout::Evidence, PlanError> {
    let mut evidence = layout::Evidence::default();
    accessors::look(program, |name| functions.address(name), &mut evidence)?;
    for tap in &plan.taps {
        if let Arguments::Connection(random) = tap.arguments {
            evidence.add(layout::Field::ClientRandom, "the tap", vec![random.into()]);
        }
    }
    callers::look(program, calls.iter().copied(), &plan.labels, &mut evidence)?;
    Ok(evidence)
}

/// Completes a candidate, or says why it cannot be tapped.
fn tap_of(
    program: &mut Program<'_, '_>,
    candidate: &Candidate,
    accessor: &Evidence,
) -> Result<(Option<Tap>, String), PlanError> {
    let evidence = Evidence::of(program, candidate.function)?;
    let Some((path, how)) = client_random(&evidence, accessor) else {
        return Ok((None, "no tap: its code does not show where the client random is".to_owned()));
    };
    let Some(choice) = site::choose(program, candidate.function, &candidate.calls)? else {
        return Ok((None, "no tap: the kernel would refuse a probe at its entry".to_owned()));
    };
    let tap = Tap {
        function: candidate.function,
        symbol: None,
        arguments: Arguments::Connection(path),
        sites: choice.sites,
    };
    Ok((Some(tap), format!("{how}, probing {}", choice.why)))
}

/// The path to the client random, and how it was found. The function itself is the best source, since its argument
/// is the pointer that the probe sees; the exported accessor only confirms it, or stands in.
fn client_random(evidence: &Evidence, accessor: &Evidence) -> Option<(RandomPath, String)> {
    let Some((path, rule)) = evidence.path() else {
        let (path, _) = accessor.path()?;
        return Some((path, format!("client random from {ACCESSOR} alone")));
    };
    let rule = match rule {
        Rule::Argument => "client random from the arguments of a call",
        Rule::Load => "client random from a load",
    };
    let check = if accessor.is_empty() {
        String::new()
    } else if accessor.mentions(path) {
        format!(", confirmed by {ACCESSOR}")
    } else {
        format!(", not confirmed by {ACCESSOR}")
    };
    Some((path, format!("{rule}{check}")))
}

fn summary(search: &Search, labels_cut: bool) -> String {
    let limit = if search.cut || labels_cut { " (cut short by a limit)" } else { "" };
    let found = match search.candidates.len() {
        0 => {
            "no tap: no function gets both CLIENT_RANDOM and EXPORTER_SECRET as its second argument"
                .to_owned()
        }
        1 => "one function gets the labels as its second argument".to_owned(),
        many => format!("{many} functions get the labels as their second argument"),
    };
    format!("{found}, {} references{limit}", search.references)
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Linkage, SiteKind};
    use super::super::sample::{FUNCTION, PASSES_RANDOM, Sample, file_of};
    use super::*;
    use proptest::prelude::*;

    fn plan(bytes: &[u8]) -> Result<ImagePlan, PlanError> {
        plan_image(&file_of(bytes), Path::new("/usr/lib/libssl.so.3"))
    }

    /// Two callers and a function that passes the client random to another.
    fn sample() -> Sample {
        Sample::with_function(&PASSES_RANDOM)
    }

    #[test]
    fn a_plan_from_end_to_end() {
        let plan = plan(&sample().bytes()).unwrap();
        assert_eq!(plan.taps.len(), 1, "{}", plan.reason);
        let tap = &plan.taps[0];
        assert_eq!(tap.function, FUNCTION);
        let path = RandomPath { deref: Some(0x30), offset: 0x30 };
        assert_eq!(tap.arguments, Arguments::Connection(path));
        assert_eq!(tap.sites[0].kind, SiteKind::Emulated);
        assert!(plan.stripped && plan.is_tls());
        let labels: Vec<_> = plan.labels.iter().map(|label| (label.address, label.name)).collect();
        assert_eq!(
            labels,
            [
                (0x2000, "CLIENT_RANDOM"),
                (0x200e, "EARLY_EXPORTER_SECRET"),
                (0x2014, "EXPORTER_SECRET")
            ]
        );
        assert_eq!(plan.linkage, Linkage::Static);
    }

    #[test]
    fn without_labels_there_is_a_plan_without_taps() {
        let mut bytes = sample().bytes();
        bytes[0x2000] = b'X';
        let plan = plan(&bytes).unwrap();
        assert!(plan.taps.is_empty() && !plan.is_tls(), "{}", plan.reason);
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_or_has_no_tap() {
        let bytes = sample().bytes();
        for length in (0..300).chain((300..bytes.len()).step_by(97)) {
            assert!(plan(&bytes[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = plan(&bytes);
        }

        #[test]
        fn random_bytes_after_the_magic_number_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut file = b"\x7fELF\x02\x01\x01".to_vec();
            file.extend(bytes);
            let _ = plan(&file);
        }

        #[test]
        fn changed_headers_never_panic(changes in proptest::collection::vec((0usize..232, any::<u8>()), 1..6)) {
            let mut bytes = sample().bytes();
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = plan(&bytes);
        }

        #[test]
        fn changed_code_never_panics(changes in proptest::collection::vec((0x1000usize..0x1820, any::<u8>()), 1..40)) {
            let mut bytes = sample().bytes();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = plan(&bytes);
        }

        #[test]
        fn random_code_never_panics(code in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let mut sample = sample();
            sample.raw(&code);
            let _ = plan(&sample.bytes());
        }
    }
}
