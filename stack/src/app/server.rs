//! Servers: what listens, and what is done with what comes.

use std::net::SocketAddr;

use crate::Cx;
use crate::addr::Family;
use crate::app::http::{self, Served};
use crate::app::zones::{self, Scope, Zones};
use crate::app::{AppId, AppState, L4, Received, Server, Service, SocketOptions};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::socket::{Options, table, tcp, udp};
use crate::trace::NO_PACKET;
use crate::view::proto;

/// Bytes of what a server was sent that are kept.
const RECEIVED_LIMIT: usize = 64 * 1024;
/// Entries of what servers were sent.
const RECEIVED_ENTRIES: usize = 65_536;
/// Bytes of answers that a connection may have waiting before it is read no more.
const STREAM_LIMIT: usize = 1 << 20;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) server: Server,
    zones: Option<Zones>,
}

/// A connection of a server.
#[derive(Debug)]
pub(crate) struct Stream {
    app: AppId,
    from: SocketAddr,
    to: SocketAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    replied: bool,
    close: bool,
    /// Its entry in what was received.
    received: Option<usize>,
}

/// Starts a server.
///
/// # Errors
/// `AddrInUse`, `AddrNotAvail`.
pub(crate) fn start(ns: &mut Netns, cx: &mut Cx<'_>, server: Server) -> Result<AppId, Errno> {
    let app = AppId(ns.apps.list.len() as u32);
    let options = SocketOptions { transparent: server.transparent, broadcast: true, ..SocketOptions::default() };
    let options = Options::resolve(ns, &options)?;
    let l4 = match server.l4 {
        L4::Tcp => proto::TCP,
        L4::Udp => proto::UDP,
    };
    if server.port == 0 {
        return Err(Errno::Inval);
    }
    let socket = ns.sockets.open(l4, Family::of(server.bind), options, Some(app));
    if let Err(errno) = table::bind(ns, cx, socket, server.bind, server.port) {
        crate::socket::destroy(ns, socket);
        return Err(errno);
    }
    if let (Service::Dns(_), Some(socket)) = (&server.service, ns.sockets.get_mut(socket)) {
        socket.dns = true;
    }
    if server.l4 == L4::Tcp {
        tcp::listen(ns, cx, socket);
    }
    let zones = match &server.service {
        Service::Dns(data) => Some(Zones::new(data.clone())),
        _ => None,
    };
    ns.apps.list.push(AppState::Server(Box::new(Running { server, zones })));
    Ok(app)
}

/// A connection was accepted.
pub(crate) fn accepted(ns: &mut Netns, cx: &mut Cx<'_>, app: AppId, socket: u32) {
    let Some((to, Some(from))) = ns.sockets.get(socket).map(|socket| (socket.local, socket.remote)) else { return };
    let greeting = match ns.apps.server(app).map(|server| &server.service) {
        Some(Service::Greeting(greeting)) => greeting.to_vec(),
        _ => Vec::new(),
    };
    let stream = Stream { app, from, to, input: Vec::new(), output: greeting, replied: false, close: false, received: None };
    ns.apps.streams.insert(socket, stream);
    ready(ns, cx, socket);
}

/// A connection has data, room, or an end.
pub(crate) fn ready(ns: &mut Netns, cx: &mut Cx<'_>, socket: u32) {
    let Some(mut stream) = ns.apps.streams.remove(&socket) else { return };
    // What cannot be answered yet is not read: the window closes.
    let data = if stream.output.len() < STREAM_LIMIT { tcp::recv(ns, socket) } else { Vec::new() };
    let mut busy = !data.is_empty();
    if !data.is_empty() {
        note_received(ns, cx, &mut stream, &data);
        stream.input.extend_from_slice(&data);
        process(ns, cx, &mut stream);
    }
    if !stream.output.is_empty() {
        let sent = tcp::send(ns, socket, &stream.output);
        stream.output.drain(..sent);
        busy |= sent > 0;
    }
    if stream.output.is_empty() && (stream.close || tcp::at_end(ns, socket)) {
        return tcp::close(ns, cx, socket);
    }
    ns.apps.streams.insert(socket, stream);
    if busy {
        tcp::poll(ns, cx, socket);
    }
}

/// A connection ended by force.
pub(crate) fn failed(ns: &mut Netns, socket: u32) {
    ns.apps.streams.remove(&socket);
}

fn process(ns: &mut Netns, cx: &mut Cx<'_>, stream: &mut Stream) {
    let Some(AppState::Server(running)) = ns.apps.list.get(stream.app.0 as usize) else { return };
    match &running.server.service {
        Service::Http(site) => {
            // Bounded: every round takes a request off the input.
            while !stream.close && !stream.input.is_empty() {
                let Served::Answer { used, bytes, close } = http::serve(site, &stream.input) else { return };
                stream.input.drain(..used.min(stream.input.len()));
                stream.output.extend_from_slice(&bytes);
                stream.close |= close;
            }
        }
        Service::Echo => stream.output.append(&mut stream.input),
        Service::Reply(data) => {
            if !stream.replied {
                stream.output.extend_from_slice(data);
            }
            stream.replied = true;
            stream.input.clear();
        }
        Service::Greeting(_) | Service::Sink => stream.input.clear(),
        Service::Dns(_) => {
            let Some(zones) = &running.zones else { return };
            let scope = Scope { server: &ns.name, packet: ns.sockets.current().unwrap_or(NO_PACKET) };
            // RFC 1035, section 4.2.2: each message behind its length.
            while let [high, low, rest @ ..] = stream.input.as_slice() {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let Some(message) = rest.get(..length) else { return };
                if let Some(answer) = zones::serve(cx, scope, zones, message, true) {
                    stream.output.extend_from_slice(&(answer.len() as u16).to_be_bytes());
                    stream.output.extend_from_slice(&answer);
                }
                stream.input.drain(..2 + length);
            }
        }
    }
}

/// A datagram for a server.
pub(crate) fn datagram(ns: &mut Netns, cx: &mut Cx<'_>, app: AppId, socket: u32, ends: (SocketAddr, SocketAddr), data: &[u8]) {
    let (from, to) = ends;
    if ns.apps.received.len() < RECEIVED_ENTRIES {
        let data = data[..data.len().min(RECEIVED_LIMIT)].to_vec();
        ns.apps.received.push(Received { time: cx.now(), app, from, to, data });
    }
    let Some(AppState::Server(running)) = ns.apps.list.get(app.0 as usize) else { return };
    let scope = Scope { server: &ns.name, packet: ns.sockets.current().unwrap_or(NO_PACKET) };
    let answer = match &running.server.service {
        Service::Echo => Some(data.to_vec()),
        Service::Reply(reply) => Some(reply.to_vec()),
        Service::Dns(_) => running.zones.as_ref().and_then(|zones| zones::serve(cx, scope, zones, data, false)),
        Service::Sink => None,
        // Neither speaks UDP.
        Service::Http(_) | Service::Greeting(_) => None,
    };
    if let Some(answer) = answer {
        // A server does not look at what sendto says.
        let _ = udp::send(ns, cx, socket, Some(from), None, &answer);
    }
}

fn note_received(ns: &mut Netns, cx: &Cx<'_>, stream: &mut Stream, data: &[u8]) {
    let received = &mut ns.apps.received;
    let at = match stream.received {
        Some(at) => at,
        None if received.len() < RECEIVED_ENTRIES => {
            received.push(Received { time: cx.now(), app: stream.app, from: stream.from, to: stream.to, data: Vec::new() });
            stream.received = Some(received.len() - 1);
            received.len() - 1
        }
        None => return,
    };
    let kept = &mut received[at].data;
    let room = RECEIVED_LIMIT.saturating_sub(kept.len());
    kept.extend_from_slice(&data[..data.len().min(room)]);
}
