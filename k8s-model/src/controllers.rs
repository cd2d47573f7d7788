//! What the control plane does to the objects before a packet flows: pods, addresses, endpoints.
//!
//! In the order in which [`crate::cluster`] calls them:
//!
//! - [`names`]: the names that controllers give, derived from content instead of drawn.

pub mod names;
