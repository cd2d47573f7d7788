//! Scenario files, questions, expectations and explanations.

pub mod cases;
pub mod render;
pub mod trace;
