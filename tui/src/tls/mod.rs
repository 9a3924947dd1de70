//! TLS as the key log needs it: labels, secrets, versions, key log lines. Pure: no I/O, no clock.

#![forbid(unsafe_code)]

mod cipher;
mod cipher_names;
mod key_line;
pub mod key_schedule;
mod label;
mod random;
mod secret;
mod server_name;
mod version;

pub use cipher::CipherSuite;
pub use key_line::{KeyLine, LineId, ParsedLine, ValueTag, parse_line};
pub use key_schedule::Hash;
pub use label::{Label, LabelError};
pub use random::ClientRandom;
pub use secret::{Secret, SecretLengthError};
pub use server_name::is_server_name;
pub use version::{Role, Version};
