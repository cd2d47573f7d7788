//! An exchange for people: the way there, the way back, what else was said. Fits 100 columns; colour is optional.
//!
//! ```text
//!   there  p1  TCP 10.244.1.2:40000 > 10.96.0.9:80 [SYN] ...
//!     pod default/client
//!       socket       sent
//!       route        10.96.0.9 via 10.244.1.1 dev eth0 ...
//!     node kind-worker
//!       PREROUTING   nat KUBE-SERVICES #4: -d 10.96.0.9/32 ... -j KUBE-SVC-...
//! ```

mod style;
mod wrap;

use crate::trace::{Conversation, End, Exchange, Origin, PacketTrace, PlaceKind, Step};

use style::Style;

pub(crate) use wrap::wrap;

/// Columns of text that is not told otherwise.
pub const WIDTH: usize = 100;

/// How an exchange is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextOptions {
    /// Columns.
    pub width: usize,
    /// ANSI colours.
    pub color: bool,
    /// Every packet with all its steps, and the checks that passed.
    pub full: bool,
}

impl Default for TextOptions {
    fn default() -> TextOptions {
        TextOptions { width: WIDTH, color: false, full: false }
    }
}

/// The exchange as text.
pub fn text(exchange: &Exchange, options: &TextOptions) -> String {
    let mut out = Printer { exchange, options, style: Style { on: options.color }, text: String::new() };
    let main = exchange.main();
    let mut dns_shown = false;
    for conversation in &exchange.conversations {
        let is_main = main.is_some_and(|main| std::ptr::eq(main, conversation));
        // One look-up in full tells how a look-up travels; the others are lines.
        let in_full = options.full || is_main || (conversation.kind == "dns" && !dns_shown && out.answered(conversation));
        dns_shown |= in_full && conversation.kind == "dns";
        out.conversation(conversation, in_full);
    }
    out.neighbours();
    if exchange.packets.is_empty() {
        out.nothing_sent();
    }
    out.text
}

/// Columns of the stage's name.
const STAGE: usize = 13;
const PLACE_INDENT: usize = 2;
const STEP_INDENT: usize = 4;

struct Printer<'a> {
    exchange: &'a Exchange,
    options: &'a TextOptions,
    style: Style,
    text: String,
}

impl Printer<'_> {
    fn line(&mut self, indent: usize, label: &str, text: &str, paint: fn(&Style, &str) -> String) {
        let column = indent + if label.is_empty() { 0 } else { label.len().max(STAGE) };
        self.wrapped(indent, label, column, text, paint);
    }

    fn wrapped(&mut self, indent: usize, label: &str, column: usize, text: &str, paint: fn(&Style, &str) -> String) {
        let room = self.options.width.saturating_sub(column).max(20);
        for (at, piece) in wrap(text, room).into_iter().enumerate() {
            if at == 0 {
                let gap = column.saturating_sub(indent + label.len());
                self.text.push_str(&" ".repeat(indent));
                self.text.push_str(&self.style.stage(label));
                self.text.push_str(&" ".repeat(gap));
            } else {
                self.text.push_str(&" ".repeat(column + 2));
            }
            self.text.push_str(paint(&self.style, piece.trim_end()).trim_end());
            self.text.push('\n');
        }
    }

    fn answered(&self, conversation: &Conversation) -> bool {
        let Some(first) = conversation.reverse.packets.first() else { return false };
        self.exchange
            .packet(first)
            .is_some_and(|packet| packet.summary.contains("NOERROR") && !packet.summary.contains(" 0 answers"))
    }

    fn conversation(&mut self, conversation: &Conversation, in_full: bool) {
        let packets: Vec<&PacketTrace> = (self.exchange.packets.iter())
            .filter(|packet| conversation.forward.packets.contains(&packet.id) || conversation.reverse.packets.contains(&packet.id))
            .collect();
        let Some(first) = packets.first() else { return };
        let title = match conversation.kind.as_str() {
            "dns" => "name look-up".to_owned(),
            kind => format!("{kind} exchange"),
        };
        let title = format!("{title}: {}", first.summary.split(" seq=").next().unwrap_or_default());
        self.text.push('\n');
        self.wrapped(0, "", 0, &title, Style::title);
        let root = |packet: &PacketTrace| packet.id.split('.').next().unwrap_or_default().to_owned();
        let there = conversation.forward.packets.first().cloned().unwrap_or_default();
        let back = conversation.reverse.packets.first().cloned().unwrap_or_default();
        let mut short = Vec::new();
        // How packets ended that are shown in full: those that are sent again end there again.
        let mut ends: Vec<(bool, &End)> = Vec::new();
        for packet in packets {
            let forward = conversation.forward.packets.contains(&packet.id);
            let shown = root(packet) == there || (!back.is_empty() && root(packet) == back);
            let news = Self::went_wrong(packet) && !ends.iter().any(|(way, end)| *way == forward && same_end(end, &packet.end));
            if in_full && (shown || self.options.full || news) {
                ends.push((forward, &packet.end));
                self.flush(&mut short);
                self.packet(packet, forward);
            } else {
                short.push((packet, forward));
            }
        }
        self.flush(&mut short);
    }

    fn went_wrong(packet: &PacketTrace) -> bool {
        matches!(packet.end, End::Dropped { .. } | End::LostOnWire { .. }) && packet.cause != "flood_copy"
    }

    /// Packets of which only the line is shown.
    fn flush(&mut self, packets: &mut Vec<(&PacketTrace, bool)>) {
        if packets.is_empty() {
            return;
        }
        self.text.push('\n');
        for (packet, forward) in packets.drain(..) {
            let end = match &packet.end {
                End::Delivered { .. } | End::Consumed { .. } => String::new(),
                End::Dropped { namespace, reason, .. } => format!("  -- dropped in {namespace}: {reason}"),
                End::LostOnWire { namespace, event } => format!("  -- {event} behind {namespace}"),
                End::Open { namespace } => format!("  -- last seen in {namespace}"),
            };
            let label = format!("{} {}", if forward { "->" } else { "<-" }, packet.id);
            // When something is sent again tells the timer.
            let when = if packet.cause == "retransmit" { format!("  (again, {})", time(packet.born_ns)) } else { String::new() };
            self.line(2, &format!("{label:<9}"), &format!("{}{when}{end}", packet.summary), Style::plain);
        }
    }

    fn packet(&mut self, packet: &PacketTrace, forward: bool) {
        self.text.push('\n');
        let label = format!("{}  {}  ", if forward { "there" } else { "back" }, packet.id);
        self.wrapped(0, &label, label.len(), &format!("{}  ({})", packet.summary, time(packet.born_ns)), Style::bold);
        if self.options.full && !packet.layers.is_empty() {
            let total: u32 = packet.layers.iter().map(|layer| layer.len).sum();
            let parts: Vec<String> = packet.layers.iter().map(|layer| format!("{} {}", layer.len, layer.name)).collect();
            self.line(PLACE_INDENT, "", &format!("{total} bytes = {}", parts.join(" + ")), Style::dim);
        }
        let mut place = "";
        let mut last_stage = String::new();
        let mut told: Option<&Origin> = None;
        let fold = if self.options.full { Vec::new() } else { idle_rules(&packet.steps) };
        let mut idle: Vec<&Step> = Vec::new();
        for (at, step) in packet.steps.iter().enumerate() {
            if fold.get(at).copied().unwrap_or(false) {
                if idle.last().is_some_and(|last| (last.stage, &last.namespace) != (step.stage, &step.namespace)) {
                    self.idle(&mut idle, &mut last_stage);
                }
                idle.push(step);
                continue;
            }
            self.idle(&mut idle, &mut last_stage);
            if step.namespace != place {
                place = &step.namespace;
                told = None;
                last_stage.clear();
                let kind = self.exchange.places.get(place).copied().unwrap_or(PlaceKind::Namespace);
                let header = if kind.word() == place { place.to_owned() } else { format!("{} {place}", kind.word()) };
                self.line(PLACE_INDENT, "", &header, Style::place);
            }
            self.step(step, &mut last_stage);
            self.origin(step, &mut told);
        }
        self.idle(&mut idle, &mut last_stage);
        match &packet.end {
            End::LostOnWire { event, .. } => self.line(STEP_INDENT, "wire", event, Style::bad),
            End::Open { .. } => self.line(STEP_INDENT, "...", "the trace ends here: it still waits, or is under way", Style::dim),
            _ => {}
        }
    }

    fn step(&mut self, step: &Step, last_stage: &mut String) {
        let text = match step.action {
            "check_pass" | "check_off" if !self.options.full => return,
            "mark" | "choice" if !self.options.full && step.action == "choice" && step.choice.is_none() => return,
            "conntrack" => self.conntrack(step),
            "rule" => self.rule(step),
            "nat" => match step.diff.is_empty() {
                true => return,
                false => format!("NAT: {}", changes(step)),
            },
            "choice" => match self.choice(step) {
                Some(text) => text,
                None => return,
            },
            "receive" => "in".to_owned(),
            "transmit" => {
                let macs = step.diff.iter().filter(|change| change.field.starts_with("ethernet.")).count();
                if macs > 0 { format!("out  ({})", changes(step)) } else { "out".to_owned() }
            }
            "dev_in" | "dev_out" | "queue" if !self.options.full => return,
            "originate" => "sent".to_owned(),
            _ => step.text.clone(),
        };
        let stage = match step.action {
            "receive" | "transmit" | "dev_in" | "dev_out" => step.device.clone().unwrap_or_default(),
            // It waited for a neighbour's answer, or for its other fragments.
            "resume" => "...".to_owned(),
            _ => match step.stage {
                hook @ ("prerouting" | "input" | "forward" | "output" | "postrouting") if step.action != "hop_limit" => {
                    hook.to_uppercase()
                }
                other => other.to_owned(),
            },
        };
        let label = if *last_stage == stage { String::new() } else { stage.clone() };
        *last_stage = stage;
        let paint = match step.action {
            "drop" | "check_fail" | "failed" => Style::bad,
            "nat" => Style::good,
            "deliver" => Style::good,
            _ => Style::plain,
        };
        // The rule that decided keeps its column although the label is empty.
        let column = STEP_INDENT + STAGE.max(label.len() + 1);
        self.wrapped(STEP_INDENT, &label, column, &text, paint);
    }

    /// Who made the rule or route, unless that was just said.
    fn origin<'a>(&mut self, step: &'a Step, told: &mut Option<&'a Origin>) {
        let Some(origin) = &step.provenance else { return };
        let worth_saying = step.rule.as_ref().is_some_and(|rule| rule.verdict != "return") || step.action == "route";
        let Some(object) = &origin.object else { return };
        if !worth_saying || *told == Some(origin) {
            return;
        }
        *told = Some(origin);
        let field = origin.field.as_ref().map(|field| format!(" {field}")).unwrap_or_default();
        let place = origin.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let text = format!("^ {} for {object}{field}{place}", origin.generator);
        self.wrapped(STEP_INDENT, "", STEP_INDENT + STAGE + 2, &text, Style::dim);
    }

    /// Rules that only led into chains where nothing matched, in one line.
    fn idle(&mut self, steps: &mut Vec<&Step>, last_stage: &mut String) {
        let Some(first) = steps.first() else { return };
        let stage = first.stage.to_uppercase();
        let mut tables: Vec<(&str, Vec<&str>)> = Vec::new();
        for rule in steps.iter().filter_map(|step| step.rule.as_ref()) {
            if tables.last().is_none_or(|(table, _)| *table != rule.table) {
                tables.push((&rule.table, Vec::new()));
            }
            if let (Some((_, chains)), Some(target)) = (tables.last_mut(), &rule.target) {
                chains.push(target);
            }
        }
        let told: Vec<String> = tables
            .iter()
            .map(|(table, chains)| if chains.is_empty() { (*table).to_owned() } else { format!("{table} ({})", chains.join(", ")) })
            .collect();
        let label = if *last_stage == stage { String::new() } else { stage.clone() };
        *last_stage = stage;
        let text = format!("no rule of {} decides; policy ACCEPT", told.join(", "));
        self.wrapped(STEP_INDENT, &label, STEP_INDENT + STAGE.max(label.len() + 1), &text, Style::dim);
        steps.clear();
    }

    fn conntrack(&self, step: &Step) -> String {
        let Some(connection) = &step.connection else { return step.text.clone() };
        match connection.event {
            "new" => format!("conntrack {}", step.text),
            "found" => format!("conntrack {}, {} direction", step.text, connection.direction.unwrap_or("?")),
            "confirmed" => match &connection.entry {
                Some(entry) => format!("conntrack: confirmed: {entry}"),
                None => "conntrack: confirmed".to_owned(),
            },
            event => format!("conntrack: {event}: {}", step.text),
        }
    }

    fn rule(&self, step: &Step) -> String {
        let Some(rule) = &step.rule else { return step.text.clone() };
        let chain = format!("{} {}", rule.table, rule.chain);
        match rule.number {
            None => format!("{chain}: {} ({})", policy(rule.verdict), rule.text),
            Some(number) => {
                let text = rule.text.strip_prefix(&format!("-A {} ", rule.chain)).unwrap_or(&rule.text);
                format!("{chain} #{number}: {text}")
            }
        }
    }

    fn choice(&self, step: &Step) -> Option<String> {
        let id = step.choice.as_ref()?;
        let choice = self.exchange.choices.iter().find(|choice| choice.id == *id)?;
        let taken = match (choice.purpose, choice.arm) {
            ("statistic", 1) => "drawn: this rule matches".to_owned(),
            ("statistic", _) => "drawn: this rule does not match".to_owned(),
            (purpose, arm) if self.options.full => format!("drawn for {purpose}: arm {arm} of {}", choice.arms),
            _ => return None,
        };
        Some(format!("{taken} (chance {})", choice.probability))
    }

    /// What happened where no packet came of it: a socket without a route, say.
    fn nothing_sent(&mut self) {
        let mut place = "";
        let mut last_stage = String::new();
        for step in &self.exchange.events {
            if place.is_empty() {
                self.text.push('\n');
                self.wrapped(0, "", 0, "nothing was sent", Style::title);
            }
            if step.namespace != place {
                place = &step.namespace;
                self.line(PLACE_INDENT, "", place, Style::place);
            }
            self.step(step, &mut last_stage);
        }
    }

    fn neighbours(&mut self) {
        let asked: Vec<&PacketTrace> = self
            .exchange
            .packets
            .iter()
            .filter(|packet| matches!(packet.cause, "arp" | "ndp"))
            .filter(|packet| !packet.id.contains('.'))
            .collect();
        if asked.is_empty() {
            return;
        }
        self.text.push('\n');
        self.wrapped(0, "", 0, "neighbours asked on the way", Style::title);
        for packet in asked {
            self.line(2, &format!("{:<9}", packet.id), &format!("{}  (by {})", packet.summary, packet.born_in), Style::plain);
        }
    }
}

/// Whether two packets ended at the same place for the same reason.
fn same_end(one: &End, other: &End) -> bool {
    match (one, other) {
        (
            End::Dropped { namespace, device, reason, .. },
            End::Dropped { namespace: other_namespace, device: other_device, reason: other_reason, .. },
        ) => (namespace, device, reason) == (other_namespace, other_device, other_reason),
        (End::LostOnWire { namespace, event, .. }, End::LostOnWire { namespace: other_namespace, event: other_event, .. }) => {
            (namespace, event) == (other_namespace, other_event)
        }
        _ => false,
    }
}

/// Which steps belong to the walk of a table that ends with its policy ACCEPT, and in which no rule did anything but jump into
/// chains and come back.
fn idle_rules(steps: &[Step]) -> Vec<bool> {
    let mut idle = vec![false; steps.len()];
    let mut begin = 0;
    while begin < steps.len() {
        let Some(first) = steps[begin].rule.as_ref() else {
            begin += 1;
            continue;
        };
        let walk = steps[begin..].iter().take_while(|step| {
            step.stage == steps[begin].stage
                && step.namespace == steps[begin].namespace
                && step.rule.as_ref().map_or(matches!(step.action, "choice" | "mark"), |rule| rule.table == first.table)
        });
        let end = begin + walk.count();
        let quiet = |step: &Step| {
            let Some(rule) = &step.rule else { return false };
            match rule.verdict {
                "jump" | "return" => true,
                "accept" => rule.number.is_none(),
                _ => false,
            }
        };
        if steps[begin..end].iter().all(quiet) {
            idle[begin..end].fill(true);
        }
        begin = end;
    }
    idle
}

fn policy(verdict: &str) -> &str {
    match verdict {
        "accept" => "end of the chain, policy ACCEPT",
        "drop" => "end of the chain, policy DROP",
        "return" => "end of the chain, back to the caller",
        other => other,
    }
}

fn changes(step: &Step) -> String {
    let changed: Vec<String> =
        step.diff.iter().map(|change| format!("{} {} -> {}", change.field, change.old, change.new)).collect();
    changed.join(", ")
}

/// Virtual time for people: `0 s`, `151.2 us`, `3.004 s`.
pub fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0 => return "0 s".to_owned(),
        1..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns, "us"),
        1_000_000..1_000_000_000 => (ns / 1_000, "ms"),
        _ => (ns / 1_000_000, "s"),
    };
    let (whole, rest) = (value / 1_000, value % 1_000);
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole}.{} {unit}", format!("{rest:03}").trim_end_matches('0')) }
}
