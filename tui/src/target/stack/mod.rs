//! TLS stacks with a convention of their own, a file each: how each is recognised, and where its tap is. The search
//! for OpenSSL's family, which passes everything as C does, is in [`super::tap`].

mod gnutls;
mod go;
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
