//! A way past rules that cannot match: derived, never the truth.

/// Of a chain.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Index {}
