//! A frame as one line: what the kernel and the simulator must have in common.
//!
//! In it: MACs by the device that has them, addresses, ports, TTL, TOS, DF, TCP flags, payload lengths, ICMP types with the packet
//! that they are about. Not in it: IPv4 identification, TCP sequence numbers, windows and options, checksums.
//! Not shown at all: ARP, neighbour discovery, IGMP, MLD and router solicitations (they follow timers), and TCP segments that only
//! acknowledge (Linux and smoltcp send them at different moments).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack::Mac;

const FIN_SYN_RST: u8 = 0b111;
/// More fragments follow. Offsets are multiples of 8, and so leave room for it.
const MORE: u16 = 1;

/// How devices and ports are called.
#[derive(Clone, Default)]
pub(crate) struct Names {
    /// The devices that have a MAC of their own.
    pub(crate) devices: BTreeMap<Mac, String>,
    /// The ports that a test speaks of. All others are drawn by chance, and are numbered as they appear.
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) drawn: BTreeMap<u16, usize>,
}

impl Names {
    pub(crate) fn port(&mut self, port: u16) -> String {
        if self.ports.contains(&port) {
            return port.to_string();
        }
        let next = self.drawn.len() + 1;
        format!("drawn{}", self.drawn.entry(port).or_insert(next))
    }

    fn device(&self, bytes: &[u8]) -> String {
        let mac = Mac(bytes.try_into().expect("six bytes of a header"));
        self.devices.get(&mac).cloned().unwrap_or_else(|| mac.to_string())
    }

    /// A frame as a line; none where it is not compared.
    pub(crate) fn line(&mut self, frame: &[u8]) -> Option<String> {
        let (header, body) = frame.split_at_checked(14)?;
        let packet = Packet::read(u16::from_be_bytes([header[12], header[13]]), body)?;
        let text = self.packet(&packet, false)?;
        Some(format!("{text}  [{} > {}]", self.device(&header[6..12]), self.device(&header[..6])))
    }

    fn packet(&mut self, packet: &Packet<'_>, quoted: bool) -> Option<String> {
        let Packet { src, dst, l4, .. } = *packet;
        if let Some(fragment) = packet.fragment.filter(|fragment| fragment & !MORE > 0) {
            let more = if fragment & MORE > 0 { " MF" } else { "" };
            let (proto, at) = (packet.proto, fragment & !MORE);
            return Some(format!("piece of proto {proto} {src} > {dst} from {at} len {}{more} ttl {}", l4.len(), packet.ttl));
        }
        let word = |at: usize| l4.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let text = match packet.proto {
            6 | 17 => {
                let (sport, dport) = (self.port(word(0)?), self.port(word(2)?));
                let ends = format!("{src}:{sport} > {dst}:{dport}");
                match packet.proto {
                    17 => format!("udp {ends} len {}", l4.len().saturating_sub(8)),
                    // Its options may be of another length there.
                    _ if quoted => format!("tcp {ends}"),
                    _ => {
                        let len = l4.len().saturating_sub(usize::from(l4.get(12)? >> 4) * 4);
                        let flags = *l4.get(13)?;
                        if flags & FIN_SYN_RST == 0 && len == 0 {
                            return None;
                        }
                        format!("tcp {ends} {} len {len}", tcp_flags(flags))
                    }
                }
            }
            1 | 58 => {
                let (kind, code) = (*l4.first()?, *l4.get(1)?);
                let (error, echo) =
                    if packet.proto == 1 { (matches!(kind, 3 | 5 | 11 | 12), [0, 8]) } else { (kind < 128, [129, 128]) };
                let inner = if packet.proto == 1 { 0x0800 } else { 0x86dd };
                if error {
                    let about = Packet::read(inner, l4.get(8..)?)?;
                    let about = self.packet(&about, true)?;
                    format!("icmp {src} > {dst} type {kind} code {code} about ({about})")
                } else if echo.contains(&kind) {
                    format!("icmp {src} > {dst} type {kind} id {} seq {} len {}", word(4)?, word(6)?, l4.len() - 8)
                } else {
                    return None;
                }
            }
            2 => return None,
            proto => format!("proto {proto} {src} > {dst}"),
        };
        let df = if packet.df { " DF" } else { "" };
        let more = if packet.fragment.is_some() { " MF" } else { "" };
        Some(format!("{text} ttl {} tos {:#04x}{df}{more}", packet.ttl, packet.tos))
    }
}

fn tcp_flags(flags: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> = (0..8).filter(|bit| flags & (1 << bit) != 0).map(|bit| names[bit]).collect();
    set.join(",")
}

/// None where it is neither the first nor a later one.
fn fragment(field: u16) -> Option<u16> {
    Some(field).filter(|field| *field != 0)
}

struct Packet<'a> {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    ttl: u8,
    tos: u8,
    df: bool,
    /// Of a fragment: offset in bytes, and [`MORE`].
    fragment: Option<u16>,
    l4: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(ethertype: u16, ip: &'a [u8]) -> Option<Packet<'a>> {
        match ethertype {
            0x0800 => {
                let header = ip.get(..20)?;
                let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into();
                let end = usize::from(u16::from_be_bytes([header[2], header[3]])).min(ip.len());
                Some(Packet {
                    src: address(12),
                    dst: address(16),
                    proto: header[9],
                    ttl: header[8],
                    tos: header[1],
                    df: header[6] & 0x40 != 0,
                    fragment: fragment(u16::from_be_bytes([header[6], header[7]]) << 3 | u16::from(header[6] & 0x20 != 0)),
                    l4: ip.get(usize::from(header[0] & 15) * 4..end)?,
                })
            }
            0x86dd => {
                let header = ip.get(..40)?;
                let address = |at: usize| {
                    let bytes: [u8; 16] = header[at..at + 16].try_into().expect("sixteen bytes of a header");
                    Ipv6Addr::from(bytes).into()
                };
                let end = (40 + usize::from(u16::from_be_bytes([header[4], header[5]]))).min(ip.len());
                // What multicast listeners say stands behind a hop-by-hop option.
                let l4 = ip.get(40..end)?;
                let (proto, fragment, l4) = match (header[6], l4) {
                    (0, [next, length, ..]) => (*next, None, l4.get(usize::from(*length) * 8 + 8..)?),
                    (44, [next, _, high, low, ..]) => (*next, fragment(u16::from_be_bytes([*high, *low])), l4.get(8..)?),
                    (proto, l4) => (proto, None, l4),
                };
                Some(Packet {
                    src: address(8),
                    dst: address(24),
                    proto,
                    ttl: header[7],
                    tos: header[0] << 4 | header[1] >> 4,
                    df: false,
                    fragment,
                    l4,
                })
            }
            _ => None,
        }
    }
}
