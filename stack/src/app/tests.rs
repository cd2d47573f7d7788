//! What servers and the resolver say, without a network.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sim_core::{Sim, TraceMode};

use super::http::{self, Read, Served};
use super::message::{self, Reply};
use super::resolver::candidates;
use super::zones::{self, Scope, Zones};
use super::{DnsData, DnsRecord, DnsZones, HttpFallback, HttpPage, HttpSite, QType, Resolver};
use crate::netns::Netns;
use crate::trace::NO_PACKET;

const SCOPE: Scope<'static> = Scope { server: "dns", packet: NO_PACKET };

fn a(address: [u8; 4]) -> DnsRecord {
    DnsRecord { ttl: 5, data: DnsData::A(address.into()) }
}

fn cluster() -> DnsZones {
    let records = BTreeMap::from([
        ("web.default.svc.cluster.local".to_owned(), vec![a([10, 96, 0, 20])]),
        ("alias.default.svc.cluster.local".to_owned(), vec![DnsRecord { ttl: 5, data: DnsData::Cname("example.com".to_owned()) }]),
        ("many.default.svc.cluster.local".to_owned(), (1..=9).map(|n| a([10, 0, 0, n])).collect()),
        (
            "_http._tcp.web.default.svc.cluster.local".to_owned(),
            vec![DnsRecord {
                ttl: 5,
                data: DnsData::Srv { priority: 0, weight: 100, port: 80, target: "web.default.svc.cluster.local".to_owned() },
            }],
        ),
    ]);
    DnsZones {
        origins: vec!["cluster.local".to_owned()],
        records,
        pods_insecure: vec!["default".to_owned()],
        forward: Some(BTreeMap::from([("example.com".to_owned(), vec![a([93, 184, 215, 14])])])),
        ttl: 5,
        shuffle: false,
    }
}

/// Asks a server of these zones, as bytes; what `dig` would show in one line.
fn dig(zones: DnsZones, name: &str, qtype: QType) -> String {
    let mut sim: Sim<Netns> = Sim::new(1, TraceMode::Off);
    let node = sim.add_node("dns", Netns::new("dns"));
    let zones = Zones::new(Arc::new(zones));
    let question = message::query(7, name, qtype).expect("a name of DNS");
    let bytes = sim.with(node, |_, cx| zones::serve(cx, SCOPE, &zones, &question, false)).expect("an answer");
    let response = message::read_response(&bytes).expect("a DNS answer");
    let flags = u16::from_be_bytes([bytes[2], bytes[3]]);
    let authority = u16::from_be_bytes([bytes[8], bytes[9]]);
    let additional = u16::from_be_bytes([bytes[10], bytes[11]]);
    let data: Vec<String> = response.answers.iter().map(|(owner, record)| format!("{owner} {:?}", record.data)).collect();
    let (aa, tc, ra) = (flags & 0x400 != 0, flags & 0x200 != 0, flags & 0x80 != 0);
    format!(
        "id {} rcode {}{}{}{} authority {authority} additional {additional} {data:?}",
        response.id,
        response.rcode,
        if aa { " aa" } else { "" },
        if tc { " tc" } else { "" },
        if ra { " ra" } else { "" },
    )
}

#[test]
fn a_service_has_an_address_whatever_the_case_of_its_name() {
    let answer = dig(cluster(), "WEB.default.svc.cluster.local", QType::A);
    assert_eq!(answer, r#"id 7 rcode 0 aa authority 0 additional 0 ["web.default.svc.cluster.local A(10.96.0.20)"]"#);
}

#[test]
fn a_name_without_that_type_is_no_error_and_a_missing_name_is() {
    for (name, qtype, rcode) in [
        ("web.default.svc.cluster.local", QType::Aaaa, 0),
        // Empty non-terminals exist.
        ("default.svc.cluster.local", QType::A, 0),
        ("svc.cluster.local", QType::A, 0),
        ("_tcp.web.default.svc.cluster.local", QType::Srv, 0),
        ("nosuch.default.svc.cluster.local", QType::A, 3),
        ("example.com.default.svc.cluster.local", QType::A, 3),
    ] {
        let answer = dig(cluster(), name, qtype);
        assert_eq!(answer, format!("id 7 rcode {rcode} aa authority 1 additional 0 []"), "{name}");
    }
}

#[test]
fn an_alias_is_followed_to_what_upstream_knows() {
    let answer = dig(cluster(), "alias.default.svc.cluster.local", QType::A);
    assert_eq!(
        answer,
        "id 7 rcode 0 aa authority 0 additional 0 \
         [\"alias.default.svc.cluster.local Cname(\\\"example.com\\\")\", \"example.com A(93.184.215.14)\"]"
    );
}

#[test]
fn what_is_not_ours_is_forwarded_or_refused() {
    assert_eq!(
        dig(cluster(), "example.com", QType::A),
        r#"id 7 rcode 0 ra authority 0 additional 0 ["example.com A(93.184.215.14)"]"#
    );
    assert_eq!(dig(cluster(), "example.org", QType::A), "id 7 rcode 3 ra authority 0 additional 0 []");
    let alone = DnsZones { forward: None, ..cluster() };
    assert_eq!(dig(alone, "example.com", QType::A), "id 7 rcode 5 authority 0 additional 0 []");
}

#[test]
fn a_pod_name_is_its_address_in_the_namespaces_that_exist() {
    let known = dig(cluster(), "10-244-1-2.default.pod.cluster.local", QType::A);
    assert_eq!(known, r#"id 7 rcode 0 aa authority 0 additional 0 ["10-244-1-2.default.pod.cluster.local A(10.244.1.2)"]"#);
    assert_eq!(dig(cluster(), "10-244-1-2.other.pod.cluster.local", QType::A), "id 7 rcode 3 aa authority 1 additional 0 []");
}

#[test]
fn a_service_record_brings_the_address_of_its_target() {
    let answer = dig(cluster(), "_http._tcp.web.default.svc.cluster.local", QType::Srv);
    assert!(answer.starts_with("id 7 rcode 0 aa authority 0 additional 1 "), "{answer}");
}

#[test]
fn a_shuffle_keeps_all_addresses() {
    let shuffled = dig(DnsZones { shuffle: true, ..cluster() }, "many.default.svc.cluster.local", QType::A);
    let plain = dig(cluster(), "many.default.svc.cluster.local", QType::A);
    assert_ne!(shuffled, plain);
    for n in 1..=9 {
        assert!(shuffled.contains(&format!("A(10.0.0.{n})")), "{shuffled}");
    }
}

#[test]
fn what_does_not_fit_a_datagram_is_cut_and_says_so() {
    let many = (1..=200).map(|n| a([10, 0, 1, n])).collect();
    let zones = DnsZones { records: BTreeMap::from([("big.cluster.local".to_owned(), many)]), ..cluster() };
    let answer = dig(zones, "big.cluster.local", QType::A);
    assert!(answer.starts_with("id 7 rcode 0 aa tc "), "{answer}");
}

#[test]
fn an_answer_is_not_answered() {
    let query = message::query(1, "example.com", QType::A).expect("a name of DNS");
    let asked = message::read_query(&query).expect("a question");
    let reply = message::reply(&query, &asked, &Reply::default(), 512).expect("an answer");
    assert_eq!(message::read_query(&reply), None);
}

#[test]
fn names_are_tried_in_the_order_of_resolv_conf() {
    let resolver = Resolver {
        search: vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
        ndots: 5,
        ..Resolver::default()
    };
    let names = |name: &str, ndots: u8| Vec::from(candidates(name, &Resolver { ndots, ..resolver.clone() }));
    assert_eq!(names("web", 5), ["web.default.svc.cluster.local", "web.svc.cluster.local", "web"]);
    assert_eq!(names("a.b", 1), ["a.b", "a.b.default.svc.cluster.local", "a.b.svc.cluster.local"]);
    assert_eq!(names("a.b.", 5), ["a.b"]);
}

fn site() -> HttpSite {
    let hello = HttpPage { status: 200, content_type: "text/plain".to_owned(), body: b"Hello".to_vec() };
    HttpSite { pages: BTreeMap::from([("/".to_owned(), hello)]), fallback: Some(HttpFallback::EchoPath), server_header: None }
}

fn get(site: &HttpSite, request: &str) -> String {
    match http::serve(site, request.as_bytes()) {
        Served::More => "more".to_owned(),
        Served::Answer { used, bytes, close } => {
            assert_eq!(used, request.len());
            format!("{} close={close}", String::from_utf8_lossy(&bytes))
        }
    }
}

#[test]
fn a_page_is_served_and_a_connection_kept_unless_it_is_to_be_closed() {
    assert_eq!(
        get(&site(), "GET / HTTP/1.1\r\nHost: web\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello close=false"
    );
    assert!(
        get(&site(), "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
            .ends_with("Connection: close\r\n\r\nHello close=true")
    );
    assert!(get(&site(), "GET / HTTP/1.0\r\n\r\n").ends_with("close=true"));
    assert!(get(&site(), "HEAD / HTTP/1.1\r\nHost: web\r\n\r\n").ends_with("Content-Length: 5\r\n\r\n close=false"));
    assert_eq!(get(&site(), "GET / HT"), "more");
}

#[test]
fn other_paths_other_methods_and_nonsense_have_their_status() {
    assert!(get(&site(), "GET /a/b?c HTTP/1.1\r\n\r\n").ends_with("/a/b close=false"));
    let plain = HttpSite { fallback: None, ..site() };
    assert!(get(&plain, "GET /nosuch HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(
        get(&site(), "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab").starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET")
    );
    assert!(get(&site(), "\u{1}\u{2}\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

#[test]
fn a_client_reads_a_whole_answer_and_no_more() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(http::read("GET", format!("{head}Hel").as_bytes(), false), Read::More);
    let whole = http::read("GET", format!("{head}Hello").as_bytes(), false);
    assert!(matches!(whole, Read::Answer { status: 200, ref body, .. } if body == b"Hello"), "{whole:?}");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nHel\r\n2\r\nlo\r\n0\r\n\r\n";
    let whole = http::read("GET", chunked.as_bytes(), false);
    assert!(matches!(whole, Read::Answer { ref body, .. } if body == b"Hello"), "{whole:?}");
    let interim = format!("HTTP/1.1 100 Continue\r\n\r\n{head}Hello");
    assert!(matches!(http::read("GET", interim.as_bytes(), false), Read::Answer { status: 200, .. }));
    assert_eq!(http::read("GET", b"SSH-2.0-OpenSSH_9.2\r\n", true), Read::Foreign);
}

proptest! {
    #[test]
    fn no_bytes_whatever_they_are_stop_a_server_or_a_client(bytes in proptest::collection::vec(any::<u8>(), 0..200), ended: bool) {
        let _ = http::serve(&site(), &bytes);
        let _ = http::read("GET", &bytes, ended);
        let _ = message::read_response(&bytes);
        let mut sim: Sim<Netns> = Sim::new(1, TraceMode::Off);
        let node = sim.add_node("dns", Netns::new("dns"));
        let zones = Zones::new(Arc::new(cluster()));
        // As they are, and behind the header of a question.
        let question = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
        for message in [&bytes, &question] {
            let _ = sim.with(node, |_, cx| zones::serve(cx, SCOPE, &zones, message, false));
        }
    }

    #[test]
    fn a_question_reads_back_as_it_was_written(name in "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,6}", id: u16) {
        let bytes = message::query(id, &name, QType::Srv).expect("a name of DNS");
        let read = message::read_query(&bytes).expect("a question");
        prop_assert_eq!((read.id, read.name, read.qtype), (id, name, Some(QType::Srv)));
    }
}
