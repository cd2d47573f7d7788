//! One record to one step: names instead of ids, and a line for people.

use std::collections::BTreeMap;

use sim_core::{Snap, Stamped, WireEvent};
use stack::conntrack::Conntrack;
use stack::netfilter::hook::Hook;
use stack::trace::{Bridged, Check, CheckResult, CtEvent, CtInfo, NeighEvent, Record, RouteKind, RuleVerdict};
use stack::{DevId, Family, Netns, Network, ProvId};

use super::decode::{Decoded, decode, diff};
use super::{Change, ConnectionStep, End, Origin, RouteStep, RuleStep, Step};

/// What the steps so far have said of a packet.
#[derive(Clone, Debug, Default)]
pub struct PacketState {
    /// Its headers as last seen.
    pub headers: Option<Decoded>,
    /// Its two ends where it was made.
    pub born_flow: Option<String>,
    /// Transport protocol.
    pub protocol: String,
    /// Whether it is a DNS message.
    pub is_dns: bool,
    hook: Option<Hook>,
    family: Option<Family>,
}

impl PacketState {
    /// What a copy of the packet begins with.
    pub fn child(&self) -> PacketState {
        PacketState { hook: None, ..self.clone() }
    }
}

/// Reads records of a network.
pub struct Reader<'a> {
    /// The network, after the run.
    pub network: &'a Network,
    /// Names of the choices, by purpose, key and draw.
    pub choices: &'a BTreeMap<(u16, u64, u32), String>,
}

/// How a packet's records end with this one; none where they go on.
pub fn end_of(network: &Network, stamped: &Stamped<Record>, seq: u32) -> Option<End> {
    let namespace = network.sim.name(stamped.node).to_owned();
    match stamped.record {
        Record::Deliver { .. } => Some(End::Delivered { namespace }),
        Record::Drop { reason, dev } => {
            let device = device_name(network.netns(stamped.node), dev);
            Some(End::Dropped { namespace, device, reason: reason.to_string(), step: seq })
        }
        Record::Consume { children } => Some(End::Consumed { namespace, children }),
        Record::Wire { event, .. } => match event {
            WireEvent::Duplicated(_) | WireEvent::HeldBack => None,
            event => Some(End::LostOnWire { namespace, event: wire_text(event).to_owned() }),
        },
        _ => None,
    }
}

struct Draft {
    device: Option<String>,
    layer: u8,
    stage: &'static str,
    action: &'static str,
    text: String,
    diff: Vec<Change>,
    rule: Option<RuleStep>,
    connection: Option<ConnectionStep>,
    route: Option<RouteStep>,
    choice: Option<String>,
    prov: ProvId,
}

fn draft(layer: u8, stage: &'static str, action: &'static str, text: String) -> Draft {
    Draft {
        device: None,
        layer,
        stage,
        action,
        text,
        diff: Vec::new(),
        rule: None,
        connection: None,
        route: None,
        choice: None,
        prov: ProvId::default(),
    }
}

impl Reader<'_> {
    /// The step of a record; none for what only delimits others.
    pub fn step(&self, seq: u32, stamped: &Stamped<Record>, state: &mut PacketState) -> Option<Step> {
        let ns = self.network.netns(stamped.node);
        let made = self.draft(ns, &stamped.record, state)?;
        Some(Step {
            seq,
            time_ns: stamped.time.as_nanos(),
            namespace: self.network.sim.name(stamped.node).to_owned(),
            device: made.device,
            layer: made.layer,
            stage: made.stage,
            action: made.action,
            text: made.text,
            diff: made.diff,
            rule: made.rule,
            connection: made.connection,
            route: made.route,
            choice: made.choice,
            provenance: self.origin(made.prov),
        })
    }

    fn origin(&self, prov: ProvId) -> Option<Origin> {
        let provenance = self.network.provenances.get(prov)?;
        Some(Origin {
            generator: provenance.generator.to_string(),
            object: provenance.object.as_deref().map(str::to_owned),
            field: provenance.field.as_deref().map(str::to_owned),
            place: provenance.place.as_ref().map(ToString::to_string),
        })
    }

    /// Takes in the headers of a frame, and returns what changed since they were last seen.
    fn headers(&self, snap: Snap, link: bool, state: &mut PacketState) -> Vec<Change> {
        if snap.kept == 0 {
            return Vec::new();
        }
        let decoded = decode(&self.network.sim.tracer().bytes(snap), link, usize::from(snap.full));
        let changes = state.headers.as_ref().map(|old| diff(old, &decoded)).unwrap_or_default();
        if state.born_flow.is_none() {
            state.born_flow.clone_from(&decoded.flow);
            state.protocol.clone_from(&decoded.protocol);
            state.is_dns = decoded.is_dns;
        }
        state.headers = Some(decoded);
        changes
    }

    fn draft(&self, ns: &Netns, record: &Record, state: &mut PacketState) -> Option<Draft> {
        let inside_hook = matches!(
            record,
            Record::Rule { .. }
                | Record::Conntrack { .. }
                | Record::Nat { .. }
                | Record::Mark { .. }
                | Record::Choice { .. }
                | Record::App { .. }
        );
        if !inside_hook
            && !matches!(record, Record::Hook { .. } | Record::Drop { .. } | Record::Route { .. } | Record::IcmpError { .. })
        {
            state.hook = None;
        }
        let stage = state.hook.map_or("", hook_stage);
        let summary = |state: &PacketState| state.headers.as_ref().map(|headers| headers.summary.clone()).unwrap_or_default();
        Some(match *record {
            Record::Receive { dev, frame } => {
                let diff = self.headers(frame, true, state);
                at(draft(2, "receive", "receive", summary(state)), ns, dev, diff)
            }
            Record::Originate { socket, frame } => {
                let link = self.begins_with_link(frame);
                let diff = self.headers(frame, link, state);
                let who = if socket.is_some() { "socket" } else { "kernel" };
                let layer = if link { 2 } else { 4 };
                Draft { diff, ..draft(layer, who, "originate", summary(state)) }
            }
            Record::Resume { dev, frame } => {
                let link = self.begins_with_link(frame);
                let diff = self.headers(frame, link, state);
                at(draft(3, "resume", "resume", "goes on".to_owned()), ns, dev, diff)
            }
            Record::DevIn { dev, frame } => {
                let diff = self.headers(frame, true, state);
                at(draft(2, "receive", "dev_in", format!("up into {}", name(ns, dev))), ns, dev, diff)
            }
            Record::DevOut { dev, frame } => {
                let diff = self.headers(frame, true, state);
                at(draft(2, "transmit", "dev_out", format!("down through {}", name(ns, dev))), ns, dev, diff)
            }
            Record::Transmit { dev, frame } => {
                let diff = self.headers(frame, true, state);
                at(draft(2, "transmit", "transmit", format!("out of {}", name(ns, dev))), ns, dev, diff)
            }
            Record::Deliver { socket } => {
                let whom = if socket.is_some() { "delivered to the socket" } else { "taken by the kernel" };
                draft(4, "deliver", "deliver", whom.to_owned())
            }
            Record::Drop { reason, dev } => {
                let stage = if stage.is_empty() { "drop" } else { stage };
                at(draft(3, stage, "drop", format!("dropped: {reason}")), ns, dev, Vec::new())
            }
            Record::Queue { dev } => at(draft(2, "neighbour", "queue", "waits".to_owned()), ns, dev, Vec::new()),
            Record::Consume { children: 1 } => draft(2, "tunnel", "consume", "goes on as another packet".to_owned()),
            Record::Consume { children } => draft(2, "copy", "consume", format!("becomes {children} packets")),
            Record::Bridge { bridge, port, learned, decision } => {
                let to = match decision {
                    Bridged::Port(out) => format!("to port {}", name(ns, out)),
                    Bridged::Flood(ports) => format!("unknown here: flooded to {ports} ports"),
                    Bridged::Up => format!("up to {}", name(ns, bridge)),
                    Bridged::UpAndFlood(ports) => format!("up to {} and flooded to {ports} ports", name(ns, bridge)),
                };
                let learned = if learned { ", source learned" } else { "" };
                let text = format!("bridge {}: from port {} {to}{learned}", name(ns, bridge), name(ns, port));
                at(draft(2, "bridge", "bridge", text), ns, bridge, Vec::new())
            }
            Record::Neigh { dev, address, mac, event } => {
                let (action, text) = match event {
                    NeighEvent::Resolved => ("resolved", format!("{address} is at {mac}")),
                    NeighEvent::Incomplete => ("incomplete", format!("who has {address}? nobody knows yet: ask, and wait")),
                    NeighEvent::Learned => ("learned", format!("learned: {address} is at {mac}")),
                    NeighEvent::Answered => ("answered", format!("answered: {address} is at {mac}")),
                    NeighEvent::Ignored => ("ignored", format!("{address} is not asked of us")),
                    NeighEvent::Failed => ("failed", format!("nobody answers for {address}")),
                };
                at(draft(2, "neighbour", action, text), ns, dev, Vec::new())
            }
            Record::Route { kind, dev, prefix_len, table, rule, via, prov } => {
                self.route(ns, state, kind, dev, (prefix_len, table, rule), via, prov)
            }
            Record::Hook { hook, family, .. } => {
                state.hook = Some(hook);
                state.family = Some(family);
                return None;
            }
            Record::Rule { rule, tried, verdict, target_chain } => {
                let family = state.family.unwrap_or(Family::V4);
                let netfilter = ns.netfilter.get(family);
                let info = netfilter.rule_info(rule)?;
                let target = matches!(verdict, RuleVerdict::Jump | RuleVerdict::Goto)
                    .then(|| netfilter.chain_name(rule.program, target_chain).map(|chain| chain.to_string()))
                    .flatten();
                let word = verdict_name(verdict);
                let number = info.number.map_or_else(|| "policy".to_owned(), |number| format!("#{number}"));
                let text = format!("{} {} {number}: {}", info.table, info.chain, info.text);
                let step = RuleStep {
                    table: info.table.to_string(),
                    chain: info.chain.to_string(),
                    number: info.number,
                    text: info.text,
                    verdict: word,
                    target,
                    tried,
                };
                Draft { rule: Some(step), prov: info.prov, ..draft(3, stage, "rule", text) }
            }
            Record::Conntrack { info, event, note, .. } => {
                let view = Conntrack::decode_note(&self.network.sim.tracer().bytes(note));
                let entry = view.as_ref().map(Conntrack::line);
                let word = ct_state(info, event);
                let text = match &view {
                    Some(view) => format!("{word}: {} -> reply {}", tuple(&view.original), tuple(&view.reply)),
                    None => word.to_owned(),
                };
                let direction = match (event, info) {
                    (CtEvent::Invalid | CtEvent::Untracked, _) => None,
                    (_, CtInfo::EstablishedReply | CtInfo::RelatedReply) => Some("reply"),
                    _ => Some("original"),
                };
                let connection = ConnectionStep { state: word, direction, event: ct_event(event), entry };
                let stage = if stage.is_empty() { "conntrack" } else { stage };
                Draft { connection: Some(connection), ..draft(4, stage, "conntrack", text) }
            }
            Record::Nat { hook, source, frame, .. } => {
                let link = self.begins_with_link(frame);
                let diff = self.headers(frame, link, state);
                let changed: Vec<String> = diff.iter().map(|one| format!("{} {} -> {}", one.field, one.old, one.new)).collect();
                let what = if source { "source" } else { "destination" };
                let text = if changed.is_empty() { format!("{what} kept") } else { changed.join(", ") };
                Draft { diff, ..draft(3, hook_stage(hook), "nat", text) }
            }
            Record::Mark { old, new } => draft(3, stage, "mark", format!("mark {old:#x} -> {new:#x}")),
            Record::HopLimit { old, new } => {
                let field = if state.family == Some(Family::V6) { "ipv6.hop_limit" } else { "ipv4.ttl" };
                let change = Change { field: field.to_owned(), old: old.to_string(), new: new.to_string() };
                if let Some(headers) = &mut state.headers {
                    for layer in &mut headers.layers {
                        for (name, value) in &mut layer.fields {
                            if matches!((layer.name, *name), ("ipv4", "ttl") | ("ipv6", "hop_limit")) {
                                *value = new.to_string();
                            }
                        }
                    }
                }
                Draft { diff: vec![change], ..draft(3, "forward", "hop_limit", format!("TTL {old} -> {new}")) }
            }
            Record::Check { check, result, value } => {
                let what = match check {
                    Check::RpFilter => "rp_filter",
                    Check::Forwarding => "forwarding",
                    Check::HopLimit => "TTL",
                    Check::Mtu => "MTU",
                    Check::Header => "header",
                };
                let (action, word) = match result {
                    CheckResult::Pass => ("check_pass", "holds"),
                    CheckResult::Fail => ("check_fail", "does not hold"),
                    CheckResult::Off => ("check_off", "is off"),
                };
                draft(3, "check", action, format!("{what} {word} ({value})"))
            }
            Record::Fragment { pieces, mtu } => draft(3, "fragment", "fragment", format!("{pieces} pieces, MTU {mtu}")),
            Record::IcmpError { kind, code, limited } => {
                let held = if limited { ", held back by the rate limit" } else { "" };
                draft(3, "icmp", "icmp_error", format!("tells the sender: ICMP type {kind} code {code}{held}"))
            }
            Record::Socket { socket, old, new } => {
                let text = format!("socket {socket}: {} -> {}", tcp_state(old), tcp_state(new));
                draft(4, "socket", "tcp_state", text)
            }
            Record::App { text, .. } => {
                let bytes = self.network.sim.tracer().bytes(text);
                draft(7, "app", "app", String::from_utf8_lossy(&bytes).into_owned())
            }
            Record::Choice { purpose, key, draw, arm } => {
                let choice = self.choices.get(&(purpose, key, draw)).cloned();
                let what = super::purpose_name(sim_core::Purpose(purpose));
                let stage = if stage.is_empty() { "choice" } else { stage };
                Draft { choice, ..draft(3, stage, "choice", format!("{what}: arm {arm}")) }
            }
            Record::Wire { event, .. } => draft(1, "wire", "wire", wire_text(event).to_owned()),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one record")]
    fn route(
        &self,
        ns: &Netns,
        state: &PacketState,
        kind: RouteKind,
        dev: DevId,
        (prefix_len, table, rule): (u8, u32, u32),
        via: Option<std::net::IpAddr>,
        prov: ProvId,
    ) -> Draft {
        let word = route_name(kind);
        // Without a packet there was no route, and no device is meant.
        let (asked, via) = if state.headers.is_none() { (via, None) } else { (None, via) };
        let device = if asked.is_some() { None } else { device_name(ns, dev) };
        let target = match (kind, &via, &device) {
            (RouteKind::Local, ..) => "to this host".to_owned(),
            (RouteKind::None, ..) => "no route".to_owned(),
            (_, Some(via), Some(dev)) => format!("via {via} dev {dev}"),
            (_, None, Some(dev)) => format!("dev {dev}"),
            _ => word.to_owned(),
        };
        let table_name = match table {
            255 => "local".to_owned(),
            254 => "main".to_owned(),
            253 => "default".to_owned(),
            other => other.to_string(),
        };
        let dst = state.headers.as_ref().and_then(|headers| {
            let ip = headers.layers.iter().find(|layer| layer.layer == 3)?;
            ip.fields.iter().find(|(name, _)| *name == "dst").map(|(_, value)| value.clone())
        });
        let dst = dst.or_else(|| asked.map(|asked| asked.to_string()));
        let text = match (kind, dst) {
            (RouteKind::None, Some(dst)) => format!("{dst}: no route"),
            (RouteKind::None, None) => "no route".to_owned(),
            (_, Some(dst)) => format!("{dst} {target}  (table {table_name}, /{prefix_len})"),
            (_, None) => format!("{target}  (table {table_name}, /{prefix_len})"),
        };
        let step = RouteStep { kind: word, prefix_len, table, rule, via: via.map(|via| via.to_string()), dev: device.clone() };
        Draft { device, route: Some(step), prov, ..draft(3, "route", "route", text) }
    }

    /// Whether a kept frame begins with an Ethernet header: our own packets begin with the IP header until they leave.
    fn begins_with_link(&self, snap: Snap) -> bool {
        let bytes = self.network.sim.tracer().bytes(snap);
        let ip_like = match bytes.first().map(|first| first >> 4) {
            Some(4) => bytes.len() >= 20 && usize::from(stack::view::be16(&bytes, 2)) == usize::from(snap.full),
            Some(6) => bytes.len() >= 40 && 40 + usize::from(stack::view::be16(&bytes, 4)) == usize::from(snap.full),
            _ => false,
        };
        !ip_like
    }
}

fn at(made: Draft, ns: &Netns, dev: DevId, diff: Vec<Change>) -> Draft {
    Draft { device: device_name(ns, dev), diff, ..made }
}

fn device_name(ns: &Netns, dev: DevId) -> Option<String> {
    (dev != DevId::NONE).then(|| ns.devices.get(dev).name.to_string())
}

fn name(ns: &Netns, dev: DevId) -> String {
    device_name(ns, dev).unwrap_or_else(|| "?".to_owned())
}

fn hook_stage(hook: Hook) -> &'static str {
    match hook {
        Hook::PreRouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::PostRouting => "postrouting",
    }
}

fn verdict_name(verdict: RuleVerdict) -> &'static str {
    match verdict {
        RuleVerdict::Accept => "accept",
        RuleVerdict::Drop => "drop",
        RuleVerdict::Reject => "reject",
        RuleVerdict::Return => "return",
        RuleVerdict::Continue => "continue",
        RuleVerdict::Jump => "jump",
        RuleVerdict::Goto => "goto",
        RuleVerdict::Nat => "nat",
        RuleVerdict::Stolen => "stolen",
    }
}

fn route_name(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Local => "local",
        RouteKind::Unicast => "unicast",
        RouteKind::Broadcast => "broadcast",
        RouteKind::Multicast => "multicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        RouteKind::None => "none",
    }
}

fn ct_state(info: CtInfo, event: CtEvent) -> &'static str {
    match event {
        CtEvent::Invalid => "INVALID",
        CtEvent::Untracked => "UNTRACKED",
        _ => match info {
            CtInfo::New => "NEW",
            CtInfo::Established | CtInfo::EstablishedReply => "ESTABLISHED",
            CtInfo::Related | CtInfo::RelatedReply => "RELATED",
        },
    }
}

fn ct_event(event: CtEvent) -> &'static str {
    match event {
        CtEvent::New => "new",
        CtEvent::Found => "found",
        CtEvent::Confirmed => "confirmed",
        CtEvent::Invalid => "invalid",
        CtEvent::Untracked => "untracked",
        CtEvent::Changed => "changed",
        CtEvent::Destroyed => "destroyed",
    }
}

fn wire_text(event: WireEvent) -> &'static str {
    match event {
        WireEvent::Lost => "lost on the wire",
        WireEvent::Duplicated(_) => "arrives twice",
        WireEvent::HeldBack => "held back on the wire",
        WireEvent::TooBig => "larger than the link carries",
        WireEvent::LinkDown => "the link is down",
        WireEvent::Unplugged => "no link is plugged in",
    }
}

fn tuple(tuple: &stack::conntrack::Tuple) -> String {
    let end = |address: std::net::IpAddr, port: u16| match (tuple.proto, address) {
        (6 | 17 | 132 | 136, std::net::IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        (6 | 17 | 132 | 136, address) => format!("{address}:{port}"),
        (_, address) => address.to_string(),
    };
    format!("{} > {}", end(tuple.src, tuple.sport), end(tuple.dst, tuple.dport))
}

/// The name of a TCP state's code (include/net/tcp_states.h).
fn tcp_state(code: u8) -> &'static str {
    match code {
        1 => "ESTABLISHED",
        2 => "SYN-SENT",
        3 => "SYN-RCVD",
        4 => "FIN-WAIT-1",
        5 => "FIN-WAIT-2",
        6 => "TIME-WAIT",
        7 => "CLOSED",
        8 => "CLOSE-WAIT",
        9 => "LAST-ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        _ => "?",
    }
}
