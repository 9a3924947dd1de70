use proptest::prelude::*;

use super::fixture::*;
use super::*;
use crate::model::Time;
use crate::tls::{CipherSuite, ClientRandom, Version};

/// Gives segments one after the other, each a nanosecond later.
fn give<'a>(
    handshakes: &mut Handshakes,
    segments: impl IntoIterator<Item = Segment<'a>>,
) -> Vec<Seen> {
    let at = (1..).map(Time);
    at.zip(segments).flat_map(|(at, segment)| handshakes.segment(at, &segment)).collect()
}

fn table() -> Handshakes {
    Handshakes::new(Limits::default())
}

fn begun(seen: &[Seen]) -> &Hello {
    match seen {
        [Seen::Begun(hello), ..] => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_is_told_hello_by_hello() {
    let hello = records(&client_hello(0xc1, 1216), 16384);
    let answer = records(&server_hello(), 16384);
    let mut handshakes = table();
    let (first, rest) = hello.split_at(1000);
    let split = 1000;
    let seen = give(
        &mut handshakes,
        [syn(), from_client(0, first), from_client(split, rest), from_server(0, &answer)],
    );
    let hello = begun(&seen);
    assert_eq!((hello.client, hello.server), (CLIENT.into(), SERVER.into()));
    assert_eq!((hello.client_random, hello.at), (ClientRandom([0xc1; 32]), Time(3)));
    assert_eq!(hello.server_name, Some("localhost".into()));
    assert_eq!(*hello.alpn, ["h2".into()]);
    assert_eq!(*hello.versions, [Version::Tls13, Version::Tls12]);
    assert_eq!(*hello.ciphers, [CipherSuite(0x1301), CipherSuite(0xc02f)]);
    assert!(!hello.has_ech && !hello.is_resumption_offered);
    let expected = Answer {
        client_random: ClientRandom([0xc1; 32]),
        at: Time(4),
        version: Some(Version::Tls13),
        cipher: CipherSuite(0x1302),
        alpn: None,
        is_retry: false,
    };
    assert_eq!(seen[1..], [Seen::Answered(expected)]);
    assert_eq!(handshakes.kept(), 0, "nothing is kept of what was told");
}

#[test]
fn tls_1_2_tells_its_protocol() {
    let (hello, answer) = (records(&client_hello(1, 0), 99), records(&server_hello_12(), 99));
    let seen = give(&mut table(), [syn(), from_client(0, &hello), from_server(0, &answer)]);
    let Seen::Answered(answer) = &seen[1] else { panic!("{seen:?}") };
    assert_eq!((answer.version, &answer.alpn), (Some(Version::Tls12), &Some("h2".into())));
}

#[test]
fn a_retry_is_one_handshake_with_two_answers() {
    let hello = records(&client_hello(1, 0), 16384);
    let retry = [records(&retry(), 16384), vec![20, 3, 3, 0, 1, 1]].concat();
    let answer = records(&server_hello(), 16384);
    let again = hello.len() as u32;
    let seen = give(
        &mut table(),
        [
            from_client(0, &hello),
            from_server(0, &retry),
            from_client(again, &hello),
            from_server(retry.len() as u32, &answer),
        ],
    );
    let kinds: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Begun(_) => "begun",
            Seen::Answered(answer) if answer.is_retry => "retry",
            Seen::Answered(_) => "answer",
            Seen::Ended(_) => "ended",
        })
        .collect();
    assert_eq!(kinds, ["begun", "retry", "answer"]);
}

#[test]
fn tls_after_other_words_is_found() {
    let (hello, answer) = (records(&client_hello(1, 0), 99), records(&server_hello(), 99));
    let banner = b"220 mail.example ESMTP\r\n";
    let mut own = from_client(6, &hello);
    // What the client has had: the server's hello begins behind it.
    own.acknowledgement += banner.len() as u32;
    let mut handshakes = table();
    let before = [syn(), from_server(0, banner), from_client(0, b"EHLO\r\n")];
    assert_eq!(give(&mut handshakes, before), []);
    assert!(handshakes.is_empty(), "other words are not kept");
    let seen = give(&mut handshakes, [own, from_server(banner.len() as u32, &answer)]);
    assert!(matches!(seen[..], [Seen::Begun(_), Seen::Answered(_)]), "{seen:?}");
}

#[test]
fn tls_after_words_that_were_not_seen_is_found() {
    let (hello, answer) = (records(&client_hello(1, 0), 99), records(&server_hello(), 99));
    let mut own = from_client(6, &hello);
    own.acknowledgement += 23;
    let mut handshakes = table();
    let seen = give(&mut handshakes, [syn(), own, from_server(23, &answer)]);
    assert!(matches!(seen[..], [Seen::Begun(_), Seen::Answered(_)]), "{seen:?}");
}

#[test]
fn connections_without_a_hello_are_not_counted_as_lost() {
    let limits = Limits { connections: 100, ..Limits::default() };
    let mut handshakes = Handshakes::new(limits);
    for port in 1..=1000 {
        let mut segment = syn();
        segment.source.set_port(port);
        handshakes.segment(Time(0), &segment);
    }
    assert_eq!((handshakes.len(), handshakes.dropped()), (100, Dropped::default()));
    // Closed by one side before anything was said.
    for port in 901..=1000 {
        let mut segment = from_client(0, &[]);
        segment.source.set_port(port);
        segment.flags.fin = true;
        handshakes.segment(Time(0), &segment);
    }
    assert!(handshakes.is_empty());
}

#[test]
fn of_bytes_that_came_twice_the_first_count() {
    let hello = records(&client_hello(1, 0), 16384);
    let other = [&hello[..20], &[0xff; 40]].concat();
    let seen = give(
        &mut table(),
        [
            syn(),
            from_client(20, &hello[20..60]),
            from_client(0, &other),
            from_client(30, &hello[30..]),
        ],
    );
    let whole = give(&mut table(), [syn(), from_client(0, &hello)]);
    assert_eq!(Hello { at: Time(2), ..begun(&seen).clone() }, *begun(&whole));
}

#[test]
fn what_is_sent_again_is_not_told_again() {
    let hello = records(&client_hello(1, 0), 16384);
    let answer = records(&server_hello(), 16384);
    let mut handshakes = table();
    let all = [syn(), from_client(0, &hello), from_server(0, &answer)];
    assert_eq!(give(&mut handshakes, all).len(), 2);
    assert_eq!(give(&mut handshakes, all), []);
    // The same addresses, and another handshake.
    let other = records(&client_hello(2, 0), 16384);
    let seen = give(&mut handshakes, [from_client(9999, &other)]);
    assert!(matches!(&seen[..], [Seen::Ended(_), Seen::Begun(_)]), "{seen:?}");
}

#[test]
fn an_end_is_told_once() {
    let hello = records(&client_hello(1, 0), 16384);
    let mut handshakes = table();
    let mut last = [from_client(9, &[]), from_server(9, &[])];
    last.iter_mut().for_each(|segment| segment.flags.fin = true);
    let seen = give(&mut handshakes, [from_client(0, &hello), last[0], last[1], last[1]]);
    assert_eq!(seen[1..], [Seen::Ended(ClientRandom([1; 32]))]);
    assert!(handshakes.is_empty());
    last[0].flags.rst = true;
    let seen = give(&mut handshakes, [from_client(0, &hello), last[0], last[0]]);
    assert_eq!(seen[1..], [Seen::Ended(ClientRandom([1; 32]))]);
}

#[test]
fn a_refusal_leaves_it_unanswered() {
    let hello = records(&client_hello(1, 0), 16384);
    let alert = [21, 3, 3, 0, 2, 2, 40];
    let mut handshakes = table();
    let seen = give(&mut handshakes, [from_client(0, &hello), from_server(0, &alert)]);
    assert_eq!(seen.len(), 1);
    assert_eq!(handshakes.kept(), 0);
}

#[test]
fn extensions_that_mean_something_are_read() {
    let mut extensions = Vec::new();
    extension(&mut extensions, 0xfe0d, &[0; 9]);
    extension(&mut extensions, 41, &[0; 9]);
    let hello = hello(1, 1, &[0, 2, 0x13, 1, 1, 0], &extensions);
    let hello = records(&hello, 16384);
    let seen = give(&mut table(), [from_client(0, &hello)]);
    let hello = begun(&seen);
    assert!(hello.has_ech && hello.is_resumption_offered);
    assert_eq!((&hello.server_name, &*hello.versions), (&None, &[Version::Tls12][..]));
}

#[test]
fn half_open_handshakes_are_bounded_and_the_oldest_go() {
    let limits = Limits { connections: 100, bytes: 100_000, ..Limits::default() };
    let mut handshakes = Handshakes::new(limits);
    let hello = records(&client_hello(1, 9000), 16384);
    for port in 1..=100_000u32 {
        let mut segment = from_client(0, &hello[..4000]);
        segment.source = ([10, 0, (port >> 16) as u8, 1], port as u16).into();
        handshakes.segment(Time(0), &segment);
        assert!(handshakes.len() <= 100 && handshakes.kept() <= 100_000);
    }
    let kept = handshakes.len() as u64;
    assert!(kept > 10);
    let expected = Dropped { connections: 100_000 - kept, ..Dropped::default() };
    assert_eq!(handshakes.dropped(), expected);
}

#[test]
fn of_those_that_give_way_it_is_told_how_many_had_their_first_hello() {
    let mut handshakes = Handshakes::new(Limits { connections: 1, ..Limits::default() });
    let hello = records(&client_hello(1, 0), 16384);
    for (port, bytes) in [(1, &hello[..]), (2, &hello[..50]), (3, &[])] {
        let mut segment = if bytes.is_empty() { syn() } else { from_client(0, bytes) };
        segment.source.set_port(port);
        handshakes.segment(Time(0), &segment);
    }
    let expected = Dropped { connections: 2, unanswered: 1, ..Dropped::default() };
    assert_eq!(handshakes.dropped(), expected);
}

#[test]
fn endless_hellos_are_given_up() {
    let mut handshakes = table();
    let mut message = client_hello(1, 0);
    message[1] = 0xff;
    let endless = records(&message, 16384);
    assert_eq!(give(&mut handshakes, [from_client(0, &endless)]), []);
    assert_eq!((handshakes.dropped().hellos, handshakes.len()), (1, 0));
    // Pieces that never join.
    let hello = records(&client_hello(1, 60_000), 16384);
    give(&mut handshakes, [syn()]);
    for offset in (2..hello.len()).step_by(2) {
        handshakes.segment(Time(0), &from_client(offset as u32, &hello[offset..=offset]));
    }
    assert!(handshakes.kept() <= 4096 * 65);
    assert!(handshakes.dropped().cut > 0);
}

/// Where a message of so many bytes is cut, and in which order the pieces come.
fn pieces(length: usize) -> impl Strategy<Value = Vec<(usize, usize)>> {
    let cuts = proptest::collection::btree_set(1..length, 0..40);
    cuts.prop_flat_map(move |cuts| {
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([length]);
        let mut pieces: Vec<_> = starts.zip(ends).collect();
        // Some come twice.
        pieces.extend(pieces.clone().into_iter().step_by(3));
        Just(pieces).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn any_cut_in_any_order_is_the_same_hello(each in 1..2000usize, order in pieces(1400)) {
        let mut hello = records(&client_hello(0xc1, 1000), each);
        // What follows in the stream is of no concern.
        hello.resize(hello.len().max(1400), 0);
        let parts = order.iter().map(|&(from, to)| from_client(from as u32, &hello[from..to.max(from)]));
        let rest = from_client(1400, &hello[1400..]);
        let mut handshakes = table();
        let seen = give(&mut handshakes, std::iter::once(syn()).chain(parts).chain([rest]));
        let whole = give(&mut table(), [from_client(0, &hello)]);
        prop_assert_eq!(seen.len(), 1);
        prop_assert_eq!(Hello { at: Time(0), ..begun(&seen).clone() }, Hello { at: Time(0), ..begun(&whole).clone() });
        prop_assert_eq!(handshakes.kept(), 0);
    }

    #[test]
    fn any_segments_are_taken_without_a_panic_and_within_bounds(
        segments in proptest::collection::vec(
            (0..4u8, any::<u32>(), 0..400u32, proptest::collection::vec(any::<u8>(), 0..80), any::<[bool; 5]>()),
            0..60,
        )
    ) {
        let limits = Limits { connections: 3, bytes: 2000, hello: 500, pieces: 8 };
        let mut handshakes = Handshakes::new(limits);
        let hello = records(&client_hello(1, 30), 50);
        for (host, sequence, offset, bytes, [syn, ack, fin, rst, is_hello]) in segments {
            let payload = if is_hello { &hello[..] } else { &bytes };
            let near = from_client(offset, payload);
            let mut segment = if host == 3 { from_server(offset, payload) } else { near };
            if host == 0 {
                segment.source = ([10, 0, 0, sequence as u8], 1).into();
                segment.sequence = sequence;
            }
            segment.flags = Flags { syn, ack, fin, rst: rst && syn };
            handshakes.segment(Time(0), &segment);
            prop_assert!(handshakes.len() <= 3 && handshakes.kept() <= 2000);
        }
    }
}
