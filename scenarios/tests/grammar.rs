//! What every trace keeps to: a packet's records begin and end as they should, and a frame's layers add up to its length.

use pktlab_scenarios::World;
use pktlab_scenarios::book::{BOOK, named};
use pktlab_scenarios::load::Input;
use pktlab_scenarios::question::{Proto, Question};
use pktlab_scenarios::run::run_watched;
use pktlab_scenarios::trace::{Exchange, PacketTrace, grammar};
use sim_core::TraceMode;

fn keeps_the_grammar(world: &World, what: &str) {
    if let Some(violation) = grammar::violation(world.network.sim.tracer()) {
        panic!("{what}: {violation}");
    }
}

/// Each layer begins where the one before ends, and the last ends where the frame does.
fn layers_add_up(exchange: &Exchange, what: &str) {
    for packet in exchange.packets.iter().filter(|packet| !packet.layers.is_empty()) {
        let mut at = 0;
        for layer in &packet.layers {
            assert_eq!(layer.offset, at, "{what}: {} {}: {layer:?}", packet.id, packet.summary);
            at += layer.len;
        }
        // What IP says of its own length, and 14 bytes of Ethernet.
        let ip = packet.layers.iter().position(|layer| matches!(layer.name, "ipv4" | "ipv6"));
        if let Some(ip) = ip {
            let said: u32 = match packet.layers[ip].name {
                "ipv4" => field(packet, "ipv4", "total_length"),
                _ => field(packet, "ipv6", "payload_length") + 40,
            };
            let link: u32 = packet.layers[..ip].iter().map(|layer| layer.len).sum();
            assert_eq!(at - link, said, "{what}: {} {}", packet.id, packet.summary);
        }
    }
}

fn field(packet: &PacketTrace, layer: &str, name: &str) -> u32 {
    let found = packet.layers.iter().find(|known| known.name == layer);
    let value = found.and_then(|layer| layer.fields.iter().find(|(known, _)| *known == name)).map(|(_, value)| value.clone());
    let value = value.unwrap_or_else(|| panic!("{}: no {name} in {:?}", packet.id, packet.layers));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
}

#[test]
fn every_step_of_the_book_keeps_to_the_grammar() {
    let mut exchanges = 0;
    for entry in BOOK {
        let file = named(entry.name).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let loaded = Input::default().load_with(Some(file)).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let report = run_watched(&loaded, |world, step| {
            keeps_the_grammar(world, &format!("{}: {}", entry.path, step.text));
            if let Some(exchange) = &step.exchange {
                layers_add_up(exchange, entry.path);
                exchanges += 1;
            }
        });
        report.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    }
    assert!(exchanges >= 10, "{exchanges} exchanges");
}

fn shop() -> World {
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/book/ch5/web/web.yaml");
    let input = Input { files: vec![web.into()], ..Input::default() };
    let loaded = input.load().unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    loaded.converged(TraceMode::Headers).unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

fn ask(world: &mut World, from: &str, to: &str, proto: Option<Proto>) -> Exchange {
    let end = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no end"));
    let question = Question { proto, ..Question::new(end(from), end(to)) };
    let asked = world.ask(&question).unwrap_or_else(|problem| panic!("{problem:?}"));
    keeps_the_grammar(world, to);
    layers_add_up(&asked.exchange, to);
    asked.exchange
}

#[test]
fn exchanges_of_all_kinds_keep_to_the_grammar() {
    let mut world = shop();
    let client = "pod/default/client";
    for (from, to, proto) in [
        (client, "svc/default/web:80", None),
        (client, "http://web/", None),
        (client, "svc/default/web:81", None),
        (client, "pod/default/web:81", Some(Proto::Udp)),
        (client, "pod/default/web:81", None),
        (client, "svc/kube-system/kube-dns:53", Some(Proto::Udp)),
        (client, "http://nobody/", None),
        (client, "pod/default/web", Some(Proto::Icmp)),
        (client, "8.8.8.8", Some(Proto::Icmp)),
        (client, "10.244.1.77:80", None),
        (client, "[2001:db8::1]:80", None),
        (client, "127.0.0.1:80", None),
        ("pod/default/web", "svc/default/web:80", None),
        ("node/kind-worker", "svc/default/web:80", None),
        ("external", "node/kind-worker", Some(Proto::Icmp)),
        ("external", "svc/default/web:80", None),
    ] {
        ask(&mut world, from, to, proto);
    }
}

/// SYN (x), SYN-ACK (y, x+1), ACK (x+1, y+1).
#[test]
fn the_handshake_counts_as_tcp_does() {
    let mut world = shop();
    let exchange = ask(&mut world, "pod/default/client", "pod/default/web:8080", None);
    let tcp: Vec<&PacketTrace> = exchange.packets.iter().filter(|packet| packet.summary.starts_with("TCP")).collect();
    let number = |at: usize, name: &str| field(tcp[at], "tcp", name);
    assert!(tcp[0].summary.contains("[SYN]") && tcp[1].summary.contains("[SYN,ACK]") && tcp[2].summary.contains("[ACK]"));
    assert_eq!(number(1, "ack"), number(0, "seq").wrapping_add(1));
    assert_eq!(number(2, "seq"), number(0, "seq").wrapping_add(1));
    assert_eq!(number(2, "ack"), number(1, "seq").wrapping_add(1));
    let states: Vec<&str> = (exchange.packets.iter().flat_map(|packet| &packet.steps).chain(&exchange.events))
        .filter(|step| step.action == "socket" || step.stage == "socket")
        .map(|step| step.text.as_str())
        .collect();
    for state in ["LISTEN -> SYN-RCVD", "SYN-SENT -> ESTABLISHED", "SYN-RCVD -> ESTABLISHED"] {
        assert!(states.iter().any(|text| text.contains(state)), "{state} is missing in {states:?}");
    }
}
