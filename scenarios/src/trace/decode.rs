//! A frame for people: its layers with offsets, its fields for comparison, its one-line summary.
//!
//! Tolerates cut frames: what is missing is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use stack::view::{be16, be32, proto};

use super::Change;

/// One header, or the payload, of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// `ethernet`, `ipv4`, `tcp`, `payload`, ...
    pub name: &'static str,
    /// OSI layer, 2 to 7.
    pub layer: u8,
    /// What a unit of it is called: frame, packet, segment, datagram, message.
    pub unit: &'static str,
    /// Offset in the frame, in bytes.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// Its fields.
    pub fields: Vec<(&'static str, String)>,
}

/// What a frame says.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Its layers, from the outside in.
    pub layers: Vec<Layer>,
    /// One line.
    pub summary: String,
    /// `tcp`, `udp`, `icmp`, `arp`, ...
    pub protocol: String,
    /// The two ends, the smaller first, so that both directions are equal; none for ARP and the like.
    pub flow: Option<String>,
    /// Whether one port is 53 on UDP or TCP.
    pub is_dns: bool,
    /// Text of the payload's first line, where it is text.
    pub first_line: Option<String>,
    /// Bytes of transport payload.
    pub payload_len: usize,
}

/// Decodes a frame that begins with an Ethernet header (`link`), or with an IP header. `full` is how long it was before it was cut.
pub fn decode(frame: &[u8], link: bool, full: usize) -> Decoded {
    let mut reader = Reader { frame, full, out: Decoded::default() };
    if link {
        reader.ethernet()
    } else {
        reader.ip(0)
    };
    reader.out
}

/// What differs between two headers: fields of the same layer and name.
pub fn diff(old: &Decoded, new: &Decoded) -> Vec<Change> {
    let mut changes = Vec::new();
    for layer in &new.layers {
        let Some(before) = old.layers.iter().find(|before| before.name == layer.name) else { continue };
        for (name, value) in &layer.fields {
            // A checksum follows the rest, it is no decision of its own.
            if *name == "checksum" {
                continue;
            }
            if let Some((_, old)) = before.fields.iter().find(|(field, _)| field == name)
                && old != value
            {
                changes.push(Change { field: format!("{}.{name}", layer.name), old: old.clone(), new: value.clone() });
            }
        }
    }
    changes
}

struct Reader<'a> {
    frame: &'a [u8],
    full: usize,
    out: Decoded,
}

impl Reader<'_> {
    fn at(&self, at: usize, len: usize) -> Option<&[u8]> {
        self.frame.get(at..at + len)
    }

    fn layer(
        &mut self,
        name: &'static str,
        layer: u8,
        unit: &'static str,
        offset: usize,
        len: usize,
        fields: Vec<(&'static str, String)>,
    ) {
        self.out.layers.push(Layer { name, layer, unit, offset: offset as u32, len: len as u32, fields });
    }

    fn ethernet(&mut self) {
        let Some(header) = self.at(0, 14) else { return };
        let (dst, src, kind) = (mac(&header[..6]), mac(&header[6..12]), be16(header, 12));
        self.layer("ethernet", 2, "frame", 0, 14, vec![("dst", dst), ("src", src), ("type", format!("0x{kind:04x}"))]);
        match kind {
            0x0800 | 0x86dd => self.ip(14),
            0x0806 => self.arp(14),
            0x8100 => {
                if let Some(tag) = self.at(14, 4) {
                    let (vlan, kind) = (be16(tag, 0) & 0xfff, be16(tag, 2));
                    self.layer("vlan", 2, "frame", 14, 4, vec![("id", vlan.to_string()), ("type", format!("0x{kind:04x}"))]);
                    match kind {
                        0x0800 | 0x86dd => self.ip(18),
                        0x0806 => self.arp(18),
                        _ => {}
                    }
                }
            }
            other => self.out.summary = format!("EtherType 0x{other:04x}, {} bytes", self.full),
        }
    }

    fn arp(&mut self, at: usize) {
        let Some(arp) = self.at(at, 28) else { return };
        let op = be16(arp, 6);
        let v4 = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
        let (sha, spa, tha, tpa) = (mac(&arp[8..14]), v4(14), mac(&arp[18..24]), v4(24));
        self.out.protocol = "arp".to_owned();
        self.out.summary = match op {
            1 if spa == tpa => format!("ARP announcement: {spa} is at {sha}"),
            1 => format!("ARP who has {tpa}? tell {spa}"),
            2 => format!("ARP {spa} is at {sha}"),
            op => format!("ARP operation {op}"),
        };
        let fields = vec![("op", op.to_string()), ("sha", sha), ("spa", spa.to_string()), ("tha", tha), ("tpa", tpa.to_string())];
        self.layer("arp", 2, "frame", at, 28, fields);
    }

    fn ip(&mut self, at: usize) {
        match self.frame.get(at).map(|first| first >> 4) {
            Some(4) => self.ipv4(at),
            Some(6) => self.ipv6(at),
            _ => {}
        }
    }

    fn ipv4(&mut self, at: usize) {
        let Some(ip) = self.at(at, 20) else { return };
        let header = usize::from(ip[0] & 15) * 4;
        let flags = match (ip[6] & 0x40 != 0, ip[6] & 0x20 != 0) {
            (true, true) => "DF,MF",
            (true, false) => "DF",
            (false, true) => "MF",
            (false, false) => "none",
        };
        let offset = usize::from(be16(ip, 6) & 0x1fff) * 8;
        let (src, dst) = (v4(ip, 12), v4(ip, 16));
        let (l4, total, more) = (ip[9], usize::from(be16(ip, 2)), ip[6] & 0x20 != 0);
        let fields = vec![
            ("version", "4".to_owned()),
            ("ihl", (ip[0] & 15).to_string()),
            ("dscp", (ip[1] >> 2).to_string()),
            ("ecn", (ip[1] & 3).to_string()),
            ("total_length", total.to_string()),
            ("id", be16(ip, 4).to_string()),
            ("flags", flags.to_owned()),
            ("fragment_offset", offset.to_string()),
            ("ttl", ip[8].to_string()),
            ("protocol", l4.to_string()),
            ("checksum", format!("0x{:04x}", be16(ip, 10))),
            ("src", src.to_string()),
            ("dst", dst.to_string()),
        ];
        self.layer("ipv4", 3, "packet", at, header.max(20), fields);
        if offset > 0 || more {
            self.fragment(src, dst, l4, offset, total.saturating_sub(header), more, at + header);
            return;
        }
        self.transport(src, dst, l4, at + header, at + total);
    }

    fn ipv6(&mut self, at: usize) {
        let Some(ip) = self.at(at, 40) else { return };
        let (src, dst) = (v6(ip, 8), v6(ip, 24));
        let payload = usize::from(be16(ip, 4));
        let fields = vec![
            ("version", "6".to_owned()),
            ("traffic_class", ((ip[0] << 4) | (ip[1] >> 4)).to_string()),
            ("flow_label", format!("0x{:05x}", be32(ip, 0) & 0xf_ffff)),
            ("payload_length", payload.to_string()),
            ("next_header", ip[6].to_string()),
            ("hop_limit", ip[7].to_string()),
            ("src", src.to_string()),
            ("dst", dst.to_string()),
        ];
        let (mut next, mut here) = (ip[6], at + 40);
        self.layer("ipv6", 3, "packet", at, 40, fields);
        // Bounded: every header takes at least 8 bytes of the frame.
        while let Some(header) = self.at(here, 8) {
            let (name, len) = match next {
                proto::HOPOPT => ("hop_by_hop", 8 + usize::from(header[1]) * 8),
                proto::ROUTING => ("routing", 8 + usize::from(header[1]) * 8),
                proto::DSTOPTS => ("destination_options", 8 + usize::from(header[1]) * 8),
                proto::FRAGMENT => ("fragment", 8),
                _ => break,
            };
            let (following, bits) = (header[0], be16(header, 2));
            self.layer(name, 3, "packet", here, len, vec![("next_header", following.to_string())]);
            here += len;
            if next == proto::FRAGMENT {
                let (offset, more) = (usize::from(bits & 0xfff8), bits & 1 != 0);
                self.fragment(src, dst, following, offset, (at + 40 + payload).saturating_sub(here), more, here);
                return;
            }
            next = following;
        }
        self.transport(src, dst, next, here, at + 40 + payload);
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one header")]
    fn fragment(&mut self, src: IpAddr, dst: IpAddr, l4: u8, offset: usize, len: usize, more: bool, at: usize) {
        self.out.protocol = protocol_name(l4);
        self.out.summary = format!(
            "{} {src} > {dst} fragment {offset}+{len}{}",
            self.out.protocol.to_uppercase(),
            if more { ", more follow" } else { ", the last" }
        );
        self.layer("payload", 3, "packet", at, len, Vec::new());
    }

    fn transport(&mut self, src: IpAddr, dst: IpAddr, l4: u8, at: usize, end: usize) {
        self.out.protocol = protocol_name(l4);
        match l4 {
            proto::TCP => self.tcp(src, dst, at, end),
            proto::UDP => self.udp(src, dst, at, end),
            proto::ICMP => self.icmp(src, dst, at, end),
            proto::ICMPV6 => self.icmpv6(src, dst, at, end),
            other => {
                self.out.summary = format!("protocol {other} {src} > {dst}, {} bytes", end.saturating_sub(at));
                self.set_flow(src, 0, dst, 0);
                self.payload(at, end, 4);
            }
        }
    }

    fn set_flow(&mut self, src: IpAddr, sport: u16, dst: IpAddr, dport: u16) {
        let (a, b) = ((src, sport), (dst, dport));
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        self.out.flow = Some(format!("{} {}:{} {}:{}", self.out.protocol, low.0, low.1, high.0, high.1));
    }

    fn tcp(&mut self, src: IpAddr, dst: IpAddr, at: usize, end: usize) {
        let Some(tcp) = self.at(at, 20) else { return };
        let (sport, dport) = (be16(tcp, 0), be16(tcp, 2));
        let header = usize::from(tcp[12] >> 4) * 4;
        let flags = tcp_flags(tcp[13], tcp[12] & 1);
        let (seq, ack, window, checksum, urgent) = (be32(tcp, 4), be32(tcp, 8), be16(tcp, 14), be16(tcp, 16), be16(tcp, 18));
        let has_ack = tcp[13] & 0x10 != 0;
        let options = self.at(at + 20, header.saturating_sub(20)).map(tcp_options).unwrap_or_default();
        let len = end.saturating_sub(at + header);
        let mut fields = vec![
            ("sport", sport.to_string()),
            ("dport", dport.to_string()),
            ("seq", seq.to_string()),
            ("ack", ack.to_string()),
            ("data_offset", (header / 4).to_string()),
            ("flags", flags.clone()),
            ("window", window.to_string()),
            ("checksum", format!("0x{checksum:04x}")),
            ("urgent", urgent.to_string()),
        ];
        if !options.is_empty() {
            fields.push(("options", options));
        }
        self.layer("tcp", 4, "segment", at, header.max(20), fields);
        let ack = if has_ack { format!(" ack={ack}") } else { String::new() };
        self.out.summary = format!("TCP {}:{sport} > {}:{dport} [{flags}] seq={seq}{ack} len={len}", bracket(src), bracket(dst));
        self.out.is_dns = sport == 53 || dport == 53;
        self.set_flow(src, sport, dst, dport);
        self.payload(at + header, end, 7);
    }

    fn udp(&mut self, src: IpAddr, dst: IpAddr, at: usize, end: usize) {
        let Some(udp) = self.at(at, 8) else { return };
        let (sport, dport, length, checksum) = (be16(udp, 0), be16(udp, 2), be16(udp, 4), be16(udp, 6));
        let fields = vec![
            ("sport", sport.to_string()),
            ("dport", dport.to_string()),
            ("length", length.to_string()),
            ("checksum", format!("0x{checksum:04x}")),
        ];
        self.layer("udp", 4, "datagram", at, 8, fields);
        self.out.is_dns = sport == 53 || dport == 53;
        self.set_flow(src, sport, dst, dport);
        let len = usize::from(length).saturating_sub(8);
        let dns = if self.out.is_dns { self.frame.get(at + 8..).and_then(dns_summary) } else { None };
        let what = dns.unwrap_or_else(|| format!("len={len}"));
        self.out.summary = format!("UDP {}:{sport} > {}:{dport} {what}", bracket(src), bracket(dst));
        self.payload(at + 8, end, 7);
    }

    fn icmp(&mut self, src: IpAddr, dst: IpAddr, at: usize, end: usize) {
        let Some(icmp) = self.at(at, 8) else { return };
        let (kind, code) = (icmp[0], icmp[1]);
        let (id, seq, mtu) = (be16(icmp, 4), be16(icmp, 6), be16(icmp, 6));
        let what = match (kind, code) {
            (0, _) => format!("echo reply id={id} seq={seq}"),
            (8, _) => format!("echo request id={id} seq={seq}"),
            (3, 0) => "net unreachable".to_owned(),
            (3, 1) => "host unreachable".to_owned(),
            (3, 2) => "protocol unreachable".to_owned(),
            (3, 3) => "port unreachable".to_owned(),
            (3, 4) => format!("fragmentation needed, MTU {mtu}"),
            (3, 9) => "net prohibited".to_owned(),
            (3, 10) => "host prohibited".to_owned(),
            (3, 13) => "administratively prohibited".to_owned(),
            (5, _) => format!("redirect to {}", v4(icmp, 4)),
            (11, 0) => "time exceeded in transit".to_owned(),
            (11, 1) => "fragment reassembly time exceeded".to_owned(),
            (12, _) => "parameter problem".to_owned(),
            (kind, code) => format!("type {kind} code {code}"),
        };
        let mut fields =
            vec![("type", kind.to_string()), ("code", code.to_string()), ("checksum", format!("0x{:04x}", be16(icmp, 2)))];
        let echo = matches!(kind, 0 | 8);
        if echo {
            fields.push(("id", id.to_string()));
            fields.push(("seq", seq.to_string()));
        }
        self.layer("icmp", 3, "message", at, 8, fields);
        self.finish_icmp(src, dst, echo.then_some(id), &what, at, end);
    }

    fn icmpv6(&mut self, src: IpAddr, dst: IpAddr, at: usize, end: usize) {
        let Some(icmp) = self.at(at, 8) else { return };
        let (kind, code) = (icmp[0], icmp[1]);
        let (id, seq, mtu) = (be16(icmp, 4), be16(icmp, 6), be32(icmp, 4));
        let target = self.at(at + 8, 16).map(|bytes| v6(bytes, 0));
        let target = target.map_or_else(|| "?".to_owned(), |target| target.to_string());
        let what = match (kind, code) {
            (128, _) => format!("echo request id={id} seq={seq}"),
            (129, _) => format!("echo reply id={id} seq={seq}"),
            (1, 0) => "no route to destination".to_owned(),
            (1, 1) => "administratively prohibited".to_owned(),
            (1, 3) => "address unreachable".to_owned(),
            (1, 4) => "port unreachable".to_owned(),
            (2, _) => format!("packet too big, MTU {mtu}"),
            (3, 0) => "hop limit exceeded in transit".to_owned(),
            (3, 1) => "fragment reassembly time exceeded".to_owned(),
            (133, _) => "router solicitation".to_owned(),
            (134, _) => "router advertisement".to_owned(),
            (135, _) => format!("neighbour solicitation: who has {target}?"),
            (136, _) => format!("neighbour advertisement: {target}"),
            (kind, code) => format!("type {kind} code {code}"),
        };
        let mut fields =
            vec![("type", kind.to_string()), ("code", code.to_string()), ("checksum", format!("0x{:04x}", be16(icmp, 2)))];
        let echo = matches!(kind, 128 | 129);
        if echo {
            fields.push(("id", id.to_string()));
            fields.push(("seq", seq.to_string()));
        }
        self.layer("icmpv6", 3, "message", at, 8, fields);
        self.finish_icmp(src, dst, echo.then_some(id), &what, at, end);
    }

    fn finish_icmp(&mut self, src: IpAddr, dst: IpAddr, id: Option<u16>, what: &str, at: usize, end: usize) {
        self.out.summary = format!("{} {src} > {dst} {what}", if src.is_ipv4() { "ICMP" } else { "ICMPv6" });
        if let Some(id) = id {
            self.set_flow(src, id, dst, id);
        }
        self.payload(at + 8, end, 3);
    }

    fn payload(&mut self, at: usize, end: usize, layer: u8) {
        let len = end.saturating_sub(at);
        self.out.payload_len = len;
        if len == 0 {
            return;
        }
        let kept = self.frame.get(at..end.min(self.frame.len())).unwrap_or_default();
        let line = kept.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let readable = !line.is_empty() && line.iter().all(|byte| (0x20..0x7f).contains(byte));
        if readable && layer == 7 && !self.out.is_dns {
            let text = String::from_utf8_lossy(line).into_owned();
            self.out.summary.push_str(&format!(" \"{text}\""));
            self.out.first_line = Some(text);
        }
        let fields = self.out.first_line.iter().map(|line| ("first_line", line.clone())).collect();
        self.layer("payload", layer, "data", at, len, fields);
    }
}

fn tcp_flags(flags: u8, ns: u8) -> String {
    let names = [("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32), ("ECE", 64), ("CWR", 128)];
    let mut set: Vec<&str> = names.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect();
    if ns != 0 {
        set.push("AE");
    }
    if set.is_empty() { "none".to_owned() } else { set.join(",") }
}

fn tcp_options(mut bytes: &[u8]) -> String {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = bytes {
        match kind {
            0 => break,
            1 => {
                options.push("nop".to_owned());
                bytes = rest;
                continue;
            }
            _ => {}
        }
        let Some(len) = rest.first().map(|len| usize::from(*len)).filter(|len| (2..=bytes.len()).contains(len)) else {
            options.push("malformed".to_owned());
            break;
        };
        let data = &bytes[2..len];
        options.push(match (kind, data) {
            (2, [a, b]) => format!("mss {}", u16::from_be_bytes([*a, *b])),
            (3, [shift]) => format!("wscale {shift}"),
            (4, []) => "sackOK".to_owned(),
            (5, blocks) => format!("sack {} blocks", blocks.len() / 8),
            (8, data) if data.len() == 8 => format!("TS val {} ecr {}", be32(data, 0), be32(data, 4)),
            (kind, _) => format!("option {kind}"),
        });
        bytes = &bytes[len..];
    }
    options.join(", ")
}

/// `A? web.default.svc.cluster.local`, or the answer's code and count.
fn dns_summary(message: &[u8]) -> Option<String> {
    if message.len() < 12 {
        return None;
    }
    let (id, flags, answers) = (be16(message, 0), be16(message, 2), be16(message, 6));
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let len = usize::from(*message.get(at)?);
        if len == 0 {
            at += 1;
            break;
        }
        if len > 63 {
            return None;
        }
        let label = message.get(at + 1..at + 1 + len)?;
        name.push_str(&String::from_utf8_lossy(label));
        name.push('.');
        at += 1 + len;
    }
    if name.is_empty() {
        name.push('.');
    }
    let qtype = message.get(at..at + 2).map(|bytes| be16(bytes, 0));
    let qtype = match qtype {
        Some(1) => "A".to_owned(),
        Some(2) => "NS".to_owned(),
        Some(5) => "CNAME".to_owned(),
        Some(6) => "SOA".to_owned(),
        Some(12) => "PTR".to_owned(),
        Some(16) => "TXT".to_owned(),
        Some(28) => "AAAA".to_owned(),
        Some(33) => "SRV".to_owned(),
        Some(other) => format!("type{other}"),
        None => "?".to_owned(),
    };
    if flags & 0x8000 == 0 {
        return Some(format!("DNS {id} {qtype}? {name}"));
    }
    let code = match flags & 15 {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("rcode {other}"),
    };
    let plural = if answers == 1 { "answer" } else { "answers" };
    Some(format!("DNS {id} {code} {qtype} {name} {answers} {plural}"))
}

fn protocol_name(l4: u8) -> String {
    match l4 {
        proto::TCP => "tcp".to_owned(),
        proto::UDP => "udp".to_owned(),
        proto::ICMP => "icmp".to_owned(),
        proto::ICMPV6 => "icmpv6".to_owned(),
        proto::SCTP => "sctp".to_owned(),
        proto::GRE => "gre".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn bracket(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn mac(bytes: &[u8]) -> String {
    let mut octets = [0; 6];
    octets.copy_from_slice(&bytes[..6]);
    stack::Mac(octets).to_string()
}

fn v4(bytes: &[u8], at: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]))
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    IpAddr::V6(Ipv6Addr::from(octets))
}
