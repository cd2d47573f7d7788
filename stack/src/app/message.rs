//! RFC 1035, section 4: DNS messages as this crate's plain data, to and from the wire by simple-dns.

use std::net::{Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, CNAME, NS, PTR, RData, SOA, SRV, TXT};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use crate::app::{DnsData, DnsRecord, QType};

/// The most that an answer over UDP may have where the question has no EDNS option (RFC 1035, section 4.2.1).
pub(crate) const UDP_LIMIT: usize = 512;

/// A question as a server reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    pub(crate) id: u16,
    /// As it was written.
    pub(crate) name: String,
    /// None: a type that no zone here has.
    pub(crate) qtype: Option<QType>,
    /// What the asker takes over UDP.
    pub(crate) limit: usize,
    recursion: bool,
}

/// An answer as a server writes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) rcode: u8,
    pub(crate) authoritative: bool,
    pub(crate) recursion_available: bool,
    pub(crate) answers: Vec<(String, DnsRecord)>,
    /// Zone and TTL of a SOA in the answer section.
    pub(crate) soa_answer: Option<(String, u32)>,
    /// Zone and TTL of a SOA in the authority section.
    pub(crate) soa_authority: Option<(String, u32)>,
    pub(crate) additional: Vec<(String, DnsRecord)>,
}

/// An answer as its asker reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Response {
    pub(crate) id: u16,
    pub(crate) rcode: u8,
    pub(crate) truncated: bool,
    pub(crate) name: String,
    pub(crate) answers: Vec<(String, DnsRecord)>,
}

fn wire_type(qtype: QType) -> TYPE {
    match qtype {
        QType::A => TYPE::A,
        QType::Aaaa => TYPE::AAAA,
        QType::Cname => TYPE::CNAME,
        QType::Ptr => TYPE::PTR,
        QType::Srv => TYPE::SRV,
        QType::Txt => TYPE::TXT,
        QType::Ns => TYPE::NS,
        QType::Soa => TYPE::SOA,
    }
}

fn own_type(qtype: QTYPE) -> Option<QType> {
    let all = [QType::A, QType::Aaaa, QType::Cname, QType::Ptr, QType::Srv, QType::Txt, QType::Ns, QType::Soa];
    all.into_iter().find(|&own| QTYPE::TYPE(wire_type(own)) == qtype)
}

/// Writes a question; none where the name is none of DNS (a label of more than 63 bytes, more than 255 in all).
pub(crate) fn query(id: u16, name: &str, qtype: QType) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(wire_type(qtype)), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

/// Reads a question; none where it is no question, or has not exactly one.
pub(crate) fn read_query(bytes: &[u8]) -> Option<Query> {
    let packet = Packet::parse(bytes).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    Some(Query {
        id: packet.id(),
        name: question.qname.to_string(),
        qtype: own_type(question.qtype),
        limit: packet.opt().map_or(UDP_LIMIT, |opt| usize::from(opt.udp_packet_size).max(UDP_LIMIT)),
        recursion: packet.has_flags(PacketFlag::RECURSION_DESIRED),
    })
}

/// Writes an answer of at most `limit` bytes: what does not fit is left out, and TC set. None where a record cannot be written.
pub(crate) fn reply(question: &[u8], query: &Query, reply: &Reply, limit: usize) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).ok()?;
    let mut packet = Packet::new_reply(query.id);
    if query.recursion {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if reply.authoritative {
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    }
    if reply.recursion_available {
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    }
    *packet.rcode_mut() = RCODE::from(u16::from(reply.rcode));
    packet.questions = asked.questions.clone();
    for (name, record) in &reply.answers {
        packet.answers.push(wire(name, record)?);
    }
    if let Some((zone, ttl)) = &reply.soa_answer {
        packet.answers.push(soa(zone, *ttl)?);
    }
    if let Some((zone, ttl)) = &reply.soa_authority {
        packet.name_servers.push(soa(zone, *ttl)?);
    }
    for (name, record) in &reply.additional {
        packet.additional_records.push(wire(name, record)?);
    }
    // Bounded: every round leaves out a record.
    loop {
        let bytes = packet.build_bytes_vec_compressed().ok()?;
        if bytes.len() <= limit {
            return Some(bytes);
        }
        if packet.additional_records.pop().is_none() && packet.name_servers.pop().is_none() {
            packet.set_flags(PacketFlag::TRUNCATION);
            packet.answers.pop()?;
        }
    }
}

/// Writes the answer to what is no question that we understand: FORMERR.
pub(crate) fn format_error(bytes: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let mut packet = Packet::new_reply(id);
    *packet.rcode_mut() = RCODE::FormatError;
    packet.build_bytes_vec().ok()
}

/// Reads an answer; none where it is none.
pub(crate) fn read_response(bytes: &[u8]) -> Option<Response> {
    let packet = Packet::parse(bytes).ok()?;
    if !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    // simple-dns names the codes; the number is in the header.
    let rcode = bytes.get(3)? & 15;
    let answers = packet.answers.iter().filter_map(|record| Some((plain_name(&record.name), own(record)?))).collect();
    Some(Response {
        id: packet.id(),
        rcode,
        truncated: packet.has_flags(PacketFlag::TRUNCATION),
        name: packet.questions.first().map(|question| plain_name(&question.qname)).unwrap_or_default(),
        answers,
    })
}

fn plain_name(name: &Name<'_>) -> String {
    name.to_string().to_ascii_lowercase()
}

fn name(text: &str) -> Option<Name<'static>> {
    Name::new(text).ok().map(Name::into_owned)
}

fn wire(owner: &str, record: &DnsRecord) -> Option<ResourceRecord<'static>> {
    let data = match &record.data {
        DnsData::A(address) => RData::A(A { address: u32::from(*address) }),
        DnsData::Aaaa(address) => RData::AAAA(AAAA { address: u128::from(*address) }),
        DnsData::Cname(target) => RData::CNAME(CNAME(name(target)?)),
        DnsData::Ptr(target) => RData::PTR(PTR(name(target)?)),
        DnsData::Ns(target) => RData::NS(NS(name(target)?)),
        DnsData::Srv { priority, weight, port, target } => {
            RData::SRV(SRV { priority: *priority, weight: *weight, port: *port, target: name(target)? })
        }
        DnsData::Txt(text) => {
            let mut txt = TXT::new();
            for piece in text.as_bytes().chunks(255) {
                txt.add_char_string(CharacterString::new(piece).ok()?.into_owned());
            }
            RData::TXT(txt.into_owned())
        }
    };
    Some(ResourceRecord::new(name(owner)?, CLASS::IN, record.ttl, data))
}

/// The SOA that CoreDNS' kubernetes plugin writes.
fn soa(zone: &str, ttl: u32) -> Option<ResourceRecord<'static>> {
    let data = SOA {
        mname: name(&format!("ns.dns.{zone}"))?,
        rname: name(&format!("hostmaster.{zone}"))?,
        serial: 1,
        refresh: 7200,
        retry: 1800,
        expire: 86_400,
        minimum: ttl,
    };
    Some(ResourceRecord::new(name(zone)?, CLASS::IN, ttl, RData::SOA(data)))
}

fn own(record: &ResourceRecord<'_>) -> Option<DnsRecord> {
    let data = match &record.rdata {
        RData::A(a) => DnsData::A(Ipv4Addr::from(a.address)),
        RData::AAAA(aaaa) => DnsData::Aaaa(Ipv6Addr::from(aaaa.address)),
        RData::CNAME(target) => DnsData::Cname(plain_name(&target.0)),
        RData::PTR(target) => DnsData::Ptr(plain_name(&target.0)),
        RData::NS(target) => DnsData::Ns(plain_name(&target.0)),
        RData::SRV(srv) => {
            DnsData::Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target: plain_name(&srv.target) }
        }
        RData::TXT(txt) => DnsData::Txt(String::try_from(txt.clone()).ok()?),
        _ => return None,
    };
    Some(DnsRecord { ttl: record.ttl, data })
}
