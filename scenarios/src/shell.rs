//! A line that is typed in a namespace: a command of the control plane, or a client that asks.

use std::net::IpAddr;

use stack::Command;
use stack::command::ParseCommandError;

use crate::ends::{End, EndKind, Port, Url};
use crate::question::Proto;

/// What a line is.
#[derive(Clone, PartialEq, Debug)]
pub enum Typed {
    /// `ip`, `sysctl`, `iptables`, ...
    Command(Box<Command>),
    /// `ping`, `curl`, `nc`.
    Ask {
        /// Whom.
        to: Box<End>,
        /// How.
        proto: Proto,
    },
}

/// Reads a line.
///
/// # Errors
/// Points at the word that is wrong, or not modelled.
pub fn read(line: &str) -> Result<Typed, ParseCommandError> {
    let words = words(line);
    match words.first().map(|(_, word)| *word) {
        Some("ping") => ping(line, &words[1..]),
        Some("curl") => curl(line, &words[1..]),
        Some("nc") => nc(line, &words[1..]),
        _ => line.parse().map(|command| Typed::Command(Box::new(command))),
    }
}

fn words(line: &str) -> Vec<(usize, &str)> {
    line.split_whitespace().map(|word| (word.as_ptr() as usize - line.as_ptr() as usize, word)).collect()
}

fn error(at: usize, word: &str, message: String, help: &str, unsupported: bool) -> ParseCommandError {
    ParseCommandError { message, at, len: word.len().max(1), help: help.to_owned(), unsupported }
}

fn unsupported_option(tool: &str, (at, word): (usize, &str), help: &str) -> ParseCommandError {
    error(at, word, format!("{tool} {word} is not modelled here"), help, true)
}

fn address_or_name(word: &str, port: Option<Port>) -> EndKind {
    match word.parse::<IpAddr>() {
        Ok(address) => EndKind::Address { address, port },
        Err(_) => EndKind::Name { name: word.to_owned(), port },
    }
}

fn ask(kind: EndKind, proto: Proto) -> Typed {
    Typed::Ask { to: Box::new(End { cluster: None, kind }), proto }
}

/// `ping [-n] [-c 1] [-W SECONDS] DESTINATION`.
fn ping(line: &str, words: &[(usize, &str)]) -> Result<Typed, ParseCommandError> {
    let help = "`ping -c 1 ADDRESS` is";
    let mut goal = None;
    let mut rest = words.iter().copied();
    while let Some((at, word)) = rest.next() {
        match word {
            "-n" => {}
            "-c" | "-W" => {
                let Some((value_at, value)) = rest.next() else {
                    return Err(error(line.len(), "", format!("ping: {word} needs a number"), help, false));
                };
                if value.parse::<u32>().is_err() {
                    return Err(error(value_at, value, format!("ping: `{value}` is no number"), help, false));
                }
                if word == "-c" && value != "1" {
                    return Err(unsupported_option("ping", (value_at, value), "`-c 1`: a scenario asks once a step"));
                }
            }
            _ if word.starts_with('-') => return Err(unsupported_option("ping", (at, word), help)),
            _ if goal.is_none() => goal = Some(word),
            _ => return Err(error(at, word, format!("ping: one word too many: `{word}`"), help, false)),
        }
    }
    let goal =
        goal.ok_or_else(|| error(line.len(), "", "ping: usage error: Destination address required".to_owned(), help, false))?;
    Ok(ask(address_or_name(goal, None), Proto::Icmp))
}

/// `curl [-s] [-S] [-v] URL`.
fn curl(line: &str, words: &[(usize, &str)]) -> Result<Typed, ParseCommandError> {
    let help = "`curl http://HOST[:PORT][/PATH]` is";
    let mut goal = None;
    for &(at, word) in words {
        match word {
            "-s" | "-S" | "-sS" | "-v" | "-i" => {}
            _ if word.starts_with('-') => return Err(unsupported_option("curl", (at, word), help)),
            _ if goal.is_none() => goal = Some((at, word)),
            _ => return Err(error(at, word, format!("curl: one word too many: `{word}`"), help, false)),
        }
    }
    let (at, word) = goal.ok_or_else(|| error(line.len(), "", "curl: no URL specified!".to_owned(), help, false))?;
    let text = if word.contains("://") { word.to_owned() } else { format!("http://{word}") };
    let shift = text.len() - word.len();
    let end: End = text.parse().map_err(|inner: crate::ends::EndError| ParseCommandError {
        message: inner.message,
        at: at + inner.at.saturating_sub(shift),
        len: inner.len,
        help: inner.help,
        unsupported: false,
    })?;
    if let EndKind::Url(Url { tls: true, .. }) = end.kind {
        return Err(error(at, word, "TLS is not modelled".to_owned(), "ask http://", true));
    }
    Ok(Typed::Ask { to: Box::new(end), proto: Proto::Http })
}

/// `nc [-z] [-v] [-n] [-u] [-w SECONDS] HOST PORT`.
fn nc(line: &str, words: &[(usize, &str)]) -> Result<Typed, ParseCommandError> {
    let help = "`nc -z HOST PORT` is";
    let (mut goal, mut port, mut proto) = (None, None, Proto::Tcp);
    let mut rest = words.iter().copied();
    while let Some((at, word)) = rest.next() {
        match word {
            "-z" | "-v" | "-n" | "-vz" | "-zv" => {}
            "-u" | "-uz" | "-zu" => proto = Proto::Udp,
            "-w" => drop(rest.next()),
            _ if word.starts_with('-') => return Err(unsupported_option("nc", (at, word), help)),
            _ if goal.is_none() => goal = Some(word),
            _ if port.is_none() => match word.parse::<u16>() {
                Ok(number) if number > 0 => port = Some(number),
                _ => return Err(error(at, word, format!("nc: port number invalid: {word}"), help, false)),
            },
            _ => return Err(error(at, word, format!("nc: one word too many: `{word}`"), help, false)),
        }
    }
    match (goal, port) {
        (Some(goal), Some(port)) => Ok(ask(address_or_name(goal, Some(Port::Number(port))), proto)),
        _ => Err(error(line.len(), "", "nc: a host and a port are needed".to_owned(), help, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_become_questions() {
        for (line, to, proto) in [
            ("ping -c 1 10.96.0.1", "10.96.0.1", Proto::Icmp),
            ("curl -s web.default:8080/host", "http://web.default:8080/host", Proto::Http),
            ("nc -zv 10.0.0.2 80", "10.0.0.2:80", Proto::Tcp),
            ("nc -u 10.0.0.2 53", "10.0.0.2:53", Proto::Udp),
        ] {
            let Ok(Typed::Ask { to: end, proto: how }) = read(line) else { panic!("{line}") };
            assert_eq!((end.to_string().as_str(), how), (to, proto), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_or_not_modelled_is_pointed_at() {
        for (line, place, unsupported) in [
            ("ping -f 10.0.0.1", "-f", true),
            ("ping -c x 10.0.0.1", "x", false),
            ("curl -X POST web", "-X", true),
            ("curl https://web/", "https://web/", true),
            ("nc web eighty", "eighty", false),
            ("nc web", "", false),
        ] {
            let error = read(line).expect_err(line);
            let end = (error.at + error.len).min(line.len());
            assert_eq!((&line[error.at..end], error.unsupported), (place, unsupported), "{line}: {error}");
        }
    }
}
