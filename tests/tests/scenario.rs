//! One user, from the first screen to the end: picks, sees a handshake, filters, reveals, copies, saves, quits.

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, Display, KeyLog, Line, OwnCurl, Protocol, Screen, Tlskeytop, until};

fn wait_for_text(screen: &Screen, text: &str) -> Result<()> {
    screen.wait_for(text, |line| line.contains(text).then_some(()))
}

#[test]
fn from_the_first_screen_to_the_end() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let display = Display::open()?;
    let screen = Screen::open(&bench.lab, 120, 40)?;
    screen.take_clipboard()?;
    let binary = Tlskeytop::binary()?;
    let command = format!("DISPLAY={} {}; echo exit=$?", display.name(), binary.display());
    screen.type_line(&command)?;

    // Nothing is attached before the user says so; one Enter starts everything.
    wait_for_text(&screen, "everything, now and in future")?;
    screen.press("Enter")?;
    let handshakes = own.shown_on(&bench, &screen)?;
    let truth = bench.peers[0].whole_truth(handshakes)?;

    screen.type_text(&format!("/proc:{}", own.name))?;
    screen.press("Enter")?;
    until("only sessions of curl", || {
        let text = screen.text()?;
        let sessions = || text.lines().filter(|line| line.contains("complete"));
        let only = sessions().all(|line| own.is_session(line));
        Ok((only && sessions().count() > 0).then_some(()))
    })?;

    // In its own view a secret is masked until it is revealed, and again when the view is left.
    screen.press("Enter")?;
    wait_for_text(&screen, "SERVER_HANDSHAKE_TRAFFIC_SECRET")?;
    let shown = |screen: &Screen| -> Result<bool> {
        let text: String = screen.text()?.split_whitespace().collect();
        let randoms = truth.client_randoms();
        let secrets = randoms.iter().flat_map(|random| {
            truth.labels(random).into_iter().filter_map(|label| truth.secret(random, label))
        });
        Ok(secrets.into_iter().any(|secret| text.contains(secret)))
    };
    ensure!(!shown(&screen)?, "a secret is shown");
    screen.press("r")?;
    until("a secret in full", || Ok(shown(&screen)?.then_some(())))?;

    // The line under the cursor, through the terminal and on the display.
    screen.press("y")?;
    let copied = until("a key line from the terminal", || screen.clipboard())?;
    let line = Line::parse(&copied)?;
    ensure!(
        truth.secret(&line.client_random, &line.label) == Some(line.secret.as_str()),
        "not in the truth: {} {}",
        line.label,
        line.client_random
    );
    until("the same on the display", || {
        Ok((display.clipboard()?.as_deref() == Some(copied.as_str())).then_some(()))
    })?;
    screen.press("Escape")?;
    until("no secret", || Ok((!shown(&screen)?).then_some(())))?;

    // The first time the path can be changed.
    screen.press("w")?;
    wait_for_text(&screen, "tlskeytop.keylog")?;
    screen.press("C-u")?;
    screen.type_text("saved.keylog")?;
    screen.press("Enter")?;
    let saved = until("the copied line in the key log", || {
        let Ok(saved) = KeyLog::strict(&bench.lab.path("saved.keylog")) else { return Ok(None) };
        Ok(saved.secret(&line.client_random, &line.label).is_some().then_some(saved))
    })?;
    ensure!(saved.secret(&line.client_random, &line.label) == Some(line.secret.as_str()));

    // A storm of sizes, the smallest of which is too small.
    for (columns, rows) in [(20, 5), (200, 60), (60, 12), (1, 1), (80, 24), (121, 39), (120, 40)] {
        screen.resize(columns, rows)?;
    }
    wait_for_text(&screen, &own.name)?;

    screen.press("q")?;
    let code =
        screen.wait_for("exit code", |line| line.strip_prefix("exit=").map(str::to_owned))?;
    ensure!(code.trim() == "0", "exit code {code}");
    ensure!(screen.is_restored()?, "the terminal is not restored");
    screen.type_line("echo good-bye")?;
    screen.wait_for("echo", |line| line.contains("echo good-bye").then_some(()))
}
