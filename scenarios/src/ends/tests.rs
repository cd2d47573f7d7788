use proptest::prelude::*;

use super::*;

fn wrong(text: &str) -> (String, String) {
    let error = text.parse::<End>().expect_err(text);
    let end = (error.at + error.len).min(text.len());
    (text.get(error.at..end).expect("the place lies in the text").to_owned(), error.message)
}

#[test]
fn every_form_reads_and_prints_back() {
    for text in [
        "pod/default/client",
        "pod/default/web:80",
        "pod/default/web:http",
        "svc/shop/cart:80",
        "node/kind-worker:30040",
        "ns/router",
        "ns/server:80",
        "external",
        "external:80",
        "external:203.0.113.7",
        "external:203.0.113.7:80",
        "external:[fd00::1]:80",
        "10.0.0.1",
        "10.0.0.1:80",
        "[fd00::1]:80",
        "web",
        "web.default.svc.cluster.local.:80",
        "http://web/host",
        "https://[fd00::1]:8443/",
        "10.244.1.9@node/kind-worker",
        "203.0.113.7@external",
        "fd00::7@external",
        "east/pod/default/web:80",
        "10.0.0.1@east/node/a",
        "east/external:80",
    ] {
        let end: End = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(end.to_string(), text);
    }
}

#[test]
fn a_mistake_is_pointed_at() {
    for (text, place, says) in [
        ("por/default/web", "por", "no kind of end"),
        ("service/web", "service", "no kind of end"),
        ("pod/web:80", "web:80", "namespace is missing"),
        ("pod/default/we%b", "%", "cannot stand"),
        ("svc/default/web:", "", "port is empty"),
        ("svc/default/web:99999", "99999", "no port"),
        ("svc/default/web:0", "0", "no port"),
        ("svc/default/web:Http", "Http", "no port"),
        ("pod/a/b/c", "/c", "too many"),
        ("10.0.0.300:80", "10.0.0.300", "neither an address nor a name"),
        ("fd00::1:zz", "fd00::1:zz", "no address"),
        ("[fd00::1", "[fd00::1", "not closed"),
        ("ftp://web", "ftp", "not modelled"),
        ("10.0.0.1@pod", "pod", "no place"),
        ("x@external", "x", "no address"),
        ("pod/default/a b", " ", "blank"),
        ("", "", "missing"),
    ] {
        let (at, message) = wrong(text);
        assert!(at == place && message.contains(says), "{text}: `{at}` {message}");
    }
}

fn port() -> impl Strategy<Value = Option<Port>> {
    prop_oneof![
        Just(None),
        (1..=u16::MAX).prop_map(|number| Some(Port::Number(number))),
        "[a-z][a-z0-9]{0,14}".prop_map(|name| Some(Port::Name(name))),
    ]
}

fn end() -> impl Strategy<Value = End> {
    let name = "[a-z][a-z0-9-]{0,20}[a-z0-9]";
    let ip = prop_oneof![any::<std::net::Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)];
    let kind = prop_oneof![
        (name, name, port()).prop_map(|(namespace, name, port)| EndKind::Pod { namespace, name, port }),
        (name, name, port()).prop_map(|(namespace, name, port)| EndKind::Service { namespace, name, port }),
        (name, port()).prop_map(|(name, port)| EndKind::Node { name, port }),
        (name, port()).prop_map(|(name, port)| EndKind::Netns { name, port }),
        (proptest::option::of(ip.clone()), port()).prop_map(|(address, port)| EndKind::External { address, port }),
        (ip.clone(), name).prop_map(|(address, name)| EndKind::AddressAt { address, at: Place::Node(name) }),
        ip.clone().prop_map(|address| EndKind::AddressAt { address, at: Place::External }),
    ];
    let bare = prop_oneof![
        (ip, port()).prop_map(|(address, port)| EndKind::Address { address, port }),
        ("[a-z]{1,8}(\\.[a-z]{1,8}){1,3}", port()).prop_map(|(name, port)| EndKind::Name { name, port }),
        (any::<bool>(), "[a-z]{1,8}\\.[a-z]{1,8}", proptest::option::of(1..=u16::MAX), "/[a-z]{0,8}")
            .prop_map(|(tls, host, port, path)| EndKind::Url(Url { tls, host, port, path })),
    ];
    prop_oneof![
        (proptest::option::of("[b-m][a-z]{3,8}".prop_filter("a keyword", |name| name != "node" && name != "external")), kind)
            .prop_map(|(cluster, kind)| End { cluster, kind }),
        bare.prop_map(|kind| End { cluster: None, kind }),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(end in end()) {
        let text = end.to_string();
        prop_assert_eq!(text.parse::<End>().map_err(|error| format!("{text}: {error}")), Ok(end));
    }

    #[test]
    fn no_text_panics_and_every_mistake_lies_in_the_text(text in "\\PC{0,30}") {
        if let Err(error) = text.parse::<End>() {
            prop_assert!(text.is_char_boundary(error.at) && error.at <= text.len(), "{error:?}");
        }
    }
}
