use proptest::prelude::*;

use super::*;
use crate::model::Time;
use crate::tls::{ClientRandom, KeyLine, Label, Secret};
use crate::wire::Link;

fn line(random: u8) -> KeyLine {
    let secret = Secret::new(&Label::Exporter, &[random ^ 0xff; 32], 32).unwrap();
    KeyLine { label: Label::Exporter, client_random: ClientRandom([random; 32]), secret }
}

const LO: Interface<'_> =
    Interface { name: Some("lo"), link: 1, snap_length: 0, time_digits: NANOSECONDS };

fn packet(interface: u32, time: u64, bytes: &[u8]) -> Packet<'_> {
    Packet { interface, time, original_length: 99, bytes, comment: Some("curl (1234)") }
}

/// A section with an interface, secrets and a packet.
fn written(order: Order) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.section().unwrap();
    writer.follow(order);
    if order == Order::Big {
        writer.get_mut().clear();
        let mut section =
            vec![0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0];
        section.extend([0xff; 8]);
        section.extend([0, 0, 0, 28]);
        writer.raw(&section).unwrap();
    }
    assert_eq!(writer.interface(&LO).unwrap(), 0);
    writer.secrets(&[line(1), line(2)]).unwrap();
    writer.secrets(&[]).unwrap();
    writer.packet(&packet(0, 1_700_000_000_123_456_789, b"frame")).unwrap();
    writer.into_inner()
}

/// What a file has, in words.
fn read(file: &[u8]) -> Result<(Vec<String>, Option<u64>), ReadError> {
    let mut reader = Reader::new(file)?;
    let mut found = Vec::new();
    while let Some(block) = reader.next_block()? {
        found.push(match block.item {
            Item::Section(order) => format!("section {order:?}"),
            Item::Packet(packet) => {
                let bytes = String::from_utf8_lossy(packet.bytes);
                let (link, at, length) = (packet.link, packet.at.0, packet.original_length);
                format!("{link:?} {at} {bytes} of {length}")
            }
            Item::Secrets(text) => {
                format!("{} lines", text.split_inclusive(|&b| b == b'\n').count())
            }
            Item::Other => "other".to_owned(),
        });
    }
    Ok((found, reader.cut()))
}

#[test]
fn what_is_written_is_read_back() {
    for order in [Order::Little, Order::Big] {
        let (found, cut) = read(&written(order)).unwrap();
        let expected = [
            &format!("section {order:?}"),
            "other",
            "2 lines",
            "Ethernet 1700000000123456789 frame of 99",
        ];
        assert_eq!((found, cut), (expected.map(str::to_owned).to_vec(), None));
    }
}

#[test]
fn each_block_is_one_write() {
    struct Blocks(Vec<Vec<u8>>);
    impl std::io::Write for Blocks {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = Writer::new(Blocks(Vec::new()));
    writer.section().unwrap();
    writer.interface(&LO).unwrap();
    let many: Vec<KeyLine> = std::iter::repeat_n(line(1), 5000).collect();
    writer.secrets(&many).unwrap();
    writer.packet(&packet(0, 0, &[1; 1500])).unwrap();
    let written = writer.written();
    let Blocks(blocks) = writer.into_inner();
    assert_eq!(blocks.len(), 5, "so many secrets are in two blocks");
    assert_eq!(blocks.iter().map(Vec::len).sum::<usize>() as u64, written);
    for block in blocks {
        let length = u32::from_le_bytes(block[4..8].try_into().unwrap()) as usize;
        assert_eq!((length, length % 4), (block.len(), 0));
        assert_eq!(block[length - 4..], block[4..8]);
    }
}

#[test]
fn a_file_that_ends_early_is_read_as_far_as_it_is_whole() {
    let file = written(Order::Little);
    let (all, _) = read(&file).unwrap();
    for length in 28..file.len() {
        let (found, cut) = read(&file[..length]).unwrap();
        assert_eq!(found[..], all[..found.len()]);
        assert!(cut.is_some_and(|cut| cut < length as u64) || read(&file[..length]).is_ok());
    }
}

/// A pcap file with one packet of five bytes, 1 second and 5 fractions after the epoch.
fn classic(magic: [u8; 4], is_big: bool) -> Vec<u8> {
    let mut file = magic.to_vec();
    for number in [0x0004_0002, 0, 0, 65535, 101, 1, 5, 5, 99u32] {
        file.extend(if is_big { number.to_be_bytes() } else { number.to_le_bytes() });
    }
    file.extend(b"frame");
    file
}

#[test]
fn pcap_files_of_all_kinds_are_read() {
    let kinds = [
        (classic([0xd4, 0xc3, 0xb2, 0xa1], false), 1_000_005_000),
        (classic([0xa1, 0xb2, 0xc3, 0xd4], true), 1_000_005_000),
        (classic([0x4d, 0x3c, 0xb2, 0xa1], false), 1_000_000_005),
        (classic([0xa1, 0xb2, 0x3c, 0x4d], true), 1_000_000_005),
    ];
    for (file, time) in kinds {
        let (found, cut) = read(&file).unwrap();
        assert_eq!((found, cut), (vec![format!("Ip {time} frame of 99")], None));
        let (found, cut) = read(&file[..file.len() - 1]).unwrap();
        assert_eq!((found, cut), (vec![], Some(24)));
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    let refused = |file: &[u8]| read(file).unwrap_err().to_string();
    assert_eq!(refused(b""), "neither pcap nor pcapng");
    assert_eq!(refused(b"-----BEGIN"), "neither pcap nor pcapng");
    assert_eq!(refused(b"\xd4\xc3\xb2\xa1"), "neither pcap nor pcapng");
    assert_eq!(refused(b"\x1f\x8b\x08"), "compressed by gzip: unpack it first");
    // Another header of packets (the "modified" format).
    assert_eq!(refused(&classic([0x34, 0xcd, 0xb2, 0xa1], false)), "neither pcap nor pcapng");
}

#[test]
fn lying_lengths_are_told_with_their_place() {
    let file = written(Order::Little);
    let interface = u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize;
    let changed = |at: usize, value: u32| {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        read(&file).unwrap_err().to_string()
    };
    let place = format!("at byte {interface}: ");
    assert_eq!(changed(interface + 4, 8), format!("{place}a block too short"));
    assert_eq!(
        changed(interface + 4, 33),
        format!("{place}a block whose length is no multiple of 4")
    );
    assert_eq!(changed(interface + 4, 1 << 30), format!("{place}a block of more than 64 MiB"));
    assert_eq!(changed(interface + 4, 16), format!("{place}a block with two different lengths"));
    assert_eq!(changed(4, 12), "at byte 0: a block too short");
    assert_eq!(changed(8, 0), "at byte 0: a section without a byte order");
    let packet = file.len() - 60;
    assert!(changed(packet + 20, 1 << 20).ends_with("a packet that is longer than its block"));
}

#[test]
fn times_are_those_of_the_interface() {
    let time = |resolution: u8, units: u64| {
        let mut writer = Writer::new(Vec::new());
        writer.section().unwrap();
        writer.interface(&Interface { time_digits: resolution, ..LO }).unwrap();
        writer.packet(&packet(0, units, b"")).unwrap();
        let file = writer.into_inner();
        let mut reader = Reader::new(&file[..]).unwrap();
        while let Some(block) = reader.next_block().unwrap() {
            if let Item::Packet(packet) = block.item {
                return packet.at;
            }
        }
        panic!("no packet");
    };
    assert_eq!(time(6, 1_500_000), Time(1_500_000_000));
    assert_eq!(time(0, 2), Time(2_000_000_000));
    assert_eq!(time(0x8a, 1536), Time(1_500_000_000));
    assert_eq!(time(0, u64::MAX), Time(u64::MAX));
    assert_eq!(time(0x7f, u64::MAX), Time(0));
    assert_eq!(time(0xff, u64::MAX), Time(0));
}

#[test]
fn a_packet_of_no_interface_is_not_looked_into() {
    let mut writer = Writer::new(Vec::new());
    writer.section().unwrap();
    writer.packet(&packet(7, 0, b"frame")).unwrap();
    let (found, _) = read(&writer.into_inner()).unwrap();
    assert_eq!(found[1], format!("{:?} 0 frame of 99", Link::Other(u16::MAX)));
}

proptest! {
    #[test]
    fn any_file_is_read_without_a_panic(
        is_big in any::<bool>(),
        changes in proptest::collection::vec((0..400usize, any::<u8>()), 0..8),
        length in 0..400usize,
    ) {
        for mut file in [written(if is_big { Order::Big } else { Order::Little }), classic([0xa1, 0xb2, 0x3c, 0x4d], true)] {
            let all = file.len();
            for &(at, value) in &changes {
                file[at % all] = value;
            }
            let _ = read(&file[..length.min(all)]);
        }
    }
}
