//! One grammar for the ends of a question, in every verb and file.
//!
//! ```text
//!   pod/NS/NAME[:PORT]   svc/NS/NAME[:PORT]   node/NAME[:PORT]   ns/NAME[:PORT]   external[:ADDR][:PORT]
//!   ADDR:PORT   [V6]:PORT   NAME[:PORT]   http(s)://HOST[:PORT][/PATH]            (destinations)
//!   ADDR@node/NAME   ADDR@external                                                (sources)
//!   CLUSTER/...                                                                   (in front, where there are several)
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// One end of a question.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct End {
    /// The cluster, where one is named.
    pub cluster: Option<String>,
    /// What it is.
    pub kind: EndKind,
}

/// What an end is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EndKind {
    /// `pod/NS/NAME[:PORT]`.
    Pod {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Port.
        port: Option<Port>,
    },
    /// `svc/NS/NAME[:PORT]`.
    Service {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Port.
        port: Option<Port>,
    },
    /// `node/NAME[:PORT]`.
    Node {
        /// Name.
        name: String,
        /// Port.
        port: Option<Port>,
    },
    /// `ns/NAME[:PORT]`: a bare network namespace.
    Netns {
        /// Name.
        name: String,
        /// Port.
        port: Option<Port>,
    },
    /// `external[:ADDR][:PORT]`: a host outside of every cluster.
    External {
        /// Its address, where it matters.
        address: Option<IpAddr>,
        /// Port.
        port: Option<Port>,
    },
    /// `ADDR[:PORT]`.
    Address {
        /// Address.
        address: IpAddr,
        /// Port.
        port: Option<Port>,
    },
    /// `NAME[:PORT]`: a name that DNS resolves.
    Name {
        /// The name as written; a last dot makes it absolute.
        name: String,
        /// Port.
        port: Option<Port>,
    },
    /// `http(s)://HOST[:PORT][/PATH]`.
    Url(Url),
    /// `ADDR@node/NAME`, `ADDR@external`: somebody with this address.
    AddressAt {
        /// Address.
        address: IpAddr,
        /// Where it is.
        at: Place,
    },
}

/// Where an address of a source is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// On a node: a pod, or the node itself.
    Node(String),
    /// Outside.
    External,
}

/// A URL, as far as the network sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// Host: a name, or an address without brackets.
    pub host: String,
    /// Port, where it is written.
    pub port: Option<u16>,
    /// Path and query, from `/` on.
    pub path: String,
}

/// A port by number or by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Port {
    /// 1 to 65535.
    Number(u16),
    /// The name of a container's or a Service's port.
    Name(String),
}

/// Why a text is no end: points at the place in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct EndError {
    /// What is wrong.
    pub message: String,
    /// Byte offset of the wrong part.
    pub at: usize,
    /// Its bytes; at least 1, where the text is not at its end.
    pub len: usize,
    /// What to write instead.
    pub help: String,
}

const FORMS: &str = "write pod/NS/NAME[:PORT], svc/NS/NAME[:PORT], node/NAME[:PORT], ns/NAME[:PORT], external[:ADDR][:PORT], ADDR:PORT, a DNS name or a URL";

/// A piece of the text, and where it begins.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    fn error(self, message: String, help: &str) -> EndError {
        EndError { message, at: self.at, len: self.text.len().max(1), help: help.to_owned() }
    }

    fn split_once(self, by: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let (left, right) = self.text.split_once(by)?;
        let at = self.at + left.len() + by.len_utf8();
        Some((Piece { text: left, at: self.at }, Piece { text: right, at }))
    }
}

impl FromStr for End {
    type Err = EndError;

    fn from_str(text: &str) -> Result<End, EndError> {
        let whole = Piece { text, at: 0 };
        if text.is_empty() {
            return Err(whole.error("an end is missing".to_owned(), FORMS));
        }
        if let Some(at) = text.find(|c: char| c.is_whitespace() || c.is_control()) {
            let len = text[at..].chars().next().map_or(1, char::len_utf8);
            return Err(EndError { message: "a blank inside an end".to_owned(), at, len, help: FORMS.to_owned() });
        }
        if let Some(url) = url(whole)? {
            return Ok(End { cluster: None, kind: EndKind::Url(url) });
        }
        if let Some((address, place)) = whole.split_once('@') {
            return address_at(address, place);
        }
        match whole.split_once('/') {
            None => Ok(End { cluster: None, kind: single(whole)? }),
            Some((first, rest)) => match keyword(first, rest)? {
                Some(kind) => Ok(End { cluster: None, kind }),
                None => {
                    name_of(first, "cluster")?;
                    Ok(End { cluster: Some(first.text.to_owned()), kind: in_cluster(first, rest)? })
                }
            },
        }
    }
}

/// What may stand behind `CLUSTER/`.
fn in_cluster(cluster: Piece<'_>, rest: Piece<'_>) -> Result<EndKind, EndError> {
    if let Some((first, rest)) = rest.split_once('/')
        && let Some(kind) = keyword(first, rest)?
    {
        return Ok(kind);
    }
    if rest.text == "external" || rest.text.starts_with("external:") {
        return single(rest);
    }
    let message = format!("`{}` is no kind of end", cluster.text);
    let meant = match cluster.text {
        "service" | "services" => "a Service is written svc/NS/NAME[:PORT]",
        "pods" | "po" => "a pod is written pod/NS/NAME[:PORT]",
        "netns" | "namespace" => "a bare namespace is written ns/NAME[:PORT]",
        "nodes" | "no" => "a node is written node/NAME[:PORT]",
        _ => FORMS,
    };
    Err(cluster.error(message, meant))
}

/// `pod/...`, `svc/...`, `node/...`, `ns/...`; none for another first word.
fn keyword(first: Piece<'_>, rest: Piece<'_>) -> Result<Option<EndKind>, EndError> {
    Ok(Some(match first.text {
        "pod" => {
            let (namespace, name, port) = namespaced(rest, "pod/NS/NAME[:PORT]")?;
            EndKind::Pod { namespace, name, port }
        }
        "svc" => {
            let (namespace, name, port) = namespaced(rest, "svc/NS/NAME[:PORT]")?;
            EndKind::Service { namespace, name, port }
        }
        "node" => {
            let (name, port) = named(rest, "node/NAME[:PORT]")?;
            EndKind::Node { name, port }
        }
        "ns" => {
            let (name, port) = named(rest, "ns/NAME[:PORT]")?;
            EndKind::Netns { name, port }
        }
        _ => return Ok(None),
    }))
}

fn namespaced(rest: Piece<'_>, form: &str) -> Result<(String, String, Option<Port>), EndError> {
    let Some((namespace, rest)) = rest.split_once('/') else {
        let message = "the Kubernetes namespace is missing".to_owned();
        let help = format!("write {form}; a namespace that is not named is `default`: {}", form.replacen("NS", "default", 1));
        return Err(rest.error(message, &help));
    };
    name_of(namespace, "namespace")?;
    let (name, port) = named(rest, form)?;
    Ok((namespace.text.to_owned(), name, port))
}

fn named(rest: Piece<'_>, form: &str) -> Result<(String, Option<Port>), EndError> {
    let (name, port) = match rest.split_once(':') {
        Some((name, port)) => (name, Some(port_of(port)?)),
        None => (rest, None),
    };
    if name.text.contains('/') {
        let at = name.text.find('/').unwrap_or(0);
        let extra = Piece { text: &name.text[at..], at: name.at + at };
        return Err(extra.error("one part too many".to_owned(), &format!("write {form}")));
    }
    name_of(name, "name")?;
    Ok((name.text.to_owned(), port))
}

/// Names of Kubernetes objects, nodes and network namespaces: letters, digits, `-`, `_`, `.`.
fn name_of(name: Piece<'_>, what: &str) -> Result<(), EndError> {
    if name.text.is_empty() {
        return Err(name.error(format!("the {what} is empty"), FORMS));
    }
    match name.text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
        None => Ok(()),
        Some(at) => {
            let wrong = name.text[at..].chars().next().map_or(1, char::len_utf8);
            let piece = Piece { text: &name.text[at..at + wrong], at: name.at + at };
            Err(piece.error(format!("`{}` cannot stand in a {what}", piece.text), "names have letters, digits, `-`, `_` and `.`"))
        }
    }
}

fn port_of(port: Piece<'_>) -> Result<Port, EndError> {
    let help = "a port is a number from 1 to 65535 or the name of a port";
    if port.text.is_empty() {
        return Err(port.error("the port is empty".to_owned(), help));
    }
    if port.text.bytes().all(|b| b.is_ascii_digit()) {
        return match port.text.parse() {
            Ok(0) | Err(_) => Err(port.error(format!("{} is no port", port.text), help)),
            Ok(number) => Ok(Port::Number(number)),
        };
    }
    let fits = port.text.len() <= 15 && port.text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits || !port.text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(port.error(format!("`{}` is no port", port.text), help));
    }
    Ok(Port::Name(port.text.to_owned()))
}

/// What has no `/`: `external...`, an address, a name.
fn single(whole: Piece<'_>) -> Result<EndKind, EndError> {
    if whole.text == "external" {
        return Ok(EndKind::External { address: None, port: None });
    }
    if let Some(rest) = whole.text.strip_prefix("external:") {
        let rest = Piece { text: rest, at: whole.at + "external:".len() };
        return Ok(match address(rest)? {
            Some((address, port)) => EndKind::External { address: Some(address), port },
            None => EndKind::External { address: None, port: Some(port_of(rest)?) },
        });
    }
    if let Some((address, port)) = address(whole)? {
        return Ok(EndKind::Address { address, port });
    }
    let (name, port) = match whole.split_once(':') {
        Some((name, port)) => (name, Some(port_of(port)?)),
        None => (whole, None),
    };
    dns_name(name)?;
    Ok(EndKind::Name { name: name.text.to_owned(), port })
}

fn dns_name(name: Piece<'_>) -> Result<(), EndError> {
    name_of(name, "name")?;
    // `10.0.0.300` is a mistyped address, not a name.
    if name.text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let message = format!("`{}` is neither an address nor a name", name.text);
        return Err(name.error(message, "an IPv4 address has four numbers from 0 to 255"));
    }
    let labels = name.text.strip_suffix('.').unwrap_or(name.text);
    if labels.len() > 253 || labels.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(name.error(format!("`{}` is no DNS name", name.text), "labels have 1 to 63 letters, with single dots between"));
    }
    Ok(())
}

/// `ADDR[:PORT]`, `[V6][:PORT]`, a bare IPv6 address; none where the text is no address.
fn address(text: Piece<'_>) -> Result<Option<(IpAddr, Option<Port>)>, EndError> {
    if text.text.starts_with('[') {
        let help = "an IPv6 address with a port is written [fd00::1]:80";
        let Some(end) = text.text.find(']') else {
            return Err(text.error("`[` is not closed".to_owned(), help));
        };
        let inner = Piece { text: &text.text[1..end], at: text.at + 1 };
        let Ok(address) = inner.text.parse::<Ipv6Addr>() else {
            return Err(inner.error(format!("`{}` is no IPv6 address", inner.text), help));
        };
        let rest = Piece { text: &text.text[end + 1..], at: text.at + end + 1 };
        let port = match rest.text.strip_prefix(':') {
            Some(port) => Some(port_of(Piece { text: port, at: rest.at + 1 })?),
            None if rest.text.is_empty() => None,
            None => return Err(rest.error(format!("`{}` behind an address", rest.text), help)),
        };
        return Ok(Some((address.into(), port)));
    }
    if let Ok(address) = text.text.parse::<IpAddr>() {
        return Ok(Some((address, None)));
    }
    let Some((left, right)) = text.split_once(':') else { return Ok(None) };
    match left.text.parse::<IpAddr>() {
        Ok(address) => Ok(Some((address, Some(port_of(right)?)))),
        Err(_) if right.text.contains(':') => {
            Err(text.error(format!("`{}` is no address", text.text), "an IPv6 address with a port is written [fd00::1]:80"))
        }
        Err(_) => Ok(None),
    }
}

fn address_at(address: Piece<'_>, place: Piece<'_>) -> Result<End, EndError> {
    let (cluster, place) = match place.split_once('/') {
        Some((first, rest)) if first.text != "node" => {
            name_of(first, "cluster")?;
            (Some(first.text.to_owned()), rest)
        }
        _ => (None, place),
    };
    let Ok(ip) = address.text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
        let message = format!("`{}` is no address", address.text);
        return Err(address.error(message, "a source with an address is written ADDR@node/NAME or ADDR@external"));
    };
    let at = match place.split_once('/') {
        Some((_, name)) => {
            name_of(name, "name")?;
            Place::Node(name.text.to_owned())
        }
        None if place.text == "external" => Place::External,
        None => {
            let message = format!("`{}` is no place for an address", place.text);
            return Err(place.error(message, "write ADDR@node/NAME or ADDR@external"));
        }
    };
    Ok(End { cluster, kind: EndKind::AddressAt { address: ip, at } })
}

fn url(whole: Piece<'_>) -> Result<Option<Url>, EndError> {
    let Some((scheme, rest)) = whole.text.split_once("://") else { return Ok(None) };
    let rest = Piece { text: rest, at: scheme.len() + 3 };
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => {
            let scheme = Piece { text: scheme, at: 0 };
            return Err(scheme.error(format!("`{}` URLs are not modelled", scheme.text), "http:// and https:// are"));
        }
    };
    let (authority, path) = match rest.text.find(['/', '?']) {
        Some(at) => (Piece { text: &rest.text[..at], at: rest.at }, &rest.text[at..]),
        None => (rest, "/"),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (host, port) = match single(authority)? {
        EndKind::Address { address, port } => (address.to_string(), port),
        EndKind::Name { name, port } => (name, port),
        _ => (authority.text.to_owned(), None),
    };
    let port = match port {
        None => None,
        Some(Port::Number(number)) => Some(number),
        Some(Port::Name(name)) => return Err(authority.error(format!("`{name}` is no port of a URL"), "a number from 1 to 65535")),
    };
    Ok(Some(Url { tls, host, port, path }))
}

impl End {
    /// The port that is written.
    pub fn port(&self) -> Option<Port> {
        match &self.kind {
            EndKind::Pod { port, .. }
            | EndKind::Service { port, .. }
            | EndKind::Node { port, .. }
            | EndKind::Netns { port, .. }
            | EndKind::External { port, .. }
            | EndKind::Address { port, .. }
            | EndKind::Name { port, .. } => port.clone(),
            EndKind::Url(url) => url.port.map(Port::Number),
            EndKind::AddressAt { .. } => None,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Number(number) => number.fmt(f),
            Port::Name(name) => f.write_str(name),
        }
    }
}

/// The canonical form, which reads back as the same end.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        let port = self.port();
        match &self.kind {
            EndKind::Pod { namespace, name, .. } => write!(f, "{cluster}pod/{namespace}/{name}")?,
            EndKind::Service { namespace, name, .. } => write!(f, "{cluster}svc/{namespace}/{name}")?,
            EndKind::Node { name, .. } => write!(f, "{cluster}node/{name}")?,
            EndKind::Netns { name, .. } => write!(f, "{cluster}ns/{name}")?,
            EndKind::External { address, .. } => {
                write!(f, "{cluster}external")?;
                match address {
                    Some(address @ IpAddr::V4(_)) => write!(f, ":{address}")?,
                    Some(address @ IpAddr::V6(_)) => write!(f, ":[{address}]")?,
                    None => {}
                }
            }
            EndKind::Address { address: address @ IpAddr::V4(_), .. } => write!(f, "{address}")?,
            EndKind::Address { address: address @ IpAddr::V6(_), .. } => write!(f, "[{address}]")?,
            EndKind::Name { name, .. } => f.write_str(name)?,
            EndKind::Url(url) => return url.fmt(f),
            EndKind::AddressAt { address, at } => {
                return match at {
                    Place::Node(name) => write!(f, "{address}@{cluster}node/{name}"),
                    Place::External => write!(f, "{address}@{cluster}external"),
                };
            }
        }
        match port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}
