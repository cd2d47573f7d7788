//! Clients: resolve, connect, ask, and write down what came of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sim_core::SimTime;

use crate::Cx;
use crate::addr::Family;
use crate::app::http::{self, Read};
use crate::app::resolver::{self, Outcome, Resolution};
use crate::app::{Answer, AnswerResult, AppId, AppState, Client, Request, Resolver, Target, say};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::socket::{self, Event, Options, ping, table, tcp, udp};
use crate::timer::{Timer, TimerKey};
use crate::view::proto;

/// How long a client that waits for a datagram waits unless told.
const DATAGRAM_WAIT: SimTime = SimTime::from_secs(5);
/// How long ping(8) waits for the last reply (`MAXWAIT`).
const PING_LINGER: SimTime = SimTime::from_secs(10);

/// A client that runs, or has run.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) client: Client,
    pub(crate) answer: Answer,
    app: AppId,
    phase: Phase,
    /// When the phase wants to go on.
    wake: Option<SimTime>,
    /// When the client gives up.
    deadline: Option<SimTime>,
    timer: Option<TimerKey>,
}

#[derive(Debug)]
enum Phase {
    Resolving(Box<Resolution>),
    Tcp { socket: u32, rest: Vec<u8>, input: Vec<u8> },
    Udp { socket: u32 },
    Ping { socket: u32, remote: SocketAddr, sent: Vec<SimTime>, replies: Vec<Option<(SimTime, u8)>> },
    Done,
}

/// What makes a client go on.
#[derive(Debug)]
pub(crate) enum Input {
    Event(Event),
    Timer,
}

/// Starts a client.
pub(crate) fn start(ns: &mut Netns, cx: &mut Cx<'_>, client: Client) -> AppId {
    let app = AppId(ns.apps.list.len() as u32);
    ns.apps.list.push(AppState::Away);
    let now = cx.now();
    let deadline = client.timeout.map(|timeout| now + timeout);
    let answer = Answer { started: now, ..Answer::default() };
    let mut state = State { client, answer, app, phase: Phase::Done, wake: None, deadline, timer: None };
    say(ns, cx, app, || format!("{} starts", state.client.name));
    state.begin(ns, cx);
    put_back(ns, cx, state);
    app
}

/// Drives a client.
pub(crate) fn drive(ns: &mut Netns, cx: &mut Cx<'_>, app: AppId, input: Input) {
    let Some(slot) = ns.apps.list.get_mut(app.0 as usize) else { return };
    let mut state = match std::mem::replace(slot, AppState::Away) {
        AppState::Client(state) => state,
        other => {
            *slot = other;
            return;
        }
    };
    match input {
        Input::Timer => state.on_timer(ns, cx),
        Input::Event(event) => state.on_event(ns, cx, event),
    }
    put_back(ns, cx, *state);
}

/// Puts a client back into its slot, its one timer armed.
fn put_back(ns: &mut Netns, cx: &mut Cx<'_>, mut state: State) {
    if let Some(key) = state.timer.take() {
        ns.timers.cancel(key);
    }
    if state.answer.result.is_none()
        && let Some(at) = [state.wake, state.deadline].into_iter().flatten().min()
    {
        state.timer = Some(ns.timers.arm(cx, at, Timer::App(state.app.0)));
    }
    let app = state.app;
    if let Some(slot) = ns.apps.list.get_mut(app.0 as usize) {
        *slot = AppState::Client(Box::new(state));
    }
}

impl State {
    /// Finds the address, or begins to look it up.
    fn begin(&mut self, ns: &mut Netns, cx: &mut Cx<'_>) {
        let uid = self.client.options.uid;
        if let Request::Dns { name, qtype } = &self.client.request {
            // `dig @server`: a server that is named as the target is asked for the name as it is.
            let resolver = match (&self.client.resolver, &self.client.target) {
                (Some(resolver), _) => resolver.clone(),
                (None, Target::Address(server)) => Resolver { nameservers: vec![*server], ..Resolver::default() },
                (None, Target::Name(_)) => return self.finish(ns, cx, AnswerResult::Unresolved(None)),
            };
            let resolution = Resolution::new(self.app, uid, &resolver, name, vec![*qtype]);
            return self.resolve(ns, cx, resolution);
        }
        let name = match &self.client.target {
            Target::Address(address) => return self.connect(ns, cx, *address),
            Target::Name(name) => name.clone(),
        };
        if let Ok(address) = name.parse() {
            return self.connect(ns, cx, address);
        }
        if name.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return self.connect(ns, cx, IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let Some(resolver) = &self.client.resolver else { return self.finish(ns, cx, AnswerResult::Unresolved(None)) };
        let resolution = Resolution::new(self.app, uid, resolver, &name, resolver::address_types(ns));
        self.resolve(ns, cx, resolution);
    }

    fn resolve(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, mut resolution: Resolution) {
        let outcome = resolution.ask(ns, cx, &mut self.answer.lookups);
        self.phase = Phase::Resolving(Box::new(resolution));
        self.resolved(ns, cx, outcome);
    }

    fn resolved(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Pending => {
                if let Phase::Resolving(resolution) = &self.phase {
                    self.wake = Some(resolution.until);
                }
            }
            Outcome::Failed(rcode) => self.finish(ns, cx, AnswerResult::Unresolved(rcode)),
            Outcome::Found(_) if matches!(self.client.request, Request::Dns { .. }) => self.finish(ns, cx, AnswerResult::Done),
            Outcome::Found(records) => match resolver::choose(&records) {
                Some(address) => self.connect(ns, cx, address),
                None => self.finish(ns, cx, AnswerResult::Unresolved(Some(0))),
            },
        }
    }

    /// Opens the socket and asks.
    fn connect(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, address: IpAddr) {
        self.wake = None;
        if let Err(errno) = self.try_connect(ns, cx, address) {
            self.finish(ns, cx, AnswerResult::Error(errno));
        }
    }

    fn try_connect(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, address: IpAddr) -> Result<(), Errno> {
        let family = Family::of(address);
        let remote = SocketAddr::new(address, self.client.port);
        let l4 = match (&self.client.request, family) {
            (Request::Tcp { .. } | Request::Http { .. }, _) => proto::TCP,
            (Request::Udp { .. } | Request::Dns { .. }, _) => proto::UDP,
            (Request::Ping { .. }, Family::V4) => proto::ICMP,
            (Request::Ping { .. }, Family::V6) => proto::ICMPV6,
        };
        let options = Options::resolve(ns, &self.client.options)?;
        let number = ns.sockets.open(l4, family, options, Some(self.app));
        self.answer.remote = Some(remote);
        let asked = self.open(ns, cx, number, remote);
        if let Some(socket) = ns.sockets.get(number) {
            self.answer.local = Some(socket.local).filter(|local| local.port() != 0);
        }
        if asked.is_err() {
            self.phase = Phase::Done;
            socket::destroy(ns, number);
        }
        asked
    }

    fn open(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, number: u32, remote: SocketAddr) -> Result<(), Errno> {
        let family = Family::of(remote.ip());
        let (bind, sport) = (self.client.options.bind, self.client.options.sport);
        if bind.is_some_and(|bind| Family::of(bind) != family) {
            return Err(Errno::Inval);
        }
        let is_ping = matches!(self.client.request, Request::Ping { .. });
        if let (true, Some(bind)) = (is_ping, bind) {
            if !ns.sockets.get(number).is_some_and(|socket| table::may_bind(ns, socket, bind)) {
                return Err(Errno::AddrNotAvail);
            }
            if let Some(socket) = ns.sockets.get_mut(number) {
                socket.local.set_ip(bind);
            }
        } else if !is_ping && (bind.is_some() || sport.is_some()) {
            table::bind(ns, cx, number, bind.unwrap_or(family.unspecified()), sport.unwrap_or(0))?;
        }
        let now = cx.now();
        match &self.client.request {
            Request::Tcp { send, .. } => {
                self.phase = Phase::Tcp { socket: number, rest: send.clone(), input: Vec::new() };
                tcp::connect(ns, cx, number, remote)
            }
            Request::Http { method, host, path, headers } => {
                let rest = http::request(method, host, path, &self.client.name, headers);
                self.phase = Phase::Tcp { socket: number, rest, input: Vec::new() };
                tcp::connect(ns, cx, number, remote)
            }
            Request::Udp { send, connect } => {
                self.phase = Phase::Udp { socket: number };
                self.wake = self.deadline.is_none().then_some(now + DATAGRAM_WAIT);
                if *connect {
                    udp::connect(ns, cx, number, remote)?;
                    udp::send(ns, cx, number, None, None, send)
                } else {
                    udp::send(ns, cx, number, Some(remote), None, send)
                }
            }
            Request::Ping { count, id, connected, .. } => {
                let (id, connected, count) = (*id, *connected, usize::from(*count));
                ping::connect(ns, cx, number, remote, id, connected)?;
                self.phase = Phase::Ping { socket: number, remote, sent: Vec::new(), replies: vec![None; count] };
                self.ping(ns, cx)
            }
            // Asked by the resolver, without a socket of its own.
            Request::Dns { .. } => Ok(()),
        }
    }

    /// Sends the next echo request, or ends the wait for the last reply.
    fn ping(&mut self, ns: &mut Netns, cx: &mut Cx<'_>) -> Result<(), Errno> {
        let Request::Ping { count, size, interval, seq, connected, .. } = self.client.request else { return Ok(()) };
        let now = cx.now();
        let Phase::Ping { socket, remote, sent, replies } = &mut self.phase else { return Ok(()) };
        if sent.len() >= usize::from(count) {
            let replies = std::mem::take(replies);
            self.finish(ns, cx, AnswerResult::Ping(replies));
            return Ok(());
        }
        let n = sent.len() as u16;
        sent.push(now);
        let result = ping::send(ns, cx, *socket, *remote, seq.wrapping_add(n), size);
        self.wake = Some(now + if sent.len() < usize::from(count) { interval.max(SimTime::from_millis(1)) } else { PING_LINGER });
        match result {
            // ping(8) prints it and goes on; a socket that is connected reports it.
            Err(errno) if connected || n == 0 => Err(errno),
            _ => Ok(()),
        }
    }

    fn on_timer(&mut self, ns: &mut Netns, cx: &mut Cx<'_>) {
        self.timer = None;
        if self.answer.result.is_some() {
            return;
        }
        let now = cx.now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let result = match &mut self.phase {
                Phase::Ping { replies, .. } => AnswerResult::Ping(std::mem::take(replies)),
                // Nobody waits for an answer to it.
                Phase::Udp { .. } if self.client.timeout == Some(SimTime::ZERO) => AnswerResult::Done,
                _ => AnswerResult::TimedOut,
            };
            return self.finish(ns, cx, result);
        }
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        self.wake = None;
        match &mut self.phase {
            Phase::Resolving(resolution) => {
                let outcome = resolution.failed(ns, cx, &mut self.answer.lookups);
                self.resolved(ns, cx, outcome);
            }
            Phase::Ping { .. } => {
                if let Err(errno) = self.ping(ns, cx) {
                    self.finish(ns, cx, AnswerResult::Error(errno));
                }
            }
            Phase::Udp { .. } => self.finish(ns, cx, AnswerResult::TimedOut),
            Phase::Tcp { .. } | Phase::Done => {}
        }
    }

    fn on_event(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, event: Event) {
        let number = match &event {
            Event::Connected { socket }
            | Event::Ready { socket }
            | Event::Datagram { socket, .. }
            | Event::EchoReply { socket, .. }
            | Event::Error { socket, .. } => *socket,
            Event::Accepted { .. } => return,
        };
        match &mut self.phase {
            Phase::Resolving(resolution) if resolution.owns(number) => {
                let lookups = &mut self.answer.lookups;
                let outcome = match event {
                    Event::Datagram { data, .. } => resolution.datagram(ns, cx, &data, lookups),
                    Event::Ready { .. } => resolution.ready(ns, cx, lookups),
                    Event::Error { .. } => resolution.failed(ns, cx, lookups),
                    _ => {
                        resolution.connected(ns, cx);
                        Outcome::Pending
                    }
                };
                self.resolved(ns, cx, outcome);
            }
            Phase::Tcp { socket, .. } if *socket == number => match event {
                Event::Connected { .. } => self.tcp_connected(ns, cx, number),
                Event::Ready { .. } => self.tcp_ready(ns, cx, number),
                Event::Error { errno, .. } => self.finish(ns, cx, AnswerResult::Error(errno)),
                _ => {}
            },
            Phase::Udp { socket } if *socket == number => match event {
                Event::Datagram { from, data, .. } => self.finish(ns, cx, AnswerResult::Reply { data, from }),
                Event::Error { errno, .. } => self.finish(ns, cx, AnswerResult::Error(errno)),
                _ => {}
            },
            Phase::Ping { socket, .. } if *socket == number => match event {
                Event::EchoReply { seq, ttl, .. } => self.echo_reply(ns, cx, seq, ttl),
                Event::Error { errno, .. } => self.finish(ns, cx, AnswerResult::Error(errno)),
                _ => {}
            },
            // A connection that was left open.
            _ => {
                if matches!(event, Event::Ready { .. }) {
                    let read = !tcp::recv(ns, number).is_empty();
                    if tcp::at_end(ns, number) {
                        tcp::close(ns, cx, number);
                    } else if read {
                        tcp::poll(ns, cx, number);
                    }
                }
            }
        }
    }

    fn tcp_connected(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
        self.answer.connected = Some(cx.now());
        let Phase::Tcp { rest, .. } = &mut self.phase else { return };
        let silent = rest.is_empty();
        let sent = tcp::send(ns, number, rest);
        rest.drain(..sent);
        if sent > 0 {
            tcp::poll(ns, cx, number);
        }
        if let (true, Request::Tcp { greeting: false, .. }) = (silent, &self.client.request) {
            self.finish(ns, cx, AnswerResult::Connected);
        }
    }

    fn tcp_ready(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
        let Phase::Tcp { rest, input, .. } = &mut self.phase else { return };
        let data = tcp::recv(ns, number);
        input.extend_from_slice(&data);
        let sent = tcp::send(ns, number, rest);
        rest.drain(..sent);
        let ended = tcp::at_end(ns, number);
        let from = self.answer.remote.unwrap_or(SocketAddr::new(Family::V4.unspecified(), 0));
        let result = match &self.client.request {
            Request::Http { method, .. } if ended || !data.is_empty() => match http::read(method, input, ended) {
                Read::More => None,
                Read::Answer { status, headers, body } => Some(AnswerResult::Http { status, headers, body }),
                Read::Foreign => Some(AnswerResult::Reply { data: std::mem::take(input), from }),
            },
            Request::Tcp { .. } if ended || !data.is_empty() => Some(AnswerResult::Reply { data: std::mem::take(input), from }),
            _ => None,
        };
        match result {
            Some(result) => self.finish(ns, cx, result),
            None if sent > 0 || !data.is_empty() => tcp::poll(ns, cx, number),
            None => {}
        }
    }

    fn echo_reply(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, seq: u16, ttl: u8) {
        let now = cx.now();
        let Request::Ping { seq: first, .. } = self.client.request else { return };
        let Phase::Ping { sent, replies, .. } = &mut self.phase else { return };
        let at = usize::from(seq.wrapping_sub(first));
        if let (Some(sent), Some(reply)) = (sent.get(at), replies.get_mut(at))
            && reply.is_none()
        {
            *reply = Some((now.since(*sent), ttl));
        }
        if replies.iter().all(Option::is_some) {
            let replies = std::mem::take(replies);
            self.finish(ns, cx, AnswerResult::Ping(replies));
        }
    }

    /// Writes down how it ended, and closes what is open.
    fn finish(&mut self, ns: &mut Netns, cx: &mut Cx<'_>, result: AnswerResult) {
        say(ns, cx, self.app, || format!("{} ends: {}", self.client.name, summary(&result)));
        self.answer.ended = Some(cx.now());
        self.answer.result = Some(result);
        self.wake = None;
        self.deadline = None;
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Resolving(mut resolution) => resolution.close(ns, cx),
            Phase::Tcp { socket, .. } => match self.client.request {
                Request::Tcp { rst: true, .. } => tcp::abort(ns, cx, socket),
                Request::Tcp { keep: true, .. } => tcp::poll(ns, cx, socket),
                _ => tcp::close(ns, cx, socket),
            },
            Phase::Udp { socket } | Phase::Ping { socket, .. } => socket::destroy(ns, socket),
            Phase::Done => {}
        }
    }
}

/// A result in a few words, for the trace.
fn summary(result: &AnswerResult) -> String {
    match result {
        AnswerResult::Connected => "connected".to_owned(),
        AnswerResult::Done => "done".to_owned(),
        AnswerResult::Reply { data, from } => format!("{} bytes from {from}", data.len()),
        AnswerResult::Http { status, body, .. } => format!("HTTP {status}, {} bytes", body.len()),
        AnswerResult::Ping(replies) => format!("{} of {} replies", replies.iter().flatten().count(), replies.len()),
        AnswerResult::Error(errno) => errno.text().to_owned(),
        AnswerResult::TimedOut => "timed out".to_owned(),
        AnswerResult::Unresolved(None) => "no name server answered".to_owned(),
        AnswerResult::Unresolved(Some(rcode)) => format!("name not resolved (rcode {rcode})"),
    }
}
