//! A secret: wiped when it is dropped, and never shown by accident.

use std::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::Label;

/// The longest secret that is kept: a master secret, or the output of SHA-384.
const MAX: usize = 48;

/// The bytes of one secret. `Debug` shows their number only, and nothing else shows them but
/// [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Secret {
    bytes: [u8; MAX],
    len: u8,
}

/// A secret whose length cannot be right for its label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{label} with a secret of {len} bytes")]
pub struct SecretLengthError {
    /// The label.
    pub label: Label,
    /// The length that the library gave, in bytes.
    pub len: u32,
}

impl Secret {
    /// Takes a secret of `len` bytes from the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`SecretLengthError`] when `len` is not one that `label` can have: it is never padded or cut.
    pub fn new(label: &Label, bytes: &[u8], len: u32) -> Result<Self, SecretLengthError> {
        let wrong = || SecretLengthError { label: label.clone(), len };
        let real = usize::try_from(len).ok().filter(|&len| label.accepts_length(len));
        let given = bytes.get(..real.ok_or_else(wrong)?).ok_or_else(wrong)?;
        let mut secret = Self { bytes: [0; MAX], len: given.len() as u8 };
        secret.bytes[..given.len()].copy_from_slice(given);
        Ok(secret)
    }

    /// A place for one.
    pub(super) fn empty() -> Self {
        Self { bytes: [0; MAX], len: 0 }
    }

    /// Becomes the same, with no copy in between.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.bytes.copy_from_slice(&other.bytes);
        self.len = other.len;
    }

    /// The bytes themselves: for the key log, the clipboard, and what the user asked to see.
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether every byte of the secret's real length is 0.
    pub fn is_null(&self) -> bool {
        self.expose().iter().all(|&byte| byte == 0)
    }

    /// `a1b2…9f`: enough to recognise, too little to use.
    pub fn masked(&self) -> String {
        match self.expose() {
            [first, second, .., last] => format!("{first:02x}{second:02x}…{last:02x}"),
            _ => "…".to_owned(),
        }
    }

    /// Moves the secret out and wipes the place where it was.
    pub fn take(&mut self) -> Self {
        let taken = self.clone();
        self.bytes.zeroize();
        taken
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_lengths_are_taken() {
        let bytes = [7u8; 64];
        for len in 0..=64 {
            let taken = Secret::new(&Label::Exporter, &bytes, len);
            assert_eq!(taken.is_ok(), len == 32 || len == 48, "{len}");
        }
        assert!(Secret::new(&Label::ClientRandom, &bytes, 32).is_err());
        assert!(Secret::new(&Label::ClientRandom, &bytes, u32::MAX).is_err());
        assert!(Secret::new(&Label::ClientRandom, &bytes[..40], 48).is_err());
    }

    #[test]
    fn null_looks_at_the_real_length_only() {
        let mut bytes = [0u8; 64];
        bytes[32] = 1;
        assert!(Secret::new(&Label::Exporter, &bytes, 32).unwrap().is_null());
        assert!(!Secret::new(&Label::Exporter, &bytes, 48).unwrap().is_null());
    }

    #[test]
    fn debug_and_mask_do_not_tell_it() {
        let secret = Secret::new(&Label::Exporter, &[0xa7; 32], 32).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
        assert_eq!(secret.masked(), "a7a7…a7");
    }

    #[test]
    fn taking_leaves_nothing_behind() {
        let mut secret = Secret::new(&Label::Exporter, &[0xa7; 32], 32).unwrap();
        let taken = secret.take();
        assert!(secret.is_null());
        assert!(!taken.is_null());
    }
}
