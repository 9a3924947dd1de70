//! The version string proposes, the code disposes.

use std::collections::BTreeSet;

use super::boringssl::{self, BoringSslLayout, Era};
use super::field::{Evidence, Field};
use super::judgement::judge;
use super::version::{self, Release};
use super::{How, Layout, LayoutRefusal, Layouted, ProvenLayout, libressl, openssl};
use crate::target::plan::Library;

/// Whether there are layouts of the library called `name`.
pub fn is_known(name: &str) -> bool {
    ["OpenSSL", "quictls", "BoringSSL", "AWS-LC", "LibreSSL"].contains(&name)
}

/// The layout of an image, or why there is none.
///
/// `library.version` may come from elsewhere (a libssl's from the libcrypto beside it): it only proposes.
///
/// # Errors
/// [`LayoutRefusal`] says what is missing, or what contradicts what.
pub fn prove(library: Option<&Library>, evidence: &Evidence) -> Layouted {
    let Some(library) = library else {
        return refuse("the library is not known");
    };
    let version = library.version.as_deref();
    match library.name {
        "OpenSSL" | "quictls" => {
            let rows = rows(openssl::GROUPS.iter().map(|group| (group.name, &group.layout)));
            decide(library, openssl_row(version), rows, shifted(), evidence)
        }
        "LibreSSL" => {
            let rows = rows(libressl::GROUPS.iter().map(|group| (group.name, &group.layout)));
            decide(library, libressl_row(version), rows, Vec::new(), evidence)
        }
        "BoringSSL" => era(library, None, &boringssl::BORINGSSL, Layout::BoringSsl, evidence),
        "AWS-LC" => {
            let proposed = version.and_then(Release::parse).and_then(|v| boringssl::awslc_era(&v));
            era(library, proposed, &boringssl::AWS_LC, Layout::AwsLc, evidence)
        }
        other => refuse(format!("{other} has no layouts")),
    }
}

fn refuse(reason: impl Into<String>) -> Layouted {
    Err(LayoutRefusal(reason.into()))
}

/// A row of a table, or one that was made of it by a known shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub name: String,
    pub layout: Layout,
}

pub(super) fn rows<'g, L: Clone + Into<Layout> + 'g>(
    groups: impl Iterator<Item = (&'static str, &'g L)>,
) -> Vec<Row> {
    let first = |name: &str| name.split(',').next().unwrap_or_default().to_owned();
    groups.map(|(name, layout)| Row { name: first(name), layout: layout.clone().into() }).collect()
}

fn openssl_row(version: Option<&str>) -> Option<Row> {
    let wanted = Release::parse(version?)?;
    let known = openssl::GROUPS.iter().flat_map(|group| group.versions().map(move |v| (v, group)));
    let group = version::choose(known, &wanted, |group| &group.layout)?;
    rows([(group.name, &group.layout)].into_iter()).pop()
}

fn libressl_row(version: Option<&str>) -> Option<Row> {
    let wanted = Release::parse(version?)?;
    let known = libressl::GROUPS.iter().filter_map(|group| Some((group.version()?, group)));
    let group = version::choose(known, &wanted, |group| &group.layout)?;
    rows([(group.name, &group.layout)].into_iter()).pop()
}

/// OpenSSL's rows as builds with quictls' secrets and without PSK have them, where the table does not list them.
pub(super) fn shifted() -> Vec<Row> {
    let mut found: Vec<Row> = Vec::new();
    for group in openssl::GROUPS.iter() {
        let layout = &group.layout;
        let quic = (!group.name.contains("+quic")).then(|| layout.with_quic()).flatten();
        let both = quic.as_ref().and_then(openssl::OpenSslLayout::without_psk);
        for (mark, layout) in
            [(" quic", quic), (" no-psk", layout.without_psk()), (" quic no-psk", both)]
        {
            let Some(layout) = layout else { continue };
            let name = group.name.split(',').next().unwrap_or_default();
            found.push(Row { name: format!("{name}{mark}"), layout: layout.into() });
        }
    }
    found
}

/// OpenSSL and LibreSSL, which have versions.
fn decide(
    library: &Library,
    proposed: Option<Row>,
    rows: Vec<Row>,
    shifted: Vec<Row>,
    evidence: &Evidence,
) -> Layouted {
    let says = match (&library.version, &proposed) {
        (None, _) => "the file does not say its version".to_owned(),
        (Some(version), None) => format!("version {version} is not in the table"),
        (Some(version), Some(_)) => format!("version {version}"),
    };
    let proven = |row: Row, how, proof: String| {
        let (group, layout) = (row.name, row.layout);
        Ok(ProvenLayout { library: library.name, group, layout, how, since: None, proof })
    };
    let mut objection = None;
    if let Some(row) = proposed {
        let judgement = judge(evidence, |field| row.layout.place(field));
        if judgement.agrees() {
            let how = match judgement.has_session() || judgement.has(Field::Exporter) {
                true => How::Version,
                false if judgement.has(Field::ClientRandom) => How::VersionAndRandom,
                false => return refuse(format!("{says}, but no code confirms its layout")),
            };
            return proven(row, how, format!("{says}, {}", judgement.confirmation()));
        }
        objection = Some(judgement.contradiction());
    }
    let says = match objection {
        Some(objection) => format!("{says}, but {objection}"),
        None => says,
    };
    for (candidates, how) in [(rows, How::Code), (shifted, How::Shifted)] {
        let judged = candidates.into_iter().map(|row| {
            let judgement = judge(evidence, |field| row.layout.place(field));
            (row, judgement)
        });
        let mut agreeing: Vec<_> = judged
            .filter(|(row, judgement)| judgement.agrees() && judgement.suffices(&row.layout))
            .collect();
        agreeing.dedup_by(|(a, _), (b, _)| a.layout == b.layout);
        match agreeing.len() {
            0 => {}
            1 => {
                if let Some((row, judgement)) = agreeing.pop() {
                    let proof = format!("{says}; the only layout {}", judgement.confirmation());
                    return proven(row, how, proof);
                }
            }
            _ => {
                let names: Vec<_> = agreeing.into_iter().map(|(row, _)| row.name).collect();
                return refuse(format!("{says}; the code agrees with {}", names.join(" and ")));
            }
        }
    }
    let fields: BTreeSet<String> =
        evidence.shown.iter().map(|shown| shown.field.to_string()).collect();
    let fields: Vec<String> = fields.into_iter().collect();
    let shows = if fields.is_empty() { "nothing".to_owned() } else { fields.join(", ") };
    refuse(format!("{says}; no known layout is proved by what the code shows ({shows})"))
}

/// BoringSSL and AWS-LC: what all eras have in common that the code does not contradict.
fn era(
    library: &Library,
    proposed: Option<&Era>,
    eras: &[Era],
    layout: fn(BoringSslLayout) -> Layout,
    evidence: &Evidence,
) -> Layouted {
    let proven = |group: String, era: &Era, of: BoringSslLayout, proof, how| {
        let (layout, since) = (layout(of), Some(era.date));
        Ok(ProvenLayout { library: library.name, group, layout, how, since, proof })
    };
    let says = match &library.version {
        Some(version) => format!("version {version}"),
        None => "the file does not say its version".to_owned(),
    };
    if let Some(era) = proposed {
        let judgement = judge(evidence, |field| era.layout.place(field));
        if judgement.agrees() && judgement.has(Field::ClientRandom) {
            let code = judgement.has(Field::Session) || judgement.has(Field::Exporter);
            let how = if code { How::Version } else { How::VersionAndRandom };
            let proof = format!("{says}, {}", judgement.confirmation());
            return proven(era.from.to_owned(), era, era.layout, proof, how);
        }
    }
    let judged: Vec<_> =
        eras.iter().map(|era| (era, judge(evidence, |field| era.layout.place(field)))).collect();
    let agreeing: Vec<_> = judged
        .iter()
        .filter(|(_, judgement)| judgement.agrees() && judgement.has(Field::ClientRandom))
        .collect();
    let (Some((first, judgement)), Some((last, _))) = (agreeing.first(), agreeing.last()) else {
        let closest = judged.iter().min_by_key(|(_, judgement)| judgement.contradicted.len());
        return match closest {
            Some((era, judgement)) if !judgement.agrees() => refuse(format!(
                "{says}; no known layout agrees with the code: of {}'s, {}",
                era.date,
                judgement.contradiction()
            )),
            _ => refuse(format!("{says}, and the code does not show the client random")),
        };
    };
    let common = agreeing.iter().fold(first.layout, |common, (era, _)| common.common(&era.layout));
    let missing = common.lacks(&first.layout);
    let confirmation = judgement.confirmation();
    if missing.is_empty() {
        let proof = format!("{says}; the only layout {confirmation}");
        return proven(first.from.to_owned(), first, common, proof, How::Code);
    }
    let proof = format!(
        "{says}; what the layouts from {} to {} have in common, {confirmation}; not proved: {}",
        first.date,
        last.date,
        missing.join(", ")
    );
    proven(format!("{}..{}", first.from, last.from), first, common, proof, How::Reduced)
}

#[cfg(test)]
mod tests {
    use super::super::field::At;
    use super::super::named;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever code shows: no panic, and no layout that it contradicts.
        #[test]
        fn nothing_is_believed_against_the_code(
            name in 0..5usize,
            version in prop::sample::select(vec![None, Some("3.0.17"), Some("1.30.1"), Some("x")]),
            truth in prop::sample::select(vec!["3.0.0", "1.1.1d", "v1.27.0", "188ce3c13", "LibreSSL-3.8.2"]),
            noise in prop::collection::vec((0..8usize, 0..2400u32), 0..3),
        ) {
            let name = ["OpenSSL", "quictls", "BoringSSL", "AWS-LC", "LibreSSL"][name];
            let mut evidence = evidence(&named(truth).unwrap(), &ACCESSORS);
            for (field, offset) in noise {
                evidence.add(ACCESSORS[field], "noise", vec![At::direct(offset)]);
            }
            if let Ok(proven) = prove(Some(&library(name, version)), &evidence) {
                let judgement = judge(&evidence, |field| proven.layout.place(field));
                prop_assert!(judgement.agrees(), "{proven:?}");
            }
        }
    }

    fn library(name: &'static str, version: Option<&str>) -> Library {
        Library { name, version: version.map(str::to_owned) }
    }

    /// What the code of an image with `layout` would show of `fields`.
    fn evidence(layout: &Layout, fields: &[Field]) -> Evidence {
        let mut evidence = Evidence::default();
        for &field in fields {
            evidence.add(field, "code", layout.place(field).into_iter().collect());
        }
        evidence
    }

    const ACCESSORS: [Field; 8] = [
        Field::Version,
        Field::Server,
        Field::ClientRandom,
        Field::Session,
        Field::SessionCipher,
        Field::MasterKey,
        Field::CipherId,
        Field::Hit,
    ];

    fn openssl(version: Option<&str>, evidence: &Evidence) -> Layouted {
        prove(Some(&library("OpenSSL", version)), evidence)
    }

    #[test]
    fn a_version_that_the_code_confirms() {
        let layout = named("3.0.0").unwrap();
        let found = openssl(Some("3.0.17"), &evidence(&layout, &ACCESSORS)).unwrap();
        assert_eq!((found.group.as_str(), found.how), ("3.0.0", How::Version));
        assert_eq!(found.layout, layout);
        assert!(found.proof.contains("session"), "{}", found.proof);
    }

    #[test]
    fn the_code_wins_over_a_version_that_lies() {
        let layout = named("3.0.0").unwrap();
        let found = openssl(Some("3.5.2"), &evidence(&layout, &ACCESSORS)).unwrap();
        assert_eq!((found.group.as_str(), found.how), ("3.0.0", How::Code));
        assert!(found.proof.contains("version 3.5.2, but code shows"), "{}", found.proof);
        let found = openssl(Some("9.9.9"), &evidence(&layout, &ACCESSORS)).unwrap();
        assert_eq!(found.layout, layout);
    }

    #[test]
    fn builds_with_a_known_shift() {
        for (name, version) in [("3.0.0 no-psk", "3.0.17"), ("3.5.0 quic", "3.5.8+quic")] {
            let layout = named(name).unwrap();
            let found = openssl(Some(version), &evidence(&layout, &ACCESSORS)).unwrap();
            assert_eq!((found.group.as_str(), found.how), (name, How::Shifted));
            assert_eq!(found.layout, layout);
        }
        // quictls whose version says so, in a row of the table.
        let layout = named("3.0.0+quic").unwrap();
        let found = openssl(Some("3.0.15+quic"), &evidence(&layout, &ACCESSORS)).unwrap();
        assert_eq!((found.group.as_str(), found.how), ("3.0.0+quic", How::Version));
    }

    #[test]
    fn the_client_random_alone_needs_a_version() {
        let layout = named("3.0.0").unwrap();
        let random = evidence(&layout, &[Field::ClientRandom]);
        let found = openssl(Some("3.0.17"), &random).unwrap();
        assert_eq!(found.how, How::VersionAndRandom);
        assert!(openssl(None, &random).is_err());
        assert!(openssl(Some("3.5.0"), &random).is_err(), "another client random");
        assert!(openssl(Some("3.0.17"), &Evidence::default()).is_err());
        assert!(openssl(None, &Evidence::default()).is_err());
    }

    #[test]
    fn layouts_that_the_code_cannot_tell_apart_are_refused() {
        // 1.1.1a and 1.1.1d have the same session and cipher, and other secrets.
        let layout = named("1.1.1d").unwrap();
        let refusal = openssl(None, &evidence(&layout, &ACCESSORS)).unwrap_err();
        assert!(refusal.0.contains("1.1.1a and 1.1.1d"), "{refusal}");
        let fields = [&ACCESSORS[..], &[Field::Exporter]].concat();
        assert_eq!(openssl(None, &evidence(&layout, &fields)).unwrap().group, "1.1.1d");
    }

    #[test]
    fn code_that_fits_no_row_is_refused() {
        let layout = named("3.0.0").unwrap();
        let mut evidence = evidence(&layout, &ACCESSORS);
        evidence.add(Field::Session, "other", vec![At::direct(1)]);
        let refusal = openssl(Some("3.0.17"), &evidence).unwrap_err();
        assert!(refusal.0.contains("other shows session at 1, not 2328"), "{refusal}");
    }

    #[test]
    fn every_row_proves_itself() {
        let all = openssl::GROUPS.iter();
        for group in all {
            let row = rows([(group.name, &group.layout)].into_iter()).pop().unwrap();
            let evidence = evidence(&row.layout, &ACCESSORS);
            for version in group.name.split(',') {
                assert_eq!(openssl(Some(version), &evidence).unwrap().group, row.name);
            }
        }
        for group in libressl::GROUPS.iter() {
            let evidence = evidence(&group.layout.into(), &ACCESSORS);
            let found = prove(Some(&library("LibreSSL", Some(group.name))), &evidence).unwrap();
            assert_eq!(found.layout, Layout::LibreSsl(group.layout));
        }
        for era in boringssl::AWS_LC.iter() {
            let evidence = evidence(&Layout::AwsLc(era.layout), &ACCESSORS);
            let version = era.from.trim_start_matches('v');
            let found = prove(Some(&library("AWS-LC", Some(version))), &evidence).unwrap();
            assert_eq!(found.group, era.from);
        }
    }

    #[test]
    fn boringssl_without_a_version_is_reduced_to_what_is_common() {
        let boringssl = |evidence: &Evidence| prove(Some(&library("BoringSSL", None)), evidence);
        let last = boringssl::BORINGSSL.last().unwrap();
        let layout = Layout::BoringSsl(last.layout);
        let found = boringssl(&evidence(&layout, &[Field::ClientRandom])).unwrap();
        let Layout::BoringSsl(random_only) = found.layout else { panic!("{found:?}") };
        assert_eq!(found.how, How::Reduced);
        assert_eq!(random_only.client_random, Some(48));
        assert_eq!(random_only.server, Some(164));
        assert_eq!(random_only.exporter_secret, None);
        let fields = [Field::ClientRandom, Field::Exporter, Field::ClientTrafficLength];
        let found = boringssl(&evidence(&layout, &fields)).unwrap();
        let Layout::BoringSsl(reduced) = found.layout else { panic!("{found:?}") };
        assert_eq!(reduced.lacks(&last.layout), ["new_session"]);
        assert!(found.proof.ends_with("not proved: new_session"), "{}", found.proof);
        assert_eq!(found.since, Some("2024-10-10"));
        assert!(boringssl(&Evidence::default()).is_err());
    }
}
