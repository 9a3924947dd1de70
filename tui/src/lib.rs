//! tlskeytop: a live view of the TLS handshakes of a Linux machine, and a key log of their secrets.
//!
//! One way through: `probe -> ring buffer -> capture decodes -> Msg -> model.update -> Effects -> runtime`,
//! and on a tick, when something changed, `view::draw(&model)`.

pub mod action;
pub mod allocator;
mod bell;
pub mod capture;
pub mod cli;
pub mod clipboard;
mod clock;
pub mod command;
pub mod config;
#[doc(hidden)]
pub mod doors;
pub mod harden;
pub mod headless;
pub mod hidden;
pub mod home;
pub mod inject;
pub mod json;
pub mod keylog;
pub mod keymap;
pub mod logging;
pub mod model;
pub mod packets;
pub mod pcapng;
pub mod preflight;
pub mod priority;
pub mod report;
mod rights;
pub mod run;
pub mod runtime;
pub mod signals;
pub mod target;
pub mod text;
pub mod tls;
pub mod view;
pub mod wire;
