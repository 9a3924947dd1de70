//! The pure parts, each by itself: `cargo bench -p tlskeytop`.

mod made_up;
mod wire;

use std::fs::File;
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput};
use made_up::MadeUp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use time::UtcOffset;
use tlskeytop::model::{Captured, DEFAULT_SESSION_LIMIT, Msg};
use tlskeytop::target::image::plan_image;
use tlskeytop::tls::key_schedule::{Hash, application, handshake_traffic, master_follows};
use tlskeytop::tls::{Label, Secret};
use tlskeytop::view::{Look, Theme, draw, pages};
use tlskeytop_common::{FirstSecretEvent, SecretEvent};

fn key_schedule(c: &mut Criterion) {
    let (secret, transcript) = ([7; 48], Hash::Sha384.digest(b"messages"));
    c.bench_function("key schedule: handshake traffic secrets", |bench| {
        bench.iter(|| handshake_traffic(Hash::Sha384, black_box(&secret), &transcript));
    });
    c.bench_function("key schedule: application traffic and exporter secrets", |bench| {
        bench.iter(|| application(Hash::Sha384, black_box(&secret), &transcript));
    });
    c.bench_function("key schedule: does the master secret follow", |bench| {
        bench.iter(|| master_follows(Hash::Sha384, black_box(&secret), &secret));
    });
}

fn decode(c: &mut Criterion) {
    let name = b"CLIENT_HANDSHAKE_TRAFFIC_SECRET";
    let mut record = vec![0; size_of::<FirstSecretEvent>()];
    let at = std::mem::offset_of!(SecretEvent, label);
    record[at..at + name.len()].copy_from_slice(name);
    let mut number = |at: usize, value: u32| {
        record[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    };
    number(std::mem::offset_of!(SecretEvent, label_len), name.len() as u32);
    number(std::mem::offset_of!(SecretEvent, secret_len), 48);
    c.bench_function("decode: a record with label, secret and ends", |bench| {
        bench.iter(|| {
            let (event, ends) = SecretEvent::decode_with_ends(black_box(&record)).ok()?;
            let label = Label::parse(event.label()).ok()?;
            let secret = Secret::new(&label, &event.secret, event.secret_len).ok()?;
            Some((label, secret, ends))
        });
    });
}

fn dedup(c: &mut Criterion) {
    let mut made_up = MadeUp::new();
    let mut app = made_up.app(DEFAULT_SESSION_LIMIT);
    made_up.fill(&mut app, DEFAULT_SESSION_LIMIT - 1);
    let events: Vec<Captured> = made_up.session().collect();
    let mut group = c.benchmark_group("dedup");
    group.throughput(Throughput::Elements(events.len() as u64));
    let mut give = |events: Vec<Captured>| {
        for event in events {
            black_box(app.receive(event.time, Msg::Secret(event)));
        }
    };
    give(events.clone());
    group.bench_function("secrets that are there, among 100,000 sessions", |bench| {
        bench.iter_batched(|| events.clone(), &mut give, BatchSize::SmallInput);
    });
    group.bench_function("secrets of new sessions, each in place of an old one", |bench| {
        bench.iter_batched(|| made_up.session().collect(), &mut give, BatchSize::SmallInput);
    });
    group.finish();
}

fn planner(c: &mut Criterion) {
    let path = Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3");
    let Ok(file) = File::open(path) else {
        eprintln!("planner: {} is missing", path.display());
        return;
    };
    c.bench_function("planner: libssl", |bench| bench.iter(|| plan_image(black_box(&file), path)));
}

fn frame(c: &mut Criterion) {
    const LOOK: Look = Look { theme: Theme::ANSI, offset: UtcOffset::UTC, reveal: false };
    const SIZE: Size = Size { width: 200, height: 60 };
    let mut made_up = MadeUp::new();
    let mut app = made_up.app(DEFAULT_SESSION_LIMIT);
    made_up.fill(&mut app, DEFAULT_SESSION_LIMIT);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(SIZE.width, SIZE.height));
    c.bench_function("frame: 100,000 sessions, 200x60", |bench| {
        bench.iter(|| {
            app.settle(pages(&app, SIZE, &LOOK));
            let Ok(_) = terminal.draw(|frame| draw(frame, &app, &LOOK));
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for part in [key_schedule, decode, dedup, planner, frame, wire::handshakes, wire::packets] {
        part(&mut criterion);
    }
    criterion.final_summary();
}
