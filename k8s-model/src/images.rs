//! What is known of images: a manifest does not say what a program listens on or answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use stack::app::{DnsZones, HttpFallback, HttpPage, HttpSite, L4, Service};

/// A kind of program, told by the name of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Tools to ask with: listens on nothing.
    Client,
    /// postgres.
    Postgres,
    /// redis.
    Redis,
    /// CoreDNS.
    CoreDns,
    /// nginx.
    Nginx,
    /// Apache httpd.
    Httpd,
    /// Anything else: HTTP on TCP, echo on UDP.
    Unknown,
}

/// Names of images without registry, path and tag.
const CLIENTS: [&str; 15] = [
    "dnsutils",
    "jessie-dnsutils",
    "busybox",
    "curl",
    "alpine-curl",
    "netshoot",
    "network-multitool",
    "wbitt-network-multitool",
    "alpine",
    "ubuntu",
    "debian",
    "kubectl",
    "loadgenerator",
    "kube-webhook-certgen",
    "pause",
];

impl Program {
    /// The program of an image.
    pub fn of_image(image: &str) -> Self {
        match short_name(image) {
            name if CLIENTS.contains(&name) => Self::Client,
            "postgres" | "postgresql" => Self::Postgres,
            "redis" | "valkey" => Self::Redis,
            "coredns" | "kube-dns" => Self::CoreDns,
            "nginx" | "nginx-unprivileged" => Self::Nginx,
            "httpd" => Self::Httpd,
            _ => Self::Unknown,
        }
    }

    /// What it listens on even if the manifest is silent.
    pub fn own_ports(self, image: &str) -> &'static [(L4, u16)] {
        match self {
            Self::Client | Self::Unknown => &[],
            Self::Postgres => &[(L4::Tcp, 5432)],
            Self::Redis => &[(L4::Tcp, 6379)],
            Self::CoreDns => &[(L4::Udp, 53), (L4::Tcp, 53)],
            Self::Nginx if short_name(image) == "nginx-unprivileged" => &[(L4::Tcp, 8080)],
            Self::Nginx | Self::Httpd => &[(L4::Tcp, 80)],
        }
    }

    /// What it answers on a port, and in which words.
    pub fn service(self, l4: L4, port: u16, seat: &Seat<'_>) -> (Service, &'static str) {
        match (self, l4) {
            (Self::Postgres, L4::Tcp) if port == 5432 => (Service::Greeting(POSTGRES_GREETING.into()), "greets as postgres"),
            (Self::Redis, L4::Tcp) if port == 6379 => (Service::Reply(b"+PONG\r\n".as_slice().into()), "answers +PONG as redis"),
            (Self::CoreDns, _) if port == 53 => (Service::Dns(seat.zones.clone()), "answers DNS as CoreDNS"),
            (Self::Nginx, L4::Tcp) => (Service::Http(Arc::new(nginx())), "serves the page of a fresh nginx"),
            (Self::Httpd, L4::Tcp) => (Service::Http(Arc::new(httpd())), "serves the page of a fresh httpd"),
            (_, L4::Tcp) => (Service::Http(Arc::new(echo_site(seat))), "answers HTTP with 200"),
            (_, L4::Udp) => (Service::Echo, "echoes"),
        }
    }
}

/// Where a program runs.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The pod's first address.
    pub ip: Option<IpAddr>,
    /// The cluster's records.
    pub zones: &'a Arc<DnsZones>,
}

/// AuthenticationOk of the frontend/backend protocol 3.0. The real server sends it after the client's start-up message; a
/// client that only waits sees the port speak.
const POSTGRES_GREETING: &[u8] = b"R\0\0\0\x08\0\0\0\0";

fn short_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

fn page(status: u16, content_type: &str, body: &str) -> HttpPage {
    HttpPage { status, content_type: content_type.to_owned(), body: body.as_bytes().to_vec() }
}

/// The demonstration server: who answers at `/host`, the path itself elsewhere.
fn echo_site(seat: &Seat<'_>) -> HttpSite {
    let ip = seat.ip.map(|ip| ip.to_string()).unwrap_or_default();
    let pages = BTreeMap::from([
        ("/".to_owned(), page(200, "text/plain; charset=utf-8", "Hello")),
        ("/healthz".to_owned(), page(200, "text/plain; charset=utf-8", "OK")),
        ("/host".to_owned(), page(200, "text/plain; charset=utf-8", &format!("NODE: {}, POD IP:{ip}", seat.node))),
    ]);
    HttpSite { pages, fallback: Some(HttpFallback::EchoPath), server_header: None }
}

fn nginx() -> HttpSite {
    let welcome = "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n";
    let missing = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    site("nginx", welcome, missing)
}

fn httpd() -> HttpSite {
    let works = "<html><body><h1>It works!</h1></body></html>\n";
    let missing = "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>404 Not Found</title>\n</head><body>\n<h1>Not Found</h1>\n<p>The requested URL was not found on this server.</p>\n</body></html>\n";
    site("Apache/2.4 (Unix)", works, missing)
}

fn site(server: &str, index: &str, missing: &str) -> HttpSite {
    let pages = ["/", "/index.html"].map(|path| (path.to_owned(), page(200, "text/html", index)));
    HttpSite {
        pages: BTreeMap::from(pages),
        fallback: Some(HttpFallback::Page(page(404, "text/html", missing))),
        server_header: Some(server.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_their_last_name() {
        let of = Program::of_image;
        assert_eq!(of("gcr.io/kubernetes-e2e-test-images/dnsutils:1.3"), Program::Client);
        assert_eq!(of("busybox:1.38.0@sha256:fd8d9aa63ba2"), Program::Client);
        assert_eq!(of("registry.example:5000/team/postgres:12.2"), Program::Postgres);
        assert_eq!(of("registry.k8s.io/coredns/coredns:v1.13.1"), Program::CoreDns);
        assert_eq!(of("strongjz/go-web:v0.0.6"), Program::Unknown);
        assert_eq!(of(""), Program::Unknown);
        assert_eq!(Program::Nginx.own_ports("nginxinc/nginx-unprivileged:1"), [(L4::Tcp, 8080)]);
    }

    #[test]
    fn the_demonstration_server_says_where_it_runs() {
        let zones = Arc::new(DnsZones::default());
        let seat = Seat { node: "kind-worker", ip: Some("10.244.1.2".parse().expect("ip")), zones: &zones };
        let (Service::Http(site), _) = Program::Unknown.service(L4::Tcp, 8080, &seat) else { panic!("not HTTP") };
        assert_eq!(site.pages["/host"].body, b"NODE: kind-worker, POD IP:10.244.1.2");
        assert_eq!(site.pages["/"].body, b"Hello");
        assert_eq!(site.pages["/healthz"].body, b"OK");
        assert_eq!(site.fallback, Some(HttpFallback::EchoPath));
    }
}
