//! Devices: what frames come in through and go out of.

pub mod device;
