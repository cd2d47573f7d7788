//! pktlab
fn main() {}
