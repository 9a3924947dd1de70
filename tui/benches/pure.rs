//! The pure parts, each by itself: `cargo bench -p tlskeytop`.

mod made_up;
fn main() {}
