//! How long and how often things are measured.

/// Long enough for a verdict, or short enough for a test.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Pairs without and with each tool.
    pub pairs: usize,
    /// Alternations of an empty probe and ours.
    pub alternations: usize,
    /// Seconds of a measured section.
    pub section: f64,
    /// Sections of each of two processes, in turn, for one ratio.
    pub turns: usize,
    /// Seconds at the highest rate.
    pub load: u32,
    /// Seconds of a steady rate.
    pub steady: u32,
    /// Samples of what tlskeytop takes for itself.
    pub samples: usize,
    /// Seconds of each.
    pub sample: f64,
    /// Starts until ready.
    pub starts: usize,
    /// Idle processes on the machine.
    pub processes: usize,
    /// Sessions in the model.
    pub sessions: usize,
    /// Times that a file is planned.
    pub plans: usize,
}

impl Effort {
    /// For a verdict: about half an hour.
    pub const FULL: Self = Self {
        pairs: 20,
        alternations: 40,
        section: 0.1,
        turns: 6,
        load: 60,
        steady: 10,
        samples: 5,
        sample: 2.0,
        starts: 11,
        processes: 300,
        sessions: tlskeytop::model::DEFAULT_SESSION_LIMIT,
        plans: 5,
    };

    /// A proof that everything can be measured, and nothing more.
    pub const SHORT: Self = Self {
        pairs: 1,
        alternations: 2,
        section: 0.05,
        turns: 2,
        load: 1,
        steady: 1,
        samples: 1,
        sample: 0.3,
        starts: 1,
        processes: 5,
        sessions: 500,
        plans: 1,
    };

    /// The same with another number of pairs.
    pub fn with_pairs(self, pairs: usize) -> Self {
        Self { pairs, alternations: 2 * pairs, ..self }
    }
}
