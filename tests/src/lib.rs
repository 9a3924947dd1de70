//! What the live tests share: real programs, real handshakes, and the peers' own key logs as the truth.
//!
//! A live test needs root and sends traffic on 127.0.0.1 alone. It ends every process that it started, by
//! process id, and waits for conditions, never for time. [`Lab::open`] is where each one starts.

mod bench;
mod c_client;
mod caddy;
mod capture;
mod captures;
mod certificate;
mod cgroup;
mod crowd;
mod curl;
mod display;
mod firefox;
mod folder;
mod fuse;
mod json;
mod kernel;
mod keylog;
mod lab;
mod maker;
mod netns;
mod nginx;
mod open;
mod peer;
mod ports;
mod process;
mod programs;
mod recording;
mod root;
mod scan;
mod screen;
mod stacks;
mod subject;
mod summary;
mod tlskeytop;
mod transcript;
mod usage;
mod wait;

pub use bench::{Bench, VERSIONS, check_against};
pub use c_client::{CClient, Linked};
pub use caddy::Caddy;
pub use capture::{Capture, decrypted_http, http_in_clear, secrets_in, wait_for_connections};
pub use captures::{Captured, Captures, Method};
pub use certificate::Certificate;
pub use cgroup::Cgroup;
pub use crowd::Crowd;
pub use curl::{CURL, OwnCurl, curl};
pub use display::Display;
pub use firefox::Firefox;
pub use folder::{SmallDisk, make_fifo, public_copy};
pub use fuse::Fuse;
pub use json::Sessions;
pub use kernel::{Held, Listed};
pub use keylog::{AFTER_THE_HANDSHAKE, KeyLog, Line, check_capture, check_whole};
pub use lab::{Lab, require_live};
pub use maker::{Maker, Makers, build_workload, is_long};
pub use netns::Netns;
pub use nginx::Nginx;
pub use open::{JsServers, Open, python_client};
pub use peer::{Peer, Protocol, Version, interactive_server, openssl, whole_truth};
pub use process::{Ended, Process};
pub use programs::{
    LIBSSL, PYTHON, old_library, peer_script, private_libssl, program, shared_library,
};
pub use recording::Recording;
pub use root::Root;
pub use scan::scan_of;
pub use screen::Screen;
pub use stacks::{STACKS, Stack, markdown_table};
pub use subject::{Subject, connect, s_client};
pub use summary::Summary;
pub use tlskeytop::Tlskeytop;
pub use usage::{cpu_time, most_resident, resident};
pub use wait::{DEADLINE, until, until_within};
