//! A question: who asks whom, how, and what must come of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ends::{End, EndError, EndKind};
use crate::expect::Expect;
use crate::scenario::QuestionSpec;

/// How somebody asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proto {
    /// Connects, and closes.
    #[serde(alias = "Tcp", alias = "TCP")]
    Tcp,
    /// Sends a datagram and waits for an answer.
    #[serde(alias = "Udp", alias = "UDP")]
    Udp,
    /// Sends an echo request.
    #[serde(alias = "Icmp", alias = "ICMP")]
    Icmp,
    /// `GET`.
    #[serde(alias = "Http", alias = "HTTP")]
    Http,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Icmp => "icmp",
            Proto::Http => "http",
        })
    }
}

/// A question.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// Its name, for reports.
    pub name: String,
    /// Who asks.
    pub from: End,
    /// Whom.
    pub to: End,
    /// How; none: HTTP where that is served, else TCP.
    pub proto: Option<Proto>,
    /// Source port.
    pub sport: Option<u16>,
    /// By which node a question from outside enters.
    pub via: Option<End>,
    /// What must come of it.
    pub expect: Option<Expect>,
}

impl Question {
    /// A question without expectation.
    pub fn new(from: End, to: End) -> Question {
        Question { name: format!("{from} -> {to}"), from, to, proto: None, sport: None, via: None, expect: None }
    }

    /// The question that is written in a file; on an error the text that holds it comes back too.
    pub fn of_spec(spec: &QuestionSpec) -> Result<Question, (String, EndError)> {
        let end = |text: &str| text.parse::<End>().map_err(|error| (text.to_owned(), error));
        let (from, to) = (end(&spec.from)?, end(&spec.to)?);
        Ok(Question {
            name: spec.name.clone().unwrap_or_else(|| format!("{from} -> {to}")),
            from,
            to,
            proto: spec.proto,
            sport: spec.sport,
            via: spec.via.as_deref().map(end).transpose()?,
            expect: spec.expect.as_ref().map(Expect::of_spec).transpose()?,
        })
    }

    /// The path of an HTTP request.
    pub fn path(&self) -> &str {
        match &self.to.kind {
            EndKind::Url(url) => &url.path,
            _ => "/",
        }
    }
}
