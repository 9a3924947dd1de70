//! Key log files, parsed strictly, and the comparison with the truth.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// One line: which secret, of which handshake, and its value, the last two in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// For example `CLIENT_RANDOM`.
    pub label: String,
    /// 32 bytes.
    pub client_random: String,
    /// 32 or 48 bytes.
    pub secret: String,
}

/// A parsed key log: (client random, label) to secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLog {
    secrets: BTreeMap<(String, String), String>,
}

impl KeyLog {
    /// Reads the key log that tlskeytop wrote: every line must be as the design says and there once.
    ///
    /// # Errors
    /// On the first line that is malformed or there twice, and when the last one has no newline.
    pub fn strict(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse_strict(&text).with_context(|| path.display().to_string())
    }

    /// As [`KeyLog::strict`], from text.
    ///
    /// # Errors
    /// As [`KeyLog::strict`].
    pub fn parse_strict(text: &str) -> Result<Self> {
        ensure!(text.is_empty() || text.ends_with('\n'), "the last line has no newline");
        let mut keylog = Self::default();
        for (number, text) in (1..).zip(text.lines()) {
            let line = Line::parse(text).with_context(|| format!("line {number}: {text:?}"))?;
            keylog.add(line).with_context(|| format!("line {number}: {text:?}"))?;
        }
        Ok(keylog)
    }

    /// Reads a key log that a peer wrote: comments are skipped, and equal lines may repeat.
    ///
    /// # Errors
    /// When the file cannot be read, or a line that is no comment is malformed.
    pub fn truth(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut keylog = Self::default();
        for text in text.lines() {
            if text.starts_with('#') || text.trim().is_empty() {
                continue;
            }
            let line =
                Line::parse(text).with_context(|| format!("{}: {text:?}", path.display()))?;
            let key = (line.client_random, line.label);
            keylog.secrets.insert(key, line.secret);
        }
        Ok(keylog)
    }

    fn add(&mut self, line: Line) -> Result<()> {
        let key = (line.client_random, line.label);
        ensure!(self.secrets.insert(key, line.secret).is_none(), "there twice");
        Ok(())
    }

    /// Adds the lines of another file, in which the same lines may be.
    ///
    /// # Errors
    /// When they have another value for a secret.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        for (key, secret) in other.secrets {
            let before = self.secrets.insert(key.clone(), secret.clone());
            ensure!(before.is_none_or(|before| before == secret), "two values: {key:?}");
        }
        Ok(())
    }

    /// The number of lines.
    pub fn lines(&self) -> usize {
        self.secrets.len()
    }

    /// The client randoms, each once, in order.
    pub fn client_randoms(&self) -> Vec<&str> {
        let mut randoms: Vec<&str> = self.secrets.keys().map(|(random, _)| &**random).collect();
        randoms.dedup();
        randoms
    }

    /// Leaves these handshakes out.
    pub fn remove(&mut self, client_randoms: &[&str]) {
        self.secrets.retain(|(random, _), _| !client_randoms.contains(&random.as_str()));
    }

    /// Leaves lines with other labels out.
    pub fn keep_labels(&mut self, labels: &[&str]) {
        self.secrets.retain(|(_, label), _| labels.contains(&label.as_str()));
    }

    /// All but the lines with this label.
    pub fn without(&self, label: &str) -> Self {
        let mut rest = self.clone();
        rest.secrets.retain(|(_, of), _| of != label);
        rest
    }

    /// The labels of one handshake, in order.
    pub fn labels(&self, client_random: &str) -> Vec<&str> {
        let of = |(random, label)| (random == client_random).then_some(label);
        let keys = self.secrets.keys();
        keys.filter_map(|(random, label)| of((random.as_str(), label.as_str()))).collect()
    }

    /// The secret with this label in this handshake, in hex.
    pub fn secret(&self, client_random: &str, label: &str) -> Option<&str> {
        let key = (client_random.to_owned(), label.to_owned());
        self.secrets.get(&key).map(String::as_str)
    }

    /// How many of the lines of `truth` are here.
    ///
    /// # Errors
    /// When one of them has another value.
    pub fn lines_of(&self, truth: &Self) -> Result<usize> {
        let mut found = 0;
        for (key, secret) in &truth.secrets {
            match self.secrets.get(key) {
                Some(ours) if ours == secret => found += 1,
                Some(_) => bail!("wrong value: {} {}", key.1, key.0),
                None => {}
            }
        }
        Ok(found)
    }

    /// Insists that this is a whole truth of exactly `handshakes` handshakes, of which each has the lines
    /// that its version has: five for TLS 1.3, one for TLS 1.2.
    ///
    /// # Errors
    /// When the peer's own key log is not what the test expects: then the test proves nothing.
    pub fn check_truth(&self, handshakes: usize) -> Result<()> {
        let randoms = self.client_randoms();
        ensure!(
            randoms.len() == handshakes,
            "the truth has {} handshakes and not {handshakes}",
            randoms.len()
        );
        for random in randoms {
            let labels = self.labels(random);
            ensure!(
                labels == TLS13 || labels == TLS12,
                "the truth has for {random} only {labels:?}"
            );
        }
        Ok(())
    }
}

/// What BoringSSL still has when the handshake is done.
pub const AFTER_THE_HANDSHAKE: [&str; 4] =
    ["CLIENT_RANDOM", "CLIENT_TRAFFIC_SECRET_0", "EXPORTER_SECRET", "SERVER_TRAFFIC_SECRET_0"];
/// What a TLS 1.3 handshake without early data logs, in order.
const TLS13: [&str; 5] = [
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_TRAFFIC_SECRET_0",
];
/// What a TLS 1.2 handshake logs.
const TLS12: [&str; 1] = ["CLIENT_RANDOM"];

impl Line {
    /// Parses `LABEL <64 hex> <hex>`.
    ///
    /// # Errors
    /// When it is not exactly that: one space between, lower case, 48 bytes for a master secret, 32 or 48 else.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [label, client_random, secret] = parts[..] else {
            bail!("not three words with one space between");
        };
        let upper = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
        ensure!(!label.is_empty() && label.bytes().all(upper), "label");
        let hex =
            |text: &str| text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        ensure!(client_random.len() == 64 && hex(client_random), "client random");
        let lengths: &[usize] = match label {
            "CLIENT_RANDOM" => &[48],
            _ => &[32, 48],
        };
        ensure!(
            hex(secret) && lengths.iter().any(|bytes| secret.len() == 2 * bytes),
            "secret of {} digits",
            secret.len()
        );
        Ok(Self {
            label: label.to_owned(),
            client_random: client_random.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

/// Compares a capture with the truth: every line of the truth is in `ours` with the same value, and `ours` has
/// no other line for these handshakes. Handshakes that the truth does not know are other programs' own.
///
/// # Errors
/// With all the differences (labels and client randoms, no secrets).
pub fn check_capture(ours: &KeyLog, truth: &KeyLog) -> Result<()> {
    let mut wrong = Vec::new();
    for ((random, label), secret) in &truth.secrets {
        match ours.secret(random, label) {
            None => wrong.push(format!("missing: {label} {random}")),
            Some(found) if found != secret => wrong.push(format!("wrong value: {label} {random}")),
            Some(_) => (),
        }
    }
    let known = truth.client_randoms();
    for (random, label) in ours.secrets.keys() {
        if known.binary_search(&random.as_str()).is_ok() && truth.secret(random, label).is_none() {
            wrong.push(format!("not in the truth: {label} {random}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} lines differ:\n{}",
        wrong.len(),
        truth.lines(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    Ok(())
}

/// As [`check_capture`], of a capture that is of nothing else: a client random that the truth does not know is wrong.
///
/// # Errors
/// With the differences, or with the client randoms that are too many.
pub fn check_whole(ours: &KeyLog, truth: &KeyLog) -> Result<()> {
    let known = truth.client_randoms();
    let is_unknown = |random: &&str| known.binary_search(random).is_err();
    let unknown: Vec<_> = ours.client_randoms().into_iter().filter(is_unknown).collect();
    ensure!(unknown.is_empty(), "no handshakes of the truth: {unknown:?}");
    check_capture(ours, truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, random: u8, secret: &str) -> String {
        format!("{label} {} {secret}\n", hex::encode([random; 32]))
    }

    #[test]
    fn well_formed_lines_are_accepted() {
        let text = line("CLIENT_RANDOM", 1, &"0a".repeat(48))
            + &line("EXPORTER_SECRET", 2, &"0b".repeat(32));
        let keylog = KeyLog::parse_strict(&text).unwrap();
        assert_eq!(keylog.lines(), 2);
        assert_eq!(keylog.client_randoms().len(), 2);
    }

    #[test]
    fn malformed_lines_are_refused() {
        let good = line("CLIENT_RANDOM", 1, &"0a".repeat(48));
        for bad in [
            good.trim_end().to_owned(),
            good.to_uppercase(),
            good.replace(' ', "  "),
            good.clone() + &good,
            format!("\n{good}"),
            line("CLIENT_RANDOM", 1, &"0a".repeat(32)),
            line("EXPORTER_SECRET", 1, &"0a".repeat(64)),
            line("client", 1, &"0a".repeat(48)),
        ] {
            assert!(KeyLog::parse_strict(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn differences_are_found() {
        let parse = |text: &str| KeyLog::parse_strict(text).unwrap();
        let truth = line("CLIENT_RANDOM", 1, &"0a".repeat(48));
        let other = line("CLIENT_RANDOM", 2, &"0c".repeat(48));
        let wrong = line("CLIENT_RANDOM", 1, &"0b".repeat(48));
        let extra = line("EXPORTER_SECRET", 1, &"0a".repeat(32));
        let check = |ours: &str| check_capture(&parse(ours), &parse(&truth));
        check(&(truth.clone() + &other)).unwrap();
        assert!(check(&other).is_err());
        assert!(check(&wrong).is_err());
        assert!(check(&(truth.clone() + &extra)).is_err());
    }
}
