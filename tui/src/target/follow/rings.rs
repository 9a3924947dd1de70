//! Two perf events of type dummy for each CPU: they count nothing, and report mappings, and programs, forks and exits, of
//! every process into rings of memory that are shared with the kernel. Two, so that one can wait for mappings alone.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use perf_event::events::Software;
use perf_event::{Builder, SampleFlag, Sampler};

use super::record::{self, Event, Parsed, What};

/// Bytes of a CPU's ring of mappings. Those of a short process (its program, the loader, a library) take 450 bytes: room for
/// 1,100 processes.
const MAPPINGS: usize = 512 << 10;
/// Bytes of a CPU's ring of lives. That of a short process (fork, exec, exit) takes 250 bytes: room for 1,000.
const LIVES: usize = 256 << 10;
/// Records that are taken of a ring at a time: four full ones of the smallest records. Those that make them faster than
/// they are taken lose some.
const BATCH: usize = 4 * MAPPINGS / 40;

/// The rings of a CPU.
struct Cpu {
    number: usize,
    mappings: Sampler,
    /// Programs, names, forks and exits.
    lives: Sampler,
}

/// What to be woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// No record.
    Nothing,
    /// Mappings alone.
    Mappings,
    /// All that is reported.
    Everything,
}

/// The rings of all CPUs.
pub struct Rings {
    cpus: Vec<Cpu>,
    /// Of a record that goes round the end of its ring.
    buffer: Vec<u8>,
    /// Records for which there was no room.
    pub lost: u64,
    /// Records that could not be read.
    pub nonsense: u64,
}

impl Rings {
    /// Opens and enables one for each CPU that is there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one: perf events may be forbidden.
    pub fn open() -> io::Result<Self> {
        let mut rings = Self { cpus: Vec::new(), buffer: Vec::new(), lost: 0, nonsense: 0 };
        rings.add_cpus()?;
        Ok(rings)
    }

    /// Adds those of CPUs that came since.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one.
    pub fn add_cpus(&mut self) -> io::Result<()> {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
        for cpu in cpu_list(&online) {
            if !self.cpus.iter().any(|known| known.number == cpu) {
                let mut mappings = Builder::new(Software::DUMMY);
                mappings.mmap(true).mmap2(true);
                let mut lives = Builder::new(Software::DUMMY);
                lives.comm(true).comm_exec(true).task(true);
                self.cpus.push(Cpu {
                    number: cpu,
                    mappings: open(mappings, cpu, MAPPINGS)?,
                    lives: open(lives, cpu, LIVES)?,
                });
            }
        }
        Ok(())
    }

    /// For poll(2): readable when there is a record of these.
    pub fn descriptors(&self, of: Wake) -> impl Iterator<Item = RawFd> + '_ {
        self.cpus.iter().flat_map(move |cpu| {
            let mappings = (of != Wake::Nothing).then_some(&cpu.mappings);
            let lives = (of == Wake::Everything).then_some(&cpu.lives);
            mappings.into_iter().chain(lives).map(|sampler| sampler.as_raw_fd())
        })
    }

    /// Takes what is there, in no order across CPUs.
    pub fn take(&mut self, into: &mut Vec<Event>) {
        let rings = self.cpus.iter_mut().flat_map(|cpu| [&mut cpu.mappings, &mut cpu.lives]);
        for sampler in rings {
            let mut taken = 0;
            while let Some(record) = (taken < BATCH).then(|| sampler.next_record()).flatten() {
                taken += 1;
                self.buffer.clear();
                for part in record.data() {
                    self.buffer.extend_from_slice(part);
                }
                match record::parse(record.ty(), record.misc(), &self.buffer) {
                    Parsed::Event(Event { what: What::Lost(count), .. }) => self.lost += count,
                    Parsed::Event(event) => into.push(event),
                    Parsed::Other => {}
                    Parsed::Nonsense => self.nonsense += 1,
                }
            }
        }
    }
}

fn open(mut builder: Builder<'_>, cpu: usize, size: usize) -> io::Result<Sampler> {
    builder
        .any_pid()
        .one_cpu(cpu)
        .include_kernel()
        .sample_id_all(true)
        .sample(SampleFlag::TID | SampleFlag::TIME)
        .clockid(Some(perf_event::Clock::BOOTTIME))
        // A byte: woken at the first record. Later ones find us looking by ourselves.
        .wakeup_watermark(1)
        .enabled(true);
    builder.build()?.sampled(size)
}

/// `0-3,8`, as in `/sys/devices/system/cpu/online`.
fn cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().take(8192).collect()
}

/// Puts the records of all CPUs in the order of time.
///
/// What one record says may depend on another CPU's earlier one: a process's mapping on its fork. That one was
/// written whole before the process ran. So what has a time before we began to take was there when we took, with
/// everything that it depends on; what has a later time waits until the next take.
#[derive(Debug, Default)]
pub struct Order {
    waiting: Vec<Event>,
}

impl Order {
    /// Adds what was taken by a take that began at `began`, and gives what can be applied now.
    pub fn add(&mut self, taken: &mut Vec<Event>, began: u64) -> Vec<Event> {
        self.waiting.append(taken);
        if self.waiting.is_empty() {
            return Vec::new();
        }
        // Stable: records of one CPU with the same time stay as they were.
        self.waiting.sort_by_key(|event| event.time);
        let later = self.waiting.partition_point(|event| event.time <= began);
        let rest = self.waiting.split_off(later);
        std::mem::replace(&mut self.waiting, rest)
    }

    /// Whether something waits for the next take.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64) -> Event {
        Event { time, pid: 1, what: What::Thread }
    }

    #[test]
    fn records_come_in_order_and_none_before_what_it_may_depend_on() {
        let mut order = Order::default();
        let times = |events: Vec<Event>| events.iter().map(|event| event.time).collect::<Vec<_>>();
        // Taken from one CPU after the other; 12 came after the take began, and 9 is still being written.
        assert_eq!(times(order.add(&mut vec![event(5), event(12), event(3)], 10)), [3, 5]);
        assert!(order.is_waiting());
        assert_eq!(times(order.add(&mut vec![event(11)], 20)), [11, 12]);
        assert!(!order.is_waiting());
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(cpu_list("0\n"), [0]);
        assert_eq!(cpu_list(""), [] as [usize; 0]);
        assert_eq!(cpu_list("0-18446744073709551615").len(), 8192);
    }
}
