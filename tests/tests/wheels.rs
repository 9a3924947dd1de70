//! Wheels from PyPI, which bring OpenSSL and BoringSSL of their own: bundled under hashed names, or static.

use anyhow::Result;
use tlskeytop_tests::{Bench, Protocol, program, shared_library};

const TIMES: usize = 2;

/// How a test meets the image, which is not in the loader's cache.
enum Way {
    /// `--image` before any process maps it.
    AttachFirst,
    /// `--pid` once the program waits, its library loaded.
    StartFirst,
}

/// The wheel's own library is attached, and the script's handshakes are the truth of the peers.
fn wheel(protocol: Protocol, image: &str, script: &str, way: &Way) -> Result<()> {
    let Some(bench) = Bench::open(protocol)? else {
        return Ok(());
    };
    let Some(python) = program("venv/bin/python")? else {
        return Ok(());
    };
    let Some(image) = shared_library(image)? else {
        return Ok(());
    };
    let mut client = bench.client(&python, script, TIMES);
    match way {
        Way::AttachFirst => bench.attach_then_start(&[&image], &mut client, TIMES),
        Way::StartFirst => bench.start_then_attach(&mut client, TIMES),
    }
}

#[test]
fn pycurl_bundled_openssl() -> Result<()> {
    let image = "pycurl.libs/libssl-";
    wheel(Protocol::Http, image, "client_pycurl.py", &Way::AttachFirst)?;
    wheel(Protocol::Http, image, "client_pycurl.py", &Way::StartFirst)
}

#[test]
fn psycopg2_bundled_openssl() -> Result<()> {
    let image = "psycopg2_binary.libs/libssl-";
    wheel(Protocol::Postgres, image, "client_psycopg2.py", &Way::StartFirst)
}

#[test]
fn pyopenssl_static_openssl_4_without_exports() -> Result<()> {
    let image = "cryptography/hazmat/bindings/_rust";
    wheel(Protocol::Http, image, "client_pyopenssl.py", &Way::AttachFirst)?;
    wheel(Protocol::Http, image, "client_pyopenssl.py", &Way::StartFirst)
}

#[test]
fn curl_cffi_static_boringssl() -> Result<()> {
    let image = "curl_cffi/_wrapper";
    wheel(Protocol::Http, image, "client_curl_cffi.py", &Way::StartFirst)
}

#[test]
fn grpcio_static_stripped_boringssl() -> Result<()> {
    let image = "grpc/_cython/cygrpc";
    wheel(Protocol::Http2, image, "client_grpc.py", &Way::AttachFirst)?;
    wheel(Protocol::Http2, image, "client_grpc.py", &Way::StartFirst)
}
