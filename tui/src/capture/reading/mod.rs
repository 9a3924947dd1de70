//! What the copied bytes of a walk say: pure, and suspicious of every byte.

pub mod boringssl;
pub mod ends;
pub mod openssl;

use tlskeytop_common::{
    CIPHER_FOLLOWS, CipherAt, EndsConfig, FactsConfig, NumberAt, STEPS, Step, WalkConfig,
};

use crate::model::Facts;
use crate::target::layout::{self, Layout, Layouted};
use crate::target::plan::ImagePlan;
use crate::tls::key_schedule::KeyScheduleError;
use crate::tls::{CipherSuite, ClientRandom, Label, Secret};

/// Where a tap finds the facts of a session. Nowhere when the layout is not proved.
pub fn facts_config(layout: &Layouted) -> FactsConfig {
    match layout.as_ref().map(|proven| &proven.layout) {
        Ok(Layout::OpenSsl(layout)) => openssl::facts_config(layout),
        Ok(Layout::BoringSsl(layout) | Layout::AwsLc(layout)) => boringssl::facts_config(layout),
        Ok(Layout::LibreSsl(_)) | Err(_) => FactsConfig::NOTHING,
    }
}

/// A way to the cipher over these pointers. There is room for all that the layouts have.
fn way<const N: usize>(follow: [u32; N], number: NumberAt) -> CipherAt {
    const { assert!(N <= CIPHER_FOLLOWS) };
    let mut way = CipherAt { follows: N as u32, number, ..CipherAt::default() };
    way.follow[..N].copy_from_slice(&follow);
    way
}

/// What was found there.
pub fn facts(layout: &Layouted, bytes: &[u8]) -> Facts {
    match layout.as_ref().map(|proven| &proven.layout) {
        Ok(Layout::OpenSsl(_)) => openssl::facts(bytes),
        Ok(Layout::BoringSsl(_) | Layout::AwsLc(_)) => boringssl::facts(bytes),
        Ok(Layout::LibreSsl(_)) | Err(_) => Facts::default(),
    }
}

/// Bytes at the start of the payload that the quick steps of a walk fill, and no other step does.
pub const QUICK: u16 = tlskeytop_common::QUICK as u16;

/// The steps of a whole walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// All of them.
    pub steps: Vec<Step>,
    /// How many of them, from the first, are quick: what they put into the first [`QUICK`] bytes changes when there may
    /// be something new in the connection. The pointers that they follow are needed by the steps after them.
    pub quick: usize,
    /// The library wipes the secrets of the handshake before it says that it is done: look before, too.
    pub any_result: bool,
}

impl From<Walk> for WalkConfig {
    fn from(walk: Walk) -> Self {
        let mut config = Self {
            quick: walk.quick as u32,
            any_result: u32::from(walk.any_result),
            steps: [Step::default(); STEPS],
            ends: EndsConfig::NOTHING,
        };
        for (place, step) in config.steps.iter_mut().zip(walk.steps) {
            *place = step;
        }
        config
    }
}

/// The steps of a whole walk; `None` where the layout is not proved as far as a walk needs it.
pub fn walk(layout: &Layouted) -> Option<Walk> {
    let proven = layout.as_ref().ok().filter(|proven| proven.can_be_walked())?;
    match &proven.layout {
        Layout::OpenSsl(layout) => Some(openssl::steps(layout)),
        Layout::BoringSsl(layout) | Layout::AwsLc(layout) => Some(boringssl::steps(layout)),
        Layout::LibreSsl(_) => None,
    }
}

/// The same for the kernel side, with where the ends are.
pub fn steps(plan: &ImagePlan) -> Option<WalkConfig> {
    let walk = WalkConfig::from(walk(&plan.layout)?);
    Some(WalkConfig { ends: ends_config(plan), ..walk })
}

/// Where the ends of a connection are. Nowhere when the layout is not proved.
pub fn ends_config(plan: &ImagePlan) -> EndsConfig {
    let proven = plan.layout.as_ref().ok();
    let ends = proven.map(|proven| layout::ends::prove(proven, &plan.evidence));
    ends::config(&ends.unwrap_or_default())
}

/// What those steps copied, when there are secrets.
///
/// # Errors
///
/// [`ReadError`] when the bytes cannot be a connection of this layout.
pub fn read(layout: &Layouted, bytes: &[u8]) -> Result<Option<Reading>, ReadError> {
    let proven = layout.as_ref().map_err(|_| ReadError::Field("layout"))?;
    match &proven.layout {
        Layout::OpenSsl(_) => openssl::read(bytes),
        Layout::BoringSsl(layout) => boringssl::read(layout, proven.since, bytes),
        Layout::AwsLc(layout) => {
            let numbered = proven.since.map(|since| since.min(boringssl::NUMBERS_OF_AWS_LC));
            boringssl::read(layout, numbered, bytes)
        }
        Layout::LibreSsl(_) => Err(ReadError::Field("layout")),
    }
}

/// A secret with its label.
pub type LabelledSecret = (Label, Secret);

/// What a walk found in a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// The session.
    pub client_random: ClientRandom,
    /// Version, cipher, role, resumption.
    pub facts: Facts,
    /// Those that are not null.
    pub secrets: Vec<LabelledSecret>,
    /// A KeyUpdate may have replaced the traffic secrets, and there is no telling.
    pub may_be_updated: bool,
}

/// Why bytes are no connection of this layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A field has a value that it cannot have.
    #[error("the field {0} has a value that it cannot have")]
    Field(&'static str),
    /// TLS 1.3 with a cipher suite that is none of it.
    #[error("TLS 1.3 with {0}")]
    Cipher(CipherSuite),
    /// One secret does not follow from the one that it is derived from.
    #[error("the {0} does not follow from the other secrets")]
    Schedule(&'static str),
    /// Secrets could not be derived.
    #[error(transparent)]
    KeySchedule(#[from] KeyScheduleError),
}

/// The bytes that the steps copied. A field beyond the end reads as zeros.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// `len` bytes; empty when they are not all there.
    pub fn bytes(self, at: u16, len: usize) -> &'a [u8] {
        let at = usize::from(at);
        self.0.get(at..at + len).unwrap_or_default()
    }

    /// A number in the target's byte order, which is ours.
    pub fn u16(self, at: u16) -> u16 {
        self.bytes(at, 2).try_into().map_or(0, u16::from_ne_bytes)
    }

    /// A number in the target's byte order, which is ours.
    pub fn u32(self, at: u16) -> u32 {
        self.bytes(at, 4).try_into().map_or(0, u32::from_ne_bytes)
    }

    /// A number in the target's byte order, which is ours.
    pub fn u64(self, at: u16) -> u64 {
        self.bytes(at, 8).try_into().map_or(0, u64::from_ne_bytes)
    }

    /// A client random.
    ///
    /// # Errors
    ///
    /// [`ReadError::Field`] for one of zeros.
    pub fn client_random(self, at: u16) -> Result<ClientRandom, ReadError> {
        let random = self.bytes(at, 32).try_into().map(ClientRandom);
        let random = random.map_err(|_| ReadError::Field("client_random"))?;
        if random.is_null() { Err(ReadError::Field("client_random")) } else { Ok(random) }
    }

    /// A secret.
    ///
    /// # Errors
    ///
    /// [`ReadError::Field`] for a length that the label cannot have.
    pub fn secret(self, label: Label, at: u16, len: usize) -> Result<LabelledSecret, ReadError> {
        let secret = Secret::new(&label, self.bytes(at, len), len as u32);
        Ok((label, secret.map_err(|_| ReadError::Field("length of a secret"))?))
    }
}

/// Without those that are all zero: a structure that was not filled is no secret.
pub fn only_real(secrets: Vec<LabelledSecret>) -> Vec<LabelledSecret> {
    secrets.into_iter().filter(|(_, secret)| !secret.is_null()).collect()
}

/// Whether bytes can be the output of a hash: small numbers, null pointers and memory that was filled have six equal
/// bytes in a row, and of the outputs of a hash less than one in 2^34 has.
fn looks_random(secret: &[u8]) -> bool {
    !secret.windows(6).any(|run| run.iter().all(|byte| *byte == run[0]))
}

/// Whether nothing was written there.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use tlskeytop_common::{COPY_MAX, PAYLOAD, POINTERS, StepKind};

    use super::*;

    /// A walk that the kernel side has room for, whose quick steps alone fill the first bytes, and none of whose steps
    /// writes over what another has copied.
    pub fn fits(walk: &Walk, name: &str) {
        assert!(walk.steps.len() <= STEPS, "{name}: {} steps", walk.steps.len());
        let mut followed = vec![0];
        let mut filled: Vec<Range<u16>> = Vec::new();
        for (index, step) in walk.steps.iter().enumerate() {
            assert!(followed.contains(&step.from), "{name}: {step:?} from nowhere");
            if step.kind == StepKind::Follow as u8 {
                assert!(usize::from(step.to) < POINTERS && step.to != 0, "{name}: {step:?}");
                followed.push(step.to);
                continue;
            }
            assert!(usize::from(step.len) <= COPY_MAX && step.len > 0, "{name}: {step:?}");
            assert!(usize::from(step.at) <= PAYLOAD - COPY_MAX, "{name}: {step:?}");
            let end = step.at + u16::from(step.len);
            let is_quick = index < walk.quick;
            assert!(if is_quick { end <= QUICK } else { step.at >= QUICK }, "{name}: {step:?}");
            assert!(
                filled.iter().all(|other| end <= other.start || other.end <= step.at),
                "{name}: {step:?} over another"
            );
            filled.push(step.at..end);
        }
        let config = WalkConfig::from(walk.clone());
        assert_eq!(config.steps[..walk.steps.len()], walk.steps[..]);
    }
}
