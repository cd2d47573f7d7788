//! Reports: one answer as text and JSON, many as JUnit.

use std::fmt::Write as _;

use k8s_model::LoadReport;
use k8s_model::report::Effect;
use serde::Serialize;

use crate::ask::Asked;
use crate::code;
use crate::outcome::{Answer, OutcomeClass};
use crate::render::{self, TextOptions, WIDTH};
use crate::trace::Exchange;

/// What pktlab models: every trace says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Model {
    /// pktlab's own version.
    pub pktlab: &'static str,
    /// Linux.
    pub kernel: &'static str,
    /// kube-proxy.
    pub kube_proxy: &'static str,
    /// iptables.
    pub iptables: &'static str,
    /// iproute2.
    pub iproute2: &'static str,
}

/// The versions that are modelled.
pub const MODEL: Model =
    Model { pktlab: env!("CARGO_PKG_VERSION"), kernel: "6.18", kube_proxy: "1.35", iptables: "1.8.9", iproute2: "6.1" };

/// What was read, as JSON has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Coverage {
    /// File by file.
    pub files: Vec<FileCoverage>,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileCoverage {
    /// The file as the user named it.
    pub file: String,
    /// Objects that change the network.
    pub used: usize,
    /// Objects that do not, or that are not modelled, and fields without effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<CoverageNote>,
}

/// Something that has no effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CoverageNote {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// The object: `ConfigMap default/settings`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// The field, where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is to be said.
    pub text: String,
    /// Whether a real cluster's packets may fare differently because of it.
    pub matters: bool,
}

impl Coverage {
    /// Of a load report.
    pub fn of(report: &LoadReport) -> Coverage {
        let files = report.files.iter().map(|file| {
            let mut notes = Vec::new();
            for object in &file.objects {
                let whole = match &object.effect {
                    Effect::Used => None,
                    Effect::None(why) => Some((why, false)),
                    Effect::NotModelled(why) => Some((why, true)),
                };
                let (line, column) = (object.pos.line, object.pos.column);
                if let Some((why, matters)) = whole {
                    notes.push(CoverageNote {
                        line,
                        column,
                        object: object.to_string(),
                        field: String::new(),
                        text: why.clone(),
                        matters,
                    });
                }
                notes.extend(object.unused.iter().map(|note| CoverageNote {
                    line: note.pos.line,
                    column: note.pos.column,
                    object: object.to_string(),
                    field: note.path.clone(),
                    text: note.text.clone(),
                    matters: note.matters,
                }));
            }
            notes.extend(file.warnings.iter().map(|note| CoverageNote {
                line: note.pos.line,
                column: note.pos.column,
                object: String::new(),
                field: note.path.clone(),
                text: note.text.clone(),
                matters: note.matters,
            }));
            let used = file.objects.iter().filter(|object| object.effect == Effect::Used).count();
            FileCoverage { file: file.file.to_string(), used, notes }
        });
        Coverage { files: files.collect() }
    }
}

/// The JSON document of a trace.
#[derive(Debug, Serialize)]
pub struct TraceReport<'a> {
    /// `pktlab.trace/1`.
    pub schema: &'static str,
    /// What is modelled.
    pub model: Model,
    /// The seed.
    pub seed: u64,
    /// What came of it.
    #[serde(flatten)]
    pub answer: &'a Answer,
    /// Its packets.
    #[serde(flatten)]
    pub exchange: &'a Exchange,
    /// What was read.
    pub coverage: Coverage,
}

impl<'a> TraceReport<'a> {
    /// Of an answer.
    pub fn of(asked: &'a Asked, seed: u64, report: &LoadReport) -> TraceReport<'a> {
        let (answer, exchange) = (&asked.answer, &asked.exchange);
        TraceReport { schema: "pktlab.trace/1", model: MODEL, seed, answer, exchange, coverage: Coverage::of(report) }
    }
}

/// A trace for people: the packets, then what came of them.
pub fn text(asked: &Asked, options: &TextOptions) -> String {
    let mut text = render::text(&asked.exchange, options);
    if !text.is_empty() && !text.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(&summary(&asked.answer, options.color));
    text
}

/// Columns of the labels of a summary.
const LABEL: usize = 15;

/// A line of a summary; it goes on below where it is too long.
fn entry(text: &mut String, label: &str, value: &str) {
    for (at, piece) in render::wrap(value, WIDTH - LABEL).iter().enumerate() {
        let _ = match at {
            0 => writeln!(text, "  {label:<12} {piece}"),
            _ => writeln!(text, "{:indent$}{piece}", "", indent = LABEL + 2),
        };
    }
}

/// What came of a question, in a few lines.
pub fn summary(answer: &Answer, color: bool) -> String {
    let mut text = String::new();
    let paint = |class: OutcomeClass, word: String| match (color, class) {
        (false, _) => word,
        (true, OutcomeClass::Delivered) => format!("\u{1b}[1;32m{word}\u{1b}[0m"),
        (true, _) => format!("\u{1b}[1;31m{word}\u{1b}[0m"),
    };
    let _ = writeln!(text, "{} -> {} ({})", answer.from, answer.to, answer.proto);
    let title = code::page(answer.code).map_or("", |page| page.title);
    let _ = writeln!(text, "  outcome      {}  {} {title}", paint(answer.outcome, answer.outcome.to_string()), answer.code);
    entry(&mut text, "symptom", &answer.symptom);
    if let Some(reason) = &answer.reason {
        entry(&mut text, "reason", reason);
    }
    if let Some(at) = &answer.ended_at {
        let device = at.device.as_ref().map(|device| format!(" at {device}")).unwrap_or_default();
        entry(&mut text, "ended", &format!("packet {} ({}) in {}{device}", at.packet, at.cause, at.netns));
    }
    if let Some(to) = &answer.delivered_to {
        entry(&mut text, "delivered to", &to.describe());
    }
    if let Some(source) = answer.source_seen {
        let masqueraded = if answer.masqueraded { " (masqueraded)" } else { "" };
        entry(&mut text, "source seen", &format!("{source}{masqueraded}"));
    }
    for (at, share) in answer.endpoints.iter().enumerate() {
        let label = if at == 0 { "endpoints" } else { "" };
        let ip = share.ip.map_or("nobody".to_owned(), |ip| ip.to_string());
        let port = share.port.map(|port| format!(":{port}")).unwrap_or_default();
        let pod = share.pod.as_ref().map(|pod| format!("  pod {pod}")).unwrap_or_default();
        entry(&mut text, label, &format!("{:<7} {ip}{port}{pod}  {}", share.probability, share.outcome));
    }
    for (at, rule) in answer.decided_by.iter().enumerate() {
        let label = if at == 0 { "decided by" } else { "" };
        let number = rule.number.map_or_else(|| "policy".to_owned(), |number| format!("#{number}"));
        let made = rule.made_by.as_ref().map(|made| format!("  <- {made}")).unwrap_or_default();
        entry(&mut text, label, &format!("{}: {} {} {number}{made}", rule.netns, rule.table, rule.chain));
    }
    if let Some(collect) = &answer.collect {
        entry(&mut text, "collect", collect);
    }
    for (at, assumption) in answer.assumptions.iter().enumerate() {
        let label = if at == 0 { "assuming" } else { "" };
        entry(&mut text, label, assumption);
    }
    if let Some(ok) = answer.ok {
        let _ = writeln!(text, "  expectation  {}", if ok { "holds" } else { "DOES NOT HOLD" });
        for unmet in &answer.unmet {
            let _ = writeln!(text, "    {unmet}");
        }
    }
    text
}

/// One answer in one line.
pub fn line(answer: &Answer) -> String {
    let mark = match answer.ok {
        Some(true) => "ok    ",
        Some(false) => "FAILED",
        None => "      ",
    };
    let to = answer.delivered_to.as_ref().map(|to| format!(" -> {}", to.describe())).unwrap_or_default();
    let mut line = format!("{mark} {}: {} {} ({}){to}", answer.name, answer.outcome, answer.code, answer.symptom);
    for unmet in &answer.unmet {
        let _ = write!(line, "\n         {unmet}");
    }
    line
}

/// What some answers rest on and is not modelled, each once: the reason for exit code 3.
pub fn not_modelled<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in answers.into_iter().flat_map(|answer| &answer.assumptions).filter(|line| line.starts_with("not modelled: ")) {
        if !lines.contains(&line.as_str()) {
            lines.push(line);
        }
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

/// The exit code of some answers: 3 where one rests on what is not modelled, 1 where an expectation does not hold.
pub fn exit_code<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> u8 {
    let mut code = 0;
    for answer in answers {
        if answer.outcome == OutcomeClass::Unsupported || answer.assumptions.iter().any(|line| line.starts_with("not modelled: ")) {
            return 3;
        }
        if answer.ok == Some(false) {
            code = 1;
        }
    }
    code
}

/// JUnit XML, as CI systems read it.
pub fn junit<'a>(suite: &str, answers: impl IntoIterator<Item = &'a Answer>) -> String {
    let answers: Vec<&Answer> = answers.into_iter().collect();
    let failures = answers.iter().filter(|answer| answer.ok == Some(false)).count();
    let skipped = answers.iter().filter(|answer| answer.ok.is_none()).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
        escape(suite),
        answers.len()
    );
    for answer in answers {
        let _ = write!(text, "  <testcase name=\"{}\" classname=\"{}\"", escape(&answer.name), escape(suite));
        match answer.ok {
            Some(true) => text.push_str("/>\n"),
            Some(false) => {
                let message = escape(&answer.unmet.join("; "));
                let _ = write!(
                    text,
                    ">\n    <failure message=\"{message}\">{}</failure>\n  </testcase>\n",
                    escape(&summary(answer, false))
                );
            }
            None => text.push_str(">\n    <skipped message=\"nothing was expected\"/>\n  </testcase>\n"),
        }
    }
    text.push_str("</testsuite>\n");
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
