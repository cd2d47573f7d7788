//! Expectations: what must come of a question, and whether it did.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

use crate::code;
use crate::ends::{End, EndError, EndKind, Port};
use crate::outcome::{Answer, OutcomeClass};
use crate::trace::Exchange;

/// An expectation as it is written.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename = "Expect", default)]
pub struct ExpectSpec {
    /// The class.
    pub outcome: Option<OutcomeClass>,
    /// The code: `PL0101`.
    pub code: Option<String>,
    /// Who gets it: an end.
    pub to: Option<String>,
    /// The source address that the receiver sees.
    pub source_seen: Option<IpAddr>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Namespaces that it passes, or chains that its packets walk, or devices as `namespace/device`.
    pub via: Vec<String>,
    /// Those that it must not pass.
    pub not_via: Vec<String>,
}

/// An expectation.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Expect {
    /// The class.
    pub outcome: Option<OutcomeClass>,
    /// The code.
    pub code: Option<String>,
    /// Who gets it.
    pub to: Option<End>,
    /// The source address that the receiver sees.
    pub source_seen: Option<IpAddr>,
    /// HTTP status.
    pub status: Option<u16>,
    /// What it passes.
    pub via: Vec<String>,
    /// What it must not pass.
    pub not_via: Vec<String>,
}

const GRAMMAR: &str = "write a class (delivered, rejected, dropped, left_model, looped, unresolved, unsupported), or \
    outcome=..., code=..., to=..., source_seen=..., status=..., via=..., not_via=... with commas between";

impl Expect {
    /// What is written; on an error the text that holds it comes back too.
    pub fn of_spec(spec: &ExpectSpec) -> Result<Expect, (String, EndError)> {
        let wrong = |text: &str, message: String, help: String| {
            Err((text.to_owned(), EndError { message, at: 0, len: text.len().max(1), help }))
        };
        if let Some(text) = &spec.code
            && code::page(text).is_none()
        {
            return wrong(text, format!("there is no code {text}"), "`pktlab explain` lists the codes".to_owned());
        }
        Ok(Expect {
            outcome: spec.outcome,
            code: spec.code.clone(),
            to: spec.to.as_ref().map(|text| text.parse().map_err(|error| (text.clone(), error))).transpose()?,
            source_seen: spec.source_seen,
            status: spec.status,
            via: spec.via.clone(),
            not_via: spec.not_via.clone(),
        })
    }

    /// Reads `--expect`: `delivered`, or `outcome=Delivered,source_seen=10.244.1.2`.
    ///
    /// # Errors
    /// Points at the wrong word.
    pub fn parse(text: &str) -> Result<Expect, EndError> {
        let mut expect = Expect::default();
        let mut at = 0;
        for part in text.split(',') {
            let (from, part) = (at + part.len() - part.trim_start().len(), part.trim());
            at += text[at..].find(',').map_or(text.len() - at, |comma| comma + 1);
            let error =
                |at: usize, len: usize, message: String| EndError { message, at, len: len.max(1), help: GRAMMAR.to_owned() };
            let Some((key, value)) = part.split_once('=').or_else(|| part.split_once(": ")) else {
                expect.outcome = Some(class(part).ok_or_else(|| error(from, part.len(), format!("`{part}` is no outcome")))?);
                continue;
            };
            let (key, value_at) = (key.trim(), from + part.len() - value.trim_start().len());
            let value = value.trim().trim_matches('"');
            let wrong = |what: &str| error(value_at, value.len(), format!("`{value}` is no {what}"));
            match key {
                "outcome" => expect.outcome = Some(class(value).ok_or_else(|| wrong("outcome"))?),
                "code" => {
                    code::page(value).ok_or_else(|| wrong("code"))?;
                    expect.code = Some(value.to_owned());
                }
                "to" => {
                    expect.to = Some(value.parse().map_err(|inner: EndError| EndError { at: inner.at + value_at, ..inner })?);
                }
                "source_seen" => expect.source_seen = Some(value.parse().map_err(|_| wrong("address"))?),
                "status" => expect.status = Some(value.parse().map_err(|_| wrong("HTTP status"))?),
                "via" => expect.via.push(value.to_owned()),
                "not_via" => expect.not_via.push(value.to_owned()),
                _ => return Err(error(from, key.len(), format!("`{key}` is nothing that can be expected"))),
            }
        }
        Ok(expect)
    }

    /// What of it does not hold, in words; empty where all does.
    pub fn unmet(&self, answer: &Answer, exchange: &Exchange) -> Vec<String> {
        let mut unmet = Vec::new();
        if let Some(outcome) = self.outcome
            && outcome != answer.outcome
        {
            unmet.push(format!("outcome: expected {outcome}, got {}", answer.outcome));
        }
        if let Some(code) = &self.code
            && code != answer.code
        {
            unmet.push(format!("code: expected {code}, got {}", answer.code));
        }
        if let Some(to) = &self.to
            && !reaches(to, answer)
        {
            let got = answer.delivered_to.as_ref().map_or("nobody".to_owned(), super::outcome::DeliveredTo::describe);
            unmet.push(format!("to: expected {to}, got {got}"));
        }
        if let Some(source) = self.source_seen
            && answer.source_seen != Some(source)
        {
            let got = answer.source_seen.map_or("none".to_owned(), |address| address.to_string());
            unmet.push(format!("source_seen: expected {source}, got {got}"));
        }
        if let Some(status) = self.status
            && answer.status != Some(status)
        {
            let got = answer.status.map_or("none".to_owned(), |status| status.to_string());
            unmet.push(format!("status: expected {status}, got {got}"));
        }
        for place in &self.via {
            if !passes(exchange, place) {
                unmet.push(format!("via: expected to pass {place}, and nothing did"));
            }
        }
        for place in &self.not_via {
            if passes(exchange, place) {
                unmet.push(format!("not_via: expected not to pass {place}, and something did"));
            }
        }
        unmet
    }
}

fn class(word: &str) -> Option<OutcomeClass> {
    let word = word.replace('_', "");
    OutcomeClass::ALL.into_iter().find(|class| class.as_str().replace('_', "").eq_ignore_ascii_case(&word))
}

/// Whether any packet of the exchange was in that namespace, at that device or in that chain. Questions about neighbours, which
/// are flooded, do not count.
fn passes(exchange: &Exchange, place: &str) -> bool {
    let place = place.strip_prefix("node/").or_else(|| place.strip_prefix("ns/")).unwrap_or(place);
    let mut neighbours: BTreeSet<&str> = BTreeSet::new();
    for packet in &exchange.packets {
        let copy_of_one =
            packet.cause == "flood_copy" && packet.parent.as_deref().is_some_and(|parent| neighbours.contains(parent));
        if matches!(packet.cause, "arp" | "ndp") || copy_of_one {
            neighbours.insert(&packet.id);
        }
    }
    let asked = exchange.packets.iter().filter(|packet| !neighbours.contains(packet.id.as_str()));
    asked.flat_map(|packet| &packet.steps).any(|step| {
        step.namespace == place
            || step.device.as_ref().is_some_and(|device| format!("{}/{device}", step.namespace) == place)
            || step.rule.as_ref().is_some_and(|rule| rule.chain == place || rule.target.as_deref() == Some(place))
    })
}

fn reaches(to: &End, answer: &Answer) -> bool {
    let Some(got) = &answer.delivered_to else { return false };
    let port = match to.port() {
        Some(Port::Number(number)) => got.port == Some(number),
        Some(Port::Name(_)) | None => true,
    };
    port && match &to.kind {
        EndKind::Pod { namespace, name, .. } => got.namespace.as_ref() == Some(namespace) && got.pod.as_ref() == Some(name),
        EndKind::Node { name, .. } => got.pod.is_none() && got.node.as_ref() == Some(name),
        EndKind::Netns { name, .. } => got.netns == *name,
        EndKind::External { address, .. } => {
            got.pod.is_none() && got.node.is_none() && address.is_none_or(|address| address == got.ip)
        }
        EndKind::Address { address, .. } => got.ip == *address,
        EndKind::Service { .. } | EndKind::Name { .. } | EndKind::Url(_) | EndKind::AddressAt { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_takes_a_class_or_fields() {
        assert_eq!(Expect::parse("delivered").expect("a class").outcome, Some(OutcomeClass::Delivered));
        let expect = Expect::parse("outcome=Delivered,source_seen=10.244.1.2, status=200").expect("fields");
        assert_eq!((expect.source_seen, expect.status), ("10.244.1.2".parse().ok(), Some(200)));
        assert_eq!(Expect::parse("left_model").expect("a class").outcome, Some(OutcomeClass::LeftModel));
        assert_eq!(Expect::parse("outcome=LeftModel").expect("a class").outcome, Some(OutcomeClass::LeftModel));
    }

    #[test]
    fn a_wrong_word_is_pointed_at() {
        for (text, place) in [
            ("delivred", "delivred"),
            ("outcome=delivered,sorce=1", "sorce"),
            ("status=abc", "abc"),
            ("delivered,to=pod/x", "x"),
            ("code=PL9999", "PL9999"),
            ("", ""),
        ] {
            let error = Expect::parse(text).expect_err(text);
            let end = (error.at + error.len).min(text.len());
            assert_eq!(&text[error.at..end], place, "{text}: {error}");
        }
    }
}
