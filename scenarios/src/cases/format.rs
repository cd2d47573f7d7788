//! `case.json`: a network of namespaces, stimuli, and what to observe. Unknown fields are errors: a case is run as it is
//! written, or reported as unsupported.

#![allow(dead_code, reason = "prose for people, and fields of what is reported as unsupported, are part of the format")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::frame::PacketSpec;

/// The version of the format that is read.
pub(crate) const FORMAT: &str = "orc-kernel-case/1";

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) format: String,
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) title: String,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    pub(crate) iptables_variant: Option<String>,
    pub(crate) topology: TopologySpec,
    pub(crate) stimuli: Vec<Stimulus>,
    #[serde(default)]
    pub(crate) observe: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopologySpec {
    pub(crate) namespaces: Vec<NamespaceSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceSpec {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) ipv6: bool,
    #[serde(default)]
    pub(crate) sysctls: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) interfaces: Vec<InterfaceSpec>,
    #[serde(default)]
    pub(crate) routes: Vec<RouteSpec>,
    #[serde(default)]
    pub(crate) rules: Vec<RuleSpec>,
    #[serde(default)]
    pub(crate) neighbors: Vec<NeighborSpec>,
    #[serde(default)]
    pub(crate) fdb: Vec<FdbSpec>,
    pub(crate) ipset: Option<String>,
    pub(crate) iptables_save: Option<String>,
    pub(crate) ip6tables_save: Option<String>,
    pub(crate) nft: Option<String>,
    pub(crate) ipvs: Option<String>,
    #[serde(default)]
    pub(crate) setup: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterfaceSpec {
    pub(crate) name: String,
    #[serde(default = "veth")]
    pub(crate) kind: String,
    pub(crate) peer: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) master: Option<String>,
    #[serde(default)]
    pub(crate) bridge_port: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) opts: BTreeMap<String, Value>,
    #[serde(rename = "type")]
    pub(crate) raw_type: Option<String>,
    pub(crate) mac: Option<String>,
    #[serde(default)]
    pub(crate) addrs: Vec<AddrSpec>,
    pub(crate) mtu: Option<u32>,
    #[serde(default = "yes")]
    pub(crate) up: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum AddrSpec {
    Text(String),
    Fields(BTreeMap<String, Value>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSpec {
    pub(crate) dst: String,
    pub(crate) via: Option<String>,
    pub(crate) dev: Option<String>,
    pub(crate) src: Option<String>,
    pub(crate) metric: Option<u32>,
    pub(crate) table: Option<Value>,
    pub(crate) scope: Option<Value>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) onlink: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) mtu_lock: Option<u32>,
    pub(crate) tos: Option<Value>,
    pub(crate) family: Option<u8>,
    pub(crate) op: Option<String>,
    #[serde(default)]
    pub(crate) nexthops: Vec<NexthopSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NexthopSpec {
    pub(crate) via: Option<String>,
    pub(crate) dev: Option<String>,
    pub(crate) weight: Option<u32>,
    #[serde(default)]
    pub(crate) onlink: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleSpec {
    pub(crate) priority: Option<u32>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) iif: Option<String>,
    pub(crate) oif: Option<String>,
    pub(crate) fwmark: Option<Value>,
    pub(crate) tos: Option<Value>,
    pub(crate) ipproto: Option<Value>,
    pub(crate) sport: Option<Value>,
    pub(crate) dport: Option<Value>,
    pub(crate) uidrange: Option<String>,
    #[serde(default)]
    pub(crate) not: bool,
    pub(crate) lookup: Option<Value>,
    pub(crate) action: Option<String>,
    pub(crate) goto: Option<u32>,
    pub(crate) suppress_prefixlength: Option<u32>,
    pub(crate) family: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeighborSpec {
    pub(crate) ip: String,
    pub(crate) dev: String,
    pub(crate) mac: Option<String>,
    pub(crate) state: Option<String>,
    #[serde(default)]
    pub(crate) proxy: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FdbSpec {
    pub(crate) mac: String,
    pub(crate) dev: String,
    pub(crate) dst: Option<String>,
    pub(crate) vni: Option<u32>,
    #[serde(rename = "where")]
    pub(crate) place: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) op: Option<String>,
}

/// What is done, in order.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Stimulus {
    Frame {
        ns: String,
        iface: String,
        packet: Box<PacketSpec>,
        count: Option<u32>,
        settle_ms: Option<u64>,
        note: Option<String>,
    },
    ListenUdp {
        ns: String,
        port: u16,
        bind: Option<String>,
        reply: Option<String>,
        name: Option<String>,
        #[serde(default)]
        transparent: bool,
    },
    ListenTcp {
        ns: String,
        port: u16,
        bind: Option<String>,
        reply: Option<String>,
        name: Option<String>,
        #[serde(default)]
        transparent: bool,
    },
    Udp(Box<UdpStimulus>),
    Tcp(Box<TcpStimulus>),
    Ping(Box<PingStimulus>),
    Config(Box<ConfigStimulus>),
    Wait {
        ms: u64,
        note: Option<String>,
    },
    GetRoute {
        ns: String,
        dst: String,
        args: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UdpStimulus {
    pub(crate) ns: String,
    pub(crate) dst: String,
    pub(crate) dport: u16,
    pub(crate) bind: Option<String>,
    pub(crate) sport: Option<u16>,
    pub(crate) data: Option<String>,
    pub(crate) data_len: Option<usize>,
    pub(crate) mark: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) tos: Option<u8>,
    pub(crate) ttl: Option<u8>,
    pub(crate) df: Option<bool>,
    pub(crate) device: Option<String>,
    #[serde(default = "yes")]
    pub(crate) connect: bool,
    #[serde(default)]
    pub(crate) broadcast: bool,
    #[serde(default)]
    pub(crate) transparent: bool,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) settle_ms: Option<u64>,
    /// Name of a socket that several stimuli share.
    pub(crate) socket: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpStimulus {
    pub(crate) ns: String,
    pub(crate) dst: String,
    pub(crate) dport: u16,
    pub(crate) bind: Option<String>,
    pub(crate) sport: Option<u16>,
    pub(crate) data: Option<String>,
    pub(crate) mark: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) tos: Option<u8>,
    pub(crate) ttl: Option<u8>,
    pub(crate) device: Option<String>,
    #[serde(default)]
    pub(crate) transparent: bool,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) settle_ms: Option<u64>,
    #[serde(default)]
    pub(crate) keep: bool,
    #[serde(default)]
    pub(crate) rst: bool,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PingStimulus {
    pub(crate) ns: String,
    pub(crate) dst: String,
    pub(crate) bind: Option<String>,
    pub(crate) id: Option<u16>,
    pub(crate) seq: Option<u16>,
    pub(crate) size: Option<usize>,
    pub(crate) mark: Option<u32>,
    pub(crate) ttl: Option<u8>,
    pub(crate) tos: Option<u8>,
    pub(crate) device: Option<String>,
    #[serde(default)]
    pub(crate) connect: bool,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) settle_ms: Option<u64>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigStimulus {
    pub(crate) ns: String,
    pub(crate) tool: String,
    pub(crate) args: String,
    #[serde(default)]
    pub(crate) ok: bool,
    #[serde(default)]
    pub(crate) keep_output: bool,
    #[serde(default)]
    pub(crate) noflush: bool,
    pub(crate) settle_ms: Option<u64>,
    note: Option<String>,
}

fn veth() -> String {
    "veth".to_owned()
}

fn yes() -> bool {
    true
}
