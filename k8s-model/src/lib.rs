//! Kubernetes objects, turned into the commands that build their network.
//!
//! In reading order:
//!
//! - [`error`]: what is wrong with the input, with file, line and column.
//! - [`yaml`]: YAML as `kubectl` reads it, with the place of every node.
//! - [`source`]: files and directories.
//! - [`decode`]: documents to objects; which kinds have an effect.
//! - [`report`]: what was read, and what of it has no effect.
//! - [`api`]: the objects as pktlab uses them.
//! - [`controllers`]: what the control plane does before a packet flows.
//!
//! Deliberately elsewhere: how a packet is processed is in `pktlab-stack`; this crate never touches one. It is a pure
//! function from objects to commands.

pub mod api;
pub mod controllers;
pub mod decode;
pub mod error;
pub mod report;
pub mod source;
pub mod yaml;
