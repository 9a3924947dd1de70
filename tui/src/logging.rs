//! The log file: tracing through a writer that never holds up the loop.

use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use crate::cli::LogLevel;
use crate::keylog::{KeyLogError, Owner, open_private};

/// Starts logging to a private file. What is logged is written until the guard is dropped.
///
/// # Errors
///
/// [`KeyLogError`] when the file is not one that may be written: the rules are the key log's own.
pub fn start(path: &Path, level: LogLevel) -> Result<WorkerGuard, KeyLogError> {
    let file = open_private(path, Owner::of_this_run())?;
    let (writer, guard): (NonBlocking, WorkerGuard) = tracing_appender::non_blocking(file);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(filter(level))
        .finish();
    // It only fails when one was set before, and this is called once.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(guard)
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
