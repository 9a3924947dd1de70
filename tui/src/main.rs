//! The binary: parse, preflight, run, exit code; nothing else.

use std::process::ExitCode;

use tlskeytop::{allocator, cli, run};

fn main() -> ExitCode {
    allocator::keep_little();
    match cli::parse(std::env::args_os()) {
        Ok(task) => run::run(task),
        Err(error) => {
            // Help and version go to stdout with 0, usage errors to stderr with 2; a closed pipe is no error.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}
