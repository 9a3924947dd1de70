//! The plans of the NSS that Debian has, and of the one that its Firefox brings.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use tlskeytop::target::image::plan_image;
use tlskeytop::target::plan::{Arguments, ImagePlan, SiteKind};

const DEBIAN: &str = "/usr/lib/x86_64-linux-gnu";
const FIREFOX: &str = "/usr/lib/firefox-esr";

/// `None`, with the reason printed, where the file is missing.
fn plan(folder: &str, file: &str) -> Option<ImagePlan> {
    let path = Path::new(folder).join(file);
    let Ok(file) = File::open(&path) else {
        let required = std::env::var_os("TLSKEYTOP_REQUIRE_LIVE").is_some();
        assert!(!required, "{} is missing: run cargo xtask setup", path.display());
        eprintln!("skipped: {} is missing", path.display());
        return None;
    };
    Some(plan_image(&file, &path).unwrap())
}

fn version(plan: &ImagePlan) -> &str {
    let library = plan.library.as_ref().unwrap();
    assert_eq!(library.name, "NSS");
    let version = library.version.as_deref().unwrap();
    assert!(version.starts_with("3."), "{version}");
    version
}

/// Measured live, against the key logs of the peers.
fn check_random(plan: &ImagePlan) {
    let random = plan.taps[0].arguments.client_random().unwrap();
    match version(plan) {
        version if version.starts_with("3.87") => assert_eq!(random, "rdi+0x620"),
        version if version.starts_with("3.125") => assert_eq!(random, "rdi+0x638"),
        version => eprintln!("{version}: {random}"),
    }
}

#[test]
fn debian_has_its_keys_in_softoken() {
    let (Some(tls), Some(token)) = (plan(DEBIAN, "libssl3.so"), plan(DEBIAN, "libsoftokn3.so"))
    else {
        return;
    };
    assert!(tls.wants_token() && !tls.is_token(), "{}", tls.reason);
    check_random(&tls);
    let kinds: Vec<SiteKind> = tls.taps[0].sites.iter().map(|site| site.kind).collect();
    assert_eq!(kinds, [SiteKind::Call, SiteKind::Call], "{}", tls.reason);
    assert!(token.is_token() && !token.wants_token(), "{}", token.reason);
    assert_eq!(token.taps[0].sites[0].kind, SiteKind::Emulated);
    assert_eq!(version(&tls), version(&token), "they belong together");
    let Arguments::Token(config) = token.taps[0].arguments else {
        panic!("{:?}", token.taps);
    };
    // lib/softoken/pkcs11i.h.
    assert_eq!((config.handle, config.attributes), (24, 128));
    assert!(config.start < 0 && config.end > 0);
}

#[test]
fn firefox_writes_key_logs() {
    let Some(tls) = plan(FIREFOX, "libssl3.so") else {
        return;
    };
    check_random(&tls);
    assert!(matches!(tls.taps[0].arguments, Arguments::Operands(_)), "{}", tls.reason);
    assert!(tls.reason.contains("confirmed by the exporter"), "{}", tls.reason);
    assert_eq!(tls.taps[0].sites.len(), 1);
    assert_eq!(tls.taps[0].sites[0].kind, SiteKind::Emulated);
    // Nobody needs it, and its objects are others than those that are known.
    let token = plan(FIREFOX, "libsoftokn3.so").unwrap();
    assert!(!token.is_tls(), "{}", token.reason);
}

/// The largest file of a Firefox has no TLS in it, and everything that the others have is quick to find.
#[test]
fn the_rest_of_firefox() {
    for file in ["libxul.so", "libnss3.so", "libssl3.so", "libsoftokn3.so", "firefox-esr"] {
        let start = Instant::now();
        let Some(plan) = plan(FIREFOX, file) else {
            return;
        };
        eprintln!("{file}: {:?}, {}", start.elapsed(), plan.reason);
        // Under half a second when optimised.
        assert!(start.elapsed() < Duration::from_secs(10), "{file}");
    }
}
