//! A layout that the user says, for an image whose code does not prove it.

use super::boringssl::{self, BoringSslLayout, Era};
use super::prove::{Row, rows, shifted};
use super::{How, Layout, Layouted, ProvenLayout, libressl, openssl};
use crate::target::plan::Library;

/// Groups of each library that the error names.
const EXAMPLES: usize = 3;

/// A group of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    group: String,
    layout: Box<Layout>,
    /// The date of the era (BoringSSL, AWS-LC).
    since: Option<&'static str>,
}

/// Why a layout cannot be forced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no layout {group:?}; there are {examples}", examples = examples())]
pub struct UnknownGroup {
    /// What was asked for.
    pub group: String,
}

/// The layout of a group by its name.
pub fn named(group: &str) -> Option<Layout> {
    Forced::named(group).ok().map(|forced| *forced.layout)
}

impl Forced {
    /// The group that the tables call so: OpenSSL's by the first version that it lists, with ` quic` and ` no-psk` for
    /// builds of that kind, LibreSSL's by `LibreSSL-` and its version, BoringSSL's by a commit, AWS-LC's by a tag.
    ///
    /// # Errors
    ///
    /// [`UnknownGroup`] lists some.
    pub fn named(group: &str) -> Result<Self, UnknownGroup> {
        let mut groups = libraries().into_iter().flatten();
        groups
            .find(|forced| forced.group == group)
            .ok_or_else(|| UnknownGroup { group: group.to_owned() })
    }

    /// In place of what the code proves of this library; `None` for a library of another kind.
    pub fn over(&self, library: Option<&Library>, proven: &Layouted) -> Option<ProvenLayout> {
        let library = library?.name;
        let known: &[&str] = match *self.layout {
            Layout::OpenSsl(_) => &["OpenSSL", "quictls"],
            Layout::BoringSsl(_) => &["BoringSSL"],
            Layout::AwsLc(_) => &["AWS-LC"],
            Layout::LibreSsl(_) => &["LibreSSL"],
        };
        known.contains(&library).then(|| ProvenLayout {
            library,
            group: self.group.clone(),
            layout: (*self.layout).clone(),
            how: How::Forced,
            since: self.since,
            proof: match proven {
                Ok(proven) => format!("forced by --layout; the code says {}", proven.group),
                Err(refusal) => format!("forced by --layout; else {refusal}"),
            },
        })
    }

    /// For the user, before anything is captured.
    pub fn warning(&self) -> String {
        let library = match *self.layout {
            Layout::OpenSsl(_) => "OpenSSL",
            Layout::BoringSsl(_) => "BoringSSL",
            Layout::AwsLc(_) => "AWS-LC",
            Layout::LibreSsl(_) => "LibreSSL",
        };
        format!(
            "layout {} is forced on every image of {library} by --layout: it is not proved",
            self.group
        )
    }
}

/// The groups of each library.
fn libraries() -> [Vec<Forced>; 4] {
    let plain = |row: Row| Forced { group: row.name, layout: Box::new(row.layout), since: None };
    let openssl = rows(openssl::GROUPS.iter().map(|group| (group.name, &group.layout)));
    let libressl = rows(libressl::GROUPS.iter().map(|group| (group.name, &group.layout)));
    let libressl = libressl.into_iter().map(plain);
    let eras = |eras: &[Era], layout: fn(BoringSslLayout) -> Layout| {
        let forced = |era: &Era| Forced {
            group: era.from.to_owned(),
            layout: Box::new(layout(era.layout)),
            since: Some(era.date),
        };
        eras.iter().map(forced).collect::<Vec<_>>()
    };
    [
        openssl.into_iter().chain(shifted()).map(plain).collect(),
        eras(&boringssl::BORINGSSL, Layout::BoringSsl),
        eras(&boringssl::AWS_LC, Layout::AwsLc),
        libressl
            .map(|forced| Forced { group: format!("LibreSSL-{}", forced.group), ..forced })
            .collect(),
    ]
}

/// Some groups of each library, of all its time.
fn examples() -> String {
    let some = libraries().map(|groups| {
        let apart = groups.len().div_ceil(EXAMPLES).max(1);
        let names: Vec<String> =
            groups.into_iter().step_by(apart).map(|forced| forced.group).collect();
        format!("{}, ...", names.join(", "))
    });
    some.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::LayoutRefusal;
    use super::*;

    fn library(name: &'static str) -> Library {
        Library { name, version: None }
    }

    #[test]
    fn every_group_has_a_name_of_its_own() {
        let mut names = Vec::new();
        for forced in libraries().into_iter().flatten() {
            assert_eq!(Forced::named(&forced.group).as_ref(), Ok(&forced));
            names.push(forced.group);
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in ["3.0.0", "3.5.0 no-psk", "3.0.0+quic", "188ce3c13", "v1.27.0"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn an_unknown_group_is_answered_with_some_of_each_library() {
        let error = Forced::named("3.0.99").unwrap_err().to_string();
        for part in ["\"3.0.99\"", "1.1.0i, ", "a86c69888, ", "v0.0.1, ", "LibreSSL-"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.len() < 300, "{error}");
    }

    #[test]
    fn only_images_of_its_library_are_forced() {
        let refused = Err(LayoutRefusal("made up".to_owned()));
        for (group, names) in [
            ("3.0.0", &["OpenSSL", "quictls"][..]),
            ("188ce3c13", &["BoringSSL"]),
            ("v1.27.0", &["AWS-LC"]),
            ("LibreSSL-3.8.2", &["LibreSSL"]),
        ] {
            let forced = Forced::named(group).unwrap();
            for name in ["OpenSSL", "quictls", "BoringSSL", "AWS-LC", "LibreSSL", "GnuTLS", "NSS"] {
                let layout = forced.over(Some(&library(name)), &refused);
                assert_eq!(layout.is_some(), names.contains(&name), "{group} {name}");
                let Some(layout) = layout else { continue };
                assert_eq!((layout.library, layout.how), (name, How::Forced));
                assert_eq!(layout.since.is_some(), ["BoringSSL", "AWS-LC"].contains(&name));
                assert_eq!(layout.proof, "forced by --layout; else no layout: made up");
                let again = forced.over(Some(&library(name)), &Ok(layout)).unwrap();
                assert_eq!(again.proof, format!("forced by --layout; the code says {group}"));
            }
            assert_eq!(forced.over(None, &refused), None);
        }
        let warning = Forced::named("3.0.0").unwrap().warning();
        let wanted =
            "layout 3.0.0 is forced on every image of OpenSSL by --layout: it is not proved";
        assert_eq!(warning, wanted);
    }
}
