//! The blocks of the file: each interface is described before its first packet, in every file anew.

use std::collections::HashMap;
use std::io;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::backlog::Held;
use super::file::{FileError, PacketFile};
use super::links::link;
use super::recording::Sink;
use super::ring::Frame;
use crate::pcapng::{Interface, Packet, Writer};
use crate::text::sanitize;
use crate::tls::KeyLine;
use crate::wire::Link;

/// Interfaces that are told apart, also those that are gone: 10 MiB.
const INTERFACES: usize = 65_536;
/// Of one that is gone packets come for so long at the most.
const GONE: Duration = Duration::from_secs(5);
/// How long the next file is not tried again after it could not be had.
const ROTATE_AGAIN: Duration = Duration::from_secs(10);

/// An interface that packets came from.
struct Known {
    index: u32,
    name: Option<String>,
    link: Link,
    /// Its number in the present file.
    number: Option<u32>,
}

/// What an index and a hardware type mean at present.
struct Place {
    /// Which interface; `None`: it is not recorded.
    interface: Option<usize>,
    gone: Option<Instant>,
}

/// Writes packets and secrets.
pub struct Output {
    writer: Writer<PacketFile>,
    interfaces: Vec<Known>,
    /// By index and hardware type.
    places: HashMap<(u32, u16), Place>,
    /// It was told that there are too many.
    is_limit_told: bool,
    rotate_at: Option<Instant>,
    /// The present file has packets.
    has_packets: bool,
    /// Secrets were written last: the packet that needs them comes next.
    is_within: bool,
    /// What the user should know.
    warnings: Vec<String>,
}

impl Output {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(file: PacketFile) -> io::Result<Self> {
        let mut writer = Writer::new(file);
        writer.section()?;
        writer.get_mut().flush()?;
        Ok(Self {
            writer,
            interfaces: Vec::new(),
            places: HashMap::new(),
            is_limit_told: false,
            rotate_at: None,
            has_packets: false,
            is_within: false,
            warnings: Vec::new(),
        })
    }

    /// Describes interfaces before there are packets: without any, a file is not one for some tools.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn describe(
        &mut self,
        present: &[(u32, u16)],
        name: impl Fn(u32) -> Option<String>,
    ) -> io::Result<()> {
        for &(index, hardware) in present.iter().filter(|(_, hardware)| link(*hardware).is_some()) {
            self.meet(index, hardware, name(index));
        }
        self.describe_all()?;
        self.file().flush()
    }

    /// Describes those that are not, and are still there, at the beginning of a file: Wireshark's tools take its kind from
    /// what stands before its first other block.
    fn describe_all(&mut self) -> io::Result<()> {
        let present = self.places.values().filter(|place| place.gone.is_none());
        let mut present: Vec<usize> = present.filter_map(|place| place.interface).collect();
        present.sort_unstable();
        present.into_iter().try_for_each(|place| self.number(place).map(drop))
    }

    /// The file.
    pub fn file(&mut self) -> &mut PacketFile {
        self.writer.get_mut()
    }

    /// What there is to tell since this was asked last.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Which interface a packet came from, and what it begins with; `None` when that is of a kind that is not recorded.
    pub fn place(
        &mut self,
        frame: &Frame<'_>,
        name: impl FnOnce(u32) -> Option<String>,
    ) -> Option<(usize, Link)> {
        let key = (frame.interface, frame.hardware);
        let place = match self.places.get(&key) {
            Some(place) => place.interface,
            None => self.meet(frame.interface, frame.hardware, name(frame.interface)),
        };
        place.map(|place| (place, self.interfaces[place].link))
    }

    fn meet(&mut self, index: u32, hardware: u16, name: Option<String>) -> Option<usize> {
        let is_room = self.places.len() < INTERFACES && self.interfaces.len() < INTERFACES;
        if !is_room && !std::mem::replace(&mut self.is_limit_told, true) {
            self.warnings.push(format!(
                "packets of further interfaces are not recorded: there were {INTERFACES}"
            ));
        }
        if !is_room {
            return None;
        }
        let interface = self.add(index, hardware, name);
        self.places.insert((index, hardware), Place { interface, gone: None });
        interface
    }

    fn add(&mut self, index: u32, hardware: u16, name: Option<String>) -> Option<usize> {
        let Some(link) = link(hardware) else {
            let name = name.map_or_else(|| index.to_string(), |name| sanitize(&name));
            self.warnings.push(format!(
                "packets of interface {name} are not recorded: its hardware type {hardware} is not known"
            ));
            return None;
        };
        self.interfaces.push(Known { index, name, link, number: None });
        Some(self.interfaces.len() - 1)
    }

    /// Interfaces changed: those that have another name now are others. Of one that is gone, packets may still come for a
    /// moment.
    pub fn interfaces_changed(&mut self, now: Instant, name: impl Fn(u32) -> Option<String>) {
        let interfaces = &self.interfaces;
        self.places.retain(|(index, _), place| {
            let Some(present) = name(*index) else {
                return *place.gone.get_or_insert(now) + GONE > now;
            };
            place.gone = None;
            let known = place.interface.and_then(|at| interfaces.get(at));
            known.is_none_or(|known| known.name.as_ref() == Some(&present))
        });
    }

    fn rotate(&mut self) {
        // One without packets is never full: the next would be no better.
        if !self.has_packets
            || !self.file().is_full()
            || self.rotate_at.is_some_and(|at| Instant::now() < at)
        {
            return;
        }
        let began = match self.file().rotate() {
            Ok(()) => self.begin().map_err(|error| error.to_string()),
            Err(error) => Err(FileError::to_string(&error)),
        };
        match began {
            Ok(()) => {
                self.rotate_at = None;
            }
            Err(error) => {
                self.rotate_at = Some(Instant::now() + ROTATE_AGAIN);
                self.warnings.push(format!("the packets' next file: {error}"));
            }
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.has_packets = false;
        self.interfaces.iter_mut().for_each(|known| known.number = None);
        self.writer.section()?;
        self.describe_all()
    }

    fn number(&mut self, place: usize) -> io::Result<u32> {
        let known = &mut self.interfaces[place];
        if let Some(number) = known.number {
            return Ok(number);
        }
        let unnamed = format!("interface {}", known.index);
        let number = self.writer.interface(&Interface {
            name: Some(known.name.as_deref().unwrap_or(&unnamed)),
            link: known.link.number(),
            snap_length: 0,
            time_digits: crate::pcapng::NANOSECONDS,
        })?;
        known.number = Some(number);
        Ok(number)
    }
}

impl Sink for Output {
    fn secrets(&mut self, lines: &[Box<KeyLine>]) -> io::Result<()> {
        self.rotate();
        self.is_within = true;
        self.writer.secrets(lines.iter().map(|line| &**line))
    }

    fn packet(&mut self, packet: &Held, comment: Option<&str>) -> io::Result<()> {
        if !std::mem::take(&mut self.is_within) {
            self.rotate();
        }
        if !std::mem::replace(&mut self.has_packets, true) {
            self.file().begins();
        }
        let interface = self.number(packet.interface)?;
        self.writer.packet(&Packet {
            interface,
            time: packet.time.0,
            original_length: packet.original_length,
            bytes: &packet.bytes,
            comment,
        })?;
        self.file().flush_if_full()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::file::Rotation;
    use super::*;
    use crate::keylog::Owner;
    use crate::model::Time;
    use crate::packets::blocks::Contents;
    use crate::packets::fixture::key;
    use crate::pcapng::{Item, Reader};
    use crate::tls::{Label, Role};

    const LOOPBACK: (u32, u16) = (1, libc::ARPHRD_LOOPBACK);

    fn output(path: &Path, bytes: u64) -> Output {
        let rotation = Rotation { bytes: Some(bytes), age: None };
        let file = PacketFile::create(path, Owner::of_this_run(), rotation).unwrap();
        let mut output = Output::new(file).unwrap();
        output.describe(&[LOOPBACK], |_| Some("lo".to_owned())).unwrap();
        output
    }

    fn packet() -> Held {
        Held {
            time: Time(0),
            interface: 0,
            original_length: 100,
            connection: None,
            begins: None,
            bytes: Box::new([0; 100]),
        }
    }

    impl Output {
        fn replaced(&mut self) -> io::Result<()> {
            self.file().replace_earlier();
            Ok(())
        }
    }

    /// A packet of an interface like the loopback, as the kernel gives it.
    fn loopback() -> Frame<'static> {
        Frame {
            time: Time(0),
            interface: 1,
            hardware: libc::ARPHRD_LOOPBACK,
            is_outgoing: false,
            original_len: 100,
            vlan: None,
            bytes: &[0; 100],
        }
    }

    /// The kinds of the blocks of a file: section, interface, secrets (key), packet.
    fn blocks(path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let mut kinds = String::new();
        while let Some(block) = reader.next_block().unwrap() {
            kinds.push(match block.item {
                Item::Section(_) => 's',
                Item::Secrets(_) => 'k',
                Item::Packet(_) => 'p',
                Item::Other => 'i',
            });
        }
        kinds
    }

    #[test]
    fn secrets_and_the_packet_behind_them_go_to_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = output(&folder.path().join("p.pcapng"), 2000);
        let lines: Vec<_> =
            (0..20).map(|random| key(&Label::Exporter, random, 1, 7, Role::Client).line).collect();
        output.packet(&packet(), None).unwrap();
        output.secrets(&lines).unwrap();
        assert!(output.file().is_full());
        output.packet(&packet(), None).unwrap();
        output.packet(&packet(), None).unwrap();
        output.file().flush().unwrap();
        assert_eq!(blocks(&folder.path().join("p.pcapng")), "sipkp");
        assert_eq!(blocks(&folder.path().join("p-1.pcapng")), "sip");
    }

    #[test]
    fn an_interface_that_is_gone_is_described_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = output(&folder.path().join("p.pcapng"), 1);
        output.describe(&[(2, libc::ARPHRD_ETHER)], |_| Some("veth".to_owned())).unwrap();
        output.packet(&packet(), None).unwrap();
        let only_loopback = |index| (index == 1).then(|| "lo".to_owned());
        let now = Instant::now();
        output.interfaces_changed(now, only_loopback);
        output.packet(&packet(), None).unwrap();
        // One of its packets comes late.
        output.packet(&Held { interface: 1, ..packet() }, None).unwrap();
        output.file().flush().unwrap();
        let files = ["p.pcapng", "p-1.pcapng", "p-2.pcapng"];
        let kinds = files.map(|name| blocks(&folder.path().join(name)));
        assert_eq!(kinds, ["siip", "sip", "siip"]);
        // The kernel is asked for it no more once none can come.
        output.interfaces_changed(now + GONE, only_loopback);
        output.interfaces_changed(now + GONE, |index| {
            assert_eq!(index, 1);
            only_loopback(index)
        });
    }

    #[test]
    fn interfaces_that_there_is_no_room_for_are_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = output(&folder.path().join("p.pcapng"), 1 << 20);
        let known: Vec<bool> = (1..=INTERFACES as u32 + 2)
            .map(|index| {
                let frame = Frame { interface: index, ..loopback() };
                output.place(&frame, |index| Some(format!("veth{index}"))).is_some()
            })
            .collect();
        assert_eq!(known.iter().position(|known| !known), Some(INTERFACES));
        let [warning] = &output.take_warnings()[..] else { panic!("not once") };
        assert!(warning.contains("not recorded"), "{warning}");
    }

    #[test]
    fn an_earlier_recording_stays_until_there_is_something_to_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let lines = [key(&Label::Exporter, 1, 1, 7, Role::Client).line];
        type Begin<'a> = &'a dyn Fn(&mut Output) -> io::Result<()>;
        let begins: [(Begin<'_>, &str); 3] = [
            (&|output| output.packet(&packet(), None), "sip"),
            (&|output| output.secrets(&lines), "sik"),
            (&|output| output.replaced(), "si"),
        ];
        for (begin, expected) in begins {
            let mut earlier = output(&path, 1 << 20);
            (0..9).for_each(|_| earlier.packet(&packet(), None).unwrap());
            earlier.file().flush().unwrap();
            drop(earlier);
            let mut output = output(&path, 1 << 20);
            output.file().flush().unwrap();
            assert_eq!(blocks(&path), "sippppppppp");
            begin(&mut output).unwrap();
            output.file().flush().unwrap();
            assert_eq!(blocks(&path), expected);
        }
    }

    #[test]
    fn what_is_not_on_the_disk_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = output(&folder.path().join("p.pcapng"), 1 << 20);
        let lines = [1, 10].map(|random| key(&Label::Exporter, random, 1, 7, Role::Client).line);
        output.packet(&packet(), Some("curl")).unwrap();
        output.secrets(&lines).unwrap();
        output.packet(&packet(), None).unwrap();
        let expected = Contents { packets: 2, bytes: 200, secrets: 2 };
        assert_eq!(output.file().unwritten(), expected);
        output.file().flush().unwrap();
        assert_eq!(output.file().unwritten(), Contents::default());
    }
}
