//! Models for tests: processes, images and secrets as a machine would have them, some of them hostile.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::target::{Ancestor, Image, ImageId, ImageState, Process, Scan, Selection, Target};
use super::ui::App;
use super::{Captured, DEFAULT_SESSION_LIMIT, Facts, Method, Model, Msg, Time, WhoIsWho};
use crate::target::layout::{self, Evidence, How, LayoutRefusal, ProvenLayout};
use crate::target::plan::{
    Arguments, FoundBy, Hook, ImagePlan, Library, Linkage, RandomPath, Site, SiteKind, Tap,
};
use crate::text::Foreign;
use crate::tls::{CipherSuite, ClientRandom, Label, Secret, Version};
use crate::wire::Hello;

/// 2026-01-02 03:04:05 UTC.
pub const START: Time = Time(1_767_323_045_000_000_000);

/// A moment after the start.
pub fn at(seconds: u64) -> Time {
    Time(START.0 + seconds * 1_000_000_000)
}

pub fn process(pid: u32, comm: &str) -> Arc<Process> {
    Arc::new(Process {
        pid,
        parent: 1,
        start_ticks: u64::from(pid),
        comm: comm.into(),
        exe: Some(Foreign::from(format!("/usr/bin/{comm}").as_str())),
        container: None,
        is_container_known: true,
        inner_pid: None,
        is_past: false,
        ancestors: [Ancestor { pid: 1, start_ticks: 1 }].into(),
    })
}

pub fn image(id: u32, path: &str, library: Option<(&'static str, &str)>, taps: usize) -> Image {
    let site = Site { address: 0x1000, file_offset: 0x1000, kind: SiteKind::Emulated };
    let tap = Tap {
        function: 0x1000,
        symbol: None,
        arguments: Arguments::Connection(RandomPath { deref: None, offset: 0x160 }),
        sites: vec![site],
    };
    let plan = ImagePlan {
        unsupported: None,
        build_id: None,
        linkage: Linkage::Shared,
        stripped: true,
        others: Vec::new(),
        library: library.map(|(name, version)| Library {
            name,
            version: (!version.is_empty()).then(|| version.to_owned()),
        }),
        taps: vec![tap; taps],
        labels: Vec::new(),
        reason: match taps {
            0 => match library {
                Some((name, _)) => format!("no tap: {name} is not yet supported"),
                None => "no tap: the file does not hold the labels".to_owned(),
            },
            _ => "the function that takes every label".to_owned(),
        },
        layout: Err(LayoutRefusal("made up for a test".to_owned())),
        evidence: Evidence::default(),
        hooks: Vec::new(),
        hooks_reason: String::new(),
    };
    let (path, plan) = (path.into(), Arc::new(plan));
    Image { id: ImageId(id), path, plan, state: ImageState::Idle, named: false, excluded: false }
}

/// Gives the image a layout and a hook, so that it can be walked.
pub fn make_walkable(image: &mut Image) {
    let plan = Arc::make_mut(&mut image.plan);
    plan.layout = Ok(ProvenLayout {
        library: "OpenSSL",
        group: "3.0.0".to_owned(),
        layout: layout::named("3.0.0").expect("it is in the table"),
        how: How::Version,
        since: None,
        proof: "made up for a test".to_owned(),
    });
    plan.hooks = vec![Hook {
        name: "SSL_read",
        address: 0x2000,
        file_offset: 0x2000,
        probe_offset: 0x2000,
        found_by: FoundBy::Export,
    }];
}

/// Names that try something.
pub const HOSTILE: [&str; 4] =
    ["\x1b]0;pwned\x07x", "日本語プロセス", "\u{202e}gpj.exe\u{202c}", "🦀🦀 crab\n"];

pub fn scan() -> Scan {
    let target = |pid, comm: &str, images: &[u32]| Target {
        process: process(pid, comm),
        images: images.iter().copied().map(ImageId).collect(),
        command: Some(Foreign::from(format!("{comm} --serve {pid}").as_str())),
    };
    Scan {
        targets: vec![
            target(7, "nginx", &[1]),
            target(901, "node", &[2]),
            target(1201, HOSTILE[0], &[1, 3]),
            target(1202, HOSTILE[1], &[1]),
            target(1203, HOSTILE[2], &[4]),
            target(4_194_303, HOSTILE[3], &[3]),
        ],
        images: vec![
            image(1, "/usr/lib/x86_64-linux-gnu/libssl.so.3", Some(("OpenSSL", "3.0.17")), 1),
            image(2, "/opt/node/bin/node", Some(("OpenSSL", "3.5.4\x1b[2J")), 1),
            image(3, "/opt/grpc/cygrpc.so", Some(("BoringSSL", "")), 1),
            image(4, "/usr/lib/libgnutls.so.30", Some(("GnuTLS", "3.7.9")), 0),
        ],
        ..Scan::default()
    }
}

pub fn secret(time: Time, process: &Arc<Process>, random: u8, label: Label, fill: u8) -> Captured {
    let len = if label == Label::ClientRandom { 48 } else { 32 };
    Captured {
        time,
        process: Arc::clone(process),
        image: ImageId(1),
        method: Method::Tap,
        client_random: ClientRandom([random; 32]),
        secret: Secret::new(&label, &[fill; 48], len).expect("the length is that of the label"),
        facts: Facts::default(),
        ends: WhoIsWho::default(),
        caught_up: None,
        may_be_updated: false,
        label,
    }
}

/// A ClientHello for example.org, from port 40000 to port 443.
pub fn hello(client_random: ClientRandom, at: Time) -> Hello {
    let end = |port| SocketAddr::from(([192, 0, 2, 1], port));
    Hello {
        client: end(40_000),
        server: end(443),
        client_random,
        at,
        server_name: Some("example.org".into()),
        alpn: ["h2", "http/1.1"].map(Foreign::from).into(),
        versions: [Version::Tls13, Version::Tls12].into(),
        ciphers: [CipherSuite(0x1301)].into(),
        has_ech: false,
        is_resumption_offered: false,
    }
}

pub fn everything() -> Selection {
    Selection { all: true, ..Selection::default() }
}

/// With a scan, and the images attached.
pub fn app(selection: Selection) -> App {
    let model = Model::new(selection, PathBuf::from("./tlskeytop.keylog"), DEFAULT_SESSION_LIMIT);
    let mut app = App::new(model);
    // As with -k, so that saving starts without a question for the path.
    app.ui.files.path_known = true;
    app.receive(START, Msg::Scanned(scan()));
    for id in 1..=3 {
        if app.model.targets.images[&ImageId(id)].state == ImageState::Attaching {
            app.receive(START, Msg::Attached { image: ImageId(id), result: Ok(2) });
        }
    }
    app
}

/// A complete TLS 1.3 session, one of TLS 1.2, a partial one and a null one, of hostile processes.
pub fn add_sessions(app: &mut App) {
    let targets = scan().targets;
    let tls13 = Label::TLS13_COMPLETE.into_iter().chain([Label::Exporter]);
    let mut secrets = Vec::new();
    for (n, label) in (1..).zip(tls13) {
        secrets.push(secret(at(1), &targets[0].process, 0xa1, label, n));
    }
    secrets.push(secret(at(2), &targets[2].process, 0xa2, Label::ClientRandom, 9));
    for (n, label) in (1..).zip([Label::ClientHandshake, Label::ServerHandshake]) {
        secrets.push(secret(at(3), &targets[3].process, 0xa3, label, n));
    }
    secrets.push(secret(at(4), &targets[4].process, 0xa4, Label::ClientRandom, 0));
    secrets.push(secret(at(5), &targets[5].process, 0xa5, Label::ClientRandom, 7));
    // The same again, and another value.
    secrets.push(secret(at(6), &targets[5].process, 0xa5, Label::ClientRandom, 7));
    secrets.push(secret(at(6), &targets[5].process, 0xa5, Label::ClientRandom, 8));
    for event in secrets {
        app.receive(event.time, Msg::Secret(event));
    }
}

/// Many complete sessions of TLS 1.2 with serials from the present one on.
pub fn add_many(app: &mut App, count: u32) {
    let process = process(7, "nginx");
    for n in 0..count {
        let mut event = secret(at(u64::from(n / 10)), &process, 0, Label::ClientRandom, 1);
        event.client_random.0[..4].copy_from_slice(&n.to_be_bytes());
        event.client_random.0[4] = 0xff;
        app.receive(event.time, Msg::Secret(event));
    }
}
