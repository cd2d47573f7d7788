//! One file for each verb.

pub(crate) mod cases;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod matrix;
pub(crate) mod probe;
pub(crate) mod run;
pub(crate) mod trace;
