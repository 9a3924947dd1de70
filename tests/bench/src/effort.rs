//! How long and how often things are measured.

/// Long enough for a verdict, or short enough for a test.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Pairs without and with tlskeytop.
    pub pairs: usize,
    /// Pairs without and with each other tool.
    pub pairs_of_others: usize,
    /// Rounds of nothing, an empty probe and ours.
    pub rounds: usize,
    /// Seconds of a measured section.
    pub section: f64,
    /// Seconds at the highest rate.
    pub load: u32,
    /// Seconds of a steady rate, or of idling.
    pub steady: u32,
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
    /// For a verdict: about ten minutes.
    pub const FULL: Self = Self {
        pairs: 20,
        pairs_of_others: 10,
        rounds: 20,
        section: 0.4,
        load: 60,
        steady: 10,
        starts: 11,
        processes: 300,
        sessions: tlskeytop::model::DEFAULT_SESSION_LIMIT,
        plans: 5,
    };

    /// A proof that everything can be measured, and nothing more.
    pub const SHORT: Self = Self {
        pairs: 1,
        pairs_of_others: 1,
        rounds: 1,
        section: 0.1,
        load: 1,
        steady: 1,
        starts: 1,
        processes: 5,
        sessions: 500,
        plans: 1,
    };

    /// The same with another number of pairs.
    pub fn with_pairs(self, pairs: usize) -> Self {
        Self { pairs, pairs_of_others: pairs.div_ceil(2), rounds: pairs, ..self }
    }
}
