//! What a DNS server answers from its zones: CoreDNS with the plugins kubernetes, loadbalance and forward.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use sim_core::PacketId;
use sim_core::choice::{Arms, key_of};

use crate::Cx;
use crate::app::message::{self, Query, Reply};
use crate::app::{DnsData, DnsRecord, DnsZones, QType};
use crate::trace::{Record, purpose};

/// CNAMEs that are followed.
const CNAME_LIMIT: usize = 8;
const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

/// Who answers, and which packet asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The namespace of the server.
    pub(crate) server: &'a str,
    pub(crate) packet: PacketId,
}

/// Zones, and the names that exist in them although they have no records (empty non-terminals, RFC 4592 section 2.2.2).
#[derive(Clone, Debug)]
pub(crate) struct Zones {
    data: Arc<DnsZones>,
    inner_names: BTreeSet<String>,
}

impl Zones {
    pub(crate) fn new(data: Arc<DnsZones>) -> Zones {
        let mut inner_names = BTreeSet::new();
        let pods = data.origins.iter().flat_map(|origin| data.pods_insecure.iter().map(move |ns| format!("{ns}.pod.{origin}")));
        inner_names.extend(data.origins.iter().cloned());
        inner_names.extend(pods.clone());
        for name in data.records.keys().cloned().chain(pods) {
            let mut rest = &name[..];
            while let Some((_, parent)) = rest.split_once('.') {
                inner_names.insert(parent.to_owned());
                rest = parent;
            }
        }
        Zones { data, inner_names }
    }

    /// Answers a question.
    pub(crate) fn answer(&self, cx: &mut Cx<'_>, scope: Scope<'_>, query: &Query) -> Reply {
        let asked = query.name.trim_end_matches('.').to_ascii_lowercase();
        let mut reply = Reply::default();
        let mut name = asked.clone();
        // Bounded by the CNAMEs that are followed.
        for _ in 0..=CNAME_LIMIT {
            let Some(next) = self.look_up(&name, query.qtype, &mut reply) else { break };
            name = next;
        }
        if self.data.shuffle {
            shuffle(cx, scope, &format!("{asked} {:?}", query.qtype), &mut reply.answers);
        }
        self.add_targets(&mut reply);
        reply
    }

    /// The zone that a name is in.
    fn origin(&self, name: &str) -> Option<&str> {
        let holds = |origin: &&String| {
            name == origin.as_str() || name.strip_suffix(origin.as_str()).is_some_and(|rest| rest.ends_with('.'))
        };
        self.data.origins.iter().filter(holds).max_by_key(|origin| origin.len()).map(String::as_str)
    }

    /// Adds what is known of a name; returns the name to go on with where it is an alias.
    fn look_up(&self, name: &str, qtype: Option<QType>, reply: &mut Reply) -> Option<String> {
        let first = reply.answers.is_empty();
        let Some(origin) = self.origin(name) else { return self.forward(name, qtype, reply) };
        if first {
            reply.authoritative = true;
        }
        let synthesized;
        let records = match self.data.records.get(name) {
            Some(records) => records.as_slice(),
            None => match self.pod(name, origin) {
                Some(record) => {
                    synthesized = [record];
                    &synthesized[..]
                }
                None => {
                    if qtype == Some(QType::Soa) && name == origin {
                        reply.soa_answer = Some((origin.to_owned(), self.data.ttl));
                        return None;
                    }
                    reply.rcode = if self.inner_names.contains(name) { NOERROR } else { NXDOMAIN };
                    reply.soa_authority = Some((origin.to_owned(), self.data.ttl));
                    return None;
                }
            },
        };
        if qtype == Some(QType::Soa) && name == origin {
            reply.soa_answer = Some((origin.to_owned(), self.data.ttl));
            return None;
        }
        match select(name, records, qtype, reply) {
            Selected::Some => None,
            Selected::Alias(target) => Some(target),
            Selected::None => {
                reply.soa_authority = Some((origin.to_owned(), self.data.ttl));
                None
            }
        }
    }

    /// What upstream servers say.
    fn forward(&self, name: &str, qtype: Option<QType>, reply: &mut Reply) -> Option<String> {
        let Some(known) = &self.data.forward else {
            // The alias stands, its target is somebody else's: that alone is answered.
            if reply.answers.is_empty() {
                reply.rcode = REFUSED;
            }
            return None;
        };
        if reply.answers.is_empty() {
            reply.recursion_available = true;
        }
        let Some(records) = known.get(name) else {
            reply.rcode = NXDOMAIN;
            return None;
        };
        match select(name, records, qtype, reply) {
            Selected::Alias(target) => Some(target),
            Selected::Some | Selected::None => None,
        }
    }

    /// `pods insecure`: `10-244-1-2.default.pod.cluster.local`.
    fn pod(&self, name: &str, origin: &str) -> Option<DnsRecord> {
        let rest = name.strip_suffix(origin)?.strip_suffix(".pod.")?;
        let (address, namespace) = rest.split_once('.')?;
        if !self.data.pods_insecure.iter().any(|known| known == namespace) {
            return None;
        }
        let v4: Option<Ipv4Addr> = address.replace('-', ".").parse().ok();
        let data = match v4 {
            Some(v4) => DnsData::A(v4),
            None => DnsData::Aaaa(address.replace('-', ":").parse().ok()?),
        };
        Some(DnsRecord { ttl: self.data.ttl, data })
    }

    /// The addresses of the targets of SRV records, for the additional section.
    fn add_targets(&self, reply: &mut Reply) {
        let mut seen = BTreeSet::new();
        for (_, record) in &reply.answers {
            let DnsData::Srv { target, .. } = &record.data else { continue };
            if !seen.insert(target.clone()) {
                continue;
            }
            for found in self.data.records.get(target).into_iter().flatten() {
                if matches!(found.data, DnsData::A(_) | DnsData::Aaaa(_)) {
                    reply.additional.push((target.clone(), found.clone()));
                }
            }
        }
    }
}

/// Answers a message; none where nothing is to be sent back.
pub(crate) fn serve(cx: &mut Cx<'_>, scope: Scope<'_>, zones: &Zones, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let Some(query) = message::read_query(bytes) else {
        // An answer is not answered: two servers would talk for ever.
        let is_answer = bytes.get(2).is_none_or(|flags| flags & 0x80 != 0);
        return if is_answer { None } else { message::format_error(bytes) };
    };
    let mut reply = zones.answer(cx, scope, &query);
    if bytes[2] & 0x78 != 0 {
        reply = Reply { rcode: NOTIMP, ..Reply::default() };
    }
    message::reply(bytes, &query, &reply, if tcp { 65_535 } else { query.limit })
}

enum Selected {
    Some,
    Alias(String),
    None,
}

/// Adds the records of a type; where there are none, an alias.
fn select(name: &str, records: &[DnsRecord], qtype: Option<QType>, reply: &mut Reply) -> Selected {
    let before = reply.answers.len();
    let matching = records.iter().filter(|record| Some(type_of(&record.data)) == qtype);
    reply.answers.extend(matching.map(|record| (name.to_owned(), record.clone())));
    if reply.answers.len() > before {
        return Selected::Some;
    }
    let alias = records.iter().find_map(|record| match &record.data {
        DnsData::Cname(target) => Some((record, target)),
        _ => None,
    });
    let Some((record, target)) = alias else { return Selected::None };
    reply.answers.push((name.to_owned(), record.clone()));
    Selected::Alias(target.trim_end_matches('.').to_ascii_lowercase())
}

fn type_of(data: &DnsData) -> QType {
    match data {
        DnsData::A(_) => QType::A,
        DnsData::Aaaa(_) => QType::Aaaa,
        DnsData::Cname(_) => QType::Cname,
        DnsData::Ptr(_) => QType::Ptr,
        DnsData::Txt(_) => QType::Txt,
        DnsData::Srv { .. } => QType::Srv,
        DnsData::Ns(_) => QType::Ns,
    }
}

/// `loadbalance`: aliases first, then the addresses in any order (Fisher and Yates; each exchange is a decision).
fn shuffle(cx: &mut Cx<'_>, scope: Scope<'_>, question: &str, answers: &mut [(String, DnsRecord)]) {
    let address = |(_, record): &(String, DnsRecord)| matches!(record.data, DnsData::A(_) | DnsData::Aaaa(_));
    answers.sort_by_key(address);
    let first = answers.partition_point(|answer| !address(answer));
    let addresses = &mut answers[first..];
    let key = key_of(format!("{} {question}", scope.server).as_bytes());
    for n in (1..addresses.len()).rev() {
        let choice = cx.decide(purpose::DNS_ORDER, key, Arms::Equal(n as u32 + 1));
        let (draw, arm) = (choice.key.draw, choice.arm);
        cx.record(scope.packet, Record::Choice { purpose: purpose::DNS_ORDER.0, key, draw, arm });
        addresses.swap(n, arm as usize);
    }
}
