//! Kinds of handshakes, with Debian's OpenSSL at both ends: what the tap and the walk get from each end is the truth of
//! both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Captures, KeyLog, LIBSSL, Lab, Method, PYTHON, Process, Subject, peer_script, shared_library,
    until, whole_truth,
};

const OPENSSL: &str = "/usr/bin/openssl";

// Words that stand for a path in the lab.
const CERT: &str = "{cert}";
const KEY: &str = "{key}";
const EARLY_DATA: &str = "{early}";

/// One kind of handshake.
struct Kind {
    name: &'static str,
    protocol: &'static str,
    /// More arguments for `s_server`.
    server: &'static [&'static str],
    /// More arguments for `s_client`.
    client: &'static [&'static str],
    /// Then a second connection resumes the session of the first, with these arguments more.
    resume: Option<&'static [&'static str]>,
    /// Then the client asks for another handshake in the same connection.
    renegotiate: bool,
    /// For both ends, a line of `ssl_conf`: SSL_CONF_cmd(3).
    configuration: &'static str,
    /// What the last client prints, and how often, when the handshake was of that kind.
    shows: (&'static str, usize),
    /// Lines in the key log beside those of every handshake.
    more_lines: usize,
}

const PLAIN: Kind = Kind {
    name: "",
    protocol: TLS_1_3,
    server: &[],
    client: &[],
    resume: None,
    renegotiate: false,
    configuration: "",
    shows: ("", 0),
    more_lines: 0,
};

impl Kind {
    /// Lines in the key log for each handshake.
    fn lines(&self) -> usize {
        if self.protocol == TLS_1_3 { 5 } else { 1 }
    }
}

const TLS_1_3: &str = "-tls1_3";
const TLS_1_2: &str = "-tls1_2";
const INSECURE: &[&str] = &["-cipher", "ALL:@SECLEVEL=0"];
const WANTS_A_CERTIFICATE: &[&str] = &["-Verify", "1", "-CAfile", CERT, "-verify_return_error"];
const HAS_A_CERTIFICATE: &[&str] = &["-cert", CERT, "-key", KEY, "-msg"];
const CCM: &[&str] = &["-ciphersuites", "TLS_AES_128_CCM_SHA256"];
const CHACHA20: &[&str] = &["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"];
const CCM_IN_TLS_1_2: &[&str] = &["-cipher", "ECDHE-ECDSA-AES128-CCM"];
const SHARED_KEY: &str = "0123456789abcdef0123456789abcdef";

const KINDS: [Kind; 14] = [
    Kind {
        name: "resumption in TLS 1.3",
        resume: Some(&[]),
        shows: ("Reused, TLSv1.3", 1),
        ..PLAIN
    },
    Kind {
        name: "resumption in TLS 1.2",
        protocol: TLS_1_2,
        resume: Some(&[]),
        shows: ("Reused, TLSv1.2", 1),
        ..PLAIN
    },
    Kind {
        name: "early data",
        server: &["-early_data"],
        resume: Some(&["-early_data", EARLY_DATA]),
        shows: ("Early data was accepted", 1),
        more_lines: 2,
        ..PLAIN
    },
    Kind {
        name: "HelloRetryRequest",
        server: &["-groups", "P-384"],
        client: &["-groups", "X25519:P-384", "-msg"],
        shows: (", ClientHello", 2),
        ..PLAIN
    },
    Kind {
        name: "renegotiation",
        protocol: TLS_1_2,
        server: &["-client_renegotiation"],
        renegotiate: true,
        client: &["-msg"],
        shows: (", ClientHello", 2),
        ..PLAIN
    },
    Kind {
        name: "client certificate in TLS 1.3",
        server: WANTS_A_CERTIFICATE,
        client: HAS_A_CERTIFICATE,
        shows: (", CertificateVerify", 2),
        ..PLAIN
    },
    Kind {
        name: "client certificate in TLS 1.2",
        protocol: TLS_1_2,
        server: WANTS_A_CERTIFICATE,
        client: HAS_A_CERTIFICATE,
        shows: (", CertificateVerify", 1),
        ..PLAIN
    },
    Kind {
        name: "without extended master secret",
        protocol: TLS_1_2,
        configuration: "Options = -ExtendedMasterSecret",
        shows: ("Extended master secret: no", 1),
        ..PLAIN
    },
    Kind {
        name: "CCM in TLS 1.3",
        server: CCM,
        client: CCM,
        shows: ("Cipher is TLS_AES_128_CCM_SHA256", 1),
        ..PLAIN
    },
    Kind {
        name: "CCM in TLS 1.2",
        protocol: TLS_1_2,
        server: CCM_IN_TLS_1_2,
        client: CCM_IN_TLS_1_2,
        shows: ("Cipher is ECDHE-ECDSA-AES128-CCM", 1),
        ..PLAIN
    },
    Kind {
        name: "ChaCha20",
        server: CHACHA20,
        client: CHACHA20,
        shows: ("Cipher is TLS_CHACHA20_POLY1305_SHA256", 1),
        ..PLAIN
    },
    Kind {
        name: "TLS 1.1",
        protocol: "-tls1_1",
        server: INSECURE,
        client: INSECURE,
        shows: ("Protocol  : TLSv1.1", 1),
        ..PLAIN
    },
    Kind { name: "DTLS 1.2", protocol: "-dtls1_2", shows: ("Protocol  : DTLSv1.2", 1), ..PLAIN },
    // No certificate, and a key that both know: RFC 8446, 2.2.
    Kind {
        name: "external key",
        server: &["-psk", SHARED_KEY],
        client: &["-psk", SHARED_KEY, "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        shows: ("Reused, TLSv1.3", 1),
        ..PLAIN
    },
];

/// Copies of openssl, so that their names choose this test's ends alone.
struct Programs {
    server: PathBuf,
    client: PathBuf,
}

impl Programs {
    fn copy(lab: &Lab) -> Result<Self> {
        let copy = |end: &str| -> Result<PathBuf> {
            let path = lab.path(&format!("{end}-{}", std::process::id()));
            fs::copy(OPENSSL, &path)?;
            Ok(path)
        };
        Ok(Self { server: copy("server")?, client: copy("client")? })
    }
}

/// Attaches to a program that may not run yet.
fn captures(lab: &Lab, program: &Path) -> Result<Captures> {
    let name = program.file_name().context("no name")?.to_string_lossy();
    Captures::start(lab, &name, &["--name", &name])
}

/// The two ends of one kind.
struct Ends<'l> {
    lab: &'l Lab,
    kind: &'l Kind,
    programs: &'l Programs,
    server: Process,
    address: String,
}

impl<'l> Ends<'l> {
    fn start(lab: &'l Lab, kind: &'l Kind, programs: &'l Programs) -> Result<Self> {
        let always =
            ["s_server", "-accept", "127.0.0.1:0", kind.protocol, "-cert", CERT, "-key", KEY];
        let words = [&always[..], kind.server].concat();
        let mut command = command(lab, kind, &programs.server, &words)?;
        let server = Process::start(command.arg("-keylogfile").arg(truth(lab, kind)))?;
        let address = server.wait_stdout("ACCEPT ADDRESS", |line| {
            line.strip_prefix("ACCEPT ").map(|address| address.trim().to_owned())
        })?;
        Ok(Self { lab, kind, programs, server, address })
    }

    /// The connection with this number, from 1: what its client printed. Both ends have done the handshake then.
    fn connect(&self, number: usize, more: &[&str]) -> Result<String> {
        let always = ["s_client", "-connect", &self.address, self.kind.protocol];
        let words = [&always[..], self.kind.client, more].concat();
        let mut command = command(self.lab, self.kind, &self.programs.client, &words)?;
        let session = self.lab.path(&format!("session of {}", self.kind.name));
        command.arg(if number == 1 { "-sess_out" } else { "-sess_in" }).arg(&session);
        let mut client = Process::start(&mut command)?;
        client.wait_stdout("Verify return code", |line| {
            line.contains("Verify return code").then_some(())
        })?;
        until("the server has done the handshake", || {
            let done = self.server.stdout().matches("CIPHER is ").count();
            Ok((done == number).then_some(()))
        })?;
        if self.kind.resume.is_some() && number == 1 {
            until("the session is written", || {
                let text = fs::read_to_string(&session).unwrap_or_default();
                Ok(text.contains("END SSL SESSION").then_some(()))
            })?;
        }
        if self.kind.renegotiate {
            client.say("R")?;
            until("the second handshake", || {
                let truth = KeyLog::truth(&truth(self.lab, self.kind))?;
                Ok((truth.client_randoms().len() == 2).then_some(()))
            })?;
        }
        client.say("Q")?;
        let ended = client.wait()?;
        ensure!(ended.status.success(), "the client: {}", ended.status);
        Ok(ended.stdout)
    }
}

/// One end's command, with paths for the words.
fn command(lab: &Lab, kind: &Kind, program: &Path, words: &[&str]) -> Result<Command> {
    let configuration = lab.path(&format!("{}.cnf", kind.name));
    let sections = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n";
    fs::write(&configuration, format!("{sections}{}\n", kind.configuration))?;
    let early_data = lab.path("early");
    fs::write(&early_data, "early\n")?;
    let mut command = Command::new(program);
    command.env("OPENSSL_CONF", configuration);
    for word in words {
        match *word {
            CERT => command.arg(&lab.certificate.certificate),
            KEY => command.arg(&lab.certificate.key),
            EARLY_DATA => command.arg(&early_data),
            word => command.arg(word),
        };
    }
    Ok(command)
}

/// Where the server writes its own key log.
fn truth(lab: &Lab, kind: &Kind) -> PathBuf {
    lab.path(&format!("truth of {}", kind.name))
}

/// Shakes hands in this way, and gives the truth.
fn shake_hands(lab: &Lab, kind: &Kind, programs: &Programs) -> Result<KeyLog> {
    let ends = Ends::start(lab, kind, programs)?;
    let mut handshakes = if kind.renegotiate { 2 } else { 1 };
    let mut said = ends.connect(1, &[])?;
    if let Some(more) = kind.resume {
        handshakes = 2;
        said = ends.connect(2, more)?;
    }
    let (text, times) = kind.shows;
    ensure!(said.matches(text).count() == times, "{text:?} is not {times} times in:\n{said}");
    let truth = KeyLog::truth(&truth(lab, kind))?;
    let lines = handshakes * kind.lines() + kind.more_lines;
    ensure!(truth.client_randoms().len() == handshakes, "{:?}", truth.client_randoms());
    ensure!(truth.lines() == lines, "the truth has {} lines, not {lines}", truth.lines());
    Ok(truth)
}

#[test]
fn of_each_kind_both_ends_are_captured() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let programs = Programs::copy(&lab)?;
    let at_ends = [captures(&lab, &programs.server)?, captures(&lab, &programs.client)?];
    let truth_of = |kind: &Kind| shake_hands(&lab, kind, &programs).context(kind.name);
    let truths: Vec<KeyLog> = KINDS.iter().map(truth_of).collect::<Result<_>>()?;
    for (end, captures) in ["server", "client"].into_iter().zip(at_ends) {
        for captured in captures.stop()? {
            for (kind, truth) in KINDS.iter().zip(&truths) {
                // A server keeps no ClientHello, of which this one is derived.
                let truth = match (end, captured.method) {
                    ("server", Method::Walk) => truth.without("CLIENT_EARLY_TRAFFIC_SECRET"),
                    _ => truth.clone(),
                };
                captured.check(&truth).with_context(|| format!("{end}: {}", kind.name))?;
            }
        }
    }
    Ok(())
}

#[test]
fn resumption_by_python() -> Result<()> {
    Subject::libssl(Path::new(LIBSSL)).with_client("client_resume.py").check_client()
}

/// The connection that a program has is a QUIC object, and no `SSL_CONNECTION`: that one is inside.
#[test]
fn quic_of_openssl_3_6() -> Result<()> {
    const TIMES: usize = 2;
    let (Some(libssl), Some(lab)) = (shared_library("pycurl.libs/libssl-")?, Lab::open()?) else {
        return Ok(());
    };
    let truth = lab.path("truth");
    let mut command = Command::new(PYTHON);
    command
        .arg(peer_script("quic.py"))
        .args([&lab.certificate.certificate, &lab.certificate.key, &truth])
        .arg(TIMES.to_string())
        .env("LIBSSL", libssl);
    let mut both_ends = Process::start(&mut command)?;
    both_ends.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let captures = Captures::start(&lab, "quic", &["--pid", &both_ends.pid().to_string()])?;
    both_ends.say("go")?;
    ensure!(both_ends.wait()?.status.success(), "QUIC");
    captures.check(&whole_truth(&truth, TIMES)?)
}
