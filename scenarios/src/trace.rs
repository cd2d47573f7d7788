//! From a run's records to steps: what happened to every packet of one exchange, in order, with names instead of ids.
//!
//! [`exchange`] builds the one shape from which text, JSON and captures derive. It reads the network after the run and changes
//! nothing.
//!
//! - [`decode`]: a frame's layers, its fields for comparison, its one-line summary.
//! - [`steps`]: one record to one [`Step`].
//! - [`grammar`]: the invariant on a packet's records, checked in tests.
//! - [`capture`]: the same run as a pcapng file.

pub mod capture;
pub mod decode;
pub mod grammar;
pub mod steps;

use std::collections::BTreeMap;

use serde::Serialize;
use sim_core::{Arms, NodeId, PacketId};
use stack::Network;
use stack::trace::{NO_PACKET, Record, cause, purpose};

use decode::Layer;

/// What a namespace is, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// A pod.
    Pod,
    /// A node of a cluster.
    Node,
    /// Outside of every cluster.
    External,
    /// The switch between nodes.
    Underlay,
    /// A bare namespace.
    Namespace,
}

impl PlaceKind {
    /// The word in front of the name.
    pub fn word(self) -> &'static str {
        match self {
            PlaceKind::Pod => "pod",
            PlaceKind::Node => "node",
            PlaceKind::External => "external",
            PlaceKind::Underlay => "underlay",
            PlaceKind::Namespace => "ns",
        }
    }
}

/// What [`exchange`] needs to know besides the network.
#[derive(Clone, Debug, Default)]
pub struct TraceInput {
    /// The namespace that asks.
    pub from: Option<NodeId>,
    /// How many choices the run had taken when the question was asked.
    pub first_choice: usize,
    /// What each namespace is; a bare namespace where it says nothing.
    pub kinds: BTreeMap<String, PlaceKind>,
}

/// What was asked, and all packets that it took.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// Every packet, in the order in which they were made.
    pub packets: Vec<PacketTrace>,
    /// Packets that belong together: a connection, a DNS question. In the order in which they began.
    pub conversations: Vec<Conversation>,
    /// What was drawn by chance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<ChoicePoint>,
    /// What concerns no packet: timers, what an app says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Step>,
    /// Whether the record limit cut the trace short.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// What each namespace named above is.
    pub places: BTreeMap<String, PlaceKind>,
}

/// A connection, a datagram and its answer, a DNS question.
#[derive(Clone, Debug, Serialize)]
pub struct Conversation {
    /// `dns` or the transport's name.
    pub kind: String,
    /// Packets away from the one who began.
    pub forward: Path,
    /// Packets back to it.
    pub reverse: Path,
}

/// Packets in one direction, and the links that they crossed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Path {
    /// Their ids.
    pub packets: Vec<String>,
    /// The links that the first of them (and what became of it) crossed.
    pub hops: Vec<Hop>,
}

/// One link traversal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// `namespace/device` that sent it.
    pub from: String,
    /// `namespace/device` that received it.
    pub to: String,
    /// When it left.
    pub sent_ns: u64,
    /// When it arrived.
    pub received_ns: u64,
}

/// One packet.
#[derive(Clone, Debug, Serialize)]
pub struct PacketTrace {
    /// `p3`, `p3.1` for what was made of it.
    pub id: String,
    /// The packet that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Why it exists.
    pub cause: &'static str,
    /// Where it was made.
    pub born_in: String,
    /// When it was made.
    pub born_ns: u64,
    /// One line: `TCP 10.244.1.2:40000 > 10.96.0.1:443 [SYN]`.
    pub summary: String,
    /// Its headers as they were first seen on a wire.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
    /// What happened to it.
    pub steps: Vec<Step>,
    /// How its records end.
    pub end: End,
}

/// How a packet's records end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum End {
    /// A socket, or the kernel's answerer, took it.
    Delivered {
        /// Where.
        namespace: String,
    },
    /// It ended on the way.
    Dropped {
        /// Where.
        namespace: String,
        /// The device that it was at.
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        /// The kernel's word.
        reason: String,
        /// The step that says so.
        step: u32,
    },
    /// It became others.
    Consumed {
        /// Where.
        namespace: String,
        /// How many.
        children: u16,
    },
    /// It was lost on the wire.
    LostOnWire {
        /// Where it left.
        namespace: String,
        /// What befell it.
        event: String,
    },
    /// It waits, or is under way.
    Open {
        /// Where it was last.
        namespace: String,
    },
}

/// A connection as a step shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionStep {
    /// `NEW`, `ESTABLISHED`, `RELATED`, `INVALID`, `UNTRACKED`.
    pub state: &'static str,
    /// Whether the packet goes in the direction of the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// What happened to it.
    pub event: &'static str,
    /// As `conntrack -L` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// A rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleStep {
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Number, from 1; none for the policy or the end of the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The rule's text.
    pub text: String,
    /// What it decided.
    pub verdict: &'static str,
    /// The chain that it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Rules of the chain that were tried before it and did not match.
    pub tried: u32,
}

/// A route that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStep {
    /// `local`, `unicast`, ...
    pub kind: &'static str,
    /// Length of the prefix that matched.
    pub prefix_len: u8,
    /// Table.
    pub table: u32,
    /// Priority of the policy rule that led there.
    pub rule: u32,
    /// Next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Output device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
}

/// Who made a rule, route or device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `kube-proxy`, `kindnet`, ...
    pub generator: String,
    /// `Service default/web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// `spec.ports[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// `web.yaml:12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// One field of a header that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `ip.dst`, `tcp.dport`, `eth.src`, ...
    pub field: String,
    /// Before.
    pub old: String,
    /// After.
    pub new: String,
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Order in the exchange.
    pub seq: u32,
    /// When.
    pub time_ns: u64,
    /// In which namespace.
    pub namespace: String,
    /// At which device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// OSI layer, 1 to 7.
    pub layer: u8,
    /// Where on the way: `receive`, `prerouting`, `route`, ...
    pub stage: &'static str,
    /// What happened, in a few words.
    pub action: &'static str,
    /// The same for people, in one line.
    pub text: String,
    /// Header fields that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Change>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleStep>,
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionStep>,
    /// The route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteStep>,
    /// The choice that was drawn: its id in `choices`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Who made the rule or route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Origin>,
}

/// A decision by chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChoicePoint {
    /// `c0`.
    pub id: String,
    /// What for: `statistic`, `nat_port`, ...
    pub purpose: &'static str,
    /// How many arms.
    pub arms: u32,
    /// Which was taken, from 0.
    pub arm: u32,
    /// Chance of the arm that was taken.
    pub probability: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The name of what a choice is for.
pub fn purpose_name(what: sim_core::Purpose) -> &'static str {
    match what {
        purpose::STATISTIC => "statistic",
        purpose::NUMGEN => "numgen",
        purpose::NAT_PORT => "nat_port",
        purpose::EPHEMERAL_PORT => "ephemeral_port",
        purpose::MULTIPATH => "multipath",
        purpose::ISN => "isn",
        purpose::IP_ID => "ip_id",
        purpose::DNS_ID => "dns_id",
        purpose::DNS_ORDER => "dns_order",
        purpose::PING_ID => "ping_id",
        _ => "other",
    }
}

/// The chance of the arm that was taken, as a fraction.
pub fn probability(arms: Arms, arm: u32) -> (u64, u64) {
    match arms {
        Arms::Equal(n) => (1, u64::from(n.max(1))),
        Arms::Chance { yes, of } => (u64::from(if arm == 1 { yes } else { of - yes }), u64::from(of)),
    }
}

/// Builds the exchange out of everything that the tracer holds: clear the tracer before the question is asked.
pub fn exchange(network: &Network, input: &TraceInput) -> Exchange {
    let mut builder = Builder::new(network, input);
    for stamped in network.sim.tracer().records().iter() {
        builder.record(&stamped);
    }
    builder.finish()
}

struct Builder<'a> {
    network: &'a Network,
    input: &'a TraceInput,
    packets: Vec<PacketTrace>,
    /// Of each packet of the engine, its place in `packets`.
    index: BTreeMap<PacketId, usize>,
    /// Of each of `packets`, what the steps so far have said of it.
    states: Vec<steps::PacketState>,
    /// Of each of `packets`: the engine's id, its parent, its cause and the node that made it.
    origins: Vec<(PacketId, Option<PacketId>, sim_core::Cause, NodeId)>,
    children: Vec<u32>,
    roots: u32,
    events: Vec<Step>,
    choices: Vec<ChoicePoint>,
    choice_ids: BTreeMap<(u16, u64, u32), String>,
    seq: u32,
}

impl<'a> Builder<'a> {
    fn new(network: &'a Network, input: &'a TraceInput) -> Builder<'a> {
        let mut choices = Vec::new();
        let mut choice_ids = BTreeMap::new();
        for (at, choice) in network.sim.choices().iter().enumerate().skip(input.first_choice) {
            let id = format!("c{}", at - input.first_choice);
            let (over, under) = probability(choice.arms, choice.arm);
            choice_ids.insert((choice.key.purpose.0, choice.key.key, choice.key.draw), id.clone());
            choices.push(ChoicePoint {
                id,
                purpose: purpose_name(choice.key.purpose),
                arms: match choice.arms {
                    Arms::Equal(n) => n,
                    Arms::Chance { .. } => 2,
                },
                arm: choice.arm,
                probability: fraction(over, under),
            });
        }
        Builder {
            network,
            input,
            packets: Vec::new(),
            index: BTreeMap::new(),
            states: Vec::new(),
            origins: Vec::new(),
            children: Vec::new(),
            roots: 0,
            events: Vec::new(),
            choices,
            choice_ids,
            seq: 0,
        }
    }

    fn record(&mut self, stamped: &sim_core::Stamped<Record>) {
        self.seq += 1;
        let at = (stamped.packet != NO_PACKET).then(|| self.packet(stamped.packet));
        let reader = steps::Reader { network: self.network, choices: &self.choice_ids };
        let mut nobody = steps::PacketState::default();
        let state = match at {
            Some(at) => &mut self.states[at],
            None => &mut nobody,
        };
        let Some(step) = reader.step(self.seq, stamped, state) else { return };
        match at {
            None => self.events.push(step),
            Some(at) => {
                let packet = &mut self.packets[at];
                if packet.summary.is_empty()
                    && let Some(decoded) = &self.states[at].headers
                {
                    packet.summary = decoded.summary.clone();
                }
                let on_wire = matches!(stamped.record, Record::Receive { .. } | Record::Transmit { .. });
                if packet.layers.is_empty()
                    && on_wire
                    && let Some(decoded) = &self.states[at].headers
                {
                    packet.layers = decoded.layers.clone();
                }
                if let Some(end) = steps::end_of(self.network, stamped, self.seq) {
                    packet.end = end;
                } else if matches!(stamped.record, Record::Receive { .. } | Record::Originate { .. } | Record::Resume { .. }) {
                    packet.end = End::Open { namespace: step.namespace.clone() };
                }
                packet.steps.push(step);
            }
        }
    }

    /// The packet's place, made if this is its first record.
    fn packet(&mut self, id: PacketId) -> usize {
        if let Some(&at) = self.index.get(&id) {
            return at;
        }
        let tracer = self.network.sim.tracer();
        let lineage = tracer.lineage(id);
        let (parent, why) = lineage.map_or((None, cause::ORIGINAL), |lineage| (lineage.parent, lineage.cause));
        let node = lineage.map_or(NodeId(0), |lineage| lineage.node);
        let parent_at = parent.and_then(|parent| self.index.get(&parent).copied());
        // What was made *of* a packet carries its number; an answer gets one of its own.
        let made_of =
            matches!(why, cause::ENCAP | cause::DECAP | cause::FRAGMENT | cause::REASSEMBLED | cause::FLOOD_COPY | cause::TEE);
        let name = match parent_at {
            Some(parent) if made_of => {
                self.children[parent] += 1;
                format!("{}.{}", self.packets[parent].id, self.children[parent])
            }
            _ => {
                self.roots += 1;
                format!("p{}", self.roots)
            }
        };
        let at = self.packets.len();
        self.index.insert(id, at);
        self.children.push(0);
        // A copy begins with the headers of what it was copied from.
        self.states
            .push(parent_at.filter(|_| made_of).map_or_else(steps::PacketState::default, |parent| self.states[parent].child()));
        self.origins.push((id, parent, why, node));
        let namespace = self.network.sim.name(node).to_owned();
        self.packets.push(PacketTrace {
            id: name,
            parent: parent_at.map(|parent| self.packets[parent].id.clone()),
            cause: cause::name(why),
            born_in: namespace.clone(),
            born_ns: lineage.map_or(0, |lineage| lineage.born.as_nanos()),
            summary: String::new(),
            layers: Vec::new(),
            steps: Vec::new(),
            end: End::Open { namespace },
        });
        at
    }

    fn finish(self) -> Exchange {
        let conversations = self.conversations();
        let mut places = BTreeMap::new();
        for packet in &self.packets {
            for step in &packet.steps {
                if !places.contains_key(&step.namespace) {
                    let kind = self.input.kinds.get(&step.namespace).copied().unwrap_or(PlaceKind::Namespace);
                    places.insert(step.namespace.clone(), kind);
                }
            }
        }
        Exchange {
            packets: self.packets,
            conversations,
            choices: self.choices,
            events: self.events,
            truncated: self.network.sim.tracer().truncated(),
            places,
        }
    }

    /// Groups packets: by the packet that caused them, else by the flow that they belong to where they were made.
    fn conversations(&self) -> Vec<Conversation> {
        let mut of_packet: Vec<Option<usize>> = vec![None; self.packets.len()];
        let mut by_flow: BTreeMap<(NodeId, String), usize> = BTreeMap::new();
        let mut found: Vec<(Conversation, NodeId)> = Vec::new();
        for (at, (_, parent, why, node)) in self.origins.iter().enumerate() {
            let state = &self.states[at];
            let parent_at = parent.and_then(|parent| self.index.get(&parent).copied());
            // Neighbours are asked for a packet's sake, but say nothing to the one whom it is for; nor do copies of the question.
            let copied = self.packets[at].id.contains('.');
            if matches!(*why, cause::ARP | cause::NDP) || (copied && parent_at.is_some_and(|parent| of_packet[parent].is_none())) {
                continue;
            }
            let flow = state.born_flow.clone().map(|flow| (*node, flow));
            let group = parent_at
                .and_then(|parent| of_packet[parent])
                .or_else(|| flow.as_ref().and_then(|flow| by_flow.get(flow).copied()))
                .unwrap_or_else(|| {
                    let kind = if *why == cause::DNS || state.is_dns { "dns".to_owned() } else { state.protocol.clone() };
                    found.push((Conversation { kind, forward: Path::default(), reverse: Path::default() }, *node));
                    found.len() - 1
                });
            of_packet[at] = Some(group);
            if let Some(flow) = flow {
                by_flow.entry(flow).or_insert(group);
            }
            // What was made of a packet goes the way of that packet.
            let made_of = parent_at.filter(|&parent| self.packets[at].id.starts_with(&format!("{}.", self.packets[parent].id)));
            let (conversation, origin) = &mut found[group];
            let forward = match made_of {
                Some(parent) => conversation.forward.packets.contains(&self.packets[parent].id),
                None => node == origin,
            };
            let path = if forward { &mut conversation.forward } else { &mut conversation.reverse };
            path.packets.push(self.packets[at].id.clone());
        }
        let mut result: Vec<Conversation> = found.into_iter().map(|(conversation, _)| conversation).collect();
        for conversation in &mut result {
            conversation.forward.hops = self.hops(&conversation.forward.packets);
            conversation.reverse.hops = self.hops(&conversation.reverse.packets);
        }
        result
    }

    /// The links that the first packet, and what was made of it, crossed.
    fn hops(&self, ids: &[String]) -> Vec<Hop> {
        let Some(first) = ids.first() else { return Vec::new() };
        let mut hops = Vec::new();
        for id in ids.iter().filter(|id| *id == first || id.starts_with(&format!("{first}."))) {
            let Some(packet) = self.packets.iter().find(|packet| packet.id == *id) else { continue };
            let mut left: Option<&Step> = None;
            for step in &packet.steps {
                match step.action {
                    "transmit" => left = Some(step),
                    "receive" => {
                        if let Some(sent) = left.take() {
                            hops.push(Hop {
                                from: format!("{}/{}", sent.namespace, sent.device.as_deref().unwrap_or("?")),
                                to: format!("{}/{}", step.namespace, step.device.as_deref().unwrap_or("?")),
                                sent_ns: sent.time_ns,
                                received_ns: step.time_ns,
                            });
                        }
                    }
                    _ => {}
                }
            }
        }
        hops.sort_by_key(|hop| (hop.sent_ns, hop.received_ns));
        hops
    }
}

/// `over/under`, reduced; `1` where it is certain.
pub fn fraction(over: u64, under: u64) -> String {
    let (mut a, mut b) = (over, under);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = a.max(1);
    if over == under { "1".to_owned() } else { format!("{}/{}", over / divisor, under / divisor) }
}

impl Exchange {
    /// The packet of an id.
    pub fn packet(&self, id: &str) -> Option<&PacketTrace> {
        self.packets.iter().find(|packet| packet.id == id)
    }

    /// The conversation that the question itself is, as opposed to its DNS look-ups: the last that is no `dns`, or the last.
    pub fn main(&self) -> Option<&Conversation> {
        self.conversations.iter().find(|one| one.kind != "dns").or(self.conversations.last())
    }
}

#[cfg(test)]
mod tests;
