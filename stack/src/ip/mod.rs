//! The way of an IP packet: [`input`], [`forward`], [`output`], [`local`] delivery, [`icmp`], fragments ([`frag`]).

pub mod forward;
pub mod frag;
pub mod icmp;
pub mod input;
pub mod local;
pub mod output;
