//! The binary: parse, preflight, run, exit code; nothing else.
fn main() {}
