//! Scenario files, questions, expectations, cases, reports.
//!
//! In reading order:
//!
//! - [`ends`]: the grammar of ends (`pod/default/client`, `svc/default/web:80`); [`problem`]: what is wrong with the input.
//! - [`scenario`]: the scenario file; [`book`]: the scenarios that come with pktlab.
//! - [`load`]: scenario, manifests and flags into one [`World`]; [`build`]: how a [`World`] is put together.
//! - [`resolve`]: an end to namespace, address and port.
//! - [`question`]: what is asked; [`ask`]: one question, one answer; [`outcome`]: how it ended; [`code`]: the stable codes.
//! - [`expect`]: whether an answer is what somebody expected; [`explore`]: all arms of what is drawn by chance.
//! - [`probe`], [`matrix`], [`run`]: many questions; [`report`]: JUnit.
//! - [`trace`]: records to steps; [`render`]: steps to text. [`cases`]: regression cases.
//!
//! Deliberately elsewhere: drawing, arguments and exit codes are in `src/`.

pub mod ask;
pub mod book;
pub mod build;
pub mod cases;
pub mod code;
pub mod ends;
pub mod expect;
pub mod explore;
pub mod export;
pub mod load;
pub mod matrix;
pub mod outcome;
pub mod probe;
pub mod problem;
pub mod question;
pub mod render;
pub mod report;
pub mod resolve;
pub mod run;
pub mod scenario;
pub mod shell;
pub mod trace;

pub use build::World;
pub use problem::{Problem, Problems};
