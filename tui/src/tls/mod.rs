//! TLS as the key log needs it: labels, secrets, versions, key log lines. Pure: no I/O, no clock.

mod key_line;
mod label;
mod random;
mod secret;
mod version;

pub use key_line::{KeyLine, LineId, ParsedLine, ValueTag, parse_line};
pub use label::{Label, LabelError};
pub use random::ClientRandom;
pub use secret::{Secret, SecretLengthError};
pub use version::Version;
