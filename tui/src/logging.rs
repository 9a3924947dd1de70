//! The log file: tracing through a writer that never holds up the loop.

use std::fs::File;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};

use crate::cli::LogLevel;

/// The log. What is logged is written until this is dropped.
pub struct Log {
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

impl Log {
    /// Lines that came faster than the disk took them, and are not in the log.
    pub fn dropped_lines(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// Starts logging to a file, which the key log's own private opener has opened.
pub fn start(file: File, level: LogLevel) -> Log {
    let (writer, guard): (NonBlocking, WorkerGuard) = tracing_appender::non_blocking(file);
    let dropped = writer.error_counter();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(filter(level))
        .finish();
    // It only fails when one was set before, and this is called once.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Log { dropped, _guard: guard }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
