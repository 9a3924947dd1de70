//! A program that calls a hooked function with pointers to anything but a connection.

use std::path::Path;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, LIBSSL, Protocol, Subject, Tlskeytop};

#[test]
fn what_is_no_connection_gives_no_line() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let subject = Subject::libssl(Path::new(LIBSSL)).with_client("client_hostile.py");
    let mut client = subject.start_client(&bench)?;
    let pid = client.pid().to_string();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--method", "walk", "--pid", &pid])?;
    let truth = Subject::shake_hands(&bench, &mut client)?;
    let lies: u64 =
        client.wait_stdout("number of lies", |line| line.strip_prefix("lies ")?.parse().ok())?;
    let stderr = tlskeytop.process.stderr();
    ensure!(!stderr.contains("panicked"), "{stderr}");
    let (ours, summary) = tlskeytop.stop()?;
    // Also of handshakes that no peer knows there is no line.
    ensure!(ours == truth, "{} lines, and {} in the truth", ours.lines(), truth.lines());
    // Beside the lies also some of what was read while it changed.
    ensure!(summary.conflicts == 0 && summary.rejected > lies, "{lies} lies: {summary:?}");
    eprintln!("{} lines, {} rejected", ours.lines(), summary.rejected);
    Ok(())
}
