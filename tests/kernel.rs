//! The kernel is the judge: what pktlab is told to build is also built of real namespaces, by the script that it exports, the same
//! questions are asked in both, and every device must have seen the same packets.
//!
//! Needs root, `ip`, `iptables`, `tcpdump` and `bash`. Without them the tests say so and pass, unless `PKTLAB_REQUIRE_KERNEL=1`.

#![allow(clippy::disallowed_methods, reason = "the kernel on the other side runs in real time")]

#[path = "kernel/real.rs"]
mod real;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sim_core::TraceMode;
use stack::app::{Client, L4, Request, Server, Service, SocketOptions, Target};
use stack::command::script::{cleanup, real_name, script, veth};
use stack::command::{Command, Stdin};
use stack::provenance::{ProvId, Provenances};
use stack::trace::Record;
use stack::{Network, SimTime};

/// How often the real network is asked again where a capture lost packets.
const ATTEMPTS: usize = 3;
/// Ports that are written in a test; all others are picked by a system, and differ.
const WRITTEN: [u16; 13] = [7, 9, 53, 80, 81, 82, 443, 7000, 7001, 8080, 30_080, 30_081, 30_082];
/// How long a process that listens or captures may take to be ready.
const READY: Duration = Duration::from_secs(5);

/// A question: a datagram, or a connection that is opened and closed.
#[derive(Clone, Copy)]
enum Ask {
    Udp,
    Tcp,
}

/// What every device saw: by namespace and device, one line a packet.
type Seen = BTreeMap<(String, String), Vec<String>>;

struct Lab {
    name: &'static str,
    commands: Vec<(String, Command)>,
    /// Who asks whom, on which port.
    asks: Vec<(&'static str, Ask, Ipv4Addr, u16)>,
}

impl Lab {
    fn line(&mut self, ns: &str, line: &str) {
        let command = line.parse().unwrap_or_else(|error| panic!("{line}: {error:?}"));
        self.commands.push((ns.to_owned(), command));
    }

    fn rules(&mut self, ns: &str, text: &str) {
        let stdin = Stdin { text: text.into(), provs: [].into() };
        self.commands.push((ns.to_owned(), Command::with_stdin("iptables-restore", stdin).expect("reads standard input")));
    }

    /// Runs the questions in both, and compares what was seen.
    fn check(&self) {
        if real::passed_over(self.name, &["ip", "iptables-restore", "tcpdump", "bash"]) {
            return;
        }
        let (ours, kernel) = (self.simulate(), self.really());
        let differ: Vec<String> = ours
            .keys()
            .chain(kernel.keys())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .filter(|key| ours.get(*key) != kernel.get(*key))
            .map(|key| {
                let show = |seen: &Seen| seen.get(key).map(|lines| lines.join("\n    ")).unwrap_or_default();
                format!("{}/{}\n  kernel\n    {}\n  pktlab\n    {}", key.0, key.1, show(&kernel), show(&ours))
            })
            .collect();
        assert!(differ.is_empty(), "{}: the kernel saw something else\n{}", self.name, differ.join("\n"));
        assert!(kernel.values().map(Vec::len).sum::<usize>() > self.asks.len(), "{}: hardly a packet was seen", self.name);
    }

    fn simulate(&self) -> Seen {
        let mut net = Network::new(1, TraceMode::Frames);
        let mut names: Vec<&str> = self.commands.iter().map(|(ns, _)| ns.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            net.add_netns(name).expect("a new name");
        }
        for (ns, command) in &self.commands {
            let node = net.named(ns).expect("made above");
            net.apply(node, command, ProvId::default()).unwrap_or_else(|error| panic!("{ns}: {command}: {error}"));
        }
        net.sim.run_until(SimTime::from_secs(3));
        net.sim.tracer_mut().clear();
        for &(ns, ask, dst, port) in &self.asks {
            let request = match ask {
                Ask::Udp => Request::Udp { send: b"hello\n".to_vec(), connect: true },
                Ask::Tcp => Request::Tcp { send: Vec::new(), greeting: false, keep: false, rst: false },
            };
            let client = Client {
                name: "test".into(),
                target: Target::Address(dst.into()),
                port,
                request,
                resolver: None,
                options: SocketOptions::default(),
                timeout: Some(SimTime::from_millis(500)),
            };
            let node = net.named(ns).expect("it asks");
            net.ask(node, client);
            let until = net.sim.now() + SimTime::from_millis(700);
            net.sim.run_until(until);
        }
        let mut seen = Seen::new();
        for stamped in net.sim.tracer().records().iter() {
            let (dev, frame) = match stamped.record {
                Record::Receive { dev, frame } | Record::DevIn { dev, frame } => (dev, frame),
                Record::Transmit { dev, frame } | Record::DevOut { dev, frame } => (dev, frame),
                _ => continue,
            };
            let ns = net.sim.name(stamped.node).to_owned();
            let device = net.netns(stamped.node).devices.get(dev).name.to_string();
            if device == "lo" && matches!(stamped.record, Record::Transmit { .. } | Record::DevOut { .. }) {
                // A capture on all devices shows loopback on its way in only.
                continue;
            }
            let frame = net.sim.tracer().bytes(frame);
            let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
            if let Some(line) = summary(ethertype, &frame[14..]) {
                seen.entry((ns, device)).or_default().push(line);
            }
        }
        seen
    }

    fn really(&self) -> Seen {
        let mut lost = String::new();
        for attempt in 0..ATTEMPTS {
            match self.really_once(attempt) {
                Ok(seen) => return seen,
                Err(why) => lost = why,
            }
        }
        panic!("{}: the captures lost packets {ATTEMPTS} times: {lost}", self.name);
    }

    fn really_once(&self, attempt: usize) -> Result<Seen, String> {
        let prefix = format!("plk{}-{}{attempt}-", std::process::id(), self.name);
        let _cleaner = real::Cleaner(cleanup(&prefix, &self.commands));
        real::shell(&script(&prefix, &self.commands)).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut names: Vec<&str> = self.commands.iter().map(|(ns, _)| ns.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let captures: Vec<Capture> = names.iter().flat_map(|name| Capture::start(&prefix, name)).collect();
        captures.iter().for_each(Capture::wait_until_ready);
        for &(ns, ask, dst, port) in &self.asks {
            let what = match ask {
                Ask::Udp => format!("exec 3<>/dev/udp/{dst}/{port}; echo hello >&3; timeout 0.3 cat <&3"),
                Ask::Tcp => format!("timeout 0.5 bash -c 'exec 3<>/dev/tcp/{dst}/{port}'"),
            };
            let place = real_name(&prefix, ns);
            // It fails where nothing listens; the packets tell.
            let _ = Process::new("ip")
                .args(["netns", "exec", &place, "bash", "-c", &what])
                .stderr(Stdio::null())
                .status()
                .expect("bash is there");
            sleep(Duration::from_millis(150));
        }
        sleep(Duration::from_millis(200));
        let seen: Result<Seen, String> = captures.into_iter().map(Capture::stop).collect();
        Ok(seen?.into_iter().filter(|(_, lines)| !lines.is_empty()).collect())
    }
}

/// One tcpdump on a device of a namespace.
struct Capture {
    ns: String,
    device: String,
    file: PathBuf,
    process: Child,
}

impl Capture {
    /// On each device of a namespace that is up.
    fn start(prefix: &str, ns: &str) -> Vec<Capture> {
        let place = real_name(prefix, ns);
        let listing = Process::new("ip").args(["-n", &place, "-o", "link", "show", "up"]).output().expect("ip is there");
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        let names = listing.lines().filter_map(|line| line.split(": ").nth(1)).map(|name| name.split('@').next().unwrap_or(name));
        names.map(|device| Capture::on(&place, ns, device)).collect()
    }

    fn on(place: &str, ns: &str, device: &str) -> Capture {
        let file = std::env::temp_dir().join(format!("{place}-{device}.pcap"));
        let path = file.to_string_lossy().into_owned();
        let process = Process::new("ip")
            .args(["netns", "exec", place, "tcpdump", "-p", "-i", device, "-s", "160", "-U", "--immediate-mode", "-n", "-w", &path])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is there");
        Capture { ns: ns.to_owned(), device: device.to_owned(), file, process }
    }

    /// The header of the file is written once the socket is open.
    fn wait_until_ready(&self) {
        let begun = Instant::now();
        while fs::metadata(&self.file).map_or(0, |meta| meta.len()) < 24 {
            assert!(begun.elapsed() < READY, "tcpdump does not start on {}/{}", self.ns, self.device);
            sleep(Duration::from_millis(10));
        }
    }

    /// What it saw; an error where it lost packets.
    fn stop(self) -> Result<((String, String), Vec<String>), String> {
        let pid = self.process.id().to_string();
        let _ = Process::new("kill").args(["-INT", &pid]).status();
        let output = self.process.wait_with_output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let bytes = fs::read(&self.file).unwrap_or_default();
        let _ = fs::remove_file(&self.file);
        if !said.contains("\n0 packets dropped by kernel") {
            return Err(format!("{}/{}: {said}", self.ns, self.device));
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut lines = Vec::new();
        let mut at = 24;
        while at + 16 <= bytes.len() {
            let length = word(at + 8) as usize;
            let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
            at += 16 + length;
            lines.extend(summary(u16::from_be_bytes([frame[12], frame[13]]), &frame[14..]));
        }
        Ok(((self.ns, self.device), lines))
    }
}

/// One line of an ARP or IPv4 packet: what must be the same in both. Ports that a system picks are not.
fn summary(ethertype: u16, body: &[u8]) -> Option<String> {
    let v4 = |at: usize| Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]);
    match ethertype {
        0x0806 => {
            let op = if body[7] == 1 { "who-has" } else { "reply" };
            Some(format!("arp {op} {} from {}", v4(24), v4(14)))
        }
        0x0800 => {
            // IGMP: the bridge's own reports follow timers.
            if body[9] == 2 {
                return None;
            }
            let l4 = &body[usize::from(body[0] & 15) * 4..];
            let (src, dst, ttl) = (v4(12), v4(16), body[8]);
            let port = |at: usize| match u16::from_be_bytes([l4[at], l4[at + 1]]) {
                written if WRITTEN.contains(&written) => written.to_string(),
                _ => "*".to_owned(),
            };
            Some(match body[9] {
                1 => format!("icmp {src} > {dst} ttl {ttl} type {} code {}", l4[0], l4[1]),
                6 => format!("tcp {src}:{} > {dst}:{} ttl {ttl} flags {:#04x}", port(0), port(2), l4[13]),
                17 => format!("udp {src}:{} > {dst}:{} ttl {ttl}", port(0), port(2)),
                proto => format!("proto {proto} {src} > {dst} ttl {ttl}"),
            })
        }
        _ => None,
    }
}

/// client - router - server, a bridge in front of a second server.
fn routed(name: &'static str) -> Lab {
    let mut lab = Lab { name, commands: Vec::new(), asks: Vec::new() };
    lab.commands.push(veth(("client", "eth0"), ("router", "eth0")));
    lab.commands.push(veth(("router", "eth1"), ("switch", "p0")));
    lab.commands.push(veth(("one", "eth0"), ("switch", "p1")));
    lab.commands.push(veth(("two", "eth0"), ("switch", "p2")));
    for ns in ["client", "router", "switch", "one", "two"] {
        lab.line(ns, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
        lab.line(ns, "sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        lab.line(ns, "ip link set lo up");
    }
    lab.line("switch", "ip link add br0 type bridge stp_state 0 mcast_snooping 0");
    lab.line("switch", "ip link set br0 up");
    for port in ["p0", "p1", "p2"] {
        lab.line("switch", &format!("ip link set {port} master br0"));
        lab.line("switch", &format!("ip link set {port} up"));
    }
    for (ns, dev, address) in [
        ("client", "eth0", "10.0.1.2/24"),
        ("router", "eth0", "10.0.1.1/24"),
        ("router", "eth1", "10.0.2.1/24"),
        ("one", "eth0", "10.0.2.2/24"),
        ("two", "eth0", "10.0.2.3/24"),
    ] {
        lab.line(ns, &format!("ip addr add {address} dev {dev}"));
        lab.line(ns, &format!("ip link set {dev} up"));
    }
    lab.line("client", "ip route add default via 10.0.1.1");
    lab.line("one", "ip route add default via 10.0.2.1");
    lab.line("two", "ip route add default via 10.0.2.1");
    lab.line("router", "sysctl -qw net.ipv4.ip_forward=1");
    lab
}

#[test]
fn a_routed_network_carries_the_same_packets() {
    let mut lab = routed("routed");
    let (one, two) = (Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3));
    lab.asks = vec![
        ("client", Ask::Udp, one, 7000),
        ("client", Ask::Tcp, two, 80),
        ("client", Ask::Udp, Ipv4Addr::new(10, 0, 1, 1), 9),
        ("one", Ask::Tcp, two, 81),
        ("client", Ask::Tcp, Ipv4Addr::new(10, 9, 9, 9), 82),
        ("router", Ask::Udp, Ipv4Addr::LOCALHOST, 53),
    ];
    lab.check();
}

#[test]
fn a_router_that_translates_addresses_carries_the_same_packets() {
    let mut lab = routed("nat");
    lab.rules(
        "router",
        "*nat\n-A PREROUTING -d 10.0.1.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.2.2:80\n\
         -A OUTPUT -d 10.0.1.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.2.3:80\n\
         -A POSTROUTING -o eth1 -p udp -j MASQUERADE\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -p udp -m udp --dport 7000 -j ACCEPT\n-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\n\
         -A FORWARD -p tcp -m tcp --dport 81 -j REJECT --reject-with tcp-reset\nCOMMIT\n",
    );
    let (router, one, two) = (Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3));
    lab.asks = vec![
        ("client", Ask::Tcp, router, 8080),
        ("router", Ask::Tcp, router, 8080),
        ("client", Ask::Udp, one, 7000),
        ("client", Ask::Tcp, two, 81),
        ("client", Ask::Udp, two, 7001),
    ];
    lab.check();
}

#[test]
fn a_cluster_carries_the_same_packets() {
    let manifests = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec: {nodeName: kind-worker, containers: [{name: c, image: nginx, \
         ports: [{containerPort: 80}]}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec: {nodeName: kind-worker2, \
         containers: [{name: c, image: busybox}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.200, \
         selector: {app: web}, ports: [{port: 80, nodePort: 30080}], type: NodePort}\n";
    let config = k8s_model::config::ClusterConfig { nodes: 3, ..Default::default() };
    let objects = k8s_model::source::load_text("cluster.yaml", manifests).expect("loads");
    let cluster = k8s_model::cluster::Cluster::build(config, objects).expect("builds");
    let plan = k8s_model::network::plan(&cluster).expect("plans");
    let mut lab = Lab { name: "cluster", commands: Vec::new(), asks: Vec::new() };
    for link in &plan.links {
        lab.commands.push(veth((&link.a.0, &link.a.1), (&link.b.0, &link.b.1)));
    }
    for ns in &plan.namespaces {
        lab.line(&ns.name, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
        lab.line(&ns.name, "sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    }
    let mut provenances = Provenances::default();
    for one in &plan.commands {
        lab.commands.push((one.netns.clone(), one.command(&mut provenances).expect("a command")));
    }
    let (service, worker) = (Ipv4Addr::new(10, 96, 0, 200), Ipv4Addr::new(172, 18, 0, 4));
    lab.asks = vec![
        ("default/client", Ask::Tcp, service, 80),
        ("kind-worker2", Ask::Tcp, service, 80),
        ("external", Ask::Tcp, worker, 30_080),
        ("default/client", Ask::Tcp, Ipv4Addr::new(140, 82, 121, 4), 443),
        ("default/client", Ask::Tcp, Ipv4Addr::new(10, 96, 0, 77), 80),
    ];
    lab.check();
}

/// Servers are not part of a script; that one is answered here as there is what the cases check.
#[test]
fn a_server_of_the_simulator_answers_a_client() {
    let lab = routed("server");
    let mut net = Network::new(1, TraceMode::Off);
    for ns in ["client", "one", "router", "switch", "two"] {
        net.add_netns(ns).expect("a new name");
    }
    for (ns, command) in &lab.commands {
        let node = net.named(ns).expect("made above");
        net.apply(node, command, ProvId::default()).unwrap_or_else(|error| panic!("{ns}: {command}: {error}"));
    }
    let server = Server {
        name: "echo".into(),
        bind: Ipv4Addr::UNSPECIFIED.into(),
        port: 7,
        l4: L4::Udp,
        service: Service::Echo,
        transparent: false,
    };
    let one = net.named("one").expect("made above");
    net.serve(one, server).expect("the port is free");
    let client = net.named("client").expect("made above");
    let question = Client {
        name: "test".into(),
        target: Target::Address(Ipv4Addr::new(10, 0, 2, 2).into()),
        port: 7,
        request: Request::Udp { send: b"hello".to_vec(), connect: true },
        resolver: None,
        options: SocketOptions::default(),
        timeout: Some(SimTime::from_secs(1)),
    };
    let app = net.ask(client, question);
    net.sim.run_until(SimTime::from_secs(2));
    let answer = net.netns(client).apps.answer(app).expect("a client").result.clone();
    let Some(stack::app::AnswerResult::Reply { data, from }) = answer else { panic!("{answer:?}") };
    assert_eq!((data.as_slice(), from.to_string().as_str()), (&b"hello"[..], "10.0.2.2:7"));
}
