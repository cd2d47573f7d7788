//! A cluster against the kernel: what `pktlab export commands` prints is run by `sh`, real sockets ask the questions that the
//! simulator is asked, from the same source ports, and every device of every namespace must have seen the same packets.
//!
//! Compared for each question: what the client got, whom the servers saw, and for each device the ordered list of packets in
//! the words of `kernel/packet.rs`; at the end the connections of every node. Where kube-proxy leaves the endpoint to chance,
//! the kernel goes first, and the simulator is made to pick the same.
//!
//! Not compared: the order between devices, times, what `kernel/packet.rs` leaves out, timeouts of connections, the number that
//! a port drawn by chance has (only where it appears again), and the answers themselves: the servers of both say who they are.
//!
//! Needs root, `ip`, `iptables-restore`, `conntrack` and `python3`. Without them the tests say so and pass, unless
//! `PKTLAB_REQUIRE_KERNEL=1`.

#[path = "kernel/packet.rs"]
mod packet;
#[path = "kernel/real.rs"]
mod real;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use k8s_model::network::{NsKind, Plan};
use packet::Names;
use scenarios::load::{ClusterFlags, Input};
use serde::Deserialize;
use serde_json::json;
use sim_core::{Arms, ChoiceKey};
use stack::app::{AnswerResult, Client, L4, Request, Service, SocketOptions, Target};
use stack::command::script::real_name;
use stack::conntrack::Conntrack;
use stack::trace::{Record, purpose};
use stack::{Mac, Network, SimTime, TraceMode};

/// What is sent with every question.
const SEND: &str = "who is there?\n";
/// The source port of the first question; the next ones follow.
const FIRST_PORT: u16 = 41_000;
/// How long a client waits for an answer, unless it is patient.
const WAIT_MS: u64 = 300;
/// From the end of that to the next question.
const PAUSE_MS: u64 = 200;
/// Until a cluster is at rest.
const REST: SimTime = SimTime::from_secs(10);
/// A port that Services point to and nobody listens on.
const CLOSED: u16 = 9999;
/// More runs than this are not made to pick as the kernel did.
const MAX_RUNS: usize = 500;

/// How somebody asks.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Tcp,
    Udp,
    Ping,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            How::Tcp => "tcp",
            How::Udp => "udp",
            How::Ping => "ping",
        }
    }
}

/// A question: from which namespace, how, to whom.
#[derive(Clone)]
struct Ask {
    from: &'static str,
    how: How,
    to: SocketAddr,
    send: String,
    ttl: Option<u8>,
    wait_ms: u64,
}

impl Ask {
    /// Waits until a second SYN has been answered.
    fn patient(self) -> Ask {
        Ask { wait_ms: 1_500, ..self }
    }

    /// Goes so far.
    fn ttl(self, ttl: u8) -> Ask {
        Ask { ttl: Some(ttl), ..self }
    }

    /// Sends what takes three fragments.
    fn long(self) -> Ask {
        Ask { send: "who is there? ".repeat(250), ..self }
    }
}

fn tcp(from: &'static str, to: &str) -> Ask {
    let to = to.parse().expect("an address and a port");
    Ask { from, how: How::Tcp, to, send: SEND.to_owned(), ttl: None, wait_ms: WAIT_MS }
}

fn udp(from: &'static str, to: &str) -> Ask {
    Ask { how: How::Udp, ..tcp(from, to) }
}

fn ping(from: &'static str, to: &str) -> Ask {
    let to = SocketAddr::new(to.parse().expect("an address"), 0);
    Ask { from, how: How::Ping, to, send: String::new(), ttl: None, wait_ms: WAIT_MS }
}

/// What came of a question.
#[derive(Default)]
struct Seen {
    answer: String,
    /// Server, address and port of who asked, data.
    received: Vec<(String, String, u16, String)>,
    /// Namespace, device, way, frame.
    frames: Vec<(String, String, &'static str, Vec<u8>)>,
}

impl Seen {
    /// What tells endpoints apart: the answer, and the namespaces that were passed.
    fn pick(&self) -> (&str, BTreeSet<&str>) {
        let mut names = Names::default();
        let compared = self.frames.iter().filter(|(.., frame)| names.line(frame).is_some());
        (&self.answer, compared.map(|(ns, ..)| ns.as_str()).collect())
    }
}

/// What came of all questions, and the connections of each node as `conntrack -L` prints them.
struct Run {
    seen: Vec<Seen>,
    conntrack: BTreeMap<String, Vec<String>>,
}

struct Lab {
    name: &'static str,
    manifest: &'static str,
    flags: ClusterFlags,
    asks: Vec<Ask>,
}

impl Lab {
    fn check(&self) {
        if real::passed_over(self.name, &["ip", "iptables-restore", "ip6tables-restore", "conntrack", "python3"]) {
            return;
        }
        let input = Input { files: vec![self.manifest.into()], flags: self.flags.clone(), ..Input::default() };
        let loaded = input.load().unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let mut plan = k8s_model::plan(&loaded.cluster.expect("manifests make a cluster")).expect("it can be planned");
        introduce_themselves(&mut plan);
        // A busy machine may delay a process beyond a timer of the kernel: a difference counts when it shows twice.
        let compared = |lab: &Lab| {
            let kernel = lab.really(&plan);
            lab.compare(&plan, &kernel, &lab.simulate(&plan, &kernel))
        };
        if let Err(first) = compared(self) {
            eprintln!("{first}\nonce more:");
            compared(self).unwrap_or_else(|again| panic!("{again}"));
        }
    }

    /// The words that the command line takes for the same cluster.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["-f".to_owned(), self.manifest.to_owned()];
        let texts = [
            ("--cluster-cidr", &self.flags.cluster_cidr),
            ("--service-cluster-ip-range", &self.flags.service_cluster_ip_range),
            ("--node-network", &self.flags.node_network),
            ("--nodeport-addresses", &self.flags.nodeport_addresses),
        ];
        for (flag, value) in texts {
            words.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        let switches = [
            ("--masquerade-all", self.flags.masquerade_all),
            ("--iptables-localhost-nodeports", self.flags.iptables_localhost_nodeports),
        ];
        words.extend(switches.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value?))));
        words.extend(self.flags.nodes.iter().flat_map(|nodes| ["--nodes".to_owned(), nodes.to_string()]));
        words
    }

    fn really(&self, plan: &Plan) -> Run {
        let prefix = format!("plkc-{}-{}-", std::process::id(), self.name);
        let script = Command::new(env!("CARGO_BIN_EXE_pktlab"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["export", "commands", "--prefix", &prefix])
            .args(self.words())
            .output()
            .expect("pktlab starts");
        assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
        let _cleaner = real::Cleaner(format!(
            "for ns in $(ip netns list | cut -d' ' -f1); do case $ns in {prefix}*) ip netns del \"$ns\";; esac; done"
        ));
        real::shell(&String::from_utf8_lossy(&script.stdout)).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let namespaces: BTreeMap<&str, String> =
            plan.namespaces.iter().map(|ns| (ns.name.as_str(), real_name(&prefix, &ns.name))).collect();
        let servers: Vec<_> = plan.servers.iter().map(|one| {
            json!({"ns": one.netns, "l4": l4_name(one.server.l4), "port": one.server.port, "reply": introduction(&one.netns)})
        }).collect();
        let asks: Vec<_> = self.asks.iter().zip(FIRST_PORT..).map(|(ask, sport)| {
            json!({"ns": ask.from, "proto": ask.how.name(), "sport": sport, "dst": ask.to.ip(), "port": ask.to.port(), "send": ask.send, "ttl": ask.ttl,
                   "wait": ask.wait_ms as f64 / 1e3})
        }).collect();
        let spec = json!({"namespaces": namespaces, "servers": servers, "asks": asks, "nodes": nodes(plan)});
        let told: Told = serde_json::from_slice(&python(&spec.to_string())).expect("lab.py writes what this reads");
        let seen = told.asks.into_iter().map(|one| Seen {
            answer: one.answer.reply.or(one.answer.error).expect("one of both"),
            received: one.received,
            frames: one
                .packets
                .into_iter()
                .map(|(ns, dev, way, hex)| (ns, dev, if way == "in" { "in" } else { "out" }, bytes(&hex)))
                .collect(),
        });
        Run { seen: seen.collect(), conntrack: told.conntrack }
    }

    /// Asks in the simulator, again and again until chance falls as it did in the kernel.
    fn simulate(&self, plan: &Plan, kernel: &Run) -> Run {
        let mut settled: Vec<(ChoiceKey, u32)> = Vec::new();
        let mut script: Vec<(ChoiceKey, u32)> = Vec::new();
        let mut pending: Vec<Vec<(ChoiceKey, u32)>> = Vec::new();
        // The question whose endpoint is looked for; those before are settled.
        let mut at = 0;
        for _ in 0..MAX_RUNS {
            let forced: Vec<_> = settled.iter().chain(&script).copied().collect();
            let (run, draws) = self.simulate_once(plan, &forced);
            let differs = |n: &usize| *n >= at && !draws[*n].is_empty() && run.seen[*n].pick() != kernel.seen[*n].pick();
            let Some(wrong) = (0..self.asks.len()).find(differs) else { return run };
            if wrong > at {
                settled.append(&mut script);
                pending.clear();
                at = wrong;
            }
            for taken in script.len()..draws[wrong].len() {
                let mut other: Vec<_> = draws[wrong][..taken].to_vec();
                let (key, arm) = draws[wrong][taken];
                other.push((key, 1 - arm));
                pending.push(other);
            }
            match pending.pop() {
                Some(next) => script = next,
                // No endpoint gives that answer; the comparison shows it.
                None => at = wrong + 1,
            }
        }
        panic!("{}: the endpoints that the kernel picked cannot be forced", self.name);
    }

    /// One run; and for each question which arms of kube-proxy's rules were taken.
    fn simulate_once(&self, plan: &Plan, forced: &[(ChoiceKey, u32)]) -> (Run, Vec<Vec<(ChoiceKey, u32)>>) {
        let mut net = Network::new(1, TraceMode::Off);
        plan.apply(&mut net).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        net.sim.run_until(REST);
        net.sim.tracer_mut().set_mode(TraceMode::Frames);
        for &(key, arm) in forced {
            net.sim.force_choice(key, arm);
        }
        let (mut seen, mut draws) = (Vec::new(), Vec::new());
        for (ask, sport) in self.asks.iter().zip(FIRST_PORT..) {
            net.sim.tracer_mut().clear();
            let before = net.sim.choices().len();
            let heard: Vec<usize> = plan.namespaces.iter().map(|ns| received(&net, &ns.name).len()).collect();
            let send = ask.send.as_bytes().to_vec();
            let request = match ask.how {
                How::Udp => Request::Udp { send, connect: true },
                How::Tcp => Request::Tcp { send, greeting: false, keep: false, rst: false },
                How::Ping => {
                    let interval = SimTime::from_secs(1);
                    Request::Ping { count: 1, size: 56, interval, id: Some(sport), seq: 1, connected: false }
                }
            };
            let client = Client {
                name: "test".into(),
                target: Target::Address(ask.to.ip()),
                port: ask.to.port(),
                request,
                resolver: None,
                options: SocketOptions { sport: Some(sport), ttl: ask.ttl, ..SocketOptions::default() },
                timeout: Some(SimTime::from_millis(ask.wait_ms)),
            };
            let node = net.named(ask.from).unwrap_or_else(|| panic!("{} is no namespace", ask.from));
            let app = net.ask(node, client);
            let until = net.sim.now() + SimTime::from_millis(ask.wait_ms + PAUSE_MS);
            net.sim.run_until(until);
            let answer = match net.netns(node).apps.answer(app).and_then(|answer| answer.result.clone()) {
                Some(AnswerResult::Reply { data, .. }) => String::from_utf8_lossy(&data).into_owned(),
                Some(AnswerResult::Error(errno)) => errno.text().to_owned(),
                Some(AnswerResult::Ping(replies)) if replies.iter().all(Option::is_some) => "pong".to_owned(),
                Some(AnswerResult::TimedOut | AnswerResult::Ping(_)) => "timed out".to_owned(),
                other => format!("{other:?}"),
            };
            let new = plan.namespaces.iter().zip(heard).flat_map(|(ns, heard)| {
                let entry = |one: &stack::app::Received| {
                    (ns.name.clone(), one.from.ip().to_string(), one.from.port(), String::from_utf8_lossy(&one.data).into_owned())
                };
                received(&net, &ns.name)[heard..].iter().map(entry).collect::<Vec<_>>()
            });
            seen.push(Seen { answer, received: new.collect(), frames: frames(&net) });
            let random = net.sim.choices()[before..].iter().filter(|choice| choice.key.purpose == purpose::STATISTIC);
            draws.push(
                random
                    .inspect(|choice| assert!(matches!(choice.arms, Arms::Chance { .. })))
                    .map(|one| (one.key, one.arm))
                    .collect(),
            );
        }
        let list = |name: &&str| {
            let ns = net.netns(net.named(name).expect("a node"));
            let lines = ns.conntrack.list(net.sim.now()).iter().map(Conntrack::line).collect();
            ((*name).to_owned(), lines)
        };
        (Run { seen, conntrack: nodes(plan).iter().map(list).collect() }, draws)
    }

    /// Fails at the first question that differs, with both sides by each other.
    fn compare(&self, plan: &Plan, kernel: &Run, ours: &Run) -> Result<(), String> {
        let mut names = Names::default();
        for (netns, device) in plan.links.iter().flat_map(|link| [&link.a, &link.b]) {
            let name = format!("{netns}/{device}");
            names.devices.insert(Mac::of_name(&name), name);
        }
        names.ports.extend(FIRST_PORT..FIRST_PORT + self.asks.len() as u16);
        names.ports.insert(CLOSED);
        names.ports.extend(self.asks.iter().map(|ask| ask.to.port()));
        names.ports.extend(plan.servers.iter().map(|one| one.server.port));
        let mut compared = 0;
        for (n, ask) in self.asks.iter().enumerate() {
            let (theirs, own) = (sections(&names, &kernel.seen[n]), sections(&names, &ours.seen[n]));
            compared += theirs.values().map(Vec::len).sum::<usize>();
            let title = format!("question {}: {} {} -> {}", n + 1, ask.how.name(), ask.from, ask.to);
            self.same(&title, &theirs, &own)?;
        }
        let connections = |run: &Run| -> BTreeMap<String, Vec<String>> {
            let normal = |lines: &Vec<String>| {
                let mut lines: Vec<String> = lines.iter().map(|line| connection(&names, line)).collect();
                lines.sort();
                lines
            };
            run.conntrack.iter().map(|(node, lines)| (node.clone(), normal(lines))).collect()
        };
        self.same("conntrack -L", &connections(kernel), &connections(ours))?;
        assert!(compared > 10 * self.asks.len(), "{}: hardly a packet was seen", self.name);
        println!("{}: {} questions, {compared} lines are the same in the kernel and in pktlab", self.name, self.asks.len());
        Ok(())
    }

    fn same(
        &self,
        title: &str,
        kernel: &BTreeMap<String, Vec<String>>,
        ours: &BTreeMap<String, Vec<String>>,
    ) -> Result<(), String> {
        if kernel == ours {
            return Ok(());
        }
        let (mut text, mut shown, mut others) = (String::new(), false, Vec::new());
        for key in kernel.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let side = |of: &BTreeMap<String, Vec<String>>| of.get(key).cloned().unwrap_or_default();
            let (left, right) = (side(kernel), side(ours));
            if left == right {
                continue;
            }
            // One device in full is enough to see what is wrong.
            if key.contains('/') && std::mem::replace(&mut shown, true) {
                others.push(key.as_str());
                continue;
            }
            let _ = writeln!(text, "{key}");
            for row in 0..left.len().max(right.len()) {
                match (left.get(row), right.get(row)) {
                    (Some(a), Some(b)) if a == b => drop(writeln!(text, "    both    {a}")),
                    (a, b) => {
                        let none = "-".to_owned();
                        let _ = writeln!(text, "  ! kernel  {}\n  ! pktlab  {}", a.unwrap_or(&none), b.unwrap_or(&none));
                    }
                }
            }
        }
        if !others.is_empty() {
            let _ = writeln!(text, "and {}", others.join(", "));
        }
        let masked = "masked: IPv4 id, TCP sequence numbers, windows, options and segments that only acknowledge, ARP, neighbour \
                      discovery, numbers of drawn ports, timeouts";
        Err(format!("{}, {title}: the kernel does otherwise\n{text}{masked}", self.name))
    }
}

/// What `lab.py` writes.
#[derive(Deserialize)]
struct Told {
    asks: Vec<ToldAsk>,
    conntrack: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct ToldAsk {
    answer: ToldAnswer,
    packets: Vec<(String, String, String, String)>,
    received: Vec<(String, String, u16, String)>,
}

#[derive(Deserialize)]
struct ToldAnswer {
    reply: Option<String>,
    error: Option<String>,
}

fn python(spec: &str) -> Vec<u8> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/lab.py");
    let mut child =
        Command::new("python3").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
    child.stdin.take().expect("it is piped").write_all(spec.as_bytes()).expect("lab.py reads");
    let output = child.wait_with_output().expect("lab.py ends");
    assert!(output.status.success(), "lab.py failed");
    output.stdout
}

/// Every server but those of the nodes themselves says who it is.
fn introduce_themselves(plan: &mut Plan) {
    let own: BTreeSet<String> = nodes(plan).into_iter().map(str::to_owned).collect();
    plan.servers.retain(|one| !own.contains(&one.netns) && one.server.port != CLOSED);
    for one in &mut plan.servers {
        one.server.service = Service::Reply(introduction(&one.netns).as_bytes().into());
    }
}

fn introduction(netns: &str) -> String {
    format!("I am {netns}\n")
}

fn nodes(plan: &Plan) -> Vec<&str> {
    plan.namespaces.iter().filter(|ns| ns.kind == NsKind::Node).map(|ns| ns.name.as_str()).collect()
}

fn l4_name(l4: L4) -> &'static str {
    if l4 == L4::Tcp { "tcp" } else { "udp" }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn received<'a>(net: &'a Network, ns: &str) -> &'a [stack::app::Received] {
    net.netns(net.named(ns).expect("the plan names it")).apps.received()
}

/// Every frame of the trace, with the device that it came in or went out by.
fn frames(net: &Network) -> Vec<(String, String, &'static str, Vec<u8>)> {
    let mut frames = Vec::new();
    for stamped in net.sim.tracer().records().iter() {
        let (way, dev, frame) = match stamped.record {
            Record::Receive { dev, frame } | Record::DevIn { dev, frame } => ("in", dev, frame),
            Record::Transmit { dev, frame } | Record::DevOut { dev, frame } => ("out", dev, frame),
            _ => continue,
        };
        let device = net.netns(stamped.node).devices.get(dev).name.to_string();
        frames.push((net.sim.name(stamped.node).to_owned(), device, way, net.sim.tracer().bytes(frame).to_vec()));
    }
    frames
}

/// What was seen, as named lists of lines. Drawn ports are numbered anew in each.
fn sections(names: &Names, seen: &Seen) -> BTreeMap<String, Vec<String>> {
    let mut names = names.clone();
    let mut by_device: BTreeMap<String, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (ns, device, way, frame) in &seen.frames {
        by_device.entry(format!("{ns}/{device}")).or_default().push((way, frame));
    }
    let mut result = BTreeMap::new();
    for (device, frames) in by_device {
        let lines: Vec<String> =
            frames.iter().filter_map(|(way, frame)| Some(format!("{way:<3} {}", names.line(frame)?))).collect();
        if !lines.is_empty() {
            result.insert(device, lines);
        }
    }
    let received =
        seen.received.iter().map(|(ns, ip, port, data)| format!("{ns} hears {} from {ip}:{}", data.trim(), names.port(*port)));
    result.insert("the servers".to_owned(), received.collect());
    result.insert("the client".to_owned(), vec![seen.answer.trim().to_owned()]);
    result
}

/// A line of `conntrack -L` without its timeout and use count, drawn ports masked.
fn connection(names: &Names, line: &str) -> String {
    let word = |(at, word): (usize, &str)| {
        if at == 2 || word.starts_with("use=") {
            return None;
        }
        match word.split_once('=') {
            Some((key @ ("sport" | "dport"), port)) if !port.parse().is_ok_and(|port| names.ports.contains(&port)) => {
                Some(format!("{key}=*"))
            }
            _ => Some(word.to_owned()),
        }
    };
    line.split_whitespace().enumerate().filter_map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_difference_is_shown_side_by_side() {
    let lab = Lab { name: "shown", manifest: "", flags: ClusterFlags::default(), asks: Vec::new() };
    let side = |lines: &[&str]| BTreeMap::from([("a/eth0".to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())]);
    assert_eq!(lab.same("q", &side(&["one", "two"]), &side(&["one", "two"])), Ok(()));
    let more = |mut side: BTreeMap<String, Vec<String>>, line: &str| {
        side.insert("b/eth0".to_owned(), vec![line.to_owned()]);
        side
    };
    let shown = lab
        .same("q", &more(side(&["one", "two", "three"]), "x"), &more(side(&["one", "2"]), "y"))
        .expect_err("two rows of a, one of b");
    let rows: Vec<&str> = shown.lines().skip(1).take_while(|line| !line.starts_with("masked")).collect();
    assert_eq!(
        rows,
        ["a/eth0", "    both    one", "  ! kernel  two", "  ! pktlab  2", "  ! kernel  three", "  ! pktlab  -", "and b/eth0"],
        "{shown}"
    );
}

#[test]
fn every_way_into_a_service_is_the_kernels() {
    let (client, single, outside) = ("default/client", "default/single", "external");
    let (front, near, far) = ("kind-control-plane", "kind-worker", "kind-worker2");
    Lab {
        name: "policies",
        manifest: "tests/data/cluster/policies.yaml",
        flags: ClusterFlags { nodes: Some(3), ..ClusterFlags::default() },
        asks: vec![
            // By the cluster address: from a pod, from nodes with and without an endpoint.
            tcp(client, "10.96.0.100:80"),
            tcp(client, "10.96.0.100:80"),
            tcp(client, "10.96.0.100:80"),
            udp(client, "10.96.0.100:53"),
            udp(client, "10.96.0.100:53"),
            tcp(near, "10.96.0.100:80"),
            tcp(front, "10.96.0.100:80"),
            udp(far, "10.96.0.100:53"),
            // To itself.
            tcp(single, "10.96.0.101:80"),
            udp(single, "10.96.0.101:53"),
            // By node ports, with policy Cluster.
            tcp(outside, "172.18.0.3:30080"),
            tcp(outside, "172.18.0.2:30080"),
            udp(outside, "172.18.0.4:30053"),
            tcp(client, "172.18.0.3:30080"),
            tcp(client, "172.18.0.4:30080"),
            tcp(near, "172.18.0.3:30080"),
            tcp(near, "127.0.0.1:30080"),
            // With policy Local: where the endpoint is, where it is not, and from inside the cluster.
            tcp(outside, "172.18.0.3:30081"),
            tcp(outside, "172.18.0.4:30081"),
            tcp(client, "172.18.0.3:30081"),
            tcp("default/right", "172.18.0.4:30081"),
            tcp(far, "172.18.0.4:30081"),
            tcp(client, "10.96.0.103:80"),
            tcp("default/right", "10.96.0.103:80"),
            // Affinity: the second and third follow the first.
            tcp(client, "10.96.0.104:80"),
            tcp(client, "10.96.0.104:80"),
            tcp(client, "10.96.0.104:80"),
            // Without endpoints.
            tcp(client, "10.96.0.105:80"),
            udp(client, "10.96.0.105:80"),
            tcp(near, "10.96.0.105:80"),
            tcp(outside, "172.18.0.3:30082"),
            // By an external address, and by a balancer's that lets others in.
            tcp(outside, "198.51.100.9:80"),
            tcp(outside, "192.0.2.7:80"),
            tcp(client, "192.0.2.7:80"),
            // By a host port, and without a Service: open and closed ports, a Service that nobody has, the world outside.
            tcp(outside, "172.18.0.3:8088"),
            tcp(client, "172.18.0.3:8088"),
            tcp(client, "10.96.0.99:80"),
            tcp(client, "140.82.121.4:443"),
            udp(client, "140.82.121.4:9"),
            tcp(outside, "172.18.0.3:9"),
            udp(outside, "172.18.0.3:9"),
            // Fragments: put together for NAT, cut again, and put together where they go.
            udp(client, "10.96.0.100:53").long(),
            udp(outside, "172.18.0.3:30053").long(),
            udp(single, "10.96.0.101:53").long(),
            // Echo requests: Services do not answer them, pods and nodes do.
            ping(client, "172.18.0.2"),
            ping(client, "10.244.2.2"),
            ping(client, "140.82.121.4"),
            ping(client, "10.96.0.100"),
            ping(outside, "172.18.0.3"),
            // Errors about translated packets, from the endpoint and on the way, back through NAT once and twice.
            tcp(client, "10.96.0.107:80"),
            udp(client, "10.96.0.107:53"),
            udp("default/right", "10.96.0.107:53"),
            tcp(outside, "172.18.0.4:30084"),
            udp(outside, "172.18.0.4:30084"),
            udp(near, "10.96.0.107:53"),
            udp(single, "10.96.0.107:53"),
            udp("default/right", "10.96.0.101:53").ttl(1),
            udp("default/right", "10.96.0.101:53").ttl(2),
            udp("default/right", "10.96.0.101:53").ttl(3),
            tcp("default/right", "10.96.0.101:80").ttl(2),
            ping(client, "10.244.2.2").ttl(2),
        ],
    }
    .check();
}

#[test]
fn the_switches_of_kube_proxy_act_as_in_the_kernel() {
    let (client, outside, near) = ("default/client", "external", "kind-worker");
    Lab {
        name: "flags",
        manifest: "tests/data/cluster/policies.yaml",
        flags: ClusterFlags {
            nodes: Some(3),
            masquerade_all: Some(true),
            iptables_localhost_nodeports: Some(false),
            nodeport_addresses: Some("172.18.0.0/16".to_owned()),
            ..ClusterFlags::default()
        },
        asks: vec![
            tcp(client, "10.96.0.100:80"),
            udp(client, "10.96.0.100:53"),
            tcp("default/single", "10.96.0.101:80"),
            tcp(outside, "172.18.0.3:30080"),
            tcp(outside, "172.18.0.3:30081"),
            tcp(client, "172.18.0.3:30080"),
            tcp(client, "10.244.1.1:30080"),
            tcp(near, "127.0.0.1:30080"),
            tcp(near, "172.18.0.3:30080"),
        ],
    }
    .check();
}

#[test]
fn both_families_of_a_service_are_the_kernels() {
    let (client, outside) = ("default/client", "external");
    let both = |v4: &str, v6: &str| Some(format!("{v4},{v6}"));
    Lab {
        name: "dual",
        manifest: "tests/data/cluster/dual-stack.yaml",
        flags: ClusterFlags {
            nodes: Some(3),
            cluster_cidr: both("10.244.0.0/16", "fd00:10:244::/56"),
            service_cluster_ip_range: both("10.96.0.0/16", "fd00:10:96::/112"),
            node_network: both("172.18.0.0/16", "fc00:f853:ccd:e793::/64"),
            ..ClusterFlags::default()
        },
        asks: vec![
            tcp(client, "10.96.0.100:80"),
            tcp(client, "[fd00:10:96::100]:80"),
            tcp(client, "[fd00:10:96::100]:80"),
            udp(client, "[fd00:10:96::100]:53"),
            tcp("default/left", "[fd00:10:96::100]:80"),
            tcp("default/left", "[fd00:10:96::100]:80"),
            tcp("kind-control-plane", "[fd00:10:96::100]:80"),
            tcp(outside, "[fc00:f853:ccd:e793::3]:30080"),
            udp(outside, "[fc00:f853:ccd:e793::2]:30053"),
            udp(outside, "172.18.0.2:30053"),
            tcp(outside, "[fc00:f853:ccd:e793::4]:30081"),
            tcp(outside, "[fc00:f853:ccd:e793::2]:30081"),
            tcp(client, "[fd00:10:96::105]:80").patient(),
            udp(client, "[fd00:10:96::105]:80"),
            tcp("kind-worker", "[fd00:10:96::105]:80").patient(),
            tcp(outside, "[fc00:f853:ccd:e793::3]:9"),
            udp(outside, "[fc00:f853:ccd:e793::3]:9"),
            udp(client, "[fd00:10:96::100]:53").long(),
            udp(outside, "[fc00:f853:ccd:e793::2]:30053").long(),
            ping(client, "fd00:10:244:2::2"),
            ping(client, "fd00:10:96::100"),
            ping(outside, "fc00:f853:ccd:e793::3"),
            tcp(client, "[fd00:10:96::107]:80"),
            udp(client, "[fd00:10:96::107]:53"),
            udp(outside, "[fc00:f853:ccd:e793::2]:30084"),
            udp(client, "[fd00:10:96::100]:53").ttl(1),
        ],
    }
    .check();
}
