//! A case's topology as the commands that build it, in the order in which the recorder gave them to the kernel.

use serde_json::Value;

use super::format::{AddrSpec, Case, InterfaceSpec, NamespaceSpec, RouteSpec, RuleSpec};

/// One step of the set-up, in a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// A command line.
    Line(String),
    /// A command line and its standard input.
    Stdin(String, String),
}

/// What a namespace would inherit from the host, pinned.
const BASE_SYSCTLS: [(&str, &str); 20] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.arp_ignore", "0"),
    ("net.ipv4.conf.default.arp_ignore", "0"),
    ("net.ipv4.conf.all.arp_announce", "0"),
    ("net.ipv4.conf.default.arp_announce", "0"),
    ("net.ipv4.conf.all.accept_redirects", "1"),
    ("net.ipv4.conf.default.accept_redirects", "1"),
    ("net.ipv4.conf.all.send_redirects", "1"),
    ("net.ipv4.conf.default.send_redirects", "1"),
    ("net.ipv4.conf.all.accept_local", "0"),
    ("net.ipv4.conf.default.accept_local", "0"),
    ("net.ipv4.conf.all.route_localnet", "0"),
    ("net.ipv4.conf.default.route_localnet", "0"),
    ("net.ipv4.conf.all.accept_source_route", "0"),
    ("net.ipv4.conf.default.accept_source_route", "0"),
    ("net.ipv4.ip_forward", "0"),
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
    ("net.bridge.bridge-nf-call-arptables", "1"),
];

const IPV6_ON: [(&str, &str); 11] = [
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.all.dad_transmits", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    ("net.ipv6.conf.all.router_solicitations", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
];

const IPV6_OFF: [(&str, &str); 2] = [("net.ipv6.conf.all.disable_ipv6", "1"), ("net.ipv6.conf.default.disable_ipv6", "1")];

/// The set-up of a case: (namespace, step) in order.
pub(crate) fn setup(case: &Case) -> Result<Vec<(String, Setup)>, String> {
    let mut steps = Vec::new();
    for ns in &case.topology.namespaces {
        let pinned = BASE_SYSCTLS.iter().chain(if ns.ipv6 { IPV6_ON.iter() } else { IPV6_OFF.iter() });
        for (key, value) in pinned {
            line(&mut steps, ns, format!("sysctl -w {key}={value}"));
        }
        for (key, value) in ns.sysctls.iter().filter(|(key, _)| !names_an_interface(key)) {
            line(&mut steps, ns, format!("sysctl -w {key}={}", word(value)));
        }
    }
    links(case, &mut steps)?;
    for ns in &case.topology.namespaces {
        configure(ns, &mut steps);
    }
    for ns in &case.topology.namespaces {
        rules_and_routes(case, ns, &mut steps)?;
    }
    Ok(steps)
}

fn line(steps: &mut Vec<(String, Setup)>, ns: &NamespaceSpec, text: String) {
    steps.push((ns.name.clone(), Setup::Line(text)));
}

/// `net.ipv4.conf.eth0.x` can be written only once eth0 is there.
fn names_an_interface(key: &str) -> bool {
    let mut parts = key.split('.').skip(2);
    matches!(parts.next(), Some("conf" | "neigh")) && !matches!(parts.next(), Some("all" | "default"))
}

fn links(case: &Case, steps: &mut Vec<(String, Setup)>) -> Result<(), String> {
    let mut made = Vec::new();
    for ns in &case.topology.namespaces {
        for interface in &ns.interfaces {
            let here = format!("{}.{}", ns.name, interface.name);
            match interface.kind.as_str() {
                "veth" if !made.contains(&here) => {
                    let far = interface.peer.as_deref().ok_or_else(|| format!("{here} has no peer"))?;
                    let (far_ns, far_name) = far.split_once('.').ok_or_else(|| format!("`{far}` is not NAMESPACE.INTERFACE"))?;
                    let peer = find(case, far_ns, far_name)?;
                    let text = format!(
                        "ip link add {}{} type veth peer name {far_name}{} netns {far_ns}",
                        interface.name,
                        with_mac_and_mtu(interface),
                        with_mac_and_mtu(peer)
                    );
                    line(steps, ns, text);
                    made.push(far.to_owned());
                    made.push(here);
                }
                "bridge" => {
                    let mut options: Vec<(&str, String)> =
                        vec![("forward_delay", "0".into()), ("stp_state", "0".into()), ("mcast_snooping", "0".into())];
                    for (key, value) in &interface.opts {
                        match options.iter_mut().find(|(known, _)| known == key) {
                            Some(known) => known.1 = word(value),
                            None => options.push((key, word(value))),
                        }
                    }
                    let options: String = options.iter().map(|(key, value)| format!(" {key} {value}")).collect();
                    line(steps, ns, format!("ip link add {}{} type bridge{options}", interface.name, with_mac_and_mtu(interface)));
                }
                _ => {}
            }
        }
    }
    for ns in &case.topology.namespaces {
        for interface in &ns.interfaces {
            match interface.kind.as_str() {
                "veth" | "bridge" | "lo" => {}
                "vxlan" => {
                    let options: String = interface
                        .opts
                        .iter()
                        .map(|(key, value)| match value {
                            Value::Bool(true) => format!(" {key}"),
                            Value::Bool(false) => format!(" no{key}"),
                            other => format!(" {key} {}", word(other)),
                        })
                        .collect();
                    line(steps, ns, format!("ip link add {}{} type vxlan{options}", interface.name, with_mac_and_mtu(interface)));
                }
                kind @ ("macvlan" | "ipvlan") => {
                    let parent = interface.parent.as_deref().ok_or_else(|| format!("{} has no parent", interface.name))?;
                    let (parent_ns, parent_name) =
                        parent.split_once('.').ok_or_else(|| format!("`{parent}` is not NAMESPACE.INTERFACE"))?;
                    let mac = interface.mac.as_ref().map(|mac| format!(" address {mac}")).unwrap_or_default();
                    let text = format!(
                        "ip link add link {parent_name} name {}{mac} netns {} type {kind} mode {}",
                        interface.name,
                        ns.name,
                        interface.mode.as_deref().unwrap_or("bridge")
                    );
                    steps.push((parent_ns.to_owned(), Setup::Line(text)));
                }
                "raw" => {
                    let kind = interface.raw_type.as_deref().ok_or_else(|| format!("{} has no type", interface.name))?;
                    line(steps, ns, format!("ip link add {}{} type {kind}", interface.name, with_mac_and_mtu(interface)));
                }
                other => return Err(format!("interface kind `{other}` is not part of the format")),
            }
        }
    }
    Ok(())
}

fn with_mac_and_mtu(interface: &InterfaceSpec) -> String {
    let mac = interface.mac.as_ref().map(|mac| format!(" address {mac}")).unwrap_or_default();
    let mtu = interface.mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
    mac + &mtu
}

fn find<'a>(case: &'a Case, ns: &str, name: &str) -> Result<&'a InterfaceSpec, String> {
    let found = case.topology.namespaces.iter().filter(|spec| spec.name == ns).flat_map(|spec| &spec.interfaces);
    found.into_iter().find(|interface| interface.name == name).ok_or_else(|| format!("no interface {ns}.{name}"))
}

fn configure(ns: &NamespaceSpec, steps: &mut Vec<(String, Setup)>) {
    for (key, value) in ns.sysctls.iter().filter(|(key, _)| names_an_interface(key)) {
        line(steps, ns, format!("sysctl -w {key}={}", word(value)));
    }
    if !ns.interfaces.iter().any(|interface| interface.name == "lo") {
        line(steps, ns, "ip link set lo up".to_owned());
    }
    for interface in &ns.interfaces {
        let name = &interface.name;
        if let Some(master) = &interface.master {
            line(steps, ns, format!("ip link set {name} master {master}"));
        }
        if interface.up {
            line(steps, ns, format!("ip link set {name} up"));
        }
        for address in &interface.addrs {
            let mut text = match address {
                AddrSpec::Text(text) => text.clone(),
                AddrSpec::Fields(fields) => address_fields(fields),
            };
            if text.split(' ').next().is_some_and(|address| address.contains(':')) && !text.contains("nodad") {
                text.push_str(" nodad");
            }
            line(steps, ns, format!("ip addr add {text} dev {name}"));
        }
    }
    for interface in ns.interfaces.iter().filter(|interface| !interface.bridge_port.is_empty()) {
        let options: String = interface
            .bridge_port
            .iter()
            .map(|(key, value)| match value {
                Value::Bool(on) => format!(" {key} {}", if *on { "on" } else { "off" }),
                Value::Number(number) => format!(" {key} {}", if number.as_i64() == Some(0) { "off" } else { "on" }),
                other => format!(" {key} {}", word(other)),
            })
            .collect();
        line(steps, ns, format!("bridge link set dev {}{options}", interface.name));
    }
}

fn address_fields(fields: &std::collections::BTreeMap<String, Value>) -> String {
    let mut text = fields.get("addr").map(word).unwrap_or_default();
    for (key, value) in fields.iter().filter(|(key, _)| *key != "addr" && *key != "flags") {
        text.push_str(&format!(" {key} {}", word(value)));
    }
    for flag in fields.get("flags").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!(" {}", word(flag)));
    }
    text
}

fn rules_and_routes(case: &Case, ns: &NamespaceSpec, steps: &mut Vec<(String, Setup)>) -> Result<(), String> {
    for family in ["-4", "-6"] {
        let v6 = family == "-6";
        for rule in ns.rules.iter().filter(|rule| (rule.family == Some(6)) == v6) {
            line(steps, ns, format!("ip {family} rule add {}", rule_words(rule)));
        }
        for neighbor in ns.neighbors.iter().filter(|neighbor| neighbor.ip.contains(':') == v6) {
            let text = if neighbor.proxy {
                format!("ip {family} neigh add proxy {} dev {}", neighbor.ip, neighbor.dev)
            } else {
                let mac = neighbor.mac.as_deref().ok_or_else(|| format!("neighbour {} has no mac", neighbor.ip))?;
                let state = neighbor.state.as_deref().unwrap_or("permanent");
                format!("ip {family} neigh replace {} lladdr {mac} dev {} nud {state}", neighbor.ip, neighbor.dev)
            };
            line(steps, ns, text);
        }
        for route in ns.routes.iter().filter(|route| is_v6(route) == v6) {
            line(steps, ns, format!("ip {family} route {} {}", route.op.as_deref().unwrap_or("add"), route_words(route)));
        }
    }
    for entry in &ns.fdb {
        let mut text = format!("bridge fdb {} {} dev {}", entry.op.as_deref().unwrap_or("append"), entry.mac, entry.dev);
        if let Some(dst) = &entry.dst {
            text.push_str(&format!(" dst {dst}"));
        }
        if let Some(vni) = entry.vni {
            text.push_str(&format!(" vni {vni}"));
        }
        text.push_str(&format!(" {}", entry.place.as_deref().unwrap_or("self")));
        if let Some(state) = &entry.state {
            text.push_str(&format!(" {state}"));
        }
        line(steps, ns, text);
    }
    let variant = case.iptables_variant.as_deref().unwrap_or("legacy");
    let suffix = if variant == "nft" { "-nft" } else { "-legacy" };
    let mut stdin = |command: String, text: &Option<String>| {
        if let Some(text) = text {
            steps.push((ns.name.clone(), Setup::Stdin(command, text.clone())));
        }
    };
    stdin("ipset restore".into(), &ns.ipset);
    stdin(format!("iptables{suffix}-restore"), &ns.iptables_save);
    stdin(format!("ip6tables{suffix}-restore"), &ns.ip6tables_save);
    stdin("nft -f -".into(), &ns.nft);
    stdin("ipvsadm -R".into(), &ns.ipvs);
    for text in &ns.setup {
        line(steps, ns, text.clone());
    }
    Ok(())
}

fn is_v6(route: &RouteSpec) -> bool {
    route.dst.contains(':') || route.via.as_ref().is_some_and(|via| via.contains(':')) || route.family == Some(6)
}

fn route_words(route: &RouteSpec) -> String {
    let mut words = Vec::new();
    if let Some(kind) = route.kind.as_deref().filter(|&kind| kind != "unicast") {
        words.push(kind.to_owned());
    }
    words.push(route.dst.clone());
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("{name} {value}"));
        }
    };
    if route.nexthops.is_empty() {
        option("via", route.via.clone());
        option("dev", route.dev.clone());
    }
    option("src", route.src.clone());
    option("metric", route.metric.map(|metric| metric.to_string()));
    option("table", route.table.as_ref().map(word));
    option("scope", route.scope.as_ref().map(word));
    option("tos", route.tos.as_ref().map(word));
    option("mtu", route.mtu.map(|mtu| mtu.to_string()));
    if route.onlink {
        words.push("onlink".to_owned());
    }
    if let Some(mtu) = route.mtu_lock {
        words.push(format!("mtu lock {mtu}"));
    }
    for hop in &route.nexthops {
        let mut text = "nexthop".to_owned();
        for (name, value) in [("via", &hop.via), ("dev", &hop.dev)] {
            if let Some(value) = value {
                text.push_str(&format!(" {name} {value}"));
            }
        }
        if let Some(weight) = hop.weight {
            text.push_str(&format!(" weight {weight}"));
        }
        if hop.onlink {
            text.push_str(" onlink");
        }
        words.push(text);
    }
    words.join(" ")
}

fn rule_words(rule: &RuleSpec) -> String {
    let mut words = Vec::new();
    if rule.not {
        words.push("not".to_owned());
    }
    let texts = [("from", &rule.from), ("to", &rule.to), ("iif", &rule.iif), ("oif", &rule.oif)];
    for (name, value) in texts {
        if let Some(value) = value {
            words.push(format!("{name} {value}"));
        }
    }
    let values = [("tos", &rule.tos), ("ipproto", &rule.ipproto), ("sport", &rule.sport), ("dport", &rule.dport)];
    for (name, value) in values {
        if let Some(value) = value {
            words.push(format!("{name} {}", word(value)));
        }
    }
    if let Some(range) = &rule.uidrange {
        words.push(format!("uidrange {range}"));
    }
    if let Some(mark) = &rule.fwmark {
        words.push(format!("fwmark {}", word(mark)));
    }
    if let Some(priority) = rule.priority {
        words.push(format!("priority {priority}"));
    }
    if let Some(table) = &rule.lookup {
        words.push(format!("lookup {}", word(table)));
    }
    if let Some(length) = rule.suppress_prefixlength {
        words.push(format!("suppress_prefixlength {length}"));
    }
    if let Some(priority) = rule.goto {
        words.push(format!("goto {priority}"));
    }
    words.extend(rule.action.clone());
    words.join(" ")
}

/// A JSON scalar as a word of a command line.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => if *on { "1" } else { "0" }.to_owned(),
        other => other.to_string(),
    }
}
