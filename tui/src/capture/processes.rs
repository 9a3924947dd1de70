//! Which process an event came from, without reading `/proc` for each of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::target::Process;
use crate::target::process;
use crate::text::Foreign;

/// After this, a known pid is looked at again: it may have been given to another process.
const FRESH: Duration = Duration::from_millis(500);
/// Processes remembered at a time.
const LIMIT: usize = 4096;

/// Processes that reported lately.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, (Instant, Arc<Process>)>,
}

impl Processes {
    /// The process with this id. When it has ended already, all that is known is its thread's name.
    pub fn get(&mut self, pid: u32, thread: &[u8]) -> Arc<Process> {
        let now = Instant::now();
        if let Some((looked, process)) = self.known.get(&pid)
            && now.duration_since(*looked) < FRESH
        {
            return Arc::clone(process);
        }
        let process = match (process::read(pid), self.known.get(&pid)) {
            (Ok(process), Some((_, known))) if process == **known => Arc::clone(known),
            (Ok(process), _) => Arc::new(process),
            // It ended between two of its secrets.
            (Err(_), Some((_, known))) => Arc::clone(known),
            (Err(_), None) => Arc::new(ended(pid, thread)),
        };
        if self.known.len() >= LIMIT {
            self.known.retain(|_, (looked, _)| now.duration_since(*looked) < FRESH);
            if self.known.len() >= LIMIT {
                self.known.clear();
            }
        }
        self.known.insert(pid, (now, Arc::clone(&process)));
        process
    }
}

fn ended(pid: u32, thread: &[u8]) -> Process {
    Process { pid, start_ticks: 0, comm: Foreign::from_bytes(thread), exe: None, container: None }
}
