//! The control plane as plain data: one command, as it would be typed.

/// A command.
#[derive(Debug)]
pub enum Command {}
