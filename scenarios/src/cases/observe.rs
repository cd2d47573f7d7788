//! The result of a run: packets at every device as tcpdump sees them, sockets, what servers received, connections, counters.

use serde_json::{Map, Value, json};
use sim_core::{NodeId, Records};
use stack::app::L4;
use stack::conntrack::{CtView, Tuple};
use stack::netfilter::{ChainCounters, NftCount};
use stack::trace::Record;
use stack::view::proto;
use stack::{DevId, Family};

use super::decode;
use super::format::Stimulus;
use super::run::{Run, shown};

/// What a capture on a device shows of a record: the device, the direction, the frame.
fn captured(record: &Record) -> Option<(DevId, &'static str, sim_core::Snap)> {
    match *record {
        Record::Receive { dev, frame } | Record::DevIn { dev, frame } => Some((dev, "in", frame)),
        Record::Transmit { dev, frame } | Record::DevOut { dev, frame } => Some((dev, "out", frame)),
        _ => None,
    }
}

/// Whether a capture would show any of these.
pub(super) fn captures(records: Records<'_, Record>) -> bool {
    records.iter().any(|stamped| captured(&stamped.record).is_some())
}

pub(super) fn result(run: &Run) -> Value {
    json!({
        "id": run.case.id,
        "packets": packets(run),
        "sockets": run.sockets,
        "received": received(run),
        "conntrack": conntrack(run),
        "counters": counters(run),
    })
}

fn packets(run: &Run) -> Value {
    let tracer = run.net.sim.tracer();
    let mut by_ns: Map<String, Value> = Map::new();
    for (order, stamped) in tracer.records().iter().enumerate() {
        let Some((dev, direction, snap)) = captured(&stamped.record) else { continue };
        let netns = run.net.netns(stamped.node);
        let device = &*netns.devices.get(dev).name;
        let mut packet = Map::new();
        // The place in the order of events: times alone do not order what happens at one instant.
        packet.insert("t".into(), json!(order));
        packet.insert("dir".into(), json!(direction));
        let mut layers = decode::frame(&tracer.bytes(snap));
        if device == "lo" {
            layers.remove("eth");
            // Nobody fills in checksums on the way to oneself.
            for layer in ["udp", "tcp", "icmp6"] {
                let bad = layers.get(layer).is_some_and(|fields| fields["csum"] == "bad");
                if let Some(fields) = layers.get_mut(layer).and_then(Value::as_object_mut).filter(|_| bad) {
                    fields.remove("csum");
                }
            }
        }
        packet.extend(layers);
        let ns = by_ns.entry(run.net.sim.name(stamped.node)).or_insert_with(|| json!({}));
        match &mut ns[device] {
            Value::Array(list) => list.push(packet.into()),
            none => *none = Value::Array(vec![packet.into()]),
        }
    }
    by_ns.into()
}

/// In order of time, over all servers.
fn received(run: &Run) -> Value {
    let mut entries = Vec::new();
    for (node, app, name, l4) in &run.servers {
        let netns = run.net.netns(*node);
        for (order, received) in netns.apps.received().iter().enumerate().filter(|(_, received)| received.app == *app) {
            let mut entry = json!({
                "ns": run.net.sim.name(*node),
                "name": name,
                "from": received.from.ip().to_string(),
                "from_port": received.from.port(),
                "to": received.to.ip().to_string(),
            });
            if *l4 == L4::Tcp {
                entry["to_port"] = json!(received.to.port());
            }
            entry["data"] = json!(shown(&received.data));
            if *l4 == L4::Udp {
                entry["len"] = json!(received.data.len());
                if received.to.is_ipv6() {
                    // The recorder asks for the destination of IPv4 datagrams only.
                    entry["to"] = Value::Null;
                }
            }
            entries.push(((received.time, order), entry));
        }
    }
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Of the namespaces that can have connections: those with rules, and those that were configured on the way.
fn conntrack(run: &Run) -> Value {
    let mut by_ns = Map::new();
    for ns in &run.case.topology.namespaces {
        let rules = [&ns.iptables_save, &ns.ip6tables_save, &ns.nft, &ns.ipvs].iter().any(|text| text.is_some());
        let configured =
            run.case.stimuli.iter().any(|stimulus| matches!(stimulus, Stimulus::Config(config) if config.ns == ns.name));
        let Some(node) = run.net.named(&ns.name).filter(|_| rules || configured || !ns.setup.is_empty()) else { continue };
        let list = run.net.netns(node).conntrack.list(run.net.sim.now());
        let entries: Vec<Value> = list.iter().map(connection).collect();
        if !entries.is_empty() {
            by_ns.insert(ns.name.clone(), entries.into());
        }
    }
    by_ns.into()
}

fn connection(view: &CtView) -> Value {
    let mut entry = Map::new();
    let family = Family::of(view.original.src);
    entry.insert("family".into(), json!(if family == Family::V4 { "ipv4" } else { "ipv6" }));
    let name = match view.original.proto {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::ICMP => "icmp",
        proto::ICMPV6 => "icmpv6",
        proto::SCTP => "sctp",
        proto::UDPLITE => "udplite",
        proto::GRE => "gre",
        _ => "unknown",
    };
    entry.insert("proto".into(), json!(name));
    entry.insert("timeout".into(), json!(view.timeout));
    if let Some(state) = view.state {
        entry.insert("state".into(), json!(state));
    }
    for (at, side, of) in [(0, "orig", &view.original), (1, "reply", &view.reply)] {
        let mut fields = tuple(of);
        if let (Some(fields), Some(counts)) = (fields.as_object_mut(), view.counts) {
            fields.insert("packets".into(), json!(counts[at].0));
            fields.insert("bytes".into(), json!(counts[at].1));
        }
        entry.insert(side.into(), fields);
    }
    let flags: Vec<&str> =
        [(view.unreplied, "UNREPLIED"), (view.assured, "ASSURED")].iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    entry.insert("flags".into(), json!(flags));
    if view.mark != 0 {
        entry.insert("mark".into(), json!(view.mark));
    }
    if view.zone != 0 {
        entry.insert("zone".into(), json!(view.zone));
    }
    entry.into()
}

fn tuple(tuple: &Tuple) -> Value {
    let mut fields = Map::new();
    fields.insert("src".into(), json!(tuple.src.to_string()));
    fields.insert("dst".into(), json!(tuple.dst.to_string()));
    match tuple.proto {
        proto::TCP | proto::UDP | proto::SCTP | proto::UDPLITE => {
            fields.insert("sport".into(), json!(tuple.sport));
            fields.insert("dport".into(), json!(tuple.dport));
        }
        proto::ICMP | proto::ICMPV6 => {
            fields.insert("type".into(), json!(tuple.dport >> 8));
            fields.insert("code".into(), json!(tuple.dport & 0xff));
            fields.insert("id".into(), json!(tuple.sport));
        }
        // conntrack prints keys of GRE that the format leaves out.
        _ => {}
    }
    fields.into()
}

fn counters(run: &Run) -> Value {
    let mut by_ns = Map::new();
    for ns in &run.case.topology.namespaces {
        let Some(node) = run.net.named(&ns.name) else { continue };
        let mut tools = Map::new();
        if ns.iptables_save.is_some() {
            tools.insert("iptables".into(), chains(run, node, Family::V4));
        }
        if ns.ip6tables_save.is_some() {
            tools.insert("ip6tables".into(), chains(run, node, Family::V6));
        }
        if ns.nft.is_some() {
            let counts = run.net.netns(node).nft.counters();
            tools.insert("nft".into(), counts.iter().map(|(family, table, count)| nft_count(family, table, count)).collect());
        }
        if !tools.is_empty() {
            by_ns.insert(ns.name.clone(), tools.into());
        }
    }
    by_ns.into()
}

fn nft_count(family: &str, table: &str, count: &NftCount) -> Value {
    match count {
        NftCount::Rule(chain, at, packets, bytes) => {
            json!({"family": family, "table": table, "chain": chain, "rule_index": at, "packets": packets, "bytes": bytes})
        }
        NftCount::Counter(name, packets, bytes) => {
            json!({"family": family, "table": table, "named": name, "packets": packets, "bytes": bytes})
        }
        NftCount::Quota(name, used) => json!({"family": family, "table": table, "quota": name, "used": used}),
    }
}

fn chains(run: &Run, node: NodeId, family: Family) -> Value {
    run.net.netns(node).netfilter.get(family).counters().iter().map(chain).collect()
}

fn chain(chain: &ChainCounters) -> Value {
    let mut fields = Map::new();
    fields.insert("table".into(), json!(chain.table.as_str()));
    fields.insert("chain".into(), json!(*chain.chain));
    let rules: Vec<Value> =
        chain.rules.iter().map(|(rule, packets, bytes)| json!({"rule": rule, "packets": packets, "bytes": bytes})).collect();
    fields.insert("rules".into(), rules.into());
    if let Some(policy) = chain.policy {
        fields.insert("policy".into(), json!(policy));
        fields.insert("packets".into(), json!(chain.policy_counts.0));
        fields.insert("bytes".into(), json!(chain.policy_counts.1));
    }
    fields.into()
}
