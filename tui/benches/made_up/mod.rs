//! A machine that is made up: processes, images, and as many sessions as are wanted. For the benchmarks.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tlskeytop::model::target::{
    Ancestor, Image, ImageId, ImageState, Process, Scan, Selection, Target,
};
use tlskeytop::model::ui::App;
use tlskeytop::model::{Captured, Facts, Method, Model, Msg, Time, WhoIsWho};
use tlskeytop::target::plan::{Arguments, ImagePlan, Library, RandomPath, Site, SiteKind, Tap};
use tlskeytop::text::Foreign;
use tlskeytop::tls::{CipherSuite, ClientRandom, Label, Role, Secret, Version};

const PROCESSES: u32 = 200;
const NAMES: [&str; 8] =
    ["nginx", "curl", "node", "envoy", "postgres", "python3", "java", "Firefox"];
const LIBRARIES: [(&str, &str); 3] = [
    ("/usr/lib/libssl.so.3", "3.0.17"),
    ("/opt/node/bin/node", "3.5.4"),
    ("/opt/old.so", "1.1.1w"),
];
/// 2026-01-02 03:04:05 UTC, in nanoseconds.
const START: u64 = 1_767_323_045_000_000_000;

/// The machine, and how many sessions it has made.
pub struct MadeUp {
    processes: Vec<Arc<Process>>,
    next: u32,
}

impl MadeUp {
    /// One without sessions.
    pub fn new() -> Self {
        Self { processes: (0..PROCESSES).map(process).collect(), next: 0 }
    }

    /// Where all of it is chosen and attached to, and room for so many sessions.
    pub fn app(&self, limit: usize) -> App {
        let all = Selection { all: true, ..Selection::default() };
        let mut app = App::new(Model::new(all, PathBuf::from("./tlskeytop.keylog"), limit));
        let images = || (1..).map(ImageId).zip(LIBRARIES);
        let target = |process: &Arc<Process>| Target {
            process: Arc::clone(process),
            images: vec![ImageId(1 + process.pid % 3)],
            command: None,
        };
        let scan = Scan {
            targets: self.processes.iter().map(target).collect(),
            images: images().map(|(id, (path, version))| image(id, path, version)).collect(),
            ..Scan::default()
        };
        app.receive(Time(START), Msg::Scanned(scan));
        for (image, _) in images() {
            app.receive(Time(START), Msg::Attached { image, result: Ok(5) });
        }
        app
    }

    /// The secrets of one more session: one for each third, of TLS 1.2, and five for the others, of TLS 1.3. Server
    /// name and peer come with the first.
    pub fn session(&mut self) -> impl Iterator<Item = Captured> + use<> {
        let n = self.next;
        self.next += 1;
        let mixed = n.wrapping_mul(2_654_435_761);
        let process = Arc::clone(&self.processes[mixed as usize % self.processes.len()]);
        let mut random = [0xff; 32];
        random[..4].copy_from_slice(&mixed.to_be_bytes());
        let is_old = n.is_multiple_of(3);
        let labels = match is_old {
            true => vec![Label::ClientRandom],
            false => Label::TLS13_COMPLETE.into_iter().chain([Label::Exporter]).collect(),
        };
        let facts = Facts {
            version: Some(if is_old { Version::Tls12 } else { Version::Tls13 }),
            cipher: Some(CipherSuite(if is_old { 0xc030 } else { 0x1302 })),
            role: Some(if mixed & 1 == 0 { Role::Client } else { Role::Server }),
            resumed: Some(false),
        };
        let ends = WhoIsWho {
            server_name: Some(Foreign::from(format!("host-{}.example.com", mixed % 1000).as_str())),
            peer: Some(SocketAddr::from((Ipv4Addr::from_bits(mixed), 443))),
        };
        labels.into_iter().enumerate().map(move |(at, label)| Captured {
            time: Time(START + u64::from(n) * 1_000_000),
            process: Arc::clone(&process),
            image: ImageId(1 + process.pid % 3),
            method: Method::Tap,
            client_random: ClientRandom(random),
            secret: Secret::new(&label, &[0x5a; 48], 48).expect("every label may have 48 bytes"),
            facts,
            ends: if at == 0 { ends.clone() } else { WhoIsWho::default() },
            caught_up: None,
            may_be_updated: false,
            label,
        })
    }

    /// Gives the secrets of so many more sessions to `app`.
    pub fn fill(&mut self, app: &mut App, sessions: usize) {
        for _ in 0..sessions {
            for event in self.session() {
                app.receive(event.time, Msg::Secret(event));
            }
        }
    }
}

fn process(n: u32) -> Arc<Process> {
    let pid = 1000 + n;
    let comm = NAMES[n as usize % NAMES.len()];
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

fn image(id: ImageId, path: &str, version: &str) -> Image {
    let site = Site { address: 0x1000, file_offset: 0x1000, kind: SiteKind::Emulated };
    let tap = Tap {
        function: 0x1000,
        symbol: None,
        arguments: Arguments::Connection(RandomPath { deref: None, offset: 0x160 }),
        sites: vec![site],
    };
    let plan = ImagePlan {
        library: Some(Library { name: "OpenSSL", version: Some(version.to_owned()) }),
        taps: vec![tap],
        ..ImagePlan::nothing("made up")
    };
    let (path, plan) = (path.into(), Arc::new(plan));
    Image { id, path, plan, state: ImageState::Idle, named: false, excluded: false }
}
