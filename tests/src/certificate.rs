//! A throw-away certificate for localhost, made once a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::Process;

/// A self-signed certificate and its key, as PEM files.
pub struct Certificate {
    /// The certificate; also the trust anchor that verifies it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a P-256 certificate for localhost and 127.0.0.1 in `folder`, valid for two days.
    ///
    /// # Errors
    /// When openssl is missing or fails.
    pub fn make(folder: &Path) -> Result<Self> {
        Self::make_with(folder, &[])
    }

    /// The same, and it says that it signs no others: clients with rustls take nothing else from a server.
    ///
    /// # Errors
    /// As [`Certificate::make`].
    pub fn make_leaf(folder: &Path) -> Result<Self> {
        Self::make_with(folder, &["-addext", "basicConstraints=critical,CA:FALSE"])
    }

    fn make_with(folder: &Path, options: &[&str]) -> Result<Self> {
        let made = Self { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(options)
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.certificate);
        Process::run_ok(&mut openssl)?;
        Ok(made)
    }

    /// Makes the same for a server, and the authority that signed it: for programs that take no authority for a server.
    /// The path is that of the authority's certificate.
    ///
    /// # Errors
    /// When openssl is missing or fails.
    pub fn make_signed(folder: &Path) -> Result<(Self, PathBuf)> {
        let made = Self { certificate: folder.join("leaf.pem"), key: folder.join("leaf-key.pem") };
        let authority = folder.join("authority.pem");
        let authority_key = folder.join("authority-key.pem");
        let make = |subject: &str, to: &Path, key: &Path| {
            let mut openssl = Command::new("openssl");
            openssl
                .args(["req", "-x509", "-nodes", "-days", "2", "-subj", subject])
                .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
                .arg("-keyout")
                .arg(key)
                .arg("-out")
                .arg(to);
            openssl
        };
        Process::run_ok(
            make("/CN=authority", &authority, &authority_key)
                .args(["-addext", "keyUsage=critical,keyCertSign"]),
        )?;
        Process::run_ok(
            make("/CN=localhost", &made.certificate, &made.key)
                .arg("-CA")
                .arg(&authority)
                .arg("-CAkey")
                .arg(&authority_key)
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
                .args(["-addext", "extendedKeyUsage=serverAuth"]),
        )?;
        Ok((made, authority))
    }
}
