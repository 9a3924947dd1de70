//! TLS stacks with a convention of their own, a file each: how each is recognised, and where its tap is. The search
//! for OpenSSL's family, which passes everything as C does, is in [`super::tap`].

mod gnutls;
pub(crate) mod go;
mod nss;
mod references;
mod rustls;
mod s2n;
mod softoken;

use super::dynamic::Dynamic;
use super::elf::ElfError;
use super::labels::Labels;
use super::notes::SymbolTable;
use super::plan::{LabelAt, Library, Tap};
use super::walk::Program;

/// A stack in a file, with its taps, or the reason why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name and version.
    pub library: Library,
    /// Its taps.
    pub taps: Vec<Tap>,
    /// Labels that its taps pass, where they are not ended by a NUL in the file.
    pub labels: Vec<LabelAt>,
    /// How they were found, or why there is none: one sentence for `scan`.
    pub reason: String,
}

/// What is known of a file before its stacks are looked for.
pub struct Clues<'d> {
    /// Its labels.
    pub labels: &'d Labels,
    /// Its dynamic section.
    pub dynamic: &'d Dynamic,
    /// Its symbols, where it has any.
    pub symbols: Option<SymbolTable>,
}

/// Looks for one stack. Most files have none of them: it must be cheap to find that out.
type Find = fn(&mut Program<'_, '_>, &Clues<'_>) -> Result<Option<Found>, ElfError>;

/// All of them.
const STACKS: [Find; 6] =
    [gnutls::find, nss::find, softoken::find, s2n::find, go::find, rustls::find];

/// The stacks in a file.
///
/// # Errors
/// When the file cannot be read.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Vec<Found>, ElfError> {
    let mut found = Vec::new();
    for look in STACKS {
        found.extend(look(program, clues)?);
    }
    Ok(found)
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::target::sample::Sample;

    /// What a finder says of a sample.
    pub fn found_in(sample: &Sample, find: Find) -> Option<Found> {
        sample.with(|program, labels| {
            let dynamic = Dynamic::read(program.window, program.elf);
            find(program, &Clues { dynamic: &dynamic, symbols: None, labels }).unwrap()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::rustls::tests::logs;
    use super::s2n::tests::add_functions;
    use crate::target::image::plan_image;
    use crate::target::plan::Arguments;
    use crate::target::sample::{CLIENT_RANDOM as CONSTANTS, EXPORTER, FUNCTION, Sample};

    /// OpenSSL's family, s2n-tls and rustls.
    #[test]
    fn three_stacks_in_one_file_are_all_planned() {
        let mut sample = Sample::new();
        sample.constants.extend(b"\0Error in /s2n/tls/s2n_key_log.c:55\0");
        let messages = CONSTANTS + 64;
        sample.constants.extend(b"Error in /s2n/tls/s2n_prf.c:7\0");
        sample.constants.resize(0xa0, 0);
        sample
            .constants
            .extend(b"CLIENT_RANDOM, CLIENT_HANDSHAKE_TRAFFIC_SECRET, /rustls-0.23.1/src");
        sample.lea_rsi(CONSTANTS).call(FUNCTION).raw(&[0xc3]);
        sample.lea_rsi(EXPORTER).call(FUNCTION).raw(&[0xc3]);
        add_functions(&mut sample, [messages + 1, messages + 36]);
        sample.at(RUSTLS);
        let call = logs(&mut sample, CONSTANTS + 0xa0);
        // push rbx; mov rdx, [rdi+0x30]; add rdx, 0x30; mov ecx, 0x20; call; pop rbx
        sample.at(FUNCTION).raw(&[0x53, 0x48, 0x8b, 0x57, 0x30, 0x48, 0x83, 0xc2, 0x30]);
        sample.raw(&[0xb9, 0x20, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0x5b, 0xc3]);
        sample.functions.extend([RUSTLS..RUSTLS + 0x100, FUNCTION..FUNCTION + 0x20]);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&sample.bytes()).unwrap();
        let plan = plan_image(&file, Path::new("/bin/three")).unwrap();
        // Nothing says which one of the first it is.
        assert_eq!(plan.library, None);
        let names: Vec<_> = plan.others.iter().map(|library| library.name).collect();
        assert_eq!(names, ["s2n-tls", "rustls"], "{}", plan.reason);
        let of_c = |arguments: &Arguments| matches!(arguments, Arguments::Connection(_));
        assert_eq!(plan.taps.iter().filter(|tap| of_c(&tap.arguments)).count(), 1);
        assert_eq!(plan.taps.len(), 4, "{}", plan.reason);
        assert!(plan.taps.iter().any(|tap| tap.sites[0].address == call));
    }

    const RUSTLS: u64 = 0x1600;
}
