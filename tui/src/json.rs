//! JSON lines: one object for a session each time it changed, and one for each process and image of a scan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::model::target::{Image, Process, Targets};
use crate::model::{OnWire, Reason, Session};
use crate::target::plan::{Library, Linkage, Ways};
use crate::text::{Foreign, is_dangerous};
use crate::tls::{Label, Role};

/// Where a process runs.
#[derive(Default, Serialize)]
struct Place<'a> {
    container: Option<&'a str>,
    runtime: Option<&'static str>,
    pod: Option<&'a str>,
    unit: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(process: Option<&'a Process>) -> Self {
        let Some(container) = process.and_then(|process| process.container.as_ref()) else {
            return Self::default();
        };
        let raw = |text: &'a Option<Foreign>| text.as_ref().map(Foreign::raw);
        Self {
            container: raw(&container.id),
            runtime: container.runtime,
            pod: container.pod.as_ref().map(|pod| pod.uid.raw()),
            unit: raw(&container.unit),
        }
    }
}

/// What the wire showed of a session.
#[derive(Default, Serialize)]
struct WireFields<'a> {
    seen_on_wire: bool,
    client: Option<String>,
    server: Option<String>,
    /// The one that was chosen, which is encrypted in TLS 1.3.
    alpn: Option<&'a str>,
    alpn_offered: Vec<&'a str>,
    /// With Encrypted ClientHello the server name is the outer one.
    ech: Option<bool>,
    hello_retry: Option<bool>,
    /// Microseconds from hello to hello.
    hello_us: Option<u64>,
}

impl<'a> WireFields<'a> {
    fn of(wire: &'a OnWire) -> Self {
        let chosen = wire.answer.as_ref().and_then(|answer| answer.alpn.as_ref());
        let took = wire.took().and_then(|took| u64::try_from(took.as_micros()).ok());
        Self {
            seen_on_wire: true,
            client: Some(wire.client.to_string()),
            server: Some(wire.server.to_string()),
            alpn: chosen.map(Foreign::raw),
            alpn_offered: wire.offered.iter().map(Foreign::raw).collect(),
            ech: Some(wire.has_ech),
            hello_retry: Some(wire.was_retried),
            hello_us: took,
        }
    }
}

/// A session; what is not known is null.
#[derive(Serialize)]
struct SessionLine<'a> {
    time: String,
    pid: Option<u32>,
    inner_pid: Option<u32>,
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    #[serde(flatten)]
    place: Place<'a>,
    library: Option<String>,
    image: Option<&'a str>,
    method: Option<&'static str>,
    role: Option<&'static str>,
    version: Option<String>,
    cipher: Option<String>,
    client_random: String,
    server_name: Option<&'a str>,
    peer: Option<String>,
    #[serde(flatten)]
    wire: WireFields<'a>,
    state: &'static str,
    reason: Option<&'static str>,
    secrets: BTreeMap<String, String>,
}

/// One line for a session, with its newline. Secrets are hexadecimal with `reveal`, else `captured`.
pub fn session(session: &Session, targets: &Targets, reveal: bool) -> String {
    let image = targets.images.get(&session.image);
    let mut secrets = BTreeMap::new();
    let mut after_key_update = BTreeMap::new();
    for entry in &session.entries {
        let value = match (entry.is_null(), reveal) {
            (true, _) => "null".to_owned(),
            (false, true) => hex::encode(entry.secret.expose()),
            (false, false) => "captured".to_owned(),
        };
        secrets.insert(name(&entry.label, &mut after_key_update), value);
    }
    line(&SessionLine {
        time: session.first_seen.to_string(),
        pid: session.pid(),
        inner_pid: session.process.inner_pid,
        comm: session.pid().map(|_| session.process.comm.raw()),
        exe: session.process.exe.as_ref().map(Foreign::raw),
        place: Place::of(Some(&session.process)),
        library: image.and_then(library).or_else(|| unsupported(session)),
        image: image.map(|image| image.path.raw()),
        method: session.entries.first().map(|entry| entry.method.as_str()),
        role: session.facts.role.map(Role::as_str),
        version: session.facts.version.map(|version| version.to_string()),
        cipher: session.facts.cipher.map(|cipher| cipher.to_string()),
        client_random: session.key.client_random.to_string(),
        server_name: session.server_name.as_ref().map(crate::text::Foreign::raw),
        peer: session.peer.map(|peer| peer.to_string()),
        wire: session.wire.as_deref().map_or_else(WireFields::default, WireFields::of),
        state: session.state().as_str(),
        reason: session.reason.as_ref().map(Reason::as_str),
        secrets,
    })
}

/// The library that is why there is no secret.
fn unsupported(session: &Session) -> Option<String> {
    session.reason.as_ref().and_then(Reason::library).map(str::to_owned)
}

/// The label, with a number where it comes again: an object has each name once.
fn name(label: &Label, seen: &mut BTreeMap<String, u32>) -> String {
    let count = seen.entry(label.to_string()).or_insert(0);
    *count += 1;
    if *count == 1 { label.to_string() } else { format!("{label} #{count}") }
}

fn library(image: &Image) -> Option<String> {
    let is_known = image.plan.library.is_some() || !image.plan.others.is_empty();
    is_known.then(|| image.library())
}

/// A library beside the first one.
#[derive(Serialize)]
struct Other<'a> {
    library: &'static str,
    version: Option<&'a str>,
}

impl<'a> Other<'a> {
    fn of(library: &'a Library) -> Self {
        Self { library: library.name, version: library.version.as_deref() }
    }
}

/// One process and image of a scan; an image that nobody uses has no process.
#[derive(Serialize)]
struct ScanLine<'a> {
    pid: Option<u32>,
    inner_pid: Option<u32>,
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    #[serde(flatten)]
    place: Place<'a>,
    library: Option<&'static str>,
    version: Option<&'a str>,
    /// Further libraries in the same image.
    other_libraries: Vec<Other<'a>>,
    image: &'a str,
    build_id: Option<String>,
    linkage: &'static str,
    stripped: bool,
    method: Option<&'static str>,
    probes: usize,
    reason: &'a str,
    layout: Option<String>,
    walk_obstacle: Option<Cow<'a, str>>,
    /// Functions at which connections are found that are open when their process is attached to.
    open_connections: Vec<&'static str>,
}

/// One line for a process and an image, with its newline.
pub fn scan(process: Option<&Process>, image: &Image) -> String {
    let plan = &image.plan;
    line(&ScanLine {
        pid: process.map(|process| process.pid),
        inner_pid: process.and_then(|process| process.inner_pid),
        comm: process.map(|process| process.comm.raw()),
        exe: process.and_then(|process| process.exe.as_ref()).map(Foreign::raw),
        place: Place::of(process),
        library: plan.library.as_ref().map(|library| library.name),
        version: plan.library.as_ref().and_then(|library| library.version.as_deref()),
        other_libraries: plan.others.iter().map(Other::of).collect(),
        image: image.path.raw(),
        build_id: plan.build_id.as_ref().map(hex::encode),
        linkage: linkage(plan.linkage),
        stripped: plan.stripped,
        method: match plan.taps.is_empty() {
            false => Some("tap"),
            true => plan.is_walked(Ways::Auto).then_some("walk"),
        },
        probes: plan.taps.iter().map(|tap| tap.sites.len()).sum(),
        reason: &plan.reason,
        layout: plan
            .layout
            .as_ref()
            .ok()
            .map(|l| format!("{} {}: {}", l.library, l.group, l.proof)),
        open_connections: plan.data_path(Ways::Auto),
        walk_obstacle: (!plan.is_walked(Ways::Walk)).then(|| plan.obstacle(Ways::Walk)),
    })
}

/// The word for a linkage.
pub fn linkage(linkage: Linkage) -> &'static str {
    match linkage {
        Linkage::Shared => "shared",
        Linkage::Bundled => "bundled",
        Linkage::Static => "static",
    }
}

fn line(value: &impl Serialize) -> String {
    // It fails only for maps with keys that are no strings, and these have none.
    let mut line = escape(serde_json::to_string(value).unwrap_or_default());
    line.push('\n');
    line
}

/// serde_json escapes only what JSON asks for: C0. What a terminal could act on beyond that stands in strings
/// alone, and is escaped too, as UTF-16 (RFC 8259, section 7): the meaning stays the same.
fn escape(json: String) -> String {
    if !json.chars().any(is_dangerous) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_dangerous(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_could_act_on_is_escaped() {
        // CSI as one character of C1, DEL, bidi, a zero width space, a tag character, all of them in names and values.
        let text = "a\u{9b}2Jb\u{7f}\u{202e}c\u{200b}\u{e0041}\u{1b}é🦀";
        let line = line(&BTreeMap::from([(text, text)]));
        let string = r#""a\u009b2Jb\u007f\u202ec\u200b\udb40\udc41\u001bé🦀""#;
        assert_eq!(line, format!("{{{string}:{string}}}\n"));
    }

    proptest! {
        #[test]
        fn any_text_survives_and_is_safe(
            text in any::<String>(),
            odd in proptest::collection::vec(proptest::char::range('\u{7f}', '\u{e0fff}'), 0..20),
        ) {
            let text = text + &odd.into_iter().collect::<String>();
            let line = line(&[&text]);
            let json = line.strip_suffix('\n').expect("a line ends");
            prop_assert!(!json.chars().any(is_dangerous), "{json:?}");
            let parsed: Vec<String> = serde_json::from_str(json).expect("it is JSON");
            prop_assert_eq!(parsed, vec![text]);
        }
    }
}
