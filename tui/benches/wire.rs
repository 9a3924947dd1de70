//! Packets: their way to a hello, and into a file.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tlskeytop::model::Time;
use tlskeytop::pcapng::{Interface, NANOSECONDS, Packet, Reader, Writer};
use tlskeytop::wire::{Flags, Handshakes, Limits, Link, Segment, segment};

/// Of the fuzz target `hello`: a byte, the length of the client's bytes, these, the server's.
const HELLOS: &[u8] = include_bytes!("../../tests/fuzz/corpus/hello/tls13");
/// Ethernet, IPv4 and TCP before the data of a packet that is full.
const HEADERS: [u8; 54] = {
    let mut headers = [0; 54];
    // IPv4 of 20 bytes and 1,486 in all, TCP, headers of 20 bytes, ACK.
    (headers[12], headers[14], headers[16], headers[17]) = (8, 0x45, 5, 0xce);
    (headers[23], headers[46], headers[47]) = (6, 0x50, 0x10);
    headers
};

/// A segment of a client of its own.
fn of_client(number: u32, is_client: bool, payload: &[u8]) -> Segment<'_> {
    let [_, high, low, _] = number.to_be_bytes();
    let client = ([10, 0, high, low], 4000).into();
    let server = ([192, 0, 2, 1], 443).into();
    let (source, destination) = if is_client { (client, server) } else { (server, client) };
    let flags = Flags { ack: true, ..Flags::default() };
    Segment { source, destination, sequence: 9, acknowledgement: 9, flags, payload }
}

/// Handshakes from their segments.
pub fn handshakes(c: &mut Criterion) {
    let length = usize::from(u16::from_be_bytes([HELLOS[1], HELLOS[2]]));
    let (client, server) = HELLOS[3..].split_at(length);
    let mut table = Handshakes::new(Limits::default());
    let mut number = 0;
    c.bench_function("wire: a handshake's two hellos", |bench| {
        bench.iter(|| {
            number += 1;
            table.segment(Time(1), &of_client(number, true, black_box(client)));
            table.segment(Time(2), &of_client(number, false, black_box(server)))
        });
    });
    let frame = full_frame();
    c.bench_function("wire: a packet of 1,500 bytes of another connection", |bench| {
        bench.iter(|| {
            let segment = segment(Link::Ethernet, black_box(&frame))?;
            Some(table.segment(Time(3), &segment))
        });
    });
}

/// Packets to a pcapng file in memory, and back.
pub fn packets(c: &mut Criterion) {
    let frame = full_frame();
    let packet = Packet {
        interface: 0,
        time: 1,
        original_length: 1500,
        bytes: &frame,
        comment: Some("curl (1234)"),
    };
    let lo = Interface { name: Some("lo"), link: 1, snap_length: 0, time_digits: NANOSECONDS };
    let mut group = c.benchmark_group("pcapng");
    group.throughput(Throughput::Elements(1));
    let mut sink = Writer::new(std::io::sink());
    group.bench_function("a packet of 1,500 bytes is written", |bench| {
        bench.iter(|| sink.packet(black_box(&packet)));
    });
    const COUNT: u64 = 1000;
    let mut writer = Writer::new(Vec::new());
    let made = writer.section().and_then(|()| writer.interface(&lo));
    let made = made.and_then(|_| (0..COUNT).try_for_each(|_| writer.packet(&packet)));
    made.expect("memory for a megabyte");
    let file = writer.into_inner();
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("1,000 packets of 1,500 bytes are read", |bench| {
        bench.iter(|| {
            let mut reader = Reader::new(black_box(&file[..])).ok()?;
            let mut count = 0;
            while let Ok(Some(_)) = reader.next_block() {
                count += 1;
            }
            Some(count)
        });
    });
    group.finish();
}

fn full_frame() -> Vec<u8> {
    [&HEADERS[..], &[0x17; 1446]].concat()
}
