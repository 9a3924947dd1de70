//! What the symbols and the short words of a view mean, for the help below its keys.

use crate::action::Context;

/// A line: the symbol or the word, and what it means. A heading has no meaning, an empty line neither of both.
pub(super) type Line = (&'static str, &'static str);

#[rustfmt::skip]
const SESSIONS: &[Line] = &[
    ("", ""),
    ("Words of the filter: all must hold, ! before one negates", ""),
    ("text", "In process, executable, library, version, cipher, client"),
    ("", "random or pid; \"two words\" in quotes"),
    ("pid:7", "Process id"),
    ("proc:curl", "Process, or file name of its executable"),
    ("lib:openssl", "Library and its version"),
    ("tls:1.2", "Also 1.3, 1.1, 1.0; 1.2 finds ≤1.2 too"),
    ("cipher:gcm", "Cipher suite"),
    ("state:null", "Also partial, complete, missing, waiting"),
    ("reason: alpn:", "Why a secret is missing; application protocol"),
    ("role:client", "Or server"),
    ("saved:no", "Or yes"),
    ("peer: name:", "Peer, server name, where they are known"),
    ("", ""),
    ("Column TLS", ""),
    ("≤1.2", "TLS 1.2 or older: its key log lines do not say which"),
    ("", ""),
    ("Column SECRETS", ""),
    ("✓ complete", "All that decrypt the traffic"),
    ("◐ 2/4", "Two of the four that it needs"),
    ("… waiting", "None of those that it needs, yet"),
    ("∅ null", "Null secret: all bytes zero, e.g. seen before the library"),
    ("", "had set it; never saved"),
    ("✗ missing", "Seen on the wire, and no secret came; the details say why"),
    ("", ""),
    ("Column LABELS", ""),
    ("-HhAaX", "A letter: captured; -: missing; ∅: null. In this order:"),
    ("E", "Early traffic secret (0-RTT data): extra, may be missing"),
    ("H h", "Handshake traffic secrets: client, server"),
    ("A a", "Application traffic secrets: client, server"),
    ("X", "Exporter secret: extra, may be missing"),
    ("M", "TLS 1.2 or older: the master secret alone"),
    ("", ""),
    ("Column SAVED", ""),
    ("●", "In the key log"),
    ("–", "Not saved, or not all of it"),
    ("!", "In conflict with other secrets of the same handshake"),
];

#[rustfmt::skip]
const DETAIL: &[Line] = &[
    ("", ""),
    ("Columns STATE and SAVED", ""),
    ("✓ captured", "The secret is there"),
    ("∅ null", "It was seen before the library had set it: all bytes zero"),
    ("· missing", "The TLS version has it, and it did not come"),
    ("● saved", "Its line is in the key log"),
    ("! conflict", "The key log has another value of this line; it stays here,"),
    ("", "and can be copied and exported"),
];

#[rustfmt::skip]
const PICKER: &[Line] = &[
    ("", ""),
    ("Marks", ""),
    ("[x]", "Chosen, or marked for the next Enter"),
    ("[*]", "Chosen with everything, by name or container, or as a child"),
    ("[-]", "Excluded, whatever chooses it; Space takes it in again"),
    ("–", "Cannot be captured: CAPTURE says why"),
    ("", ""),
    ("Column CAPTURE", ""),
    ("tap", "At the library's own function that logs secrets"),
    ("walk", "At exported functions, through the library's structures"),
    ("open: yes", "Connections that are open already can be captured, too"),
    ("catching up", "They are being looked for, for no longer than this"),
    ("", ""),
    ("Search and tree", ""),
    ("/ng lib", "Each word, as letters in this order, in process, library,"),
    ("", "path, or in one piece in pid, container; !word: in none"),
    ("", "The best match is first: a search shows no tree"),
    ("└─", "Below the nearest ancestor that uses TLS; … is deeper"),
];

#[rustfmt::skip]
const IMAGES: &[Line] = &[
    ("", ""),
    ("Column STATE", ""),
    ("● 2 probes", "Attached"),
    ("○ idle", "Nothing is attached: no chosen process uses it"),
    ("– cannot", "Cannot be captured; the line below says why"),
    ("! failed", "The kernel refused; the line below says why"),
    ("", ""),
    ("Other columns", ""),
    ("EVENTS", "Secrets that came from its probes, known ones and nulls too"),
    ("PROCS", "Processes that use it now"),
    ("LAYOUT", "Group of versions with the same structures; – not proved"),
];

#[rustfmt::skip]
const STATUS: &[Line] = &[
    ("", ""),
    ("The two lines on top", ""),
    ("0.4/s ▁▄█", "Sessions per second, over the last 5 seconds; a bar for each"),
    ("", "of the last 16 seconds, or 5 where room is short"),
    ("lost", "Secrets that were made, and could not be captured"),
    ("keys 98/100", "Handshakes seen on the wire that have a secret"),
    ("○ saving", "Off: nothing is written"),
    ("● saving", "On, with the number of lines that this run has written"),
    ("! 3 warnings", "Told since the images and warnings were last looked at"),
    ("open conns", "Processes that are searched for open connections; ≤59 s left"),
    ("nulls", "Sessions that have only null secrets"),
    ("duplicates", "Secrets that were captured before with the same value"),
    ("conflicts", "Secrets that were captured before with another value"),
];

/// The legend of a view.
pub(super) fn legend(context: Context) -> impl Iterator<Item = Line> {
    let (view, status): (&[_], &[_]) = match context {
        Context::Sessions => (SESSIONS, STATUS),
        Context::Picker => (PICKER, STATUS),
        Context::Detail => (DETAIL, STATUS),
        Context::Images => (IMAGES, STATUS),
        Context::Lines | Context::Prompt | Context::Help | Context::Question => (&[], &[]),
    };
    view.iter().chain(status).copied()
}
