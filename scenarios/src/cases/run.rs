//! One case: the network is built by the commands that built the kernel's, then the stimuli follow one another, each after the
//! network has gone quiet.

use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Value, json};
use sim_core::{NodeId, SimTime, TraceMode};
use stack::app::{AnswerResult, AppId, Client, L4, Request, Server, Service, SocketOptions, Target};
use stack::command::{Command, Stdin};
use stack::provenance::ProvId;
use stack::{Errno, Network};

use super::format::{Case, ConfigStimulus, FORMAT, PingStimulus, Stimulus, TcpStimulus, UdpStimulus};
use super::frame::filler;
use super::observe::{self, captures};
use super::topology::{Setup, setup};
use super::{Outcome, Trouble};

/// How long a step waits for quiet, unless told.
const SETTLE_MS: u64 = 25;
/// How many times the quiet a step may take in all.
const PATIENCE: u64 = 8;
/// How long a UDP or ping client waits for its answer, unless told.
const DATAGRAM_TIMEOUT_MS: u64 = 150;
/// How long a TCP client waits, unless told.
const TCP_TIMEOUT_MS: u64 = 300;
/// Bytes of data that are reported.
const DATA_SHOWN: usize = 64;

/// What may go wrong.
pub(super) enum Stop {
    Unsupported(Trouble),
    Failed(Trouble),
}

pub(super) type Going<T> = Result<T, Stop>;

fn unsupported(place: impl Into<String>, why: impl Into<String>) -> Stop {
    Stop::Unsupported(Trouble { place: place.into(), why: why.into() })
}

fn failed(place: impl Into<String>, why: impl Into<String>) -> Stop {
    Stop::Failed(Trouble { place: place.into(), why: why.into() })
}

pub(super) fn run(text: &str) -> Outcome {
    match read(text).and_then(|case| Run::new(case).finish()) {
        Ok(value) => Outcome::Ran(value),
        Err(Stop::Unsupported(trouble)) => Outcome::Unsupported(trouble),
        Err(Stop::Failed(trouble)) => Outcome::Failed(trouble),
    }
}

fn read(text: &str) -> Going<Case> {
    let case: Case = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        failed(place, error.to_string())
    })?;
    if case.format != FORMAT {
        return Err(unsupported("format", format!("`{}` is not the format that is read here, {FORMAT}", case.format)));
    }
    Ok(case)
}

/// A case under way.
pub(super) struct Run {
    pub(super) case: Case,
    pub(super) net: Network,
    /// The servers: namespace, app, name.
    pub(super) servers: Vec<(NodeId, AppId, String, L4)>,
    pub(super) sockets: Vec<Value>,
    /// Sockets that several stimuli share, by name: what they are bound to.
    shared: Vec<(String, std::net::SocketAddr)>,
}

impl Run {
    fn new(case: Case) -> Run {
        let net = Network::new(1, TraceMode::Frames);
        Run { case, net, servers: Vec::new(), sockets: Vec::new(), shared: Vec::new() }
    }

    fn finish(mut self) -> Going<Value> {
        self.build()?;
        let v6 = self.case.topology.namespaces.iter().any(|ns| ns.ipv6);
        self.pump(if v6 { 150 } else { 30 }, None);
        self.zero();
        self.pump(10, None);
        // The clock goes on; what was captured so far was the set-up.
        self.net.sim.tracer_mut().clear();
        let stimuli = std::mem::take(&mut self.case.stimuli);
        for (at, stimulus) in stimuli.iter().enumerate() {
            self.stimulate(at, stimulus)?;
        }
        let quiet = self.observed_ms("final_ms").unwrap_or(60);
        self.pump((quiet * 6).max(300), Some(quiet));
        self.case.stimuli = stimuli;
        if self.net.sim.tracer().truncated() {
            return Err(failed("stimuli", "more was recorded than a run keeps"));
        }
        Ok(observe::result(&self))
    }

    fn observed_ms(&self, key: &str) -> Option<u64> {
        self.case.observe.get(key).and_then(Value::as_u64)
    }

    fn build(&mut self) -> Going<()> {
        for ns in &self.case.topology.namespaces {
            let place = format!("topology.namespaces[{}]", ns.name);
            self.net.add_netns(&ns.name).map_err(|errno| failed(&place, errno.to_string()))?;
        }
        // All are read before the first one runs, so that what is not modelled is found whatever the others do.
        let mut commands = Vec::new();
        for (ns, step) in setup(&self.case).map_err(|why| failed("topology", why))? {
            let (line, text) = match &step {
                Setup::Line(line) => (line, None),
                Setup::Stdin(line, text) => (line, Some(text.as_str())),
            };
            let place = format!("{ns}: {line}");
            commands.push((self.node(&ns, &place)?, read_command(&place, line, text)?, place));
        }
        for (node, command, place) in commands {
            self.apply(node, &place, &command)?;
        }
        Ok(())
    }

    /// Rule counters back to 0: the set-up itself may have been counted.
    fn zero(&mut self) {
        for ns in self.case.topology.namespaces.iter().filter(|ns| ns.ipv6) {
            let Some(node) = self.net.named(&ns.name) else { continue };
            let netfilter = &mut self.net.sim.node_mut(node).netfilter;
            netfilter.v4.zero_counters();
            netfilter.v6.zero_counters();
        }
    }

    fn node(&self, ns: &str, place: &str) -> Going<NodeId> {
        self.net.named(ns).ok_or_else(|| failed(place, format!("there is no namespace `{ns}`")))
    }

    /// Reads and runs a command; its standard output.
    fn command(&mut self, node: NodeId, place: &str, line: &str, stdin: Option<&str>) -> Going<String> {
        let command = read_command(place, line, stdin)?;
        self.apply(node, place, &command)
    }

    fn apply(&mut self, node: NodeId, place: &str, command: &Command) -> Going<String> {
        self.net.apply(node, command, ProvId::default()).map_err(|error| {
            let why = match error.place {
                Some((line, column)) if command.stdin().is_some() => format!("line {line} column {column}: {}", error.message),
                _ => error.message,
            };
            if error.unsupported { unsupported(place, why) } else { failed(place, why) }
        })
    }

    /// Lets time pass: `dur_ms`, or until nothing was captured for `quiet_ms`.
    fn pump(&mut self, dur_ms: u64, quiet_ms: Option<u64>) {
        let end = self.net.sim.now() + SimTime::from_millis(dur_ms);
        let mut last = self.net.sim.now();
        loop {
            let limit = quiet_ms.map_or(end, |quiet| end.min(last + SimTime::from_millis(quiet)));
            match self.net.sim.next_event_at().filter(|&at| at <= limit) {
                None => {
                    self.net.sim.run_until(limit);
                    return;
                }
                Some(at) => {
                    let before = self.net.sim.tracer().records().len();
                    self.net.sim.run_until(at);
                    if captures(self.net.sim.tracer().records().skip(before)) {
                        last = self.net.sim.now();
                    }
                }
            }
        }
    }

    /// Lets time pass until a client is done, or `dur_ms`.
    fn pump_client(&mut self, node: NodeId, app: AppId, dur_ms: u64) {
        let end = self.net.sim.now() + SimTime::from_millis(dur_ms);
        loop {
            let done = self.net.netns(node).apps.answer(app).is_none_or(|answer| answer.result.is_some());
            match self.net.sim.next_event_at().filter(|&at| at <= end) {
                _ if done => return,
                None => {
                    self.net.sim.run_until(end);
                    return;
                }
                Some(at) => {
                    self.net.sim.run_until(at);
                }
            }
        }
    }

    fn settle(&mut self, own: Option<u64>) {
        let quiet = own.or_else(|| self.observed_ms("step_ms")).unwrap_or(SETTLE_MS);
        self.pump(quiet.max(10) * PATIENCE, Some(quiet));
    }

    fn stimulate(&mut self, at: usize, stimulus: &Stimulus) -> Going<()> {
        let place = format!("stimuli[{at}]");
        match stimulus {
            Stimulus::Frame { ns, iface, packet, count, settle_ms, .. } => {
                let node = self.node(ns, &place)?;
                let frames = packet.build().map_err(|why| failed(&place, why))?;
                for _ in 0..count.unwrap_or(1) {
                    for frame in &frames {
                        match self.net.inject(node, iface, frame) {
                            // The device refuses it: captures tell.
                            Ok(_) | Err(Errno::NetDown) => {}
                            Err(errno) => return Err(failed(format!("{place}.iface"), errno.to_string())),
                        }
                    }
                }
                self.settle(*settle_ms);
                Ok(())
            }
            Stimulus::Wait { ms, .. } => {
                self.pump(*ms, None);
                Ok(())
            }
            Stimulus::ListenUdp { ns, port, bind, reply, name, transparent } => {
                self.listen(&place, ns, L4::Udp, *port, bind.as_deref(), reply.as_deref(), name.as_deref(), *transparent)
            }
            Stimulus::ListenTcp { ns, port, bind, reply, name, transparent } => {
                self.listen(&place, ns, L4::Tcp, *port, bind.as_deref(), reply.as_deref(), name.as_deref(), *transparent)
            }
            Stimulus::Udp(udp) => self.udp(at, &place, udp),
            Stimulus::Tcp(tcp) => self.tcp(at, &place, tcp),
            Stimulus::Ping(ping) => self.ping(at, &place, ping),
            Stimulus::Config(config) => self.config(at, &place, config),
            Stimulus::GetRoute { .. } => Err(unsupported(place, "questions to the FIB are not answered in JSON")),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of two stimuli that differ in one word")]
    fn listen(
        &mut self,
        place: &str,
        ns: &str,
        l4: L4,
        port: u16,
        bind: Option<&str>,
        reply: Option<&str>,
        name: Option<&str>,
        transparent: bool,
    ) -> Going<()> {
        let node = self.node(ns, place)?;
        let service = match reply {
            None => Service::Sink,
            Some("echo") => Service::Echo,
            Some(text) => Service::Reply(text.as_bytes().into()),
        };
        let bind = address(place, "bind", bind.unwrap_or("0.0.0.0"))?;
        let name = name.map_or_else(|| format!("{ns}:{port}"), str::to_owned);
        let server = Server { name: name.as_str().into(), bind, port, l4, service, transparent };
        let app = self.net.serve(node, server).map_err(|errno| failed(place, errno.to_string()))?;
        self.servers.push((node, app, name, l4));
        Ok(())
    }

    fn udp(&mut self, at: usize, place: &str, udp: &UdpStimulus) -> Going<()> {
        let node = self.node(&udp.ns, place)?;
        let known =
            udp.socket.as_ref().and_then(|name| self.shared.iter().find(|(known, _)| known == name)).map(|(_, local)| *local);
        let data = match udp.data_len {
            Some(len) => filler(len),
            None => udp.data.as_deref().unwrap_or("hello").as_bytes().to_vec(),
        };
        let timeout = udp.timeout_ms.unwrap_or(DATAGRAM_TIMEOUT_MS);
        let options = SocketOptions {
            bind: match (&udp.bind, known) {
                (Some(bind), None) => Some(address(place, "bind", bind)?),
                (_, known) => known.map(|local| local.ip()),
            },
            sport: known.map(|local| local.port()).or(udp.sport),
            device: udp.device.clone(),
            mark: udp.mark.unwrap_or(0),
            uid: udp.uid.unwrap_or(0),
            tos: udp.tos.unwrap_or(0),
            ttl: udp.ttl,
            df: udp.df,
            broadcast: udp.broadcast,
            transparent: udp.transparent,
        };
        let client = Client {
            name: "udp".into(),
            target: Target::Address(address(place, "dst", &udp.dst)?),
            port: udp.dport,
            request: Request::Udp { send: data, connect: udp.connect },
            resolver: None,
            options,
            timeout: Some(SimTime::from_millis(timeout)),
        };
        let app = self.net.ask(node, client);
        // What failed at once failed in a system call; what comes later is an ICMP error that the socket was told of.
        let refused = match self.result(node, app) {
            Some(AnswerResult::Error(errno)) => Some(errno),
            _ => None,
        };
        self.pump_client(node, app, timeout);
        let answer = self.net.netns(node).apps.answer(app).cloned().unwrap_or_default();
        let mut entry = json!({"stimulus": at, "op": "udp"});
        match refused {
            Some(errno) => entry["result"] = json!(errno.symbol()),
            None => {
                entry["result"] = json!("sent");
                if let Some(local) = answer.local {
                    entry["local"] = json!([local.ip().to_string(), local.port()]);
                    if let Some(name) = udp.socket.as_ref().filter(|_| known.is_none()) {
                        self.shared.push((name.clone(), local));
                    }
                }
            }
        }
        entry["reply"] = match answer.result {
            Some(AnswerResult::Reply { data, from }) if timeout > 0 => {
                json!({"from": from.ip().to_string(), "from_port": from.port(), "data": shown(&data)})
            }
            Some(AnswerResult::Error(errno)) if refused.is_none() => json!({"error": errno.symbol()}),
            _ => Value::Null,
        };
        self.sockets.push(entry);
        self.settle(udp.settle_ms);
        Ok(())
    }

    fn result(&self, node: NodeId, app: AppId) -> Option<AnswerResult> {
        self.net.netns(node).apps.answer(app).and_then(|answer| answer.result.clone())
    }

    fn tcp(&mut self, at: usize, place: &str, tcp: &TcpStimulus) -> Going<()> {
        let node = self.node(&tcp.ns, place)?;
        let timeout = tcp.timeout_ms.unwrap_or(TCP_TIMEOUT_MS);
        let data = tcp.data.clone().unwrap_or_default();
        let options = SocketOptions {
            bind: tcp.bind.as_deref().map(|bind| address(place, "bind", bind)).transpose()?,
            sport: tcp.sport,
            device: tcp.device.clone(),
            mark: tcp.mark.unwrap_or(0),
            uid: tcp.uid.unwrap_or(0),
            tos: tcp.tos.unwrap_or(0),
            ttl: tcp.ttl,
            transparent: tcp.transparent,
            ..SocketOptions::default()
        };
        let client = Client {
            name: "tcp".into(),
            target: Target::Address(address(place, "dst", &tcp.dst)?),
            port: tcp.dport,
            request: Request::Tcp { send: data.into_bytes(), greeting: false, keep: tcp.keep, rst: tcp.rst },
            resolver: None,
            options,
            timeout: Some(SimTime::from_millis(timeout)),
        };
        let app = self.net.ask(node, client);
        self.pump_client(node, app, timeout);
        let answer = self.net.netns(node).apps.answer(app).cloned().unwrap_or_default();
        let mut entry = json!({"stimulus": at, "op": "tcp"});
        if answer.connected.is_some() {
            entry["result"] = json!("connected");
            for (name, end) in [("local", answer.local), ("remote", answer.remote)] {
                if let Some(end) = end {
                    entry[name] = json!([end.ip().to_string(), end.port()]);
                }
            }
            if tcp.data.is_some() {
                entry["reply"] = match answer.result {
                    Some(AnswerResult::Reply { data, .. }) => json!(shown(&data)),
                    Some(AnswerResult::Error(errno)) => json!(format!("!{}", errno.symbol())),
                    _ => Value::Null,
                };
            }
        } else {
            entry["result"] = match answer.result {
                Some(AnswerResult::Error(errno)) => json!(errno.symbol()),
                _ => json!("TIMEOUT"),
            };
        }
        self.sockets.push(entry);
        self.settle(tcp.settle_ms);
        self.settle(tcp.settle_ms);
        Ok(())
    }

    fn ping(&mut self, at: usize, place: &str, ping: &PingStimulus) -> Going<()> {
        let node = self.node(&ping.ns, place)?;
        let timeout = ping.timeout_ms.unwrap_or(DATAGRAM_TIMEOUT_MS);
        if ping.dst.contains('%') {
            return Err(unsupported(format!("{place}.dst"), "addresses with a scope id"));
        }
        let target = address(place, "dst", &ping.dst)?;
        let client = Client {
            name: "ping".into(),
            target: Target::Address(target),
            port: 0,
            request: Request::Ping {
                count: 1,
                size: ping.size.unwrap_or(8) as u16,
                interval: SimTime::from_secs(1),
                id: Some(ping.id.unwrap_or(77)),
                seq: ping.seq.unwrap_or(1),
                connected: ping.connect,
            },
            resolver: None,
            options: SocketOptions {
                bind: ping.bind.as_deref().map(|bind| address(place, "bind", bind)).transpose()?,
                device: ping.device.clone(),
                mark: ping.mark.unwrap_or(0),
                tos: ping.tos.unwrap_or(0),
                ttl: ping.ttl,
                ..SocketOptions::default()
            },
            timeout: Some(SimTime::from_millis(timeout)),
        };
        let app = self.net.ask(node, client);
        let refused = match self.result(node, app) {
            Some(AnswerResult::Error(errno)) => Some(errno),
            _ => None,
        };
        self.pump_client(node, app, timeout);
        let result = self.result(node, app);
        let reply = match result {
            Some(AnswerResult::Ping(replies)) if replies.iter().any(Option::is_some) => {
                let kind = if target.is_ipv4() { 0 } else { 129 };
                json!({"from": target.to_string(), "type": kind, "code": 0})
            }
            Some(AnswerResult::Error(errno)) if refused.is_none() => json!({"error": errno.symbol()}),
            _ => Value::Null,
        };
        let sent = refused.map_or("sent", Errno::symbol);
        self.sockets.push(json!({"stimulus": at, "op": "ping", "result": sent, "reply": reply}));
        self.settle(ping.settle_ms);
        Ok(())
    }

    fn config(&mut self, at: usize, place: &str, config: &ConfigStimulus) -> Going<()> {
        let node = self.node(&config.ns, place)?;
        let nft = self.case.iptables_variant.as_deref() == Some("nft");
        let suffix = if nft { "-nft" } else { "-legacy" };
        let place = format!("{place} ({} {})", config.tool, config.args.lines().next().unwrap_or_default());
        // A listing that nobody keeps changes nothing.
        let lists = config.args.split_whitespace().any(|word| matches!(word, "-L" | "-S" | "--list" | "--list-rules"));
        let done = match config.tool.as_str() {
            "iptables" | "ip6tables" if lists && !config.keep_output => Ok(String::new()),
            "sysctl" => {
                let (key, value) = config.args.split_once('=').unwrap_or((&config.args, ""));
                self.command(node, &place, &format!("sysctl -q -w {}='{}'", key.trim(), value.trim()), None)
            }
            tool @ ("iptables_save" | "ip6tables_save") => {
                let tool = tool.trim_end_matches("_save");
                let noflush = if config.noflush { " --noflush" } else { "" };
                self.command(node, &place, &format!("{tool}{suffix}-restore{noflush}"), Some(&config.args))
            }
            tool @ ("iptables" | "ip6tables") => self.command(node, &place, &format!("{tool}{suffix} {}", config.args), None),
            "nft" => self.command(node, &place, "nft -f -", Some(&config.args)),
            tool => self.command(node, &place, &format!("{tool} {}", config.args), None),
        };
        let output = match done {
            Ok(output) => output,
            Err(Stop::Failed(trouble)) if config.ok => trouble.why,
            Err(stop) => return Err(stop),
        };
        if config.keep_output {
            self.sockets.push(json!({"stimulus": at, "op": "config", "output": output.trim()}));
        }
        self.settle(config.settle_ms);
        Ok(())
    }
}

fn read_command(place: &str, line: &str, stdin: Option<&str>) -> Going<Command> {
    let parsed = match stdin {
        None => Command::from_str(line),
        Some(text) => Command::with_stdin(line, Stdin { text: text.into(), provs: [].into() }),
    };
    parsed.map_err(|error| if error.unsupported { unsupported(place, error.message) } else { failed(place, error.message) })
}

fn address(place: &str, field: &str, text: &str) -> Going<IpAddr> {
    text.parse().map_err(|_| failed(format!("{place}.{field}"), format!("`{text}` is not an address")))
}

/// The beginning of some data, as Latin-1.
pub(super) fn shown(data: &[u8]) -> String {
    data.iter().take(DATA_SHOWN).map(|&byte| char::from(byte)).collect()
}
