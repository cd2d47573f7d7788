//! Sockets and apps over links: what a process on each host sees, against Linux 6.18.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pktlab_stack::app::{
    AnswerResult, AppId, Client, DnsData, DnsRecord, DnsZones, HttpPage, HttpSite, L4, QType, Request, Resolver, Server, Service,
    SocketOptions, Target,
};
use pktlab_stack::socket::TcpState;
use pktlab_stack::{Command, Errno, Network, ProvId, Record};
use proptest::prelude::*;
use sim_core::{Halt, LinkConfig, NodeId, SimTime, TraceMode};

/// Two hosts and a link between them: 10.0.0.1 and fd00::1 ask, 10.0.0.2 and fd00::2 serve.
struct Lab {
    net: Network,
    client: NodeId,
    server: NodeId,
}

impl Lab {
    fn new(config: LinkConfig) -> Lab {
        let mut net = Network::new(1, TraceMode::Headers);
        let client = net.add_netns("client").expect("a new name");
        let server = net.add_netns("server").expect("a new name");
        net.join((client, "eth0"), (server, "eth0"), config, ProvId::default()).expect("new names");
        let mut lab = Lab { net, client, server };
        for (node, n) in [(client, 1), (server, 2)] {
            lab.run(node, "ip link set lo up");
            lab.run(node, "ip link set eth0 up");
            lab.run(node, &format!("ip addr add 10.0.0.{n}/24 dev eth0"));
            lab.run(node, &format!("ip addr add fd00::{n}/64 dev eth0 nodad"));
        }
        lab
    }

    fn run(&mut self, node: NodeId, line: &str) {
        let command: Command = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        self.net.apply(node, &command, ProvId::default()).unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    fn serve(&mut self, bind: &str, port: u16, l4: L4, service: Service) -> AppId {
        let server = Server { name: "server".into(), bind: ip(bind), port, l4, service, transparent: false };
        self.net.serve(self.server, server).expect("a free port")
    }

    fn ask(&mut self, client: Client) -> AppId {
        self.net.ask(self.client, client)
    }

    /// Runs until nothing is left to do, and tells how the question ended.
    fn result(&mut self, app: AppId) -> AnswerResult {
        assert_eq!(self.net.sim.run(), Halt::Idle);
        let answer = self.net.netns(self.client).apps.answer(app).expect("a client");
        answer.result.clone().expect("a client that has ended")
    }

    fn states(&self, node: NodeId) -> Vec<String> {
        let records = self.net.sim.tracer().records().iter().filter(|stamped| stamped.node == node);
        records
            .filter_map(|stamped| match stamped.record {
                Record::Socket { socket, old, new } => {
                    let name = |code| TcpState::of_code(code).map_or("?", TcpState::name);
                    Some(format!("{socket} {} {}", name(old), name(new)))
                }
                _ => None,
            })
            .collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn client(to: &str, port: u16, request: Request) -> Client {
    let target = to.parse().map_or_else(|_| Target::Name(to.to_owned()), Target::Address);
    Client { name: "client".into(), target, port, request, resolver: None, options: SocketOptions::default(), timeout: None }
}

fn tcp(send: &[u8]) -> Request {
    Request::Tcp { send: send.to_vec(), greeting: false, keep: false, rst: false }
}

fn udp(connect: bool) -> Request {
    Request::Udp { send: b"hello".to_vec(), connect }
}

fn get(path: &str) -> Request {
    Request::Http { method: "GET".to_owned(), host: "web".to_owned(), path: path.to_owned(), headers: Vec::new() }
}

fn site(path: &str, body: &[u8]) -> Service {
    let page = HttpPage { status: 200, content_type: "text/plain".to_owned(), body: body.to_vec() };
    Service::Http(Arc::new(HttpSite { pages: BTreeMap::from([(path.to_owned(), page)]), ..HttpSite::default() }))
}

fn delay(time: SimTime) -> LinkConfig {
    LinkConfig { delay: time, ..LinkConfig::default() }
}

#[test]
fn a_get_is_answered_and_both_ends_go_through_the_states_of_tcp() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 80, L4::Tcp, site("/", b"Hello"));
    let app = lab.ask(client("10.0.0.2", 80, get("/")));
    let AnswerResult::Http { status, body, .. } = lab.result(app) else { panic!("no HTTP answer") };
    assert_eq!((status, body.as_slice()), (200, &b"Hello"[..]));
    assert_eq!(
        lab.states(lab.client),
        ["0 UNCONN SYN-SENT", "0 SYN-SENT ESTAB", "0 ESTAB FIN-WAIT-1", "0 FIN-WAIT-1 TIME-WAIT", "0 TIME-WAIT UNCONN"]
    );
    assert_eq!(
        lab.states(lab.server),
        [
            "0 UNCONN LISTEN",
            "1 LISTEN SYN-RECV",
            "1 SYN-RECV ESTAB",
            "1 ESTAB CLOSE-WAIT",
            "1 CLOSE-WAIT LAST-ACK",
            "1 LAST-ACK UNCONN"
        ]
    );
    let answer = lab.net.netns(lab.client).apps.answer(app).expect("a client").clone();
    assert_eq!(answer.remote, Some("10.0.0.2:80".parse().expect("an end")));
    assert_eq!(answer.local.map(|local| local.ip()), Some(ip("10.0.0.1")));
    assert_eq!((answer.connected, answer.ended), (Some(SimTime::ZERO), Some(SimTime::ZERO)), "a veth pair takes no time");
}

/// What leaves the two hosts: who, flags, length of the IP packet.
fn segments(lab: &Lab) -> Vec<String> {
    let tracer = lab.net.sim.tracer();
    let sent = tracer.records().iter().filter_map(|stamped| match stamped.record {
        Record::Originate { frame, .. } => Some((stamped.node, tracer.bytes(frame))),
        _ => None,
    });
    sent.filter(|(_, ip)| ip[0] >> 4 == 4 && ip[9] == 6)
        .map(|(node, ip)| {
            let flags: String =
                "FSRPA".chars().zip([1, 2, 4, 8, 16]).filter(|(_, bit)| ip[33] & bit != 0).map(|(name, _)| name).collect();
            let who = if node == lab.client { "c" } else { "s" };
            format!("{who} {flags} {}", u16::from_be_bytes([ip[2], ip[3]]))
        })
        .collect()
}

#[test]
fn the_segments_of_an_exchange_are_those_of_linux() {
    // As recorded on 6.18 (case kp-clusterip-tcp): 3 bytes out, 4 bytes back, close.
    let mut lab = Lab::new(delay(SimTime::from_millis(1)));
    lab.serve("0.0.0.0", 80, L4::Tcp, Service::Reply(b"pong".as_slice().into()));
    let app = lab.ask(client("10.0.0.2", 80, tcp(b"GET")));
    assert!(matches!(lab.result(app), AnswerResult::Reply { data, .. } if data == b"pong"));
    assert_eq!(
        segments(&lab),
        ["c S 60", "s SA 60", "c A 52", "c PA 55", "s A 52", "s PA 56", "c A 52", "c FA 52", "s FA 52", "c A 52"]
    );
}

#[test]
fn a_server_of_any_ipv6_address_takes_both_families() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("::", 80, L4::Tcp, site("/", b"Hello"));
    for to in ["10.0.0.2", "fd00::2"] {
        let app = lab.ask(client(to, 80, get("/")));
        assert!(matches!(lab.result(app), AnswerResult::Http { status: 200, .. }), "{to}");
    }
}

#[test]
fn a_namespace_talks_to_itself_over_loopback() {
    let mut lab = Lab::new(LinkConfig::default());
    let server = Server {
        name: "nginx".into(),
        bind: ip("127.0.0.1"),
        port: 80,
        l4: L4::Tcp,
        service: site("/", b"Hello"),
        transparent: false,
    };
    lab.net.serve(lab.client, server).expect("a free port");
    let app = lab.ask(client("localhost", 80, get("/")));
    assert!(matches!(lab.result(app), AnswerResult::Http { status: 200, .. }));
}

#[test]
fn a_closed_port_refuses() {
    let mut lab = Lab::new(LinkConfig::default());
    for to in ["10.0.0.2", "fd00::2"] {
        for (request, expected) in [
            (tcp(b""), AnswerResult::Error(Errno::ConnRefused)),
            (udp(true), AnswerResult::Error(Errno::ConnRefused)),
            // Only a connected socket hears of it.
            (udp(false), AnswerResult::TimedOut),
        ] {
            let app = lab.ask(client(to, 81, request.clone()));
            assert_eq!(lab.result(app), expected, "{to} {request:?}");
        }
    }
}

#[test]
fn without_a_route_nothing_is_sent() {
    let mut lab = Lab::new(LinkConfig::default());
    for request in [tcp(b""), udp(true), udp(false)] {
        let app = lab.ask(client("192.0.2.1", 80, request));
        assert_eq!(lab.result(app), AnswerResult::Error(Errno::NetUnreach));
    }
    lab.run(lab.client, "ip route add unreachable 192.0.2.0/24");
    let app = lab.ask(client("192.0.2.1", 80, tcp(b"")));
    assert_eq!(lab.result(app), AnswerResult::Error(Errno::HostUnreach));
}

#[test]
fn an_address_that_nobody_has_is_no_error_for_udp_and_one_for_tcp() {
    let mut lab = Lab::new(LinkConfig::default());
    let app = lab.ask(client("10.0.0.9", 80, udp(true)));
    assert_eq!(lab.result(app), AnswerResult::TimedOut);
    let app = lab.ask(client("10.0.0.9", 80, tcp(b"")));
    assert_eq!(lab.result(app), AnswerResult::Error(Errno::HostUnreach));
}

#[test]
fn a_datagram_is_echoed() {
    let mut lab = Lab::new(delay(SimTime::from_millis(3)));
    lab.serve("0.0.0.0", 7, L4::Udp, Service::Echo);
    for connect in [true, false] {
        let app = lab.ask(client("10.0.0.2", 7, udp(connect)));
        let from: SocketAddr = "10.0.0.2:7".parse().expect("an end");
        assert_eq!(lab.result(app), AnswerResult::Reply { data: b"hello".to_vec(), from });
    }
    let received = lab.net.netns(lab.server).apps.received();
    assert_eq!(received.len(), 2);
    assert_eq!((received[0].data.as_slice(), received[0].from.ip()), (&b"hello"[..], ip("10.0.0.1")));
}

#[test]
fn an_unconnected_server_answers_from_the_address_of_its_route() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.run(lab.server, "ip addr add 10.0.0.3/24 dev eth0");
    lab.serve("0.0.0.0", 7, L4::Udp, Service::Echo);
    lab.serve("10.0.0.3", 8, L4::Udp, Service::Echo);
    let from = |lab: &mut Lab, port| {
        let app = lab.ask(client("10.0.0.3", port, udp(false)));
        match lab.result(app) {
            AnswerResult::Reply { from, .. } => from.to_string(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(from(&mut lab, 7), "10.0.0.2:7");
    assert_eq!(from(&mut lab, 8), "10.0.0.3:8");
}

#[test]
fn a_ping_measures_the_round_trip() {
    let mut lab = Lab::new(delay(SimTime::from_millis(10)));
    for to in ["10.0.0.2", "fd00::2"] {
        let request = Request::Ping { count: 3, size: 56, interval: SimTime::from_secs(1), id: None, seq: 1, connected: false };
        let app = lab.ask(client(to, 0, request));
        let AnswerResult::Ping(replies) = lab.result(app) else { panic!("no ping") };
        assert_eq!(replies[1..], [Some((SimTime::from_millis(20), 64)); 2], "{to}");
        // The first one waited for the neighbour's address.
        assert!(replies[0].is_some_and(|(time, _)| time >= SimTime::from_millis(20)), "{to}");
    }
}

#[test]
fn a_black_hole_is_given_up_after_131_seconds() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.run(lab.client, "ip neigh replace 10.0.0.9 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
    let app = lab.ask(client("10.0.0.9", 80, tcp(b"")));
    assert_eq!(lab.result(app), AnswerResult::Error(Errno::TimedOut));
    let sent: Vec<u64> = lab
        .net
        .sim
        .tracer()
        .records()
        .iter()
        .filter(|stamped| matches!(stamped.record, Record::Originate { socket: Some(_), .. }))
        .map(|stamped| stamped.time.as_secs())
        .collect();
    assert_eq!(sent, [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
    let ended = lab.net.netns(lab.client).apps.answer(app).and_then(|answer| answer.ended);
    assert_eq!(ended, Some(SimTime::from_secs(131)));
}

fn zones() -> Service {
    let record = |address: [u8; 4]| vec![DnsRecord { ttl: 5, data: DnsData::A(address.into()) }];
    let mut records = BTreeMap::from([("web.default.svc.cluster.local".to_owned(), record([10, 0, 0, 2]))]);
    let many = (0..60).map(|n| DnsRecord { ttl: 5, data: DnsData::A([10, 0, 1, n].into()) });
    records.insert("many.default.svc.cluster.local".to_owned(), many.collect());
    Service::Dns(Arc::new(DnsZones { origins: vec!["cluster.local".to_owned()], records, ttl: 5, ..DnsZones::default() }))
}

fn cluster_resolver(servers: &[&str]) -> Resolver {
    Resolver {
        nameservers: servers.iter().map(|server| ip(server)).collect(),
        search: ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned).to_vec(),
        ndots: 5,
        timeout: 5,
        attempts: 2,
    }
}

#[test]
fn a_name_is_looked_up_by_the_search_list_and_connected_to() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 53, L4::Udp, zones());
    lab.serve("0.0.0.0", 80, L4::Tcp, site("/", b"Hello"));
    let app = lab.ask(Client { resolver: Some(cluster_resolver(&["10.0.0.2"])), ..client("web.default.svc", 80, get("/")) });
    assert!(matches!(lab.result(app), AnswerResult::Http { status: 200, .. }));
    let answer = lab.net.netns(lab.client).apps.answer(app).expect("a client");
    let asked: Vec<String> =
        answer.lookups.iter().map(|asked| format!("{} {:?} {:?}", asked.name, asked.qtype, asked.rcode)).collect();
    // The namespace has a global IPv6 address: AAAA is asked as well.
    assert_eq!(
        asked,
        [
            "web.default.svc.default.svc.cluster.local A Some(3)",
            "web.default.svc.default.svc.cluster.local Aaaa Some(3)",
            "web.default.svc.svc.cluster.local A Some(3)",
            "web.default.svc.svc.cluster.local Aaaa Some(3)",
            "web.default.svc.cluster.local A Some(0)",
            "web.default.svc.cluster.local Aaaa Some(0)",
        ]
    );
}

#[test]
fn a_name_server_that_is_silent_costs_five_seconds_and_one_that_refuses_nothing() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 53, L4::Udp, zones());
    lab.run(lab.client, "ip neigh replace 10.0.0.9 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
    lab.run(lab.server, "ip addr add 10.0.0.4/24 dev eth0");
    let question = Request::Dns { name: "web".to_owned(), qtype: QType::A };
    let app = lab.ask(Client { resolver: Some(cluster_resolver(&["10.0.0.9", "10.0.0.2"])), ..client("web", 0, question.clone()) });
    assert_eq!(lab.result(app), AnswerResult::Done);
    let took = |lab: &Lab, app| lab.net.netns(lab.client).apps.answer(app).and_then(|a| Some(a.ended?.since(a.started)));
    assert_eq!(took(&lab, app), Some(SimTime::from_secs(5)));
    // Nobody listens on the client itself: refused at once.
    let app = lab.ask(Client { resolver: Some(cluster_resolver(&["10.0.0.1", "10.0.0.2"])), ..client("web", 0, question.clone()) });
    assert_eq!(lab.result(app), AnswerResult::Done);
    assert_eq!(took(&lab, app), Some(SimTime::ZERO));
    // Twice five seconds, then the end.
    let app = lab.ask(Client { resolver: Some(cluster_resolver(&["10.0.0.9"])), ..client("web", 0, question) });
    assert_eq!(lab.result(app), AnswerResult::Unresolved(None));
    assert_eq!(took(&lab, app), Some(SimTime::from_secs(10)));
}

#[test]
fn an_answer_that_was_cut_is_asked_for_again_over_tcp() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 53, L4::Udp, zones());
    lab.serve("0.0.0.0", 53, L4::Tcp, zones());
    let question = Request::Dns { name: "many".to_owned(), qtype: QType::A };
    let app = lab.ask(Client { resolver: Some(cluster_resolver(&["10.0.0.2"])), ..client("many", 0, question) });
    assert_eq!(lab.result(app), AnswerResult::Done);
    let answer = lab.net.netns(lab.client).apps.answer(app).expect("a client");
    assert_eq!(answer.lookups.iter().map(|lookup| lookup.answers.len()).collect::<Vec<_>>(), [60]);
}

#[test]
fn a_greeting_comes_unasked_and_a_reset_ends_without_goodbye() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 22, L4::Tcp, Service::Greeting(b"SSH-2.0-pktlab\r\n".as_slice().into()));
    let request = Request::Tcp { send: Vec::new(), greeting: true, keep: false, rst: true };
    let app = lab.ask(client("10.0.0.2", 22, request));
    assert!(matches!(lab.result(app), AnswerResult::Reply { data, .. } if data == b"SSH-2.0-pktlab\r\n"));
    assert_eq!(lab.states(lab.server).last().map(String::as_str), Some("1 ESTAB UNCONN"));
}

#[test]
fn a_smaller_mtu_on_the_way_is_found_and_the_page_arrives() {
    let mut lab = Lab::new(LinkConfig::default());
    let body: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
    lab.serve("0.0.0.0", 80, L4::Tcp, site("/", &body));
    // client - router - server, and the router's way to the client is narrow.
    let router = lab.net.add_netns("router").expect("a new name");
    lab.net.join((lab.server, "eth1"), (router, "eth0"), LinkConfig::default(), ProvId::default()).expect("new names");
    lab.net.join((lab.client, "eth1"), (router, "eth1"), LinkConfig::default(), ProvId::default()).expect("new names");
    for (node, line) in [
        (lab.server, "ip addr add 10.1.0.2/24 dev eth1"),
        (lab.server, "ip link set eth1 up"),
        (lab.client, "ip addr add 10.2.0.2/24 dev eth1"),
        (lab.client, "ip link set eth1 up"),
        (router, "ip addr add 10.1.0.1/24 dev eth0"),
        (router, "ip addr add 10.2.0.1/24 dev eth1"),
        (router, "ip link set eth0 up"),
        (router, "ip link set eth1 up"),
        (router, "ip link set eth1 mtu 1400"),
        (router, "sysctl -w net.ipv4.ip_forward=1"),
        (lab.server, "ip route add 10.2.0.0/24 via 10.1.0.1"),
        (lab.client, "ip route add 10.1.0.0/24 via 10.2.0.1"),
    ] {
        lab.run(node, line);
    }
    let app = lab.ask(client("10.1.0.2", 80, get("/")));
    let AnswerResult::Http { body: arrived, .. } = lab.result(app) else { panic!("no HTTP answer") };
    assert!(arrived == body);
    let ended = lab.net.netns(lab.client).apps.answer(app).and_then(|answer| answer.ended);
    assert!(ended < Some(SimTime::from_millis(200)), "sent again at once, not by a timer: {ended:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_arrives_whole_over_a_bad_link(length in 1usize..60_000, loss in 0u32..150_000, reorder in 0u32..100_000, double in 0u32..50_000) {
        let config = LinkConfig {
            delay: SimTime::from_millis(5),
            loss_ppm: loss,
            reorder_ppm: reorder,
            duplicate_ppm: double,
            ..LinkConfig::default()
        };
        let mut lab = Lab::new(config);
        // ARP gives up sooner than TCP does.
        for (node, n, mac) in [(lab.client, 2, "server/eth0"), (lab.server, 1, "client/eth0")] {
            let mac = pktlab_stack::Mac::of_name(mac);
            lab.run(node, &format!("ip neigh replace 10.0.0.{n} lladdr {mac} dev eth0 nud permanent"));
        }
        lab.serve("0.0.0.0", 9, L4::Tcp, Service::Sink);
        let sent: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
        let app = lab.ask(Client { timeout: Some(SimTime::from_secs(600)), ..client("10.0.0.2", 9, tcp(&sent)) });
        lab.result(app);
        let received = lab.net.netns(lab.server).apps.received();
        prop_assert_eq!(received.len(), 1);
        prop_assert!(received[0].data == sent, "{} of {} bytes", received[0].data.len(), sent.len());
        // And the other way.
        lab.serve("0.0.0.0", 80, L4::Tcp, site("/", &sent));
        let app = lab.ask(Client { timeout: Some(SimTime::from_secs(600)), ..client("10.0.0.2", 80, get("/")) });
        let AnswerResult::Http { body, .. } = lab.result(app) else { return Err(TestCaseError::fail("no HTTP answer")) };
        prop_assert!(body == sent, "{} of {} bytes", body.len(), sent.len());
    }
}

#[test]
fn a_connection_that_gets_on_keeps_its_neighbours_reachable() {
    let mut lab = Lab::new(delay(SimTime::from_millis(1)));
    lab.serve("0.0.0.0", 80, L4::Tcp, site("/", b"Hello"));
    // Many exchanges over a minute: after the first question the segments themselves show that the other end is there.
    for second in 0..60 {
        lab.net.sim.run_until(SimTime::from_secs(second));
        let request = Request::Http { method: "GET".to_owned(), host: "web".to_owned(), path: "/".to_owned(), headers: Vec::new() };
        lab.ask(Client { timeout: Some(SimTime::from_secs(1)), ..client("10.0.0.2", 80, request) });
    }
    lab.net.sim.run_until(SimTime::from_secs(60));
    let tracer = lab.net.sim.tracer();
    let asked = (0..tracer.packet_count()).filter(|&id| {
        tracer
            .lineage(sim_core::PacketId(id))
            .is_some_and(|lineage| lineage.node == lab.client && lineage.cause == pktlab_stack::trace::cause::ARP)
    });
    assert!(asked.count() <= 3, "a question, an answer, and the other side's probe");
}

impl Lab {
    fn rules(&mut self, node: NodeId, text: &str) {
        let stdin = pktlab_stack::command::Stdin { text: text.into(), provs: Arc::from([]) };
        let command = Command::with_stdin("iptables-restore", stdin).expect("a tool that reads rules");
        self.net.apply(node, &command, ProvId::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_rule_on_the_way_out_is_eperm_for_a_datagram_and_silence_for_a_connection() {
    for chain in ["OUTPUT", "POSTROUTING"] {
        let mut lab = Lab::new(LinkConfig::default());
        lab.serve("0.0.0.0", 7, L4::Udp, Service::Echo);
        lab.rules(lab.client, &format!("*mangle\n-A {chain} -d 10.0.0.2/32 -j DROP\nCOMMIT\n"));
        for connect in [true, false] {
            let app = lab.ask(client("10.0.0.2", 7, udp(connect)));
            assert_eq!(lab.result(app), AnswerResult::Error(Errno::Perm), "{chain}");
        }
        let app = lab.ask(client("10.0.0.2", 7, tcp(b"")));
        assert_eq!(lab.result(app), AnswerResult::Error(Errno::TimedOut), "{chain}");
    }
}

#[test]
fn a_datagram_whose_destination_a_rule_changed_leaves_by_the_source_of_the_first_lookup() {
    // Case nat-output-dnat-loopback-source: 127.0.0.1 may not leave.
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 7, L4::Udp, Service::Echo);
    lab.rules(lab.client, "*nat\n-A OUTPUT -p udp -m udp --dport 30000 -j DNAT --to-destination 10.0.0.2:7\nCOMMIT\n");
    let app = lab.ask(client("127.0.0.1", 30_000, udp(true)));
    assert_eq!(lab.result(app), AnswerResult::Error(Errno::Inval));
    // A service address is answered as if it were the server's own.
    lab.run(lab.client, "ip route add 10.96.0.0/16 via 10.0.0.2");
    let app = lab.ask(client("10.96.0.1", 30_000, udp(true)));
    let from: SocketAddr = "10.96.0.1:30000".parse().expect("an end");
    assert_eq!(lab.result(app), AnswerResult::Reply { data: b"hello".to_vec(), from });
}

#[test]
fn a_reject_is_the_errno_of_its_icmp_error() {
    // icmp-port-unreachable, icmp-host-prohibited and tcp-reset, as connect(2) reports them on 6.18.
    for (with, over_tcp, over_udp) in [
        ("icmp-port-unreachable", Errno::ConnRefused, Some(Errno::ConnRefused)),
        ("icmp-host-prohibited", Errno::HostUnreach, Some(Errno::HostUnreach)),
        ("icmp-admin-prohibited", Errno::HostUnreach, Some(Errno::HostUnreach)),
        ("icmp-net-unreachable", Errno::NetUnreach, None),
        ("icmp-host-unreachable", Errno::HostUnreach, None),
    ] {
        let mut lab = Lab::new(LinkConfig::default());
        lab.rules(lab.server, &format!("*filter\n-A INPUT -s 10.0.0.1/32 -j REJECT --reject-with {with}\nCOMMIT\n"));
        let app = lab.ask(client("10.0.0.2", 80, tcp(b"")));
        assert_eq!(lab.result(app), AnswerResult::Error(over_tcp), "{with}");
        let app = lab.ask(client("10.0.0.2", 80, udp(true)));
        assert_eq!(lab.result(app), over_udp.map_or(AnswerResult::TimedOut, AnswerResult::Error), "{with}");
    }
}

#[test]
fn a_refusal_that_comes_back_within_connect_is_overheard_with_ipv6() {
    for (to, config, millis) in [
        ("10.0.0.2", LinkConfig::default(), 0),
        ("fd00::2", LinkConfig::default(), 1000),
        ("fd00::2", delay(SimTime::from_millis(1)), 4),
    ] {
        let mut lab = Lab::new(config);
        for tool in ["iptables", "ip6tables"] {
            lab.run(lab.server, &format!("{tool} -A INPUT -p tcp -j REJECT"));
        }
        let app = lab.ask(client(to, 80, tcp(b"")));
        assert_eq!(lab.result(app), AnswerResult::Error(Errno::ConnRefused), "{to}");
        let answer = lab.net.netns(lab.client).apps.answer(app).expect("a client");
        let took = answer.ended.expect("it has ended").since(answer.started);
        assert_eq!(took, SimTime::from_millis(millis), "{to}: a SYN, and over a veth pair with IPv6 another one");
    }
}

#[test]
fn a_lost_segment_comes_again_with_the_first_as_its_parent() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 9, L4::Tcp, Service::Sink);
    let request = Request::Tcp { send: Vec::new(), greeting: false, keep: true, rst: false };
    let app = lab.ask(client("10.0.0.2", 9, request));
    lab.net.sim.run_until(SimTime::from_millis(1));
    assert!(lab.net.netns(lab.client).apps.answer(app).is_some_and(|answer| answer.connected.is_some()));
    let link = lab.net.sim.links().next().expect("a link");
    lab.net.sim.set_link_config(link, LinkConfig { loss_ppm: 1_000_000, ..LinkConfig::default() });
    let app = lab.ask(Client { timeout: Some(SimTime::from_secs(20)), ..client("10.0.0.2", 9, tcp(b"x")) });
    lab.net.sim.run_until(SimTime::from_secs(30));
    assert_eq!(lab.net.netns(lab.client).apps.answer(app).and_then(|answer| answer.result.clone()), Some(AnswerResult::TimedOut));
    let tracer = lab.net.sim.tracer();
    let again: Vec<_> = (0..tracer.packet_count())
        .filter_map(|id| tracer.lineage(sim_core::PacketId(id)))
        .filter(|lineage| lineage.cause == pktlab_stack::trace::cause::RETRANSMIT)
        .collect();
    assert_eq!(again.len(), 8, "after 1, 2, 3, 4, 5, 7, 11, 19 s");
    let first = again[0].parent.and_then(|parent| tracer.lineage(parent)).expect("a first transmission");
    assert_eq!(first.cause, pktlab_stack::trace::cause::ORIGINAL);
    assert!(again.iter().all(|lineage| lineage.parent == again[0].parent));
}

#[test]
fn a_connection_that_waits_is_reopened_by_a_later_syn_from_the_same_port() {
    let mut lab = Lab::new(LinkConfig::default());
    lab.serve("0.0.0.0", 80, L4::Tcp, site("/", b"Hello"));
    // The server closes first, so that TIME-WAIT is on its side.
    let close = vec![("Connection".to_owned(), "close".to_owned())];
    let request = Request::Http { method: "GET".to_owned(), host: "web".to_owned(), path: "/".to_owned(), headers: close };
    let options = SocketOptions { sport: Some(40_000), ..SocketOptions::default() };
    let asked = Client { options, ..client("10.0.0.2", 80, request) };
    for second in [0, 5] {
        lab.net.sim.run_until(SimTime::from_secs(second));
        let app = lab.ask(asked.clone());
        lab.net.sim.run_until(SimTime::from_secs(second + 1));
        let result = lab.net.netns(lab.client).apps.answer(app).and_then(|answer| answer.result.clone());
        assert!(matches!(result, Some(AnswerResult::Http { status: 200, .. })), "{second} s: {result:?}");
    }
    let reopened = lab.states(lab.server).iter().filter(|change| change.ends_with("TIME-WAIT UNCONN")).count();
    assert_eq!(reopened, 1);
    assert_eq!(lab.net.sim.run(), Halt::Idle);
    let left: Vec<&str> = lab.net.netns(lab.server).sockets.list().iter().map(|socket| socket.state).collect();
    assert_eq!(left, ["LISTEN"], "a minute later nothing is left");
}

#[test]
fn two_runs_with_one_seed_are_the_same() {
    let run = || {
        let mut lab = Lab::new(LinkConfig { delay: SimTime::from_millis(2), loss_ppm: 50_000, ..LinkConfig::default() });
        lab.serve("0.0.0.0", 80, L4::Tcp, site("/", &[7; 30_000]));
        let app = lab.ask(client("10.0.0.2", 80, get("/")));
        lab.result(app);
        let tracer = lab.net.sim.tracer();
        let frames: Vec<(SimTime, Vec<u8>)> = tracer
            .records()
            .iter()
            .filter_map(|stamped| match stamped.record {
                Record::Transmit { frame, .. } => Some((stamped.time, tracer.bytes(frame).to_vec())),
                _ => None,
            })
            .collect();
        frames
    };
    assert_eq!(run(), run());
}

/// A TCP segment from the client, as bytes of a frame.
fn frame(sport: u16, seq: u32, ack: u32, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    tcp[..2].copy_from_slice(&sport.to_be_bytes());
    tcp[2..4].copy_from_slice(&80u16.to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    let padded = options.len().next_multiple_of(4);
    tcp[12] = (((20 + padded) / 4) << 4) as u8;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&1000u16.to_be_bytes());
    tcp.extend_from_slice(options);
    tcp.resize(20 + padded, 0);
    tcp.extend_from_slice(payload);
    let (src, dst) = (ip("10.0.0.1"), ip("10.0.0.2"));
    let sum = pktlab_stack::view::transport_checksum(src, dst, 6, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&pktlab_stack::Mac::of_name("server/eth0").0);
    bytes.extend_from_slice(&pktlab_stack::Mac::of_name("client/eth0").0);
    bytes.extend_from_slice(&[8, 0, 0x45, 0]);
    bytes.extend_from_slice(&((20 + tcp.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = pktlab_stack::view::ipv4_header_checksum(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes.extend_from_slice(&tcp);
    bytes
}

type Segment = (bool, u32, u32, u8, Vec<u8>, Vec<u8>);

fn segment() -> impl Strategy<Value = Segment> {
    let near = || prop_oneof![0u32..20, Just(u32::MAX), any::<u32>()];
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (any::<bool>(), near(), near(), 0u8..64, bytes(40), bytes(30))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_segment_whatever_it_says_stops_a_server(segments in proptest::collection::vec(segment(), 1..30)) {
        let mut lab = Lab::new(LinkConfig::default());
        lab.serve("0.0.0.0", 80, L4::Tcp, site("/", b"Hello"));
        lab.run(lab.client, "ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
        // The client's own TCP knows nothing of it, and must not say so.
        lab.rules(lab.client, "*filter\n-A INPUT -p tcp -j DROP\nCOMMIT\n");
        let (mut next, mut acked) = (100u32, 0u32);
        for (step, (new, seq, ack, flags, options, payload)) in segments.iter().enumerate() {
            // Some belong to a connection that stands, as far as they can.
            let sport = if *new { 41_000 + step as u16 } else { 40_000 };
            let sent = frame(sport, next.wrapping_add(*seq), acked.wrapping_add(*ack), *flags, options, payload);
            lab.net.inject(lab.client, "eth0", &sent).expect("a device that is up");
            let at = lab.net.sim.now() + SimTime::from_millis(10);
            lab.net.sim.run_until(at);
            if let Some(answer) = segments_of_server(&lab).last() {
                (next, acked) = *answer;
            }
        }
        prop_assert_eq!(lab.net.sim.run(), Halt::Idle);
        lab.rules(lab.client, "*filter\nCOMMIT\n");
        lab.run(lab.client, &format!("ip neigh replace 10.0.0.2 lladdr {} dev eth0 nud permanent", pktlab_stack::Mac::of_name("server/eth0")));
        let app = lab.ask(client("10.0.0.2", 80, get("/")));
        let served = matches!(lab.result(app), AnswerResult::Http { status: 200, .. });
        prop_assert!(served, "the server answers no more");
    }
}

/// What the server's segments acknowledge, and where they end.
fn segments_of_server(lab: &Lab) -> Vec<(u32, u32)> {
    let tracer = lab.net.sim.tracer();
    let sent = tracer.records().iter().filter(|stamped| stamped.node == lab.server).filter_map(|stamped| match stamped.record {
        Record::Originate { frame, .. } => Some(tracer.bytes(frame)),
        _ => None,
    });
    let number = |at: &[u8]| u32::from_be_bytes([at[0], at[1], at[2], at[3]]);
    sent.filter(|ip| ip.len() >= 40 && ip[0] >> 4 == 4 && ip[9] == 6)
        .map(|ip| (number(&ip[28..]), number(&ip[24..]).wrapping_add(u32::from(ip[33] & 2 != 0))))
        .collect()
}
