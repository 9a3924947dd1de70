//! Build, test and run tlskeytop.
fn main() {}
