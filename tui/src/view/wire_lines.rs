//! What the wire showed of a handshake, in words.

use crate::model::target::Image;
use crate::model::{OnWire, Reason, Session};
use crate::text::{Foreign, sanitize};
use crate::tls::Version;

/// Why there is no secret.
pub(super) fn reason(session: &Session) -> String {
    match &session.reason {
        Some(reason) => format!("no secret: {}", reason.text()),
        None => String::new(),
    }
}

/// The library that made a session: that of its image, or the one that cannot be captured.
pub(super) fn library(session: &Session, image: Option<&Image>) -> Option<String> {
    let unsupported = || session.reason.as_ref().and_then(Reason::library).map(sanitize);
    image.map(Image::library).or_else(unsupported)
}

/// Names and values; none for a session that was not seen on the wire.
pub(super) fn wire_fields(session: &Session) -> Vec<(&'static str, String)> {
    let Some(wire) = &session.wire else { return Vec::new() };
    let mut fields = vec![
        ("on the wire", format!("{} → {}", wire.client, wire.server)),
        ("protocols", protocols(wire)),
        ("hellos", hellos(wire)),
    ];
    let offered: Vec<&str> = wire.versions.iter().map(|version| Version::name(*version)).collect();
    if !offered.is_empty() {
        fields.push(("offered", offered.join(", ")));
    }
    if wire.has_ech {
        let text = "offered, or made up: if it is real, the server name is the outer one, and the secrets have another client random";
        fields.push(("ECH", text.to_owned()));
    }
    fields
}

/// `h2, http/1.1 offered`, `h2`.
fn protocols(wire: &OnWire) -> String {
    let names: Vec<String> = wire.protocols().map(Foreign::to_string).collect();
    let is_chosen = wire.answer.as_ref().is_some_and(|answer| answer.alpn.is_some());
    match names.is_empty() {
        true => "none".to_owned(),
        false if is_chosen => names.join(", "),
        false => format!("{} offered", names.join(", ")),
    }
}

/// `1.4 ms from hello to hello, after a HelloRetryRequest`.
fn hellos(wire: &OnWire) -> String {
    let mut text = match wire.took() {
        Some(took) => format!("{:.1} ms from hello to hello", took.as_secs_f64() * 1000.0),
        None => "no answer".to_owned(),
    };
    if wire.was_retried {
        text.push_str(", after a HelloRetryRequest");
    }
    if wire.is_resumption_offered {
        text.push_str(", resumption offered");
    }
    text
}
