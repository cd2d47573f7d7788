//! What the network is made of, as text that the real tools take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use k8s_model::Cluster;
use k8s_model::export::{ExportError, export_all_rules, export_rules, export_saved_rules};
use k8s_model::network::Plan;
use k8s_model::node_rules::families;
use stack::Mac;
use stack::app::L4;
use stack::command::script::real_name;

use crate::build::World;
use crate::problem::{Problem, Problems};
use crate::scenario::{CommandSpec, Item, ScenarioFile, Transport};

/// How rules are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RulesForm {
    /// What kube-proxy gives to `iptables-restore`.
    Restore,
    /// What all parts of a node give to `iptables-restore`.
    RestoreAll,
    /// What `iptables-save` prints back.
    Save,
}

/// The rules of a node, or of all nodes where none is named; of a family, or of all that the cluster has. Several pieces are
/// headed by a comment each, one alone is what the tools write, byte for byte.
///
/// # Errors
/// No such node or family, no cluster, or a rule that is not modelled.
pub fn rules(cluster: Option<&Cluster>, node: Option<&str>, family: Option<u8>, form: RulesForm) -> Result<String, Problems> {
    let Some(cluster) = cluster else {
        return Err(Problem::whole("export rules", "there is no cluster")
            .help("give manifests with -f, or a scenario with a cluster")
            .into());
    };
    let nodes: Vec<&str> = match node {
        Some(name) => vec![name],
        None => cluster.nodes.iter().map(|node| node.name.as_str()).collect(),
    };
    let mut wanted = families(cluster);
    if let Some(family) = family {
        wanted.retain(|one| *one == family);
        if wanted.is_empty() {
            let problem = Problem::whole("export rules", format!("the cluster has no IPv{family}"));
            return Err(problem.help("give --cluster-cidr, --service-cluster-ip-range and --node-network of that family").into());
        }
    }
    let mut text = String::new();
    for name in &nodes {
        for family in wanted.iter().copied() {
            if nodes.len() * wanted.len() > 1 {
                let _ = writeln!(text, "# node {name}, IPv{family}");
            }
            let piece = match form {
                RulesForm::Restore => export_rules(cluster, name, family)?,
                RulesForm::RestoreAll => export_all_rules(cluster, name, family)?,
                RulesForm::Save => export_saved_rules(cluster, name, family).map_err(|error| match error {
                    ExportError::Input(errors) => Problems::from(errors),
                    ExportError::Rules(error) => Problem::whole(*name, error.to_string()).unsupported().into(),
                })?,
            };
            text.push_str(&piece);
        }
    }
    Ok(text)
}

/// A shell script that builds the same network out of real namespaces, whose names begin with `prefix`.
///
/// # Errors
/// A file of the scenario cannot be read.
pub fn commands(world: &World, scenario: Option<&ScenarioFile>, prefix: &str) -> Result<String, Problem> {
    let mut script = Script { prefix: prefix.to_owned(), ..Script::default() };
    if let Some(plan) = &world.plan {
        script.plan(plan);
    }
    if let Some(file) = scenario {
        for item in &file.scenario.network {
            script.item(file, item)?;
        }
    }
    Ok(script.finish())
}

#[derive(Default)]
struct Script {
    prefix: String,
    body: String,
    namespaces: Vec<String>,
    heredocs: usize,
    /// By namespace: ports, as `80/tcp`.
    listeners: BTreeMap<String, BTreeSet<(u16, &'static str)>>,
}

/// A new namespace takes over settings of the host that distributions change. Those that decide where packets go get the kernel's
/// own defaults, which is what the simulation starts from.
const NETNS: &str = "\
netns() {
    ip netns add \"$1\"
    # A new namespace takes over settings of the host: back to the kernel's own defaults.
    ip netns exec \"$1\" sysctl -qw net.ipv4.ip_forward=0
    for conf in all default lo; do
        for setting in rp_filter=0 accept_local=0 route_localnet=0 arp_ignore=0 arp_announce=0 send_redirects=1 accept_redirects=1; do
            echo \"net.ipv4.conf.$conf.$setting\"
        done
    done | ip netns exec \"$1\" sysctl -q -p -
}
";

/// A word for the shell.
fn quote(word: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&b);
    if !word.is_empty() && word.bytes().all(safe) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

impl Script {
    /// A namespace as the shell and `ip netns` take it.
    fn place(&self, name: &str) -> String {
        quote(&real_name(&self.prefix, name))
    }

    fn netns(&mut self, name: &str) {
        let place = self.place(name);
        let _ = writeln!(self.body, "netns {place}");
        self.namespaces.push(place);
    }

    /// A veth pair whose ends have the MACs that they have here.
    fn link(&mut self, a: (&str, &str), b: (&str, &str), delay_ns: u64) {
        let end = |(netns, device): (&str, &str)| {
            let mac = Mac::of_name(&format!("{netns}/{device}"));
            format!("{} address {mac} netns {}", quote(device), self.place(netns))
        };
        let (left, right) = (end(a), end(b));
        let _ = writeln!(self.body, "ip link add {left} type veth peer name {right}");
        if delay_ns > 0 {
            let micros = delay_ns.div_ceil(1_000);
            let _ = writeln!(self.body, "# a cable of {micros}us: tc qdisc add dev {} root netem delay {micros}us", a.1);
        }
    }

    fn command(&mut self, netns: &str, line: &str, stdin: Option<&str>) {
        let place = self.place(netns);
        let _ = write!(self.body, "ip netns exec {place} {line}");
        match stdin {
            None => self.body.push('\n'),
            Some(text) => {
                self.heredocs += 1;
                let end = format!("PKTLAB_{}", self.heredocs);
                let newline = if text.ends_with('\n') { "" } else { "\n" };
                let _ = writeln!(self.body, " <<'{end}'\n{text}{newline}{end}");
            }
        }
    }

    fn plan(&mut self, plan: &Plan) {
        for ns in &plan.namespaces {
            self.netns(&ns.name);
        }
        for link in &plan.links {
            let (a, b) = ((link.a.0.as_str(), link.a.1.as_str()), (link.b.0.as_str(), link.b.1.as_str()));
            self.link(a, b, link.config.delay.as_nanos());
        }
        let mut by = String::new();
        for command in &plan.commands {
            let made = format!("# {}", command.prov);
            if made != by {
                let _ = writeln!(self.body, "{made}");
                by = made;
            }
            let text = command.stdin.as_ref().map(|stdin| stdin.text.as_str());
            self.command(&command.netns, &command.line, text);
        }
        for server in &plan.servers {
            let proto = if server.server.l4 == L4::Udp { "udp" } else { "tcp" };
            self.listeners.entry(server.netns.clone()).or_default().insert((server.server.port, proto));
        }
    }

    fn item(&mut self, file: &ScenarioFile, item: &Item) -> Result<(), Problem> {
        match item {
            Item::Ns(name) => self.netns(name),
            Item::Link { a, b, delay, mtu, .. } => {
                let (left, right) = (file.device(a)?, file.device(b)?);
                let delay = delay.as_deref().map(|text| file.time(text)).transpose()?.unwrap_or_default();
                self.link(left, right, delay.as_nanos());
                if let Some(mtu) = mtu {
                    for (netns, device) in [left, right] {
                        self.command(netns, &format!("ip link set {device} mtu {mtu}"), None);
                    }
                }
            }
            Item::In(netns, commands) => {
                for command in commands {
                    match command {
                        CommandSpec::Line(line) => self.command(netns, line, None),
                        CommandSpec::Stdin(line, name) => self.command(netns, line, Some(&file.file_text(name)?)),
                    }
                }
            }
            Item::Listen { on, port, proto, .. } => {
                let proto = if *proto == Transport::Udp { "udp" } else { "tcp" };
                self.listeners.entry(on.clone()).or_default().insert((*port, proto));
            }
        }
        Ok(())
    }

    fn finish(self) -> String {
        let mut text = String::from(
            "#!/bin/sh\n# The network that pktlab simulates, out of real namespaces. As root; undo with the last line.\nset -e\n",
        );
        text.push_str(NETNS);
        text.push_str(&self.body);
        for (netns, ports) in &self.listeners {
            let ports: Vec<String> = ports.iter().map(|(port, proto)| format!("{port}/{proto}")).collect();
            let _ = writeln!(text, "# in {netns} something listens on {}", ports.join(", "));
        }
        let _ = writeln!(text, "# for ns in {}; do ip netns del \"$ns\"; done", self.namespaces.join(" "));
        text
    }
}
