//! The stub resolver: `res_nsearch` and `res_nsend` of glibc, over `/etc/resolv.conf`.
//!
//! For an address A is asked, and AAAA at the same time from the same socket where the namespace has an IPv6 address that is
//! neither link-local nor loopback (`AI_ADDRCONFIG`). A name with fewer dots than `ndots` is tried with each search domain
//! first and as it is last; another one as it is first; one with a dot at its end only as it is. NXDOMAIN and an answer without
//! records lead to the next name; SERVFAIL, REFUSED, silence and port unreachable to the next server. `/etc/hosts` is not
//! modelled but for `localhost`. Not modelled: EDNS, `use-vc`, `single-request`, `rotate`, the cache of nscd.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use sim_core::SimTime;
use sim_core::choice::{Arms, key_of};

use crate::Cx;
use crate::addr::Family;
use crate::app::message::{self, Response};
use crate::app::{AppId, DnsData, DnsRecord, Lookup, QType, Resolver, SocketOptions};
use crate::netns::Netns;
use crate::socket::{self, Options, tcp, udp};
use crate::trace::purpose;
use crate::view::proto;

/// Port of DNS.
const PORT: u16 = 53;
/// `RES_TIMEOUT`, in seconds.
const TIMEOUT: u32 = 5;
/// `RES_DFLRETRY`.
const ATTEMPTS: u32 = 2;
/// `MAXNS`.
const SERVERS: usize = 3;
const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

/// A look-up under way.
#[derive(Debug)]
pub(crate) struct Resolution {
    app: AppId,
    uid: u32,
    servers: Vec<IpAddr>,
    timeout: u32,
    attempts: u32,
    /// The names to try, the present one first.
    names: VecDeque<String>,
    qtypes: Vec<QType>,
    server: usize,
    attempt: u32,
    questions: Vec<Question>,
    socket: Option<u32>,
    /// What has come over TCP.
    stream: Vec<u8>,
    last_rcode: Option<u8>,
    /// When the present server is given up.
    pub(crate) until: SimTime,
}

#[derive(Debug)]
struct Question {
    id: u16,
    qtype: QType,
    answer: Option<Response>,
    /// The answer was cut: it is asked again over TCP.
    tcp: bool,
}

/// How a look-up ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It goes on.
    Pending,
    /// Records of the answer section.
    Found(Vec<(String, DnsRecord)>),
    /// The last RCODE; none: nobody answered.
    Failed(Option<u8>),
}

/// The names that are tried for a name, in order.
pub(crate) fn candidates(name: &str, resolver: &Resolver) -> VecDeque<String> {
    if let Some(absolute) = name.strip_suffix('.') {
        return VecDeque::from([absolute.to_owned()]);
    }
    let dots = name.bytes().filter(|&byte| byte == b'.').count();
    let mut names: VecDeque<String> = resolver.search.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.'))).collect();
    if dots >= usize::from(resolver.ndots) {
        names.push_front(name.to_owned());
    } else {
        names.push_back(name.to_owned());
    }
    names
}

/// The types that are asked for an address.
pub(crate) fn address_types(ns: &Netns) -> Vec<QType> {
    let global = |address: IpAddr| match address {
        IpAddr::V6(v6) => !v6.is_loopback() && v6.segments()[0] & 0xffc0 != 0xfe80,
        IpAddr::V4(_) => false,
    };
    let has_v6 = ns.devices.iter().any(|device| device.up && device.addrs.iter().any(|own| global(own.address)));
    if has_v6 { vec![QType::A, QType::Aaaa] } else { vec![QType::A] }
}

/// The address to connect to (RFC 6724, in short): global IPv6 before IPv4 before unique local IPv6, each in the order of DNS.
pub(crate) fn choose(records: &[(String, DnsRecord)]) -> Option<IpAddr> {
    let rank = |address: &IpAddr| match address {
        IpAddr::V6(v6) if v6.segments()[0] & 0xfe00 != 0xfc00 => 0,
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    };
    let addresses = records.iter().filter_map(|(_, record)| match record.data {
        DnsData::A(v4) => Some(IpAddr::from(v4)),
        DnsData::Aaaa(v6) => Some(IpAddr::from(v6)),
        _ => None,
    });
    addresses.min_by_key(rank)
}

impl Resolution {
    pub(crate) fn new(app: AppId, uid: u32, resolver: &Resolver, name: &str, qtypes: Vec<QType>) -> Resolution {
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        Resolution {
            app,
            uid,
            servers: resolver.nameservers.iter().copied().take(SERVERS).collect(),
            timeout: or(resolver.timeout, TIMEOUT).min(30),
            attempts: or(resolver.attempts, ATTEMPTS).min(5),
            names: candidates(name, resolver),
            qtypes,
            server: 0,
            attempt: 0,
            questions: Vec::new(),
            socket: None,
            stream: Vec::new(),
            last_rcode: None,
            until: SimTime::MAX,
        }
    }

    /// Whether a socket is its.
    pub(crate) fn owns(&self, socket: u32) -> bool {
        self.socket == Some(socket)
    }

    /// Asks the present server for the present name; goes on to the next ones as long as none can be asked.
    pub(crate) fn ask(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, lookups: &mut Vec<Lookup>) -> Outcome {
        // Bounded: every round moves on to another server, attempt or name.
        loop {
            self.close(ns, cx);
            let (Some(name), Some(&server)) = (self.names.front().cloned(), self.servers.get(self.server)) else {
                return Outcome::Failed(self.last_rcode);
            };
            let key = key_of(format!("{} {name} {server}", ns.name).as_bytes());
            let mut draw = || cx.decide(purpose::DNS_ID, key, Arms::Equal(0x1_0000)).arm as u16;
            let question = |qtype: QType| Question { id: draw(), qtype, answer: None, tcp: false };
            self.questions = self.qtypes.clone().into_iter().map(question).collect();
            if self.send_all(ns, cx, &name, SocketAddr::new(server, PORT)) {
                // `send_dg`: later servers wait longer, all of them together not.
                let index = self.server as u32;
                let seconds = (self.timeout << index) / if index > 0 { self.servers.len() as u32 } else { 1 };
                self.until = cx.now() + SimTime::from_secs(u64::from(seconds.max(1)));
                return Outcome::Pending;
            }
            if let Some(outcome) = self.give_up(lookups) {
                return outcome;
            }
        }
    }

    fn send_all(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, name: &str, server: SocketAddr) -> bool {
        let Ok(options) = Options::resolve(ns, &SocketOptions { uid: self.uid, ..SocketOptions::default() }) else { return false };
        let number = ns.sockets.open(proto::UDP, Family::of(server.ip()), options, Some(self.app));
        self.socket = Some(number);
        if let Some(socket) = ns.sockets.get_mut(number) {
            socket.dns = true;
        }
        if udp::connect(ns, cx, number, server).is_err() {
            return false;
        }
        // All at once, from one port: what races in the connection tables of a cluster's nodes.
        self.questions.iter().all(|question| {
            message::query(question.id, name, question.qtype)
                .is_some_and(|bytes| udp::send(ns, cx, number, None, None, &bytes).is_ok())
        })
    }

    /// A datagram from the server.
    pub(crate) fn datagram(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, data: &[u8], lookups: &mut Vec<Lookup>) -> Outcome {
        self.take(data, false);
        self.after_answer(ns, cx, lookups)
    }

    fn take(&mut self, data: &[u8], tcp: bool) {
        let Some(response) = message::read_response(data) else { return };
        let Some(name) = self.names.front() else { return };
        // An answer to something else is not looked at.
        if !response.name.eq_ignore_ascii_case(name) && !response.name.is_empty() {
            return;
        }
        let waiting = |question: &&mut Question| question.id == response.id && question.answer.is_none();
        let Some(question) = self.questions.iter_mut().find(waiting) else { return };
        if response.truncated && !tcp {
            question.tcp = true;
        } else {
            question.answer = Some(response);
        }
    }

    fn after_answer(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, lookups: &mut Vec<Lookup>) -> Outcome {
        if self.questions.iter().any(|question| question.answer.is_none() && !question.tcp) {
            return Outcome::Pending;
        }
        if self.questions.iter().any(|question| question.answer.is_none()) {
            return self.retry_over_tcp(ns, cx, lookups);
        }
        let (Some(name), Some(&server)) = (self.names.front().cloned(), self.servers.get(self.server)) else {
            return Outcome::Failed(self.last_rcode);
        };
        let mut records = Vec::new();
        let mut trouble = false;
        for question in self.questions.drain(..) {
            let Some(answer) = question.answer else { continue };
            self.last_rcode = Some(answer.rcode);
            trouble |= answer.rcode != NOERROR && answer.rcode != NXDOMAIN;
            records.extend(answer.answers.iter().cloned());
            lookups.push(Lookup {
                name: name.clone(),
                qtype: question.qtype,
                server: SocketAddr::new(server, PORT),
                rcode: Some(answer.rcode),
                answers: answer.answers,
            });
        }
        let addresses_wanted = self.qtypes.iter().all(|qtype| matches!(qtype, QType::A | QType::Aaaa));
        let found = if addresses_wanted { choose(&records).is_some() } else { !records.is_empty() };
        if found {
            self.close(ns, cx);
            return Outcome::Found(records);
        }
        if trouble {
            return match self.next_server() {
                true => self.ask(ns, cx, lookups),
                false => self.next_name(ns, cx, lookups),
            };
        }
        self.next_name(ns, cx, lookups)
    }

    fn next_name(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, lookups: &mut Vec<Lookup>) -> Outcome {
        self.names.pop_front();
        self.server = 0;
        self.attempt = 0;
        self.ask(ns, cx, lookups)
    }

    fn next_server(&mut self) -> bool {
        self.server += 1;
        if self.server >= self.servers.len() {
            self.server = 0;
            self.attempt += 1;
        }
        self.attempt < self.attempts
    }

    /// The present server does not answer: on to the next; the end where there is none left.
    fn give_up(&mut self, lookups: &mut Vec<Lookup>) -> Option<Outcome> {
        if let (Some(name), Some(&server)) = (self.names.front(), self.servers.get(self.server)) {
            for question in self.questions.drain(..) {
                let (rcode, answers) = match question.answer {
                    Some(answer) => (Some(answer.rcode), answer.answers),
                    None => (None, Vec::new()),
                };
                let server = SocketAddr::new(server, PORT);
                lookups.push(Lookup { name: name.clone(), qtype: question.qtype, server, rcode, answers });
            }
        }
        // glibc does not try further names where no server has answered at all (TRY_AGAIN).
        (!self.next_server()).then_some(Outcome::Failed(None))
    }

    /// The server was silent, or is not there.
    pub(crate) fn failed(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, lookups: &mut Vec<Lookup>) -> Outcome {
        match self.give_up(lookups) {
            Some(outcome) => {
                self.close(ns, cx);
                outcome
            }
            None => self.ask(ns, cx, lookups),
        }
    }

    fn retry_over_tcp(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, lookups: &mut Vec<Lookup>) -> Outcome {
        let Some(&server) = self.servers.get(self.server) else { return Outcome::Failed(self.last_rcode) };
        self.close(ns, cx);
        self.stream.clear();
        let Ok(options) = Options::resolve(ns, &SocketOptions { uid: self.uid, ..SocketOptions::default() }) else {
            return self.failed(ns, cx, lookups);
        };
        let number = ns.sockets.open(proto::TCP, Family::of(server), options, Some(self.app));
        self.socket = Some(number);
        if let Some(socket) = ns.sockets.get_mut(number) {
            socket.dns = true;
        }
        self.until = cx.now() + SimTime::from_secs(u64::from(self.timeout));
        match tcp::connect(ns, cx, number, SocketAddr::new(server, PORT)) {
            Ok(()) => Outcome::Pending,
            Err(_) => self.failed(ns, cx, lookups),
        }
    }

    /// The connection to the server stands.
    pub(crate) fn connected(&mut self, ns: &mut Netns, cx: &mut Cx<'_>) {
        let (Some(number), Some(name)) = (self.socket, self.names.front()) else { return };
        for question in self.questions.iter().filter(|question| question.answer.is_none()) {
            let Some(bytes) = message::query(question.id, name, question.qtype) else { continue };
            let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            tcp::send(ns, number, &framed);
        }
        tcp::poll(ns, cx, number);
    }

    /// Data, or the end, of the connection to the server.
    pub(crate) fn ready(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, lookups: &mut Vec<Lookup>) -> Outcome {
        let Some(number) = self.socket else { return Outcome::Pending };
        let data = tcp::recv(ns, number);
        self.stream.extend_from_slice(&data);
        while let [high, low, rest @ ..] = self.stream.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else { break };
            self.take(&message, true);
            self.stream.drain(..2 + length);
        }
        let missing = self.questions.iter().any(|question| question.answer.is_none());
        if !missing {
            return self.after_answer(ns, cx, lookups);
        }
        if tcp::at_end(ns, number) {
            return self.failed(ns, cx, lookups);
        }
        if !data.is_empty() {
            tcp::poll(ns, cx, number);
        }
        Outcome::Pending
    }

    /// Closes its socket.
    pub(crate) fn close(&mut self, ns: &mut Netns, cx: &mut Cx<'_>) {
        if let Some(number) = self.socket.take() {
            match ns.sockets.get(number).map(|socket| socket.proto) {
                Some(proto::TCP) => tcp::close(ns, cx, number),
                _ => socket::destroy(ns, number),
            }
        }
    }
}
