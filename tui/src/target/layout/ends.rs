//! Where a connection has the server's name and its `BIO`s, of which a socket's has the file descriptor
//! (`tui/layouts/openssl_ends.tsv`, `boringssl_ends.tsv`).
//!
//! The layout that was proved proposes rows of the table, and what the exported accessors read disposes, as for the
//! layout itself; but what is refused here refuses nothing else. Without accessors a field counts when all rows for the
//! layout agree on it. Nothing is proved of the `BIO`: it is in another library (libcrypto), and the kernel side checks
//! it at each look, by its type and by a number that is 1 when it has a descriptor.

use std::sync::LazyLock;

use tlskeytop_common::INIT_TO_NUM;

use super::field::{At, Evidence, Field};
use super::table::{Row, Table};
use super::version::Release;
use super::{BoringSslLayout, Layout, OpenSslLayout, ProvenLayout, openssl};

/// Where the name and the sockets of one image's connections are, as far as that is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndsLayout {
    /// A pointer to the name, in the connection.
    pub name: Option<u32>,
    /// A pointer to a name behind a pointer of the connection: OpenSSL's session, BoringSSL's `s3`.
    pub other_name: Option<OtherName>,
    /// `rbio` in the connection, a pointer.
    pub read_bio: Option<u32>,
    /// `wbio` in the connection, a pointer.
    pub write_bio: Option<u32>,
    /// How a `BIO` of this library may look.
    pub bios: Vec<BioLayout>,
}

/// A name that is not the connection's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtherName {
    /// OpenSSL's `session->ext.hostname`: of a server's resumed session of TLS 1.2 and older.
    Session {
        /// `session` in the connection.
        pointer: u32,
        /// From there.
        offset: u32,
    },
    /// BoringSSL's `s3->hostname`: what a client asked this server for.
    Asked {
        /// `s3` in the connection.
        pointer: u32,
        /// From there.
        offset: u32,
    },
}

/// Fields of a `BIO`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BioLayout {
    /// `method`, a pointer.
    pub method: u32,
    /// `init`, 32 bits; `num`, the descriptor, is 16 bytes behind it.
    pub init: u32,
    /// `next_bio`, a pointer; where one library puts a `BIO` that buffers before another.
    pub next: Option<u32>,
}

/// A row of OpenSSL's table.
struct OpenSslRow {
    versions: Vec<Release>,
    session: u32,
    hostname: u32,
    session_hostname: u32,
    read_bio: u32,
    write_bio: u32,
    bio: BioLayout,
}

/// A row of BoringSSL's and AWS-LC's table. What a row leaves open was not measured with it.
struct BoringSslRow {
    library: &'static str,
    server: Option<u32>,
    hostname: Option<u32>,
    read_bio: Option<u32>,
    write_bio: Option<u32>,
    established_session: Option<u32>,
    s3_hostname: Option<u32>,
    bio: BioLayout,
}

static OPENSSL: LazyLock<Vec<OpenSslRow>> = LazyLock::new(|| {
    let table = Table::parse(include_str!("../../../layouts/openssl_ends.tsv"));
    table.rows().filter_map(|row| openssl_row(&row)).collect()
});

static BORINGSSL: LazyLock<Vec<BoringSslRow>> = LazyLock::new(|| {
    let table = Table::parse(include_str!("../../../layouts/boringssl_ends.tsv"));
    table.rows().filter_map(|row| boringssl_row(&row)).collect()
});

fn openssl_row(row: &Row<'_>) -> Option<OpenSslRow> {
    Some(OpenSslRow {
        versions: row.text("versions").split(',').filter_map(Release::parse).collect(),
        session: row.offset("SSL.session")?,
        hostname: row.offset("SSL.ext.hostname")?,
        session_hostname: row.offset("SESS.ext.hostname")?,
        read_bio: row.offset("SSL.rbio")?,
        write_bio: row.offset("SSL.wbio")?,
        bio: BioLayout {
            method: row.offset("BIO.method")?,
            init: numbers(row, "BIO.init", "BIO.num")?,
            next: row.offset("BIO.next_bio"),
        },
    })
}

fn boringssl_row(row: &Row<'_>) -> Option<BoringSslRow> {
    Some(BoringSslRow {
        library: row.text("library"),
        server: row.offset("ssl.server"),
        hostname: row.offset("ssl.hostname"),
        read_bio: row.offset("ssl.rbio"),
        write_bio: row.offset("ssl.wbio"),
        established_session: row.offset("s3.established_session"),
        s3_hostname: row.offset("s3.hostname"),
        bio: BioLayout {
            method: row.offset("bio.method")?,
            init: numbers(row, "bio.init", "bio.num")?,
            next: None,
        },
    })
}

/// Where `init` is, if `num` is where the kernel side looks for it.
fn numbers(row: &Row<'_>, init: &str, num: &str) -> Option<u32> {
    let init = row.offset(init)?;
    (row.offset(num)?.checked_sub(init)? == INIT_TO_NUM).then_some(init)
}

/// What of the ends is proved for a layout.
pub fn prove(proven: &ProvenLayout, evidence: &Evidence) -> EndsLayout {
    match &proven.layout {
        Layout::OpenSsl(layout) => of_openssl(layout, &proven.group, evidence),
        Layout::BoringSsl(layout) => of_boringssl("BoringSSL", layout, evidence),
        Layout::AwsLc(layout) => of_boringssl("AWS-LC", layout, evidence),
        Layout::LibreSsl(_) => EndsLayout::default(),
    }
}

fn of_openssl(layout: &OpenSslLayout, group: &str, evidence: &Evidence) -> EndsLayout {
    let rows: Vec<_> = openssl_rows(group).collect();
    // What comes after the session moves with it in builds with quictls' secrets and without PSK (see `openssl`). No
    // table says that nothing else moves: there the code must say it.
    let is_moved = rows.iter().any(|row| row.session != layout.session);
    let hostname = |row: &&OpenSslRow| (row.hostname + layout.session).checked_sub(row.session);
    let moved = |candidates: Vec<u32>| match is_moved {
        true => confirmed(candidates, Field::ServerName, evidence, At::direct),
        false => decide(candidates, Field::ServerName, evidence, At::direct),
    };
    let session_name = decide(
        rows.iter().map(|row| row.session_hostname),
        Field::ServerName,
        evidence,
        |offset| At::behind(layout.session, offset),
    );
    EndsLayout {
        name: moved(rows.iter().filter_map(hostname).collect()),
        other_name: session_name
            .map(|offset| OtherName::Session { pointer: layout.session, offset }),
        read_bio: decide(rows.iter().map(|row| row.read_bio), Field::ReadBio, evidence, At::direct),
        write_bio: decide(
            rows.iter().map(|row| row.write_bio),
            Field::WriteBio,
            evidence,
            At::direct,
        ),
        bios: distinct(rows.iter().map(|row| row.bio)),
    }
}

/// The rows for a group of OpenSSL's layouts, as a proven layout names it: by its first version, and what was done to
/// it (`3.0.0 quic`).
fn openssl_rows(group: &str) -> impl Iterator<Item = &'static OpenSslRow> {
    let first = group.split(' ').next().unwrap_or_default();
    let known = openssl::GROUPS.iter().find(|known| known.name.split(',').next() == Some(first));
    let plain = |release: Release| Release { quic: false, ..release };
    let versions: Vec<Release> =
        known.into_iter().flat_map(openssl::Group::versions).map(plain).collect();
    OPENSSL.iter().filter(move |row| row.versions.iter().any(|version| versions.contains(version)))
}

fn of_boringssl(library: &str, layout: &BoringSslLayout, evidence: &Evidence) -> EndsLayout {
    let rows = || BORINGSSL.iter().filter(|row| row.library == library);
    let like = |row: &&BoringSslRow| row.server.is_some() && row.server == layout.server;
    let with_s3 = |row: &&BoringSslRow| {
        row.established_session.is_some() && row.established_session == layout.established_session
    };
    let field = |of: fn(&BoringSslRow) -> Option<u32>, field| {
        decide(rows().filter(like).filter_map(of), field, evidence, At::direct)
    };
    let asked = layout.s3.and_then(|pointer| {
        let candidates = rows().filter(with_s3).filter_map(|row| row.s3_hostname);
        let place = |offset| At::behind(pointer, offset);
        let offset = decide(candidates, Field::ServerName, evidence, place)?;
        Some(OtherName::Asked { pointer, offset })
    });
    EndsLayout {
        name: field(|row| row.hostname, Field::ServerName),
        other_name: asked,
        read_bio: field(|row| row.read_bio, Field::ReadBio),
        write_bio: field(|row| row.write_bio, Field::WriteBio),
        bios: distinct(rows().map(|row| row.bio)),
    }
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// The candidate that the code shows; the only one, where the code shows nothing of the field.
fn decide(
    candidates: impl IntoIterator<Item = u32>,
    field: Field,
    evidence: &Evidence,
    place: impl Fn(u32) -> At,
) -> Option<u32> {
    let candidates = distinct(candidates.into_iter());
    if evidence.shown.iter().any(|shown| shown.field == field) {
        return confirmed(candidates, field, evidence, place);
    }
    only(candidates)
}

/// The only candidate that all the code shows.
fn confirmed(
    candidates: Vec<u32>,
    field: Field,
    evidence: &Evidence,
    place: impl Fn(u32) -> At,
) -> Option<u32> {
    let shown: Vec<_> = evidence.shown.iter().filter(|shown| shown.field == field).collect();
    let is_shown = |candidate: &u32| {
        let at = place(*candidate);
        !shown.is_empty() && shown.iter().all(|shown| shown.places.contains(&at))
    };
    only(distinct(candidates.into_iter()).into_iter().filter(is_shown).collect())
}

fn only(candidates: Vec<u32>) -> Option<u32> {
    match candidates[..] {
        [candidate] => Some(candidate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{How, boringssl, named};
    use super::*;

    fn proven(group: &str, layout: Layout) -> ProvenLayout {
        let (group, proof) = (group.to_owned(), String::new());
        ProvenLayout { library: "OpenSSL", group, layout, how: How::Code, since: None, proof }
    }

    fn evidence(shown: &[(Field, At)]) -> Evidence {
        let mut evidence = Evidence::default();
        for &(field, at) in shown {
            evidence.add(field, "an accessor", vec![at, At::direct(8)]);
        }
        evidence
    }

    #[test]
    fn every_row_is_read() {
        let lines = |text: &str| text.lines().count() - 1;
        assert_eq!(OPENSSL.len(), lines(include_str!("../../../layouts/openssl_ends.tsv")));
        assert_eq!(BORINGSSL.len(), lines(include_str!("../../../layouts/boringssl_ends.tsv")));
        assert!(OPENSSL.iter().all(|row| !row.versions.is_empty()));
    }

    #[test]
    fn every_group_with_a_row_has_ends_and_the_session_of_its_layout() {
        for group in openssl::GROUPS.iter() {
            let first = group.name.split(',').next().unwrap();
            let rows: Vec<_> = openssl_rows(first).collect();
            if first.starts_with("1.1.0") {
                assert!(rows.is_empty());
                continue;
            }
            assert!(!rows.is_empty(), "{first}");
            let ends = of_openssl(&group.layout, first, &Evidence::default());
            assert!(ends.read_bio.is_some() && ends.write_bio.is_some(), "{first}");
            assert_eq!(ends.bios.len(), 1, "{first}");
            assert_eq!(ends.name.is_some(), !first.contains("+quic"), "{first}");
        }
    }

    #[test]
    fn code_disposes() {
        let layout = named("3.0.0").unwrap();
        let prove =
            |shown: &[(Field, At)]| prove(&proven("3.0.0", layout.clone()), &evidence(shown));
        let agreed = prove(&[(Field::ServerName, At::direct(2648))]);
        assert_eq!(agreed.name, Some(2648));
        // The session's is not among what the code shows.
        assert_eq!(agreed.other_name, None);
        let refused =
            prove(&[(Field::ServerName, At::direct(2656)), (Field::ReadBio, At::direct(72))]);
        assert_eq!((refused.name, refused.read_bio), (None, None));
        assert_eq!(refused.write_bio, Some(24));
    }

    #[test]
    fn a_moved_name_counts_only_where_the_code_shows_it() {
        let Some(Layout::OpenSsl(layout)) = named("3.0.0") else { panic!() };
        let moved = Layout::OpenSsl(layout.with_quic().unwrap());
        let prove = |evidence: &Evidence| prove(&proven("3.0.0 quic", moved.clone()), evidence);
        assert_eq!(prove(&Evidence::default()).name, None);
        let shown = evidence(&[(Field::ServerName, At::direct(2648 + 192))]);
        assert_eq!(prove(&shown).name, Some(2648 + 192));
    }

    #[test]
    fn boringssl_has_its_ends_where_they_were_measured() {
        let last = boringssl::BORINGSSL.last().unwrap().layout;
        let ends = of_boringssl("BoringSSL", &last, &Evidence::default());
        assert_eq!((ends.name, ends.read_bio, ends.write_bio), (Some(144), Some(24), Some(32)));
        assert_eq!(ends.other_name, Some(OtherName::Asked { pointer: 48, offset: 504 }));
        assert_eq!(ends.bios.len(), 3);
        let nothing = of_boringssl("BoringSSL", &BoringSslLayout::default(), &Evidence::default());
        assert_eq!((nothing.name, nothing.read_bio, nothing.other_name), (None, None, None));
    }
}
