//! tlskeytop twice at the same handshakes: once by tap and once by walk, so that the two are compared.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};

use crate::keylog::{KeyLog, check_capture};
use crate::lab::Lab;
use crate::tlskeytop::Tlskeytop;

/// How secrets are taken out of a program: `--method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the library's key log function.
    Tap,
    /// From the library's structures.
    Walk,
}

impl Method {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tap, Self::Walk];

    /// As `--method` wants it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Walk => "walk",
        }
    }
}

/// The tlskeytops that run, each with a key log of its own.
pub struct Captures(Vec<(Method, Tlskeytop)>);

impl Captures {
    /// Attaches both to what `selection` chooses. `name` tells them from others in the lab.
    ///
    /// # Errors
    /// When one does not become ready, or attaches to nothing.
    pub fn start<A: AsRef<OsStr> + Sync>(lab: &Lab, name: &str, selection: &[A]) -> Result<Self> {
        let start = |method: Method| {
            let file = format!("captured-{name}-{}", method.name());
            let method_option = ["--method", method.name()].map(OsStr::new);
            let options = method_option.into_iter().chain(selection.iter().map(AsRef::as_ref));
            Ok((method, Tlskeytop::keylog_to(lab, &file, options)?))
        };
        // Both at once: each takes a while to look at the machine.
        std::thread::scope(|scope| {
            let started = Method::ALL.map(|method| scope.spawn(move || start(method)));
            let joined = started.into_iter().map(|thread| thread.join().expect("start panics not"));
            joined.collect::<Result<_>>().map(Self)
        })
    }

    /// Ends both.
    ///
    /// # Errors
    /// When one has lost events, or had two values for one secret.
    pub fn stop(self) -> Result<Vec<Captured>> {
        let stop = |(method, tlskeytop): (Method, Tlskeytop)| {
            let (keylog, summary) = tlskeytop.stop()?;
            ensure!(summary.conflicts == 0, "{method:?}: {summary:?}");
            Ok(Captured { method, keylog })
        };
        self.0.into_iter().map(stop).collect()
    }

    /// Ends both, and each has captured the whole truth: [`Captured::check`].
    ///
    /// # Errors
    /// When that is not so, or as [`Captures::stop`].
    pub fn check(self, truth: &KeyLog) -> Result<()> {
        self.stop()?.iter().try_for_each(|captured| captured.check(truth))
    }
}

/// What one of them has captured.
pub struct Captured {
    /// How.
    pub method: Method,
    keylog: KeyLog,
}

impl Captured {
    /// It is the whole truth, and nothing else for its handshakes.
    ///
    /// # Errors
    /// With all the differences.
    pub fn check(&self, truth: &KeyLog) -> Result<()> {
        check_capture(&self.keylog, truth).with_context(|| format!("{:?}", self.method))?;
        eprintln!("{}: {} of {1} lines", self.method.name(), truth.lines());
        Ok(())
    }
}
