//! The way of an IP packet: input, forward, [`output`], local delivery, [`icmp`], fragments.

pub mod icmp;
pub mod output;
