//! What a process was before it became another program, or got another name: what it did then may be told later.

use std::sync::Arc;

use crate::model::target::Process;
use crate::text::Foreign;

/// Programs that are remembered of a process. What it did is told some milliseconds later at the most.
const PROGRAMS: usize = 2;

/// A program that a process was.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub comm: Foreign,
    /// The executable, where it was seen.
    pub exe: Option<Foreign>,
    /// What `/proc` said of the process then.
    pub process: Option<Arc<Process>>,
}

/// The last programs that a process was.
#[derive(Debug, Default)]
pub struct Past {
    /// Each with its end (nanoseconds of `CLOCK_BOOTTIME`), in the order of time.
    programs: Vec<(u64, Program)>,
    /// Before this, nothing is known any more.
    forgotten: u64,
}

impl Past {
    /// It was this program until then.
    pub fn push(&mut self, until: u64, program: Program) {
        if self.programs.len() == PROGRAMS {
            (self.forgotten, _) = self.programs.remove(0);
        }
        self.programs.push((until, program));
    }

    /// The program that it was at a time before its last change; `None` when that is too long ago.
    pub fn at(&self, time: u64) -> Option<&Program> {
        let program = self.programs.iter().find(|(until, _)| time < *until);
        program.filter(|_| time >= self.forgotten).map(|(_, program)| program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_has_its_program_and_none_what_is_forgotten() {
        let mut past = Past::default();
        let program = |comm: &str| Program { comm: comm.into(), exe: None, process: None };
        for (until, comm) in [(10, "sh"), (20, "env"), (30, "curl")] {
            past.push(until, program(comm));
        }
        let at = |time| past.at(time).map(|program| program.comm.raw());
        assert_eq!(
            [9, 10, 19, 20, 29].map(at),
            [None, Some("env"), Some("env"), Some("curl"), Some("curl")]
        );
        assert_eq!(at(30), None, "that is the present one");
    }
}
