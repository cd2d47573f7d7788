//! Captured bytes as the case format writes them: the same names of fields as in a stimulus, plus lengths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::frame::{checksum, pseudo};

type Object = Map<String, Value>;

const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const TCP_FLAGS: &str = "FSRPAUEC";
/// Longest payload that is shown as text.
const TEXT_LIMIT: usize = 40;

/// How much of a packet the bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// A first fragment, or the quotation of an ICMP error: lengths and checksums are not of what is here.
    Cut,
}

/// A frame that begins with an Ethernet header.
pub(crate) fn frame(bytes: &[u8]) -> Object {
    let mut out = Object::new();
    if bytes.len() < 14 {
        out.insert("malformed".into(), json!("shorter than an Ethernet header"));
        return out;
    }
    let mut eth = Object::new();
    eth.insert("src".into(), json!(mac(&bytes[6..12])));
    eth.insert("dst".into(), json!(mac(&bytes[..6])));
    let ethertype = be16(bytes, 12);
    let body = &bytes[14..];
    match ethertype {
        0x0806 if body.len() >= 28 => {
            out.insert("eth".into(), eth.into());
            out.insert("arp".into(), arp(body));
        }
        0x0800 => {
            out.insert("eth".into(), eth.into());
            out.extend(ipv4(body, Extent::Whole));
        }
        0x86dd => {
            out.insert("eth".into(), eth.into());
            out.extend(ipv6(body, Extent::Whole));
        }
        other => {
            eth.insert("type".into(), json!(format!("0x{other:04x}")));
            out.insert("eth".into(), eth.into());
            out.insert("len".into(), json!(body.len()));
        }
    }
    out
}

fn arp(body: &[u8]) -> Value {
    let op = match be16(body, 6) {
        1 => json!("request"),
        2 => json!("reply"),
        other => json!(other),
    };
    json!({
        "op": op,
        "sha": mac(&body[8..14]),
        "spa": v4(body, 14).to_string(),
        "tha": mac(&body[18..24]),
        "tpa": v4(body, 24).to_string(),
    })
}

fn ipv4(bytes: &[u8], extent: Extent) -> Object {
    let mut out = Object::new();
    if bytes.len() < 20 {
        out.insert("short".into(), json!(bytes.len()));
        return out;
    }
    let header = usize::from(bytes[0] & 15) * 4;
    let (total, flags, proto) = (usize::from(be16(bytes, 2)), be16(bytes, 6), bytes[9]);
    let (src, dst, offset) = (v4(bytes, 12), v4(bytes, 16), (flags & 0x1fff) * 8);
    let mut ip = Object::new();
    ip.insert("src".into(), json!(src.to_string()));
    ip.insert("dst".into(), json!(dst.to_string()));
    ip.insert("ttl".into(), json!(bytes[8]));
    ip.insert("proto".into(), protocol(proto));
    ip.insert("len".into(), json!(total));
    ip.insert("id".into(), json!(be16(bytes, 4)));
    if bytes[1] != 0 {
        ip.insert("tos".into(), json!(bytes[1]));
    }
    if flags & 0x4000 != 0 {
        ip.insert("df".into(), json!(true));
    }
    let more = flags & 0x2000 != 0;
    if more {
        ip.insert("mf".into(), json!(true));
    }
    if offset != 0 {
        ip.insert("frag_off".into(), json!(offset));
    }
    if header > 20 {
        ip.insert("options_len".into(), json!(header - 20));
    }
    if checksum(&[&bytes[..header.min(bytes.len())]]) != 0 {
        ip.insert("csum".into(), json!("bad"));
    }
    out.insert("ip".into(), ip.into());
    let end = if extent == Extent::Cut { bytes.len() } else { total.min(bytes.len()) };
    let body = bytes.get(header..end).unwrap_or(&[]);
    let inner = if extent == Extent::Cut || more { Extent::Cut } else { Extent::Whole };
    transport(&mut out, proto, body, IpAddr::V4(src), IpAddr::V4(dst), offset == 0, inner);
    out
}

fn ipv6(bytes: &[u8], mut extent: Extent) -> Object {
    let mut out = Object::new();
    if bytes.len() < 40 {
        out.insert("short".into(), json!(bytes.len()));
        return out;
    }
    let payload = usize::from(be16(bytes, 4));
    let (src, dst) = (v6(bytes, 8), v6(bytes, 24));
    let mut ip = Object::new();
    ip.insert("src".into(), json!(src.to_string()));
    ip.insert("dst".into(), json!(dst.to_string()));
    ip.insert("hlim".into(), json!(bytes[7]));
    ip.insert("len".into(), json!(payload + 40));
    let class = (be16(bytes, 0) >> 4) & 0xff;
    if class != 0 {
        ip.insert("tc".into(), json!(class));
    }
    let end = if extent == Extent::Cut { bytes.len() } else { (40 + payload).min(bytes.len()) };
    let mut body = &bytes[40..end];
    let mut next = bytes[6];
    let mut first = true;
    let mut extensions = Vec::new();
    while matches!(next, 0 | 43 | 44 | 60) && body.len() >= 8 {
        if next == 44 {
            let field = be16(body, 2);
            ip.insert("frag_off".into(), json!(field & 0xfff8));
            ip.insert("mf".into(), json!(field & 1 == 1));
            first = field & 0xfff8 == 0;
            if field & 1 == 1 {
                extent = Extent::Cut;
            }
            next = body[0];
            body = &body[8..];
            if !first {
                break;
            }
        } else {
            extensions.push(next);
            let len = (usize::from(body[1]) + 1) * 8;
            next = body[0];
            body = body.get(len..).unwrap_or(&[]);
        }
    }
    if !extensions.is_empty() {
        ip.insert("ext".into(), json!(extensions));
    }
    ip.insert("proto".into(), protocol(next));
    out.insert("ip6".into(), ip.into());
    transport(&mut out, next, body, IpAddr::V6(src), IpAddr::V6(dst), first, extent);
    out
}

fn transport(out: &mut Object, proto: u8, body: &[u8], src: IpAddr, dst: IpAddr, first: bool, extent: Extent) {
    let whole = extent == Extent::Whole;
    if !first {
        out.insert("frag_payload_len".into(), json!(body.len()));
        return;
    }
    match proto {
        17 if body.len() >= 8 => {
            out.insert("udp".into(), udp(body, src, dst, whole));
        }
        6 if body.len() >= if whole { 20 } else { 8 } => {
            out.insert("tcp".into(), tcp(body, src, dst, whole));
        }
        4 if body.len() >= 20 => {
            out.insert("ipip".into(), ipv4(body, extent).into());
        }
        1 if src.is_ipv4() && body.len() >= 8 => {
            out.insert("icmp".into(), icmp(body, whole));
        }
        58 if body.len() >= 8 => {
            out.insert("icmp6".into(), icmp6(body, src, dst, whole));
        }
        _ => {
            out.insert("l4_len".into(), json!(body.len()));
        }
    }
}

fn udp(body: &[u8], src: IpAddr, dst: IpAddr, whole: bool) -> Value {
    let (dport, len, sum) = (be16(body, 2), usize::from(be16(body, 4)), be16(body, 6));
    let mut udp = Object::new();
    udp.insert("sport".into(), json!(be16(body, 0)));
    udp.insert("dport".into(), json!(dport));
    udp.insert("payload_len".into(), json!(len as i64 - 8));
    if sum == 0 && whole {
        udp.insert("csum".into(), json!("zero"));
    }
    let payload = &body[8..];
    if VXLAN_PORTS.contains(&dport) && payload.len() >= 22 && payload[0] & 8 != 0 && whole {
        let vni = u32::from_be_bytes([0, payload[4], payload[5], payload[6]]);
        udp.insert("vxlan".into(), json!({"vni": vni, "inner": frame(&payload[8..])}));
    } else if whole && len == body.len() {
        if let Some(text) = text(payload) {
            udp.insert("payload".into(), json!(text));
        }
        if sum != 0 && checksum(&[&pseudo(src, dst, 17, body.len()), body]) != 0 {
            udp.insert("csum".into(), json!("bad"));
        }
    }
    udp.into()
}

fn tcp(body: &[u8], src: IpAddr, dst: IpAddr, whole: bool) -> Value {
    let mut tcp = Object::new();
    tcp.insert("sport".into(), json!(be16(body, 0)));
    tcp.insert("dport".into(), json!(be16(body, 2)));
    tcp.insert("seq".into(), json!(be32(body, 4)));
    if body.len() < 20 {
        return tcp.into();
    }
    let header = usize::from(body[12] >> 4) * 4;
    let flags: String = TCP_FLAGS.chars().enumerate().filter(|(bit, _)| body[13] & (1 << bit) != 0).map(|(_, c)| c).collect();
    tcp.insert("ack".into(), json!(be32(body, 8)));
    tcp.insert("flags".into(), json!(flags));
    tcp.insert("payload_len".into(), json!(body.len().saturating_sub(header)));
    if let Some(mss) = mss(body.get(20..header.min(body.len())).unwrap_or(&[])) {
        tcp.insert("mss".into(), json!(mss));
    }
    if let Some(text) = text(body.get(header..).unwrap_or(&[])) {
        tcp.insert("payload".into(), json!(text));
    }
    if whole && checksum(&[&pseudo(src, dst, 6, body.len()), body]) != 0 {
        tcp.insert("csum".into(), json!("bad"));
    }
    tcp.into()
}

fn mss(mut options: &[u8]) -> Option<u16> {
    while let [kind, rest @ ..] = options {
        match kind {
            0 => return None,
            1 => options = rest,
            _ => {
                let len = usize::from(*rest.first()?);
                if len < 2 || len > options.len() {
                    return None;
                }
                if *kind == 2 && len == 4 {
                    return Some(be16(options, 2));
                }
                options = &options[len..];
            }
        }
    }
    None
}

fn icmp(body: &[u8], whole: bool) -> Value {
    let mut icmp = Object::new();
    icmp.insert("type".into(), json!(body[0]));
    icmp.insert("code".into(), json!(body[1]));
    match body[0] {
        0 | 8 | 13 | 14 => echo(&mut icmp, body),
        3 | 4 | 5 | 11 | 12 => {
            if (body[0], body[1]) == (3, 4) {
                icmp.insert("mtu".into(), json!(be16(body, 6)));
            }
            if body[0] == 5 {
                icmp.insert("gw".into(), json!(v4(body, 4).to_string()));
            }
            icmp.insert("quoted_len".into(), json!(body.len() - 8));
            icmp.insert("orig".into(), ipv4(&body[8..], Extent::Cut).into());
        }
        _ => {}
    }
    if whole && checksum(&[body]) != 0 {
        icmp.insert("csum".into(), json!("bad"));
    }
    icmp.into()
}

fn icmp6(body: &[u8], src: IpAddr, dst: IpAddr, whole: bool) -> Value {
    let mut icmp = Object::new();
    icmp.insert("type".into(), json!(body[0]));
    icmp.insert("code".into(), json!(body[1]));
    match body[0] {
        128 | 129 => echo(&mut icmp, body),
        1..=4 => {
            if body[0] == 2 {
                icmp.insert("mtu".into(), json!(be32(body, 4)));
            }
            icmp.insert("quoted_len".into(), json!(body.len() - 8));
            icmp.insert("orig".into(), ipv6(&body[8..], Extent::Cut).into());
        }
        135 | 136 if body.len() >= 24 => {
            icmp.insert("target".into(), json!(v6(body, 8).to_string()));
            if body[0] == 136 {
                let flags: String = [('R', 0x80), ('S', 0x40), ('O', 0x20)]
                    .into_iter()
                    .filter(|(_, bit)| body[4] & bit != 0)
                    .map(|(letter, _)| letter)
                    .collect();
                icmp.insert("nd_flags".into(), json!(flags));
            }
            if body.len() >= 32 && matches!(body[24], 1 | 2) {
                icmp.insert("lladdr".into(), json!(mac(&body[26..32])));
            }
        }
        137 if body.len() >= 40 => {
            icmp.insert("target".into(), json!(v6(body, 8).to_string()));
            icmp.insert("dest".into(), json!(v6(body, 24).to_string()));
        }
        _ => {}
    }
    if whole && checksum(&[&pseudo(src, dst, 58, body.len()), body]) != 0 {
        icmp.insert("csum".into(), json!("bad"));
    }
    icmp.into()
}

fn echo(icmp: &mut Object, body: &[u8]) {
    icmp.insert("id".into(), json!(be16(body, 4)));
    icmp.insert("seq".into(), json!(be16(body, 6)));
    icmp.insert("payload_len".into(), json!(body.len() - 8));
}

/// The payload as text, where it is short and printable.
fn text(payload: &[u8]) -> Option<&str> {
    let printable = !payload.is_empty() && payload.len() <= TEXT_LIMIT && payload.iter().all(|byte| (32..127).contains(byte));
    if printable { std::str::from_utf8(payload).ok() } else { None }
}

fn protocol(number: u8) -> Value {
    match number {
        1 => json!("icmp"),
        2 => json!("igmp"),
        4 => json!("ipip"),
        6 => json!("tcp"),
        17 => json!("udp"),
        47 => json!("gre"),
        58 => json!("icmp6"),
        132 => json!("sctp"),
        other => json!(other),
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn v4(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

fn v6(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from(octets)
}

fn mac(bytes: &[u8]) -> String {
    let mut octets = [0; 6];
    octets.copy_from_slice(&bytes[..6]);
    stack::Mac(octets).to_string()
}
