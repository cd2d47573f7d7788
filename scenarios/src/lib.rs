//! Scenario files, questions, expectations and explanations.

pub mod render;
pub mod trace;
