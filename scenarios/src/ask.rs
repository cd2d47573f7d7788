//! One question to a world, and what came of it.

use std::net::IpAddr;
use std::sync::Arc;

use sim_core::{Halt, NodeId, PacketId, SimTime};
use stack::app::{Answer as AppAnswer, AnswerResult, Client, QType, Request, Resolver, SocketOptions, Target};
use stack::errno::Errno;
use stack::trace::{Record, cause};
use stack::{DropReason, view};

use crate::build::{EXTERNAL, World};
use crate::code;
use crate::ends::EndKind;
use crate::outcome::{Answer, DecidedBy, DeliveredTo, EndedAt, OutcomeClass};
use crate::problem::Problem;
use crate::question::{Proto, Question};
use crate::resolve::{Destination, Source};
use crate::trace::{self, End as PacketEnd, Exchange, TraceInput};

/// How long a ping and a datagram wait for their answer.
const WAIT: SimTime = SimTime::from_secs(5);
/// How long the network may go on after the answer: closing a connection, late packets.
const DRAIN: SimTime = SimTime::from_millis(500);
/// Longer than any client of ours waits (TCP gives up after 127 s by default).
const LIMIT: SimTime = SimTime::from_secs(1_200);

/// An answer, and every packet that it took.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What came of it.
    pub answer: Answer,
    /// Its packets.
    pub exchange: Exchange,
}

impl World {
    /// Asks, runs the network until the answer is there, and reads what happened.
    ///
    /// # Errors
    /// The question is about somebody who is not there, or needs what is not modelled.
    pub fn ask(&mut self, question: &Question) -> Result<Asked, Problem> {
        let source = self.source(&question.from)?;
        let destination = self.destination(question)?;
        self.enter_by(question, &destination)?;
        let bind = self.own_address(&source)?;
        let client = client(question, &source, &destination, bind);
        self.network.sim.tracer_mut().clear();
        let first_choice = self.network.sim.choices().len();
        let started = self.network.sim.now();
        let app = self.network.ask(source.netns, client);
        let mut halted = None;
        while self.answer_of(source.netns, app).is_none_or(|answer| answer.result.is_none()) {
            match self.network.sim.next_event_at() {
                Some(due) if due <= started + LIMIT => {
                    let halt = self.network.sim.run_until(due);
                    if matches!(halt, Halt::InstantLimit | Halt::EventLimit) {
                        halted = Some(halt);
                        break;
                    }
                }
                _ => break,
            }
        }
        if halted.is_none() {
            self.network.sim.run_until(self.network.sim.now() + DRAIN);
        }
        let app_answer = self.answer_of(source.netns, app).cloned().unwrap_or_default();
        let input = TraceInput { from: Some(source.netns), first_choice, kinds: self.kinds.clone() };
        let exchange = trace::exchange(&self.network, &input);
        let mut answer = Reader { world: self, exchange: &exchange, app: &app_answer }.read(question, &destination, halted);
        if let Some(expect) = &question.expect {
            answer.unmet = expect.unmet(&answer, &exchange);
            answer.ok = Some(answer.unmet.is_empty());
        }
        Ok(Asked { answer, exchange })
    }

    fn answer_of(&self, netns: NodeId, app: stack::app::AppId) -> Option<&AppAnswer> {
        self.network.netns(netns).apps.answer(app)
    }

    /// The address that the source's socket is bound to: given to its namespace if it is outside and has it not.
    fn own_address(&mut self, source: &Source) -> Result<Option<IpAddr>, Problem> {
        let Some(address) = source.bind else { return Ok(None) };
        let has = self.network.netns(source.netns).devices.iter().any(|dev| dev.addrs.iter().any(|have| have.address == address));
        if !has {
            if let Some(owner) = self.owner(address) {
                return Err(Problem::whole(
                    format!("--from {address}@external"),
                    format!("{address} is an address of {owner}, not of somebody outside"),
                ));
            }
            let length = if address.is_ipv4() { 32 } else { 128 };
            let line = format!("ip addr add {address}/{length} dev lo");
            let command =
                line.parse().map_err(|error: stack::command::ParseCommandError| Problem::whole(line.clone(), error.message))?;
            let prov =
                self.network.provenances.intern(stack::Provenance { generator: "the question".into(), ..Default::default() });
            self.network.apply(source.netns, &command, prov).map_err(|error| Problem::whole(line, error.message))?;
        }
        Ok(Some(address))
    }

    /// A question from outside enters by the node that it names: the world outside gets a route to the destination through it.
    fn enter_by(&mut self, question: &Question, destination: &Destination) -> Result<(), Problem> {
        let Some(via) = &question.via else { return Ok(()) };
        let wrong = |message: String| Problem::whole(format!("--via {via}"), message);
        let EndKind::Node { name, .. } = &via.kind else {
            return Err(wrong("a question enters by a node".to_owned()).help("write node/NAME"));
        };
        let from_outside =
            matches!(question.from.kind, EndKind::External { .. } | EndKind::AddressAt { at: crate::ends::Place::External, .. });
        if !from_outside {
            return Err(wrong("only a question from outside enters by a node".to_owned()).help("ask --from external"));
        }
        let cluster = self.cluster.as_ref().ok_or_else(|| wrong("there is no cluster".to_owned()))?;
        let Some(node) = cluster.nodes.iter().find(|node| node.name == *name) else {
            let known: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
            return Err(wrong(format!("there is no node {name}")).help(format!("there are {}", known.join(", "))));
        };
        let Target::Address(goal) = destination.target else {
            return Err(wrong("a name has no route before it is resolved".to_owned()).help("ask by address").unsupported());
        };
        if node.ips.contains(&goal) {
            return Ok(());
        }
        let family = |ip: &IpAddr| ip.is_ipv4() == goal.is_ipv4();
        let Some(hop) = node.ips.iter().copied().find(family) else {
            return Err(wrong(format!("node {name} has no address of the family of {goal}")));
        };
        let (tool, length) = if goal.is_ipv4() { ("ip", 32) } else { ("ip -6", 128) };
        let line = format!("{tool} route replace {goal}/{length} via {hop}");
        let prov = stack::Provenance { generator: "the question".into(), ..stack::Provenance::default() };
        self.run_line(EXTERNAL, &line, prov).map(drop).map_err(|why| wrong(format!("{line}: {why}")))
    }
}

fn client(question: &Question, source: &Source, destination: &Destination, bind: Option<IpAddr>) -> Client {
    let mut resolver = source.resolver.clone();
    let (name, request, timeout) = match destination.proto {
        Proto::Tcp => ("nc", Request::Tcp { send: Vec::new(), greeting: false, keep: false, rst: false }, None),
        Proto::Http => {
            let (method, path) = ("GET".to_owned(), question.path().to_owned());
            ("curl", Request::Http { method, host: destination.host.clone(), path, headers: Vec::new() }, None)
        }
        Proto::Udp if destination.dns => {
            // Nothing but a DNS message is answered there.
            if let Target::Address(address) = destination.target {
                resolver = Some(Resolver { nameservers: vec![address], search: Vec::new(), ndots: 1, timeout: 5, attempts: 1 });
            }
            let name = "kubernetes.default.svc.cluster.local".to_owned();
            ("dig", Request::Dns { name, qtype: QType::A }, Some(WAIT))
        }
        Proto::Udp => ("nc", Request::Udp { send: b"pktlab\n".to_vec(), connect: true }, Some(WAIT)),
        Proto::Icmp => {
            let request = Request::Ping { count: 1, size: 56, interval: SimTime::from_secs(1), id: None, seq: 1, connected: false };
            ("ping", request, Some(WAIT))
        }
    };
    Client {
        name: Arc::from(name),
        target: destination.target.clone(),
        port: destination.port,
        request,
        resolver,
        options: SocketOptions { bind, sport: question.sport, ..SocketOptions::default() },
        timeout,
    }
}

/// The addresses and ports of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flow {
    src: IpAddr,
    dst: IpAddr,
    ports: Option<(u16, u16)>,
}

/// Reads a frame that begins with an Ethernet header, or with an IP header.
fn flow(frame: &[u8], full: u16) -> Option<Flow> {
    let version = |at: usize| frame.get(at).map(|byte| byte >> 4);
    let bare = match version(0) {
        Some(4) => frame.len() >= 20 && view::be16(frame, 2) == full,
        Some(6) => frame.len() >= 40 && u32::from(view::be16(frame, 4)) + 40 == u32::from(full),
        _ => false,
    };
    let ip = if bare { frame } else { frame.get(14..)? };
    let (src, dst, proto, l4): (IpAddr, IpAddr, u8, &[u8]) = match ip.first()? >> 4 {
        4 => {
            let four = |at: usize| <[u8; 4]>::try_from(ip.get(at..at + 4)?).ok();
            (four(12)?.into(), four(16)?.into(), *ip.get(9)?, ip.get(usize::from(ip[0] & 15) * 4..)?)
        }
        6 => {
            let sixteen = |at: usize| <[u8; 16]>::try_from(ip.get(at..at + 16)?).ok();
            (sixteen(8)?.into(), sixteen(24)?.into(), *ip.get(6)?, ip.get(40..)?)
        }
        _ => return None,
    };
    let ports = (matches!(proto, 6 | 17) && l4.len() >= 4).then(|| (view::be16(l4, 0), view::be16(l4, 2)));
    Some(Flow { src, dst, ports })
}

/// Reads what happened out of records, packets and what the application was told.
struct Reader<'a> {
    world: &'a World,
    exchange: &'a Exchange,
    app: &'a AppAnswer,
}

/// A packet that ended where it should not have.
struct Guilty<'a> {
    packet: &'a trace::PacketTrace,
    reason: DropReason,
    netns: &'a str,
    device: Option<&'a str>,
    on_wire: Option<&'a str>,
}

impl Reader<'_> {
    fn read(&self, question: &Question, destination: &Destination, halted: Option<Halt>) -> Answer {
        let (delivered_to, source_seen, sent_from) = self.delivery();
        let result = self.app.result.as_ref();
        let unresolved = matches!(result, Some(AnswerResult::Unresolved(_)));
        let guilty = self.guilty(unresolved || self.is_dns());
        let retries = self.exchange.packets.iter().filter(|packet| packet.cause == "retransmit").count();
        let status = match result {
            Some(AnswerResult::Http { status, .. }) => Some(*status),
            _ => None,
        };
        let (outcome, code) = self.classify(destination, guilty.as_ref(), delivered_to.is_some(), halted);
        let told = outcome != OutcomeClass::Delivered;
        let collect = (outcome == OutcomeClass::LeftModel).then(|| self.collect(guilty.as_ref()));
        let mut assumptions = self.world.assumptions_about(delivered_to.as_ref(), destination.proto);
        assumptions.splice(0..0, destination.assumptions.iter().cloned());
        Answer {
            name: question.name.clone(),
            from: question.from.to_string(),
            to: question.to.to_string(),
            proto: destination.proto,
            outcome,
            code,
            reason: guilty.as_ref().filter(|_| told).map(|guilty| match guilty.on_wire {
                Some(event) => event.to_owned(),
                None => guilty.reason.to_string(),
            }),
            symptom: symptom(result, retries),
            status,
            masqueraded: source_seen.zip(sent_from).is_some_and(|(seen, sent)| seen != sent),
            delivered_to,
            source_seen,
            endpoints: Vec::new(),
            decided_by: self.decided_by(),
            ended_at: guilty.filter(|_| told).map(|guilty| EndedAt {
                netns: guilty.netns.to_owned(),
                device: guilty.device.map(str::to_owned),
                packet: guilty.packet.id.clone(),
                cause: guilty.packet.cause,
            }),
            collect,
            assumptions,
            unmet: Vec::new(),
            ok: None,
        }
    }

    /// Who took the first packet of the question, from which address as it sees it, and from which it was sent.
    fn delivery(&self) -> (Option<DeliveredTo>, Option<IpAddr>, Option<IpAddr>) {
        let tracer = self.world.network.sim.tracer();
        let dns = self.is_dns();
        let wanted = |packet: PacketId| match tracer.lineage(packet).map(|lineage| lineage.cause) {
            Some(cause::ORIGINAL | cause::RETRANSMIT | cause::DECAP | cause::REASSEMBLED) => true,
            Some(why) => dns && why == cause::DNS,
            None => false,
        };
        let mut sent_from = None;
        let mut last: std::collections::BTreeMap<PacketId, Flow> = std::collections::BTreeMap::new();
        for stamped in tracer.records().iter() {
            if !wanted(stamped.packet) {
                continue;
            }
            match stamped.record {
                Record::Receive { frame, .. }
                | Record::Originate { frame, .. }
                | Record::Resume { frame, .. }
                | Record::Nat { frame, .. } => {
                    if let Some(flow) = flow(&tracer.bytes(frame), frame.full) {
                        if sent_from.is_none() && matches!(stamped.record, Record::Originate { .. }) {
                            sent_from = Some(flow.src);
                        }
                        last.insert(stamped.packet, flow);
                    }
                }
                Record::Deliver { .. } => {
                    let Some(flow) = last.get(&stamped.packet) else { continue };
                    let netns = self.world.network.sim.name(stamped.node);
                    let port = flow.ports.map(|(_, port)| port);
                    return (Some(self.world.describe(netns, flow.dst, port)), Some(flow.src), sent_from);
                }
                _ => {}
            }
        }
        (None, None, sent_from)
    }

    /// Whether the question itself is one to DNS: then nothing else was sent.
    fn is_dns(&self) -> bool {
        self.exchange.packets.iter().all(|packet| !matches!(packet.cause, "original" | "retransmit"))
    }

    /// The first packet that ended where it should not have.
    fn guilty(&self, dns: bool) -> Option<Guilty<'_>> {
        let mut found = None;
        for packet in &self.exchange.packets {
            let counts = match packet.cause {
                "arp" | "ndp" | "flood_copy" | "tee" => false,
                "dns" => dns,
                _ => true,
            };
            if !counts {
                continue;
            }
            let guilty = match &packet.end {
                PacketEnd::Dropped { namespace, device, reason, .. } => {
                    let reason = DropReason::ALL
                        .iter()
                        .copied()
                        .find(|known| known.as_str() == reason.as_str())
                        .unwrap_or(DropReason::NotSpecified);
                    if matches!(reason, DropReason::NeighConsumed | DropReason::OtherHost) {
                        continue;
                    }
                    Guilty { packet, reason, netns: namespace, device: device.as_deref(), on_wire: None }
                }
                PacketEnd::LostOnWire { namespace, event } => {
                    Guilty { packet, reason: DropReason::NotSpecified, netns: namespace, device: None, on_wire: Some(event) }
                }
                _ => continue,
            };
            // What is not modelled outranks every other end: the answer would rest on it.
            if guilty.reason == DropReason::Unsupported {
                return Some(guilty);
            }
            if found.is_none() {
                found = Some(guilty);
            }
        }
        found
    }

    fn classify(
        &self,
        destination: &Destination,
        guilty: Option<&Guilty<'_>>,
        arrived: bool,
        halted: Option<Halt>,
    ) -> (OutcomeClass, &'static str) {
        if halted.is_some() {
            return (OutcomeClass::Looped, code::PL0401);
        }
        match &self.app.result {
            Some(AnswerResult::Unresolved(None)) => match guilty {
                Some(guilty) if guilty.reason == DropReason::Unsupported => return (OutcomeClass::Unsupported, code::PL0601),
                _ => return (OutcomeClass::Unresolved, code::PL0502),
            },
            Some(AnswerResult::Unresolved(Some(0 | 3))) => return (OutcomeClass::Unresolved, code::PL0501),
            Some(AnswerResult::Unresolved(Some(_))) => return (OutcomeClass::Unresolved, code::PL0503),
            Some(AnswerResult::Http { status, .. }) if *status >= 400 => return (OutcomeClass::Delivered, code::PL0002),
            Some(AnswerResult::Http { .. } | AnswerResult::Reply { .. } | AnswerResult::Connected | AnswerResult::Done) => {
                return (OutcomeClass::Delivered, code::PL0001);
            }
            Some(AnswerResult::Ping(replies)) if replies.iter().any(Option::is_some) => {
                return (OutcomeClass::Delivered, code::PL0001);
            }
            _ => {}
        }
        let Some(guilty) = guilty else {
            return match &self.app.result {
                Some(AnswerResult::Error(Errno::ConnRefused)) => (OutcomeClass::Rejected, code::PL0101),
                Some(AnswerResult::Error(Errno::NetUnreach)) => (OutcomeClass::Dropped, code::PL0202),
                Some(AnswerResult::Error(Errno::HostUnreach)) => (OutcomeClass::Dropped, code::PL0203),
                Some(AnswerResult::Error(Errno::OpNotSupp)) => (OutcomeClass::Unsupported, code::PL0601),
                // The app never ended, or the sender waits for nobody: what happened is not in the records.
                None => (OutcomeClass::Unsupported, code::PL0601),
                _ => (OutcomeClass::Dropped, code::PL0215),
            };
        };
        if guilty.reason == DropReason::Unsupported {
            return (OutcomeClass::Unsupported, code::PL0601);
        }
        if let Some(event) = guilty.on_wire {
            return if event.contains("no link is plugged in") {
                (OutcomeClass::LeftModel, code::PL0301)
            } else {
                let code = if event.starts_with("larger") { code::PL0205 } else { code::PL0208 };
                (OutcomeClass::Dropped, if guilty.is_answer() { code::PL0213 } else { code })
            };
        }
        let goal = guilty.goal().or_else(|| self.goal(destination));
        if guilty.netns == EXTERNAL && !guilty.is_answer() && self.leaves(guilty.reason, goal) {
            return if self.of_the_cluster(goal) {
                (OutcomeClass::Dropped, code::PL0218)
            } else {
                (OutcomeClass::LeftModel, code::PL0301)
            };
        }
        if let Some(rule) = guilty.rejecting_rule() {
            let empty = rule.text.contains("has no endpoints");
            return (OutcomeClass::Rejected, if empty { code::PL0104 } else { code::PL0102 });
        }
        let route = guilty.packet.steps.iter().rev().find_map(|step| step.route.as_ref()).map(|route| route.kind);
        if matches!(route, Some("unreachable" | "prohibit")) && guilty.reason != DropReason::NeighFailed {
            return (OutcomeClass::Rejected, code::PL0103);
        }
        match guilty.reason {
            DropReason::NoSocket if !guilty.is_answer() => (OutcomeClass::Rejected, code::PL0101),
            DropReason::IpTtlExceeded if guilty.went_in_a_circle() => (OutcomeClass::Looped, code::PL0401),
            _ if arrived && guilty.is_answer() => (OutcomeClass::Dropped, code::PL0213),
            reason => (OutcomeClass::Dropped, code::of_reason(reason)),
        }
    }

    /// Whether the world outside merely does not know the way: a real one might.
    fn leaves(&self, reason: DropReason, goal: Option<IpAddr>) -> bool {
        let unknown = matches!(
            reason,
            DropReason::IpInNoRoutes
                | DropReason::IpOutNoRoutes
                | DropReason::NeighFailed
                | DropReason::IpForwardingOff
                | DropReason::IpInAddrErrors
                | DropReason::IpBlackhole
        );
        let known = goal.is_some_and(|goal| self.world.owner(goal).is_some());
        unknown && !known
    }

    /// The address that was asked for.
    fn goal(&self, destination: &Destination) -> Option<IpAddr> {
        match destination.target {
            Target::Address(address) => Some(address),
            Target::Name(_) => self.app.remote.map(|remote| remote.ip()),
        }
    }

    /// Whether an address is in the ranges of pods or Services: outside, nobody can have it.
    fn of_the_cluster(&self, goal: Option<IpAddr>) -> bool {
        let Some((cluster, address)) = self.world.cluster.as_ref().zip(goal) else { return false };
        let ranges = cluster.config.cluster_cidr.iter().chain(&cluster.config.service_cluster_ip_range);
        ranges.into_iter().any(|range| range.contains(&address))
    }

    fn collect(&self, guilty: Option<&Guilty<'_>>) -> String {
        let goal = self.app.remote.map_or_else(|| "the destination".to_owned(), |remote| remote.ip().to_string());
        let at = guilty.map_or("the last hop", |guilty| guilty.netns);
        format!(
            "what lies behind {at}: on the next hop, `ip route get {goal}`, `iptables-save`, `nft list ruleset`, and load them with -s"
        )
    }

    fn decided_by(&self) -> Vec<DecidedBy> {
        let mut decided: Vec<DecidedBy> = Vec::new();
        let dns = self.is_dns();
        for packet in &self.exchange.packets {
            let counts = matches!(packet.cause, "original" | "retransmit" | "reply") || (dns && packet.cause == "dns");
            if !counts {
                continue;
            }
            for step in &packet.steps {
                let Some(rule) = &step.rule else { continue };
                if !matches!(rule.verdict, "nat" | "drop" | "reject") {
                    continue;
                }
                let entry = DecidedBy {
                    netns: step.namespace.clone(),
                    table: rule.table.clone(),
                    chain: rule.chain.clone(),
                    number: rule.number,
                    rule: rule.text.clone(),
                    verdict: rule.verdict,
                    made_by: step.provenance.as_ref().map(describe_origin),
                };
                if !decided.contains(&entry) {
                    decided.push(entry);
                }
            }
        }
        decided
    }
}

fn describe_origin(origin: &trace::Origin) -> String {
    let mut text = origin.generator.clone();
    if let Some(object) = &origin.object {
        text.push_str(&format!(" for {object}"));
    }
    if let Some(field) = &origin.field {
        text.push_str(&format!(" {field}"));
    }
    if let Some(place) = &origin.place {
        text.push_str(&format!(" ({place})"));
    }
    text
}

impl Guilty<'_> {
    /// Whether this packet goes back to the one who asked.
    fn is_answer(&self) -> bool {
        matches!(self.packet.cause, "reply" | "icmp_error")
    }

    /// The address that the packet was last sent to, if a rule changed that.
    fn goal(&self) -> Option<IpAddr> {
        let mut changes = self.packet.steps.iter().flat_map(|step| &step.diff);
        changes.rfind(|change| matches!(change.field.as_str(), "ipv4.dst" | "ipv6.dst"))?.new.parse().ok()
    }

    fn rejecting_rule(&self) -> Option<&trace::RuleStep> {
        self.packet.steps.iter().rev().filter_map(|step| step.rule.as_ref()).find(|rule| rule.verdict == "reject")
    }

    fn went_in_a_circle(&self) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut came = self.packet.steps.iter().filter(|step| step.action == "receive");
        came.any(|step| !seen.insert((&step.namespace, &step.device)))
    }
}

/// What the application sees, in the words of the tools.
fn symptom(result: Option<&AnswerResult>, retries: usize) -> String {
    let times = |n: usize| if n == 1 { "1 retry".to_owned() } else { format!("{n} retries") };
    match result {
        None => "nothing: the question never ended".to_owned(),
        Some(AnswerResult::Connected) => "connected".to_owned(),
        Some(AnswerResult::Done) => "answered".to_owned(),
        Some(AnswerResult::Reply { data, from }) => format!("{} bytes from {from}", data.len()),
        Some(AnswerResult::Http { status, body, .. }) => {
            let text = String::from_utf8_lossy(body);
            let first = text.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
            if first.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {first}") }
        }
        Some(AnswerResult::Ping(replies)) => {
            let got = replies.iter().flatten().count();
            let loss = if replies.is_empty() { 100 } else { (replies.len() - got) * 100 / replies.len() };
            format!("{} packets transmitted, {got} received, {loss}% packet loss", replies.len())
        }
        Some(AnswerResult::Error(Errno::TimedOut)) | Some(AnswerResult::TimedOut) if retries > 0 => {
            format!("Connection timed out after {}", times(retries))
        }
        Some(AnswerResult::Error(errno)) => errno.text().to_owned(),
        Some(AnswerResult::TimedOut) => "no answer in time".to_owned(),
        Some(AnswerResult::Unresolved(rcode)) => match rcode {
            None => "Temporary failure in name resolution".to_owned(),
            Some(0) => "Name or service not known (NODATA)".to_owned(),
            Some(2) => "Temporary failure in name resolution (SERVFAIL)".to_owned(),
            Some(3) => "Name or service not known (NXDOMAIN)".to_owned(),
            Some(5) => "Temporary failure in name resolution (REFUSED)".to_owned(),
            Some(other) => format!("Name or service not known (RCODE {other})"),
        },
    }
}
