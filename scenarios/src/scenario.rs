//! The scenario file: RON, as `docs/scenarios.md` shows it. Unknown fields are errors; every mistake is shown in its line.
//!
//! Reading has two passes. Serde gives the shape ([`Scenario`]); then [`Scenario::check`] reads what stands inside strings (ends,
//! durations, commands) and points into them, so that a typo in a command is found before anything runs.

use std::path::{Path, PathBuf};

use ron::extensions::Extensions;
use serde::Deserialize;
use sim_core::SimTime;
use stack::Command;
use stack::command::ParseCommandError;

use crate::ends::End;
use crate::expect::ExpectSpec;
use crate::problem::{Problem, Problems};
use crate::question::Proto;
use crate::shell;

pub mod literals;
#[cfg(test)]
mod tests;

use literals::Literals;

/// A larger scenario file is refused.
const MAX_BYTES: u64 = 16 << 20;

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    pub title: String,
    /// What it shows, for people.
    #[serde(default)]
    pub about: String,
    /// The seed of what is drawn by chance.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Bare namespaces, by the commands that one would type.
    #[serde(default)]
    pub network: Vec<Item>,
    /// Clusters.
    #[serde(default)]
    pub clusters: Vec<ClusterSpec>,
    /// What happens when.
    #[serde(default)]
    pub steps: Vec<Timed>,
}

fn default_seed() -> u64 {
    1
}

/// Part of the network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Item {
    /// A namespace.
    Ns(String),
    /// A link between two new devices.
    Link {
        /// `namespace/device`.
        a: String,
        /// `namespace/device`.
        b: String,
        /// Propagation delay; none for a veth pair.
        #[serde(default)]
        delay: Option<String>,
        /// MTU of both devices.
        #[serde(default)]
        mtu: Option<u32>,
        /// Bits a second.
        #[serde(default)]
        rate_bps: Option<u64>,
        /// Chance of a loss, in millionths.
        #[serde(default)]
        loss_ppm: Option<u32>,
    },
    /// Commands in a namespace.
    In(String, Vec<CommandSpec>),
    /// Something listens.
    Listen {
        /// An end: `ns/server`, `pod/default/web`.
        on: String,
        /// Port.
        port: u16,
        /// Transport.
        #[serde(default)]
        proto: Transport,
        /// What it answers.
        #[serde(default)]
        app: App,
        /// Which address it is bound to; any unless said.
        #[serde(default)]
        bind: Option<std::net::IpAddr>,
    },
}

/// A command, or a command with standard input.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandSpec {
    /// A line.
    Line(String),
    /// `Stdin("iptables-restore", file: "router.rules")`.
    Stdin(String, String),
}

impl<'de> Deserialize<'de> for CommandSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<CommandSpec, D::Error> {
        struct StringOrPair;
        impl<'de> serde::de::Visitor<'de> for StringOrPair {
            type Value = CommandSpec;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a command as a string, or Stdin(\"COMMAND\", file: \"FILE\")")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<CommandSpec, E> {
                Ok(CommandSpec::Line(line.to_owned()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut pair: A) -> Result<CommandSpec, A::Error> {
                let missing = |at| serde::de::Error::invalid_length(at, &"a command and a file");
                let line = pair.next_element()?.ok_or_else(|| missing(0))?;
                let file = pair.next_element()?.ok_or_else(|| missing(1))?;
                Ok(CommandSpec::Stdin(line, file))
            }
        }
        deserializer.deserialize_any(StringOrPair)
    }
}

/// Transport of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum App {
    /// HTTP: 200 and a body on every path.
    #[default]
    Http,
    /// What it was sent.
    Echo,
    /// Nothing.
    Sink,
}

/// How a cluster is made, under the names of its owners' flags.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename = "Cluster", default)]
#[allow(missing_docs, reason = "the names are those of the flags; see k8s_model::ClusterConfig")]
pub struct ClusterSpec {
    pub preset: Preset,
    pub name: Option<String>,
    pub nodes: Option<usize>,
    pub cni: Option<CniName>,
    #[serde(alias = "proxy_mode")]
    pub proxy: Option<ProxyName>,
    pub cluster_cidr: Option<String>,
    pub node_cidr_mask_size: Option<u8>,
    pub allocate_node_cidrs: Option<bool>,
    pub service_cluster_ip_range: Option<String>,
    pub detect_local_mode: Option<String>,
    pub pod_bridge_interface: Option<String>,
    pub pod_interface_name_prefix: Option<String>,
    pub masquerade_all: Option<bool>,
    pub nodeport_addresses: Option<String>,
    pub iptables_localhost_nodeports: Option<bool>,
    pub ipvs_scheduler: Option<String>,
    pub node_network: Option<String>,
    pub cluster_domain: Option<String>,
    pub manifests: Vec<String>,
}

/// What a cluster begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum Preset {
    /// As `kind create cluster` makes it.
    #[default]
    Kind,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $text:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum $name { $($variant,)* }
        impl $name {
            /// The value of the flag.
            pub fn flag(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

names! {
    /// Values of `--cni`.
    CniName: Kindnet = "kindnet", Bridge = "bridge", Ptp = "ptp", Flannel = "flannel", Calico = "calico", Cilium = "cilium", Weave = "weave",
}
names! {
    /// Values of `--proxy-mode`.
    ProxyName: Iptables = "iptables", Ipvs = "ipvs", Nftables = "nftables", Userspace = "userspace", Kernelspace = "kernelspace",
}

/// When, and what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Timed {
    /// `At("1.5s", Trace(...))`.
    At(String, Action),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Action {
    /// One exchange, shown with every hop.
    Trace(QuestionSpec),
    /// One exchange, shown as one line.
    Probe(QuestionSpec),
    /// `Shell(on: "client", "ping -c 1 10.96.0.1")`.
    Shell(String, String),
    /// `Kubectl("scale deployment web --replicas 0")`.
    Kubectl(String),
    /// `Link("client/eth0", Down)`.
    Link(String, Carrier),
    /// A raw frame.
    Packet {
        /// `namespace/device` that sends it.
        from: String,
        /// The frame from the Ethernet header on, as hexadecimal.
        hex: String,
    },
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Carrier {
    Up,
    Down,
}

/// A question as it is written in a scenario or probe file.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename = "Question")]
pub struct QuestionSpec {
    /// Its name; made of `from` and `to` unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// Who asks.
    pub from: String,
    /// Whom.
    pub to: String,
    /// How.
    #[serde(default)]
    pub proto: Option<Proto>,
    /// Source port.
    #[serde(default)]
    pub sport: Option<u16>,
    /// By which node a question from outside enters.
    #[serde(default)]
    pub via: Option<String>,
    /// What must come of it.
    #[serde(default)]
    pub expect: Option<ExpectSpec>,
}

/// A scenario file that was read: the shape, the text, where it is.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// The file as the user named it.
    pub file: String,
    /// The folder from which relative paths go.
    pub folder: PathBuf,
    /// Its text.
    pub text: String,
    /// Its shape.
    pub scenario: Scenario,
    /// Where its strings stand.
    pub literals: Literals,
    /// Files that are built in rather than read from a disk, by path.
    pub embedded: &'static [(&'static str, &'static str)],
}

/// Reads a scenario from a disk.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn read(path: &Path) -> Result<ScenarioFile, Problems> {
    let file = path.to_string_lossy().into_owned();
    let cannot = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => error.to_string(),
        };
        Problem::whole(&*file, format!("cannot be read: {why}"))
            .help("name a scenario file, or `pktlab run --list` for those that come with pktlab")
    };
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if metadata.is_dir() {
        return Err(Problem::whole(&*file, "is a directory")
            .help("a scenario is one .ron file; a directory of manifests goes with -f")
            .into());
    }
    if metadata.len() > MAX_BYTES {
        return Err(Problem::whole(&*file, format!("has {} bytes, more than {MAX_BYTES}", metadata.len())).into());
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        Problem::whole(&*file, format!("line {line} is not UTF-8 text"))
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    parse(&file, folder, text, &[])
}

/// Reads a scenario from text.
///
/// # Errors
/// Something in it is wrong.
pub fn parse(
    file: &str,
    folder: PathBuf,
    text: String,
    embedded: &'static [(&'static str, &'static str)],
) -> Result<ScenarioFile, Problems> {
    let scenario = read_ron::<Scenario>(file, &text)?;
    let literals = Literals::of(&text);
    let read = ScenarioFile { file: file.to_owned(), folder, text, scenario, literals, embedded };
    let problems = read.check();
    if problems.is_empty() { Ok(read) } else { Err(Problems(problems)) }
}

/// Reads RON with our conventions; the error stands in its line.
pub(crate) fn read_ron<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, Problem> {
    let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(&literals::without_labels(text)).map_err(|error| {
        let offset = |place: ron::error::Position| {
            let mut lines = text.split_inclusive('\n');
            let before: usize = lines.by_ref().take(place.line.saturating_sub(1)).map(str::len).sum();
            let line = lines.next().unwrap_or_default();
            before + line.char_indices().nth(place.col.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
        };
        let mut start = offset(error.span.start);
        let mut end = offset(error.span.end).max(start);
        // RON's span of a wrong identifier may begin at its end: the word is what people look for.
        let (message, word) = say(&error.code);
        if let Some(word) = &word
            && let Some(at) = find_word(text, word, end)
        {
            (start, end) = (at, at + word.len());
        }
        while start < end && text[start..].starts_with(char::is_whitespace) {
            start += 1;
        }
        Problem::at(file, text, start, (end - start).max(1), message).help(help_for(&error.code))
    })
}

/// The occurrence of a word that ends nearest to `by`, before it.
fn find_word(text: &str, word: &str, by: usize) -> Option<usize> {
    let mut until = (by + word.len()).min(text.len());
    while !text.is_char_boundary(until) {
        until += 1;
    }
    text[..until].rfind(word)
}

/// RON's error in a sentence, and the word that it is about.
fn say(code: &ron::Error) -> (String, Option<String>) {
    match code {
        ron::Error::NoSuchStructField { found, outer, .. } => {
            let of = outer.as_ref().map(|outer| format!(" of {outer}")).unwrap_or_default();
            (format!("`{found}` is no field{of}"), Some(found.clone()))
        }
        ron::Error::NoSuchEnumVariant { found, outer, .. } => {
            let of = outer.as_ref().map(|outer| format!(" of {outer}")).unwrap_or_default();
            (format!("`{found}` is not possible{of}"), Some(found.clone()))
        }
        ron::Error::MissingStructField { field, outer } => {
            let of = outer.as_ref().map(|outer| format!(" of {outer}")).unwrap_or_default();
            (format!("the field `{field}`{of} is missing"), None)
        }
        other => (other.to_string(), None),
    }
}

/// `Delivered`, but not also `delivered`.
fn without_aliases<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let plain = |word: &str| word.replace('_', "").to_lowercase();
    let mut kept: Vec<&str> = Vec::new();
    for word in words {
        if !kept.iter().any(|have| plain(have) == plain(word)) {
            kept.push(word);
        }
    }
    kept
}

fn help_for(code: &ron::Error) -> String {
    let list = |expected: &[&str]| expected.join(", ");
    match code {
        ron::Error::NoSuchStructField { expected, found, .. } => match nearest(found, expected) {
            Some(meant) => format!("`{meant}` was probably meant; the fields are {}", list(expected)),
            None => format!("the fields are {}", list(expected)),
        },
        ron::Error::NoSuchEnumVariant { expected, found, .. } => match nearest(found, expected) {
            Some(meant) => format!("`{meant}` was probably meant; possible are {}", list(&without_aliases(expected))),
            None => format!("possible are {}", list(&without_aliases(expected))),
        },
        ron::Error::MissingStructField { field, .. } => format!("add `{field}: ...`"),
        _ => "docs/scenarios.md shows the whole format".to_owned(),
    }
}

/// The word that differs in the fewest letters, where it is near enough to be a typo.
pub(crate) fn nearest<'a>(found: &str, possible: &[&'a str]) -> Option<&'a str> {
    let distance = |other: &str| {
        let other: Vec<char> = other.to_lowercase().chars().collect();
        let mut row: Vec<usize> = (0..=other.len()).collect();
        for (i, a) in found.to_lowercase().chars().enumerate() {
            let mut diagonal = std::mem::replace(&mut row[0], i + 1);
            for (j, b) in other.iter().enumerate() {
                let cost = (diagonal + usize::from(a != *b)).min(row[j] + 1).min(row[j + 1] + 1);
                diagonal = std::mem::replace(&mut row[j + 1], cost);
            }
        }
        row[other.len()]
    };
    let best = possible.iter().map(|word| (distance(word), *word)).min()?;
    (best.0 <= 1 + found.chars().count() / 4).then_some(best.1)
}

impl ScenarioFile {
    /// A problem inside a string of the file: `at..at + len` are bytes of the string's value.
    pub fn problem(&self, value: &str, at: usize, len: usize, message: impl Into<String>) -> Problem {
        match self.literals.find(value) {
            Some(literal) => {
                let (start, len) = literal.inside(at, len);
                Problem::at(&*self.file, &self.text, start, len, message)
            }
            None => Problem::whole(&*self.file, format!("`{value}`: {}", message.into())),
        }
    }

    /// A problem with a whole string of the file.
    pub fn problem_with(&self, value: &str, message: impl Into<String>) -> Problem {
        self.problem(value, 0, value.len(), message)
    }

    /// What is wrong with the text of a command.
    pub fn command_problem(&self, line: &str, error: &ParseCommandError) -> Problem {
        let problem = self.problem(line, error.at, error.len, &error.message).help(&error.help);
        if error.unsupported { problem.unsupported() } else { problem }
    }

    /// The path of a file that the scenario names.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of a file that the scenario names.
    pub fn file_text(&self, name: &str) -> Result<String, Problem> {
        if let Some((_, text)) = self.embedded.iter().find(|(path, _)| *path == name) {
            return Ok((*text).to_owned());
        }
        std::fs::read_to_string(self.path(name)).map_err(|error| {
            let why = if error.kind() == std::io::ErrorKind::NotFound { "no such file".to_owned() } else { error.to_string() };
            let help = format!("paths go from the folder of the scenario: {}", self.path(name).display());
            self.problem_with(name, format!("{name} cannot be read: {why}")).help(help)
        })
    }

    /// An end that stands in a string.
    pub fn end(&self, text: &str) -> Result<End, Problem> {
        text.parse()
            .map_err(|error: crate::ends::EndError| self.problem(text, error.at, error.len, &error.message).help(&error.help))
    }

    /// A time that stands in a string.
    pub fn time(&self, text: &str) -> Result<SimTime, Problem> {
        text.parse().map_err(|error: sim_core::time::ParseTimeError| self.problem_with(text, error.to_string()))
    }

    /// `namespace/device` that stands in a string.
    pub fn device<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str), Problem> {
        // Namespaces of pods have slashes in their names: the device is what stands behind the last one.
        match text.rsplit_once('/') {
            Some((netns, device)) if !netns.is_empty() && !device.is_empty() => Ok((netns, device)),
            _ => Err(self.problem_with(text, format!("`{text}` is no device")).help("write namespace/device, such as client/eth0")),
        }
    }

    /// Reads what stands inside strings.
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |result: Result<(), Problem>| problems.extend(result.err());
        for item in &self.scenario.network {
            match item {
                Item::Ns(name) if name.is_empty() || name.contains('/') => {
                    note(Err(self.problem_with(name, format!("`{name}` is no name of a namespace")).help("names have no `/`")));
                }
                Item::Ns(_) => {}
                Item::Link { a, b, delay, mtu, .. } => {
                    note(self.device(a).map(drop));
                    note(self.device(b).map(drop));
                    if let Some(delay) = delay {
                        note(self.time(delay).map(drop));
                    }
                    if mtu.is_some_and(|mtu| !(68..=65_535).contains(&mtu)) {
                        note(Err(self.problem_with(a, "the MTU of this link is not between 68 and 65535")));
                    }
                }
                Item::In(_, commands) => {
                    for command in commands {
                        match command {
                            CommandSpec::Line(line) => {
                                note(line.parse::<Command>().map(drop).map_err(|error| self.command_problem(line, &error)));
                            }
                            CommandSpec::Stdin(_, file) => note(self.file_text(file).map(drop)),
                        }
                    }
                }
                Item::Listen { on, port, .. } => {
                    note(self.end(on).map(drop));
                    if *port == 0 {
                        note(Err(self.problem_with(on, "port 0 cannot be listened on")));
                    }
                }
            }
        }
        for cluster in &self.scenario.clusters {
            for manifest in &cluster.manifests {
                let built_in = self.embedded.iter().any(|(path, _)| path == manifest);
                if !built_in && !self.path(manifest).exists() {
                    let help = format!("paths go from the folder of the scenario: {}", self.path(manifest).display());
                    note(Err(self.problem_with(manifest, format!("{manifest}: no such file or directory")).help(help)));
                }
            }
        }
        for Timed::At(time, action) in &self.scenario.steps {
            note(self.time(time).map(drop));
            match action {
                Action::Trace(question) | Action::Probe(question) => {
                    for text in [Some(&question.from), Some(&question.to), question.via.as_ref()].into_iter().flatten() {
                        note(self.end(text).map(drop));
                    }
                    if let Some(to) = question.expect.as_ref().and_then(|expect| expect.to.as_ref()) {
                        note(self.end(to).map(drop));
                    }
                }
                Action::Shell(_, line) => note(shell::read(line).map(drop).map_err(|error| self.command_problem(line, &error))),
                Action::Kubectl(line) => {
                    let problem = self.problem_with(line, "kubectl steps are not modelled yet");
                    note(Err(problem.help("change the manifests and run again").unsupported()));
                }
                Action::Link(device, _) => note(self.device(device).map(drop)),
                Action::Packet { from, hex } => {
                    note(self.device(from).map(drop));
                    note(frame(hex).map(drop).map_err(|(at, message)| self.problem(hex, at, 1, message)));
                }
            }
        }
        problems
    }
}

/// A frame from hexadecimal digits; blanks and colons may stand between bytes.
pub(crate) fn frame(hex: &str) -> Result<Vec<u8>, (usize, String)> {
    let mut bytes = Vec::new();
    let mut high: Option<u8> = None;
    for (at, c) in hex.char_indices() {
        match (c.to_digit(16), high) {
            (Some(digit), None) => high = Some(digit as u8),
            (Some(digit), Some(first)) => {
                bytes.push(first << 4 | digit as u8);
                high = None;
            }
            (None, None) if c.is_whitespace() || c == ':' => {}
            (None, _) => return Err((at, format!("`{c}` is no hexadecimal digit"))),
        }
    }
    match high {
        Some(_) => Err((hex.len(), "the last byte has one digit".to_owned())),
        None if bytes.len() < 14 => Err((0, format!("{} bytes are no Ethernet frame: its header has 14", bytes.len()))),
        None if bytes.len() > 65_549 => Err((0, format!("{} bytes are more than a frame can have", bytes.len()))),
        None => Ok(bytes),
    }
}
