//! Frames as the case format writes them: a dictionary of layers, built into bytes with the lengths, offsets and checksums
//! that nobody wrote down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use stack::Mac;

/// A packet of a stimulus. Exactly one network layer, at most one transport layer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PacketSpec {
    hex: Option<String>,
    eth: Option<EthSpec>,
    arp: Option<ArpSpec>,
    pub(crate) ip: Option<Ip4Spec>,
    ip6: Option<Ip6Spec>,
    udp: Option<UdpSpec>,
    tcp: Option<TcpSpec>,
    icmp: Option<IcmpSpec>,
    icmp6: Option<IcmpSpec>,
    ipip: Option<Box<PacketSpec>>,
    raw: Option<RawSpec>,
    /// Bytes of payload a piece.
    fragment: Option<usize>,
    /// Which pieces, in which order.
    only: Option<Vec<usize>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EthSpec {
    src: String,
    dst: String,
    #[serde(rename = "type")]
    ethertype: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArpSpec {
    op: String,
    sha: String,
    spa: Ipv4Addr,
    tha: Option<String>,
    tpa: Ipv4Addr,
}

/// An IPv4 header.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ip4Spec {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    ttl: Option<u8>,
    pub(crate) id: Option<u16>,
    tos: Option<u8>,
    #[serde(default)]
    df: bool,
    #[serde(default)]
    mf: bool,
    frag_off: Option<u16>,
    options_hex: Option<String>,
    proto_num: Option<u8>,
    csum: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ip6Spec {
    src: Ipv6Addr,
    dst: Ipv6Addr,
    hlim: Option<u8>,
    tc: Option<u32>,
    flow: Option<u32>,
    frag_id: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct UdpSpec {
    sport: u16,
    dport: u16,
    payload: Option<String>,
    payload_hex: Option<String>,
    payload_len: Option<usize>,
    vxlan: Option<VxlanSpec>,
    csum: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct VxlanSpec {
    vni: u32,
    inner: Box<PacketSpec>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TcpSpec {
    sport: u16,
    dport: u16,
    seq: Option<u32>,
    ack: Option<u32>,
    flags: Option<String>,
    win: Option<u16>,
    urg: Option<u16>,
    mss: Option<u16>,
    wscale: Option<u8>,
    #[serde(default)]
    sackok: bool,
    options_hex: Option<String>,
    payload: Option<String>,
    payload_hex: Option<String>,
    payload_len: Option<usize>,
    csum: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct IcmpSpec {
    #[serde(rename = "type")]
    kind: u8,
    code: Option<u8>,
    id: Option<u16>,
    seq: Option<u16>,
    payload: Option<String>,
    payload_hex: Option<String>,
    payload_len: Option<usize>,
    mtu: Option<u32>,
    gw: Option<Ipv4Addr>,
    orig: Option<Box<PacketSpec>>,
    #[serde(default)]
    orig_full: bool,
    target: Option<Ipv6Addr>,
    lladdr: Option<String>,
    nd_flags: Option<String>,
    cur_hop: Option<u8>,
    lifetime: Option<u16>,
    prefix: Option<String>,
    csum: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    proto: Option<u8>,
    payload: Option<String>,
    payload_hex: Option<String>,
    payload_len: Option<usize>,
}

const ETHERTYPE_IP: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const IPPROTO_FRAGMENT: u8 = 44;
/// The checksum that `bad` writes: the right one, with these bits turned.
const SPOILED: u16 = 0x5555;
/// Bytes of transport header that an ICMP error quotes, unless it quotes all.
const QUOTED: usize = 8;

type Built<T> = Result<T, String>;

impl PacketSpec {
    /// The frames: one, or the pieces of a fragmented datagram.
    pub(crate) fn build(&self) -> Built<Vec<Vec<u8>>> {
        if let Some(hex) = &self.hex {
            return Ok(vec![unhex(hex)?]);
        }
        let eth = self.eth.as_ref().ok_or("a packet needs `eth` or `hex`")?;
        let (mut ethertype, bodies) = if let Some(arp) = &self.arp {
            (ETHERTYPE_ARP, vec![arp.build()?])
        } else if self.ip.is_some() {
            (ETHERTYPE_IP, self.build_ipv4()?)
        } else if self.ip6.is_some() {
            (ETHERTYPE_IPV6, self.build_ipv6()?)
        } else {
            (0, vec![self.raw.as_ref().map_or(Ok(filler(46)), |raw| raw.payload(46))?])
        };
        if let Some(text) = &eth.ethertype {
            let digits = text.trim_start_matches("0x");
            ethertype = u16::from_str_radix(digits, 16).map_err(|_| format!("`{text}` is not an EtherType"))?;
        }
        let mut frames = Vec::new();
        for body in bodies {
            let mut frame = Vec::with_capacity(14 + body.len());
            frame.extend_from_slice(&mac(&eth.dst)?);
            frame.extend_from_slice(&mac(&eth.src)?);
            frame.extend_from_slice(&ethertype.to_be_bytes());
            frame.extend_from_slice(&body);
            frames.push(frame);
        }
        match &self.only {
            None => Ok(frames),
            Some(picked) => picked
                .iter()
                .map(|&at| frames.get(at).cloned().ok_or_else(|| format!("`only` names piece {at}, there are {}", frames.len())))
                .collect(),
        }
    }

    /// IPv4 packets, without link-layer header.
    fn build_ipv4(&self) -> Built<Vec<Vec<u8>>> {
        let ip = self.ip.as_ref().ok_or("no `ip` layer")?;
        let (mut proto, mut l4) = self.build_l4(IpAddr::V4(ip.src), IpAddr::V4(ip.dst))?;
        if let Some(number) = ip.proto_num {
            proto = number;
        }
        let Some(piece) = self.fragment.filter(|&piece| piece > 0) else {
            let offset = ip.frag_off.unwrap_or(0);
            if offset > 0
                && let Some(raw) = &self.raw
            {
                l4 = raw.payload(8)?;
            }
            return Ok(vec![ip.build(proto, &l4, offset, ip.mf)?]);
        };
        let mut packets = Vec::new();
        for (at, chunk) in l4.chunks(piece).enumerate() {
            let offset = at * piece;
            packets.push(ip.build(proto, chunk, offset as u16, offset + piece < l4.len())?);
        }
        Ok(packets)
    }

    fn build_ipv6(&self) -> Built<Vec<Vec<u8>>> {
        let ip = self.ip6.as_ref().ok_or("no `ip6` layer")?;
        let (proto, l4) = self.build_l4(IpAddr::V6(ip.src), IpAddr::V6(ip.dst))?;
        let Some(piece) = self.fragment.filter(|&piece| piece > 0) else { return Ok(vec![ip.build(proto, &l4)]) };
        let mut packets = Vec::new();
        for (at, chunk) in l4.chunks(piece).enumerate() {
            let offset = at * piece;
            let more = u16::from(offset + piece < l4.len());
            let mut body = vec![proto, 0];
            body.extend_from_slice(&(offset as u16 | more).to_be_bytes());
            body.extend_from_slice(&ip.frag_id.unwrap_or(0x1234).to_be_bytes());
            body.extend_from_slice(chunk);
            packets.push(ip.build(IPPROTO_FRAGMENT, &body));
        }
        Ok(packets)
    }

    /// The transport layer: protocol number and bytes.
    fn build_l4(&self, src: IpAddr, dst: IpAddr) -> Built<(u8, Vec<u8>)> {
        if let Some(udp) = &self.udp {
            return Ok((17, udp.build(src, dst)?));
        }
        if let Some(tcp) = &self.tcp {
            return Ok((6, tcp.build(src, dst)?));
        }
        if let Some(icmp) = &self.icmp {
            return Ok((1, icmp.build(None)?));
        }
        if let Some(icmp6) = &self.icmp6 {
            return Ok((58, icmp6.build(Some((src, dst)))?));
        }
        if let Some(inner) = &self.ipip {
            return Ok((4, inner.build_ipv4()?.swap_remove(0)));
        }
        let raw = self.raw.as_ref();
        Ok((raw.and_then(|raw| raw.proto).unwrap_or(253), raw.map_or(Ok(filler(8)), |raw| raw.payload(8))?))
    }
}

impl ArpSpec {
    fn build(&self) -> Built<Vec<u8>> {
        let op: u16 = match self.op.as_str() {
            "request" => 1,
            "reply" => 2,
            other => return Err(format!("`{other}` is not an ARP operation: request or reply")),
        };
        let mut body = vec![0, 1, 8, 0, 6, 4];
        body.extend_from_slice(&op.to_be_bytes());
        body.extend_from_slice(&mac(&self.sha)?);
        body.extend_from_slice(&self.spa.octets());
        body.extend_from_slice(&self.tha.as_deref().map_or(Ok([0; 6]), mac)?);
        body.extend_from_slice(&self.tpa.octets());
        Ok(body)
    }
}

impl Ip4Spec {
    fn build(&self, proto: u8, body: &[u8], offset: u16, more: bool) -> Built<Vec<u8>> {
        let mut options = self.options_hex.as_deref().map_or(Ok(Vec::new()), unhex)?;
        options.resize(options.len().next_multiple_of(4), 0);
        let header = 20 + options.len();
        let fragment = (u16::from(self.df) << 14) | (u16::from(more) << 13) | (offset / 8);
        let mut packet = vec![0x40 | (header / 4) as u8, self.tos.unwrap_or(0)];
        packet.extend_from_slice(&((header + body.len()) as u16).to_be_bytes());
        packet.extend_from_slice(&self.id.unwrap_or(0).to_be_bytes());
        packet.extend_from_slice(&fragment.to_be_bytes());
        packet.extend_from_slice(&[self.ttl.unwrap_or(64), proto, 0, 0]);
        packet.extend_from_slice(&self.src.octets());
        packet.extend_from_slice(&self.dst.octets());
        packet.extend_from_slice(&options);
        let sum = spoil(checksum(&[&packet]), self.csum.as_deref());
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(body);
        Ok(packet)
    }
}

impl Ip6Spec {
    fn build(&self, next_header: u8, body: &[u8]) -> Vec<u8> {
        let first = (6 << 28) | (self.tc.unwrap_or(0) << 20) | self.flow.unwrap_or(0);
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend_from_slice(&(body.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[next_header, self.hlim.unwrap_or(64)]);
        packet.extend_from_slice(&self.src.octets());
        packet.extend_from_slice(&self.dst.octets());
        packet.extend_from_slice(body);
        packet
    }
}

impl UdpSpec {
    fn build(&self, src: IpAddr, dst: IpAddr) -> Built<Vec<u8>> {
        let payload = match &self.vxlan {
            Some(vxlan) => {
                let mut bytes = vec![8, 0, 0, 0];
                bytes.extend_from_slice(&(vxlan.vni << 8).to_be_bytes());
                bytes.extend_from_slice(&vxlan.inner.build()?.swap_remove(0));
                bytes
            }
            None => payload(&self.payload, &self.payload_hex, self.payload_len.unwrap_or(8))?,
        };
        let mut bytes = self.sport.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.dport.to_be_bytes());
        bytes.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&payload);
        if self.csum.as_deref() != Some("zero") {
            let sum = match checksum(&[&pseudo(src, dst, 17, bytes.len()), &bytes]) {
                0 => 0xffff,
                sum => sum,
            };
            bytes[6..8].copy_from_slice(&spoil(sum, self.csum.as_deref()).to_be_bytes());
        }
        Ok(bytes)
    }
}

impl TcpSpec {
    fn build(&self, src: IpAddr, dst: IpAddr) -> Built<Vec<u8>> {
        let mut options = Vec::new();
        if let Some(mss) = self.mss {
            options.extend_from_slice(&[2, 4]);
            options.extend_from_slice(&mss.to_be_bytes());
        }
        if let Some(wscale) = self.wscale {
            options.extend_from_slice(&[1, 3, 3, wscale]);
        }
        if self.sackok {
            options.extend_from_slice(&[1, 1, 4, 2]);
        }
        if let Some(hex) = &self.options_hex {
            options.extend_from_slice(&unhex(hex)?);
        }
        options.resize(options.len().next_multiple_of(4), 0);
        let mut flags = 0u8;
        for letter in self.flags.as_deref().unwrap_or("S").chars() {
            let bit = "FSRPAUEC".find(letter).ok_or_else(|| format!("`{letter}` is not a TCP flag of FSRPAUEC"))?;
            flags |= 1 << bit;
        }
        let mut bytes = self.sport.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.dport.to_be_bytes());
        bytes.extend_from_slice(&self.seq.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&self.ack.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&[((5 + options.len() / 4) as u8) << 4, flags]);
        bytes.extend_from_slice(&self.win.unwrap_or(64240).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.urg.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(&payload(&self.payload, &self.payload_hex, self.payload_len.unwrap_or(0))?);
        let sum = spoil(checksum(&[&pseudo(src, dst, 6, bytes.len()), &bytes]), self.csum.as_deref());
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        Ok(bytes)
    }
}

impl IcmpSpec {
    /// ICMP, or ICMPv6 where the addresses of its pseudo-header are given.
    fn build(&self, v6: Option<(IpAddr, IpAddr)>) -> Built<Vec<u8>> {
        let mut bytes = vec![self.kind, self.code.unwrap_or(0), 0, 0];
        match (v6, &self.orig) {
            (None, Some(orig)) => {
                let mut inner = orig.build_ipv4()?.swap_remove(0);
                if !self.orig_full {
                    inner.truncate(usize::from(inner[0] & 15) * 4 + QUOTED);
                }
                let rest = match self.kind {
                    3 => self.mtu.unwrap_or(0),
                    5 => u32::from(self.gw.unwrap_or(Ipv4Addr::UNSPECIFIED)),
                    _ => 0,
                };
                bytes.extend_from_slice(&rest.to_be_bytes());
                bytes.extend_from_slice(&inner);
            }
            (Some(_), Some(orig)) => {
                let mut inner = orig.build_ipv6()?.swap_remove(0);
                if !self.orig_full {
                    inner.truncate(40 + QUOTED);
                }
                bytes.extend_from_slice(&self.mtu.unwrap_or(0).to_be_bytes());
                bytes.extend_from_slice(&inner);
            }
            (Some(_), None) if matches!(self.kind, 135 | 136) => self.build_neighbour(&mut bytes)?,
            (Some(_), None) if self.kind == 134 => self.build_advertisement(&mut bytes)?,
            _ => {
                bytes.extend_from_slice(&self.id.unwrap_or(0).to_be_bytes());
                bytes.extend_from_slice(&self.seq.unwrap_or(0).to_be_bytes());
                bytes.extend_from_slice(&payload(&self.payload, &self.payload_hex, self.payload_len.unwrap_or(8))?);
            }
        }
        let sum = match v6 {
            Some((src, dst)) => checksum(&[&pseudo(src, dst, 58, bytes.len()), &bytes]),
            None => checksum(&[&bytes]),
        };
        bytes[2..4].copy_from_slice(&spoil(sum, self.csum.as_deref()).to_be_bytes());
        Ok(bytes)
    }

    /// RFC 4861 sections 4.3 and 4.4.
    fn build_neighbour(&self, bytes: &mut Vec<u8>) -> Built<()> {
        let mut flags = 0u8;
        for letter in self.nd_flags.as_deref().unwrap_or("").chars() {
            flags |= match letter {
                'R' => 0x80,
                'S' => 0x40,
                'O' => 0x20,
                other => return Err(format!("`{other}` is not a flag of RSO")),
            };
        }
        bytes.extend_from_slice(&[flags, 0, 0, 0]);
        bytes.extend_from_slice(&self.target.ok_or("neighbour discovery needs `target`")?.octets());
        if let Some(address) = &self.lladdr {
            bytes.extend_from_slice(&[if self.kind == 135 { 1 } else { 2 }, 1]);
            bytes.extend_from_slice(&mac(address)?);
        }
        Ok(())
    }

    /// RFC 4861 section 4.2, with at most one prefix.
    fn build_advertisement(&self, bytes: &mut Vec<u8>) -> Built<()> {
        bytes.extend_from_slice(&[self.cur_hop.unwrap_or(64), 0]);
        bytes.extend_from_slice(&self.lifetime.unwrap_or(1800).to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        if let Some(prefix) = &self.prefix {
            let net: ipnet::Ipv6Net = prefix.parse().map_err(|_| format!("`{prefix}` is not an IPv6 prefix"))?;
            bytes.extend_from_slice(&[3, 4, net.prefix_len(), 0xc0]);
            bytes.extend_from_slice(&86400u32.to_be_bytes());
            bytes.extend_from_slice(&14400u32.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&net.addr().octets());
        }
        Ok(())
    }
}

impl RawSpec {
    fn payload(&self, default: usize) -> Built<Vec<u8>> {
        payload(&self.payload, &self.payload_hex, self.payload_len.unwrap_or(default))
    }
}

fn payload(text: &Option<String>, hex: &Option<String>, len: usize) -> Built<Vec<u8>> {
    match (hex, text) {
        (Some(hex), _) => unhex(hex),
        (None, Some(text)) => Ok(text.clone().into_bytes()),
        (None, None) => Ok(filler(len)),
    }
}

/// `abc...z` over and over.
pub(crate) fn filler(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}

fn mac(text: &str) -> Built<[u8; 6]> {
    text.parse::<Mac>().map(|mac| mac.0).map_err(|error| error.to_string())
}

/// Bytes of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Built<Vec<u8>> {
    let error = || format!("`{text}` is not an even number of hexadecimal digits");
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(error());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| error())).collect()
}

fn spoil(sum: u16, how: Option<&str>) -> u16 {
    if how == Some("bad") { sum ^ SPOILED } else { sum }
}

/// The pseudo-header of RFC 768 / RFC 8200 section 8.1.
pub(crate) fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes.extend_from_slice(&src.octets());
            bytes.extend_from_slice(&dst.octets());
            bytes.extend_from_slice(&[0, proto]);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            bytes.extend_from_slice(&src.octets());
            bytes.extend_from_slice(&dst.octets());
            bytes.extend_from_slice(&(len as u32).to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, proto]);
        }
        _ => unreachable!("both addresses of a packet are of one family"),
    }
    bytes
}

/// The internet checksum (RFC 1071) over some pieces, each of which but the last has an even length.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !((sum & 0xffff) + (sum >> 16)) as u16
}
