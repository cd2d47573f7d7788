//! What runs on the sockets of a namespace: servers ([`Server`]), and clients that ask ([`Client`]).
//!
//! Both are plain data here; the state machines that run them are private. A server or client is started through
//! [`crate::Network::serve`] and [`crate::Network::ask`].

mod client;
mod http;
mod message;
mod resolver;
mod server;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use crate::Cx;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::socket::Event;
use crate::trace::{NO_PACKET, Record};

/// A client or server of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppId(pub u32);

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum L4 {
    Tcp,
    Udp,
}

/// What listens on a port.
#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    /// Its process, as `ss -p` shows it; names it in traces.
    pub name: Arc<str>,
    /// The address that it is bound to; `0.0.0.0` and `::` are any address (`::` takes both families, as Linux does).
    pub bind: IpAddr,
    /// Port.
    pub port: u16,
    /// TCP or UDP.
    pub l4: L4,
    /// What it answers.
    pub service: Service,
    /// `IP_TRANSPARENT`.
    pub transparent: bool,
}

/// What a server answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Service {
    /// HTTP/1.1.
    Http(Arc<HttpSite>),
    /// Speaks first, then reads (SSH, SMTP, postgres).
    Greeting(Arc<[u8]>),
    /// Answers with what it was sent.
    Echo,
    /// Answers each datagram, or the first data of a stream, with this.
    Reply(Arc<[u8]>),
    /// Takes everything, answers nothing.
    Sink,
    /// DNS, on UDP and TCP.
    Dns(Arc<DnsZones>),
}

/// What an HTTP server serves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpSite {
    /// By path (`/host`): answers.
    pub pages: BTreeMap<String, HttpPage>,
    /// Any other path: none answers 404.
    pub fallback: Option<HttpFallback>,
    /// `Server:` header, where it sends one.
    pub server_header: Option<String>,
}

/// What an HTTP server answers for paths that it has no page for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HttpFallback {
    /// 200, with the path itself as `text/plain` body.
    EchoPath,
    /// This page.
    Page(HttpPage),
}

/// An HTTP answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpPage {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// Body.
    pub body: Vec<u8>,
}

/// The records that a DNS server answers from. Names are lower case, without the last dot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DnsZones {
    /// Zones that this server is the authority for (`cluster.local`, `in-addr.arpa`, `ip6.arpa`): NXDOMAIN for what is missing.
    pub origins: Vec<String>,
    /// Records by name, in the order in which they are answered before shuffling.
    pub records: BTreeMap<String, Vec<DnsRecord>>,
    /// `pods insecure` of CoreDNS' kubernetes plugin: `a-b-c-d.<ns>.pod.<origin>` answers a.b.c.d, for the names of these
    /// namespaces.
    pub pods_insecure: Vec<String>,
    /// What is not ours: other names that upstream servers are taken to know. Everything else is NXDOMAIN if `forward` is some,
    /// REFUSED if it is none.
    pub forward: Option<BTreeMap<String, Vec<DnsRecord>>>,
    /// TTL of the answers that are synthesized, and of the SOA, in seconds (5 in CoreDNS).
    pub ttl: u32,
    /// Whether A and AAAA answers are shuffled (`loadbalance`).
    pub shuffle: bool,
}

/// A DNS record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsRecord {
    /// TTL in seconds.
    pub ttl: u32,
    /// Data.
    pub data: DnsData,
}

/// The data of a DNS record.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of the record types")]
pub enum DnsData {
    A(std::net::Ipv4Addr),
    Aaaa(std::net::Ipv6Addr),
    Cname(String),
    Ptr(String),
    Txt(String),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Ns(String),
}

/// Query types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are those of the record types")]
pub enum QType {
    A,
    Aaaa,
    Cname,
    Ptr,
    Srv,
    Txt,
    Ns,
    Soa,
}

/// `/etc/resolv.conf`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolver {
    /// `nameserver` lines.
    pub nameservers: Vec<IpAddr>,
    /// `search`.
    pub search: Vec<String>,
    /// `options ndots`.
    pub ndots: u8,
    /// `options timeout`, in seconds (5 in glibc).
    pub timeout: u32,
    /// `options attempts` (2 in glibc).
    pub attempts: u32,
}

/// Somebody who asks once.
#[derive(Clone, PartialEq, Debug)]
pub struct Client {
    /// Its process, for traces: `curl`, `ping`.
    pub name: Arc<str>,
    /// Whom it asks.
    pub target: Target,
    /// Port; not used by ping and DNS questions about a name.
    pub port: u16,
    /// What it asks.
    pub request: Request,
    /// How it finds the address of a name.
    pub resolver: Option<Resolver>,
    /// How its socket is set up.
    pub options: SocketOptions,
    /// When it gives up, after its start. TCP connect without one gives up as Linux does (`tcp_syn_retries`).
    pub timeout: Option<SimTime>,
}

/// Whom a client asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// An address.
    Address(IpAddr),
    /// A name, to be resolved first.
    Name(String),
}

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Connects, sends these bytes if there are any, waits for a first answer where it sent some (or where `greeting`), closes.
    Tcp {
        /// What is sent.
        send: Vec<u8>,
        /// Waits for the server to speak.
        greeting: bool,
        /// Leaves the connection open.
        keep: bool,
        /// Closes with a RST (`SO_LINGER` 0).
        rst: bool,
    },
    /// Connects, sends a request, reads the whole answer, closes.
    Http {
        /// `GET`.
        method: String,
        /// `Host:` header.
        host: String,
        /// Path and query.
        path: String,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// Sends a datagram, waits for an answer.
    Udp {
        /// What is sent.
        send: Vec<u8>,
        /// `connect()` first: only then ICMP errors come back as errno.
        connect: bool,
    },
    /// Echo requests.
    Ping {
        /// How many.
        count: u16,
        /// Data bytes (56 for ping's default).
        size: u16,
        /// Between two requests.
        interval: SimTime,
        /// Identifier; none draws one.
        id: Option<u16>,
        /// First sequence number (1 for ping).
        seq: u16,
        /// A datagram ICMP socket that is connected, as opposed to a raw socket: errors come back as errno.
        connected: bool,
    },
    /// A DNS question to the resolver's name servers, by name as written (search list applied).
    Dns {
        /// Name.
        name: String,
        /// Type.
        qtype: QType,
    },
}

/// How a socket is set up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// Source address to bind to.
    pub bind: Option<IpAddr>,
    /// Source port to bind to.
    pub sport: Option<u16>,
    /// `SO_BINDTODEVICE`.
    pub device: Option<String>,
    /// `SO_MARK`.
    pub mark: u32,
    /// User of the process.
    pub uid: u32,
    /// `IP_TOS`.
    pub tos: u8,
    /// `IP_TTL`.
    pub ttl: Option<u8>,
    /// `IP_MTU_DISCOVER`: DF set (true) or not (false); none: as the kernel does unless told.
    pub df: Option<bool>,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `IP_TRANSPARENT`.
    pub transparent: bool,
}

/// What came of a client's question.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// When it began.
    pub started: SimTime,
    /// When it ended; none while it runs.
    pub ended: Option<SimTime>,
    /// DNS questions that it took.
    pub lookups: Vec<Lookup>,
    /// Local end of its socket.
    pub local: Option<SocketAddr>,
    /// The address that the client asked (before any NAT).
    pub remote: Option<SocketAddr>,
    /// When the TCP handshake was done.
    pub connected: Option<SimTime>,
    /// How it ended; none while it runs.
    pub result: Option<AnswerResult>,
}

/// A DNS question and its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// The name that was asked.
    pub name: String,
    /// The type that was asked.
    pub qtype: QType,
    /// Which server was asked.
    pub server: SocketAddr,
    /// RCODE (0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED); none: no answer in time.
    pub rcode: Option<u8>,
    /// The records of the answer section: owner name, record.
    pub answers: Vec<(String, DnsRecord)>,
}

/// How a client's question ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AnswerResult {
    /// TCP: connected, nothing more was asked.
    Connected,
    /// UDP: sent, and no answer was waited for, or DNS question answered (see `lookups`).
    Done,
    /// Data came back; from which address (UDP).
    Reply {
        /// The data.
        data: Vec<u8>,
        /// Who sent it.
        from: SocketAddr,
    },
    /// An HTTP answer.
    Http {
        /// Status code.
        status: u16,
        /// Headers as they came.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// Echo replies: one entry for each request, its round trip time and the reply's TTL, or none.
    Ping(Vec<Option<(SimTime, u8)>>),
    /// A system call failed.
    Error(Errno),
    /// Nothing came in time.
    TimedOut,
    /// The name has no address: the last RCODE (0: no such record; none: no server answered).
    Unresolved(Option<u8>),
}

/// What a server was sent: for observers (`received` of a case).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// When.
    pub time: SimTime,
    /// Which server.
    pub app: AppId,
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of our addresses.
    pub to: SocketAddr,
    /// What (the first 64 KiB).
    pub data: Vec<u8>,
}

/// The apps of a namespace.
#[derive(Debug, Default)]
pub struct Apps {
    list: Vec<AppState>,
    /// The connections of servers, by socket.
    streams: FxHashMap<u32, server::Stream>,
    received: Vec<Received>,
    /// Whether [`run`] is at work further up.
    running: bool,
}

/// An app.
#[derive(Debug)]
enum AppState {
    Server(Box<server::Running>),
    Client(Box<client::State>),
    /// A client that is being driven.
    Away,
}

impl Apps {
    /// What came of a client's question; none where `app` is no client.
    pub fn answer(&self, app: AppId) -> Option<&Answer> {
        match self.list.get(app.0 as usize)? {
            AppState::Client(state) => Some(&state.answer),
            AppState::Server(_) | AppState::Away => None,
        }
    }

    /// What the servers were sent, in order: an entry for each datagram and for each connection that sent something.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// A server's name, as given.
    pub fn server(&self, app: AppId) -> Option<&Server> {
        match self.list.get(app.0 as usize)? {
            AppState::Server(running) => Some(&running.server),
            AppState::Client(_) | AppState::Away => None,
        }
    }

    /// The name of an app's process.
    pub fn name(&self, app: AppId) -> Option<&str> {
        match self.list.get(app.0 as usize)? {
            AppState::Server(running) => Some(&running.server.name),
            AppState::Client(state) => Some(&state.client.name),
            AppState::Away => None,
        }
    }
}

/// Starts a server.
///
/// # Errors
/// `AddrInUse`, `AddrNotAvail`, `Inval` (port 0).
pub fn serve(ns: &mut Netns, cx: &mut Cx<'_>, server: Server) -> Result<AppId, Errno> {
    server::start(ns, cx, server)
}

/// Starts a client. It asks at once; what came of it is in [`Apps::answer`].
pub fn ask(ns: &mut Netns, cx: &mut Cx<'_>, client: Client) -> AppId {
    let app = client::start(ns, cx, client);
    run(ns, cx);
    app
}

/// A timer of an app has gone off.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, app: u32) {
    client::drive(ns, cx, AppId(app), client::Input::Timer);
    run(ns, cx);
}

/// Tells the apps what their sockets have to say, until there is nothing more.
pub(crate) fn run(ns: &mut Netns, cx: &mut Cx<'_>) {
    if ns.apps.running {
        return;
    }
    ns.apps.running = true;
    // Bounded: a socket speaks only when a packet, a timer or an app has changed it.
    while let Some(event) = ns.sockets.events.pop_front() {
        dispatch(ns, cx, event);
    }
    ns.apps.running = false;
}

fn dispatch(ns: &mut Netns, cx: &mut Cx<'_>, event: Event) {
    let (socket, app) = match event {
        Event::Accepted { listener, .. } => (listener, None),
        Event::Error { socket, app, .. } => (socket, app),
        Event::Connected { socket } | Event::Ready { socket } => (socket, None),
        Event::Datagram { socket, .. } | Event::EchoReply { socket, .. } => (socket, None),
    };
    let owner = || ns.sockets.get(socket).and_then(|socket| socket.owner);
    let Some(app) = app.or_else(owner) else { return };
    match ns.apps.list.get(app.0 as usize) {
        Some(AppState::Server(_)) => match event {
            Event::Accepted { socket, .. } => server::accepted(ns, cx, app, socket),
            Event::Ready { socket } => server::ready(ns, cx, socket),
            Event::Datagram { socket, from, to, data } => server::datagram(ns, cx, app, socket, (from, to), &data),
            Event::Error { socket, .. } => server::failed(ns, socket),
            Event::Connected { .. } | Event::EchoReply { .. } => {}
        },
        Some(AppState::Client(_)) => client::drive(ns, cx, app, client::Input::Event(event)),
        Some(AppState::Away) | None => {}
    }
}

/// Records what an app says.
fn say(ns: &Netns, cx: &mut Cx<'_>, app: AppId, text: impl FnOnce() -> String) {
    if cx.tracing() {
        let text = cx.note(text().as_bytes());
        let packet = ns.sockets.current().unwrap_or(NO_PACKET);
        cx.record(packet, Record::App { app: app.0, text });
    }
}
