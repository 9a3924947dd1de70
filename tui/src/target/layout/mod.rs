//! Layouts: where the structures of a library have their fields, and how that was found and proved.
//!
//! The version string proposes a row of the tables of measured offsets, the image's code disposes: what the exported
//! accessors read and what the tap's callers pass must agree with the row. A layout that cannot be proved is refused,
//! with the reason.

use std::fmt;

pub mod accessors;
pub mod boringssl;
pub mod callers;
pub mod ends;
pub mod field;
mod forced;
mod judgement;
pub mod libressl;
pub mod openssl;
mod prove;
pub mod states;
mod table;
mod version;

pub use boringssl::BoringSslLayout;
pub use field::{At, Evidence, Field};
pub use forced::{Forced, UnknownGroup, named};
pub use libressl::LibreSslLayout;
pub use openssl::OpenSslLayout;
pub use prove::{is_known, prove};

/// The fields of one library's structures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// OpenSSL and quictls.
    OpenSsl(OpenSslLayout),
    /// BoringSSL.
    BoringSsl(BoringSslLayout),
    /// AWS-LC.
    AwsLc(BoringSslLayout),
    /// LibreSSL.
    LibreSsl(LibreSslLayout),
}

impl Layout {
    /// Where this layout has `field`; `None` for a field that it does not have.
    pub fn place(&self, field: Field) -> Option<At> {
        match self {
            Self::OpenSsl(layout) => layout.place(field),
            Self::BoringSsl(layout) | Self::AwsLc(layout) => layout.place(field),
            Self::LibreSsl(layout) => layout.place(field),
        }
    }
}

impl From<OpenSslLayout> for Layout {
    fn from(layout: OpenSslLayout) -> Self {
        Self::OpenSsl(layout)
    }
}

impl From<LibreSslLayout> for Layout {
    fn from(layout: LibreSslLayout) -> Self {
        Self::LibreSsl(layout)
    }
}

/// What chose a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// The version, confirmed by code.
    Version,
    /// The version, and of the code only the place of the client random.
    VersionAndRandom,
    /// The code: the only row that agrees with it.
    Code,
    /// The code: a row with the shift of a known way to build the library.
    Shifted,
    /// The code: what several rows that agree with it have in common.
    Reduced,
    /// The user, with `--layout`: nothing proves it.
    Forced,
}

/// A layout that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenLayout {
    /// The library's name.
    pub library: &'static str,
    /// The row: the first version that it lists, the commit or tag with which it begins, or a range of those.
    pub group: String,
    /// The fields.
    pub layout: Layout,
    /// What chose it.
    pub how: How,
    /// For BoringSSL and AWS-LC the date of the first row that agrees (`2024-10-10`), for [`states::States::at`].
    pub since: Option<&'static str>,
    /// How it was found and proved: one sentence for `scan`.
    pub proof: String,
}

impl ProvenLayout {
    /// Whether the secrets of a TLS 1.3 handshake are still there when it is done.
    pub fn keeps_handshake_secrets(&self) -> bool {
        matches!(self.layout, Layout::OpenSsl(_))
    }

    /// Whether the walk knows what to read of this library.
    pub fn can_be_walked(&self) -> bool {
        match &self.layout {
            Layout::OpenSsl(_) => true,
            Layout::BoringSsl(layout) | Layout::AwsLc(layout) => layout.can_be_walked(),
            Layout::LibreSsl(_) => false,
        }
    }
}

/// Why there is no layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LayoutRefusal(pub String);

impl fmt::Display for LayoutRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no layout: {}", self.0)
    }
}

/// A layout, or why there is none.
pub type Layouted = Result<ProvenLayout, LayoutRefusal>;
