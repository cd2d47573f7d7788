//! Connections for people: the lines of `conntrack -L`, and what `-D` and `-F` take away.

use std::fmt::Write as _;

use sim_core::SimTime;

use super::table::{Conn, Track, status};
use super::tuple::Tuple;
use super::{Conntrack, CtEvent, CtId};
use crate::view::proto;

/// A connection, as `conntrack -L` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CtView {
    /// Which.
    pub id: CtId,
    /// Its first direction.
    pub original: Tuple,
    /// What its replies look like: after NAT not the inverse of `original`.
    pub reply: Tuple,
    /// `ESTABLISHED`, `SYN_SENT`, ... for TCP and SCTP.
    pub state: Option<&'static str>,
    /// No reply was seen.
    pub unreplied: bool,
    /// `ASSURED`.
    pub assured: bool,
    /// `mark`.
    pub mark: u32,
    /// `zone`.
    pub zone: u16,
    /// Seconds until it is forgotten, rounded down.
    pub timeout: u64,
    /// Whether its source was translated.
    pub snat: bool,
    /// Whether its destination was translated.
    pub dnat: bool,
    /// Whether it is in the table.
    pub confirmed: bool,
    /// Packets and bytes of both directions, where `nf_conntrack_acct` is on.
    pub counts: Option<[(u64, u64); 2]>,
}

fn view_of(id: CtId, conn: &Conn, now: SimTime) -> CtView {
    CtView {
        id,
        original: conn.original,
        reply: conn.reply,
        state: match &conn.track {
            Track::Tcp(track) => Some(track.state.name()),
            Track::Sctp(track) => Some(track.state.name()),
            Track::None | Track::Udp { .. } => None,
        },
        unreplied: !conn.has(status::SEEN_REPLY),
        assured: conn.has(status::ASSURED),
        mark: conn.mark,
        zone: conn.zone,
        timeout: conn.expires_in(now).as_secs(),
        snat: conn.has(status::SRC_NAT),
        dnat: conn.has(status::DST_NAT),
        confirmed: conn.has(status::CONFIRMED),
        counts: conn.counts.as_deref().copied(),
    }
}

impl Conntrack {
    /// The connections in the table, in the order in which they entered it.
    pub fn list(&self, now: SimTime) -> Vec<CtView> {
        let of = |id| self.view(id, now);
        self.table.list(now).into_iter().filter_map(of).collect()
    }

    /// One connection, also one that has left the table or never entered it (while a trace may name it).
    pub fn view(&self, id: CtId, now: SimTime) -> Option<CtView> {
        self.table.get(id).map(|conn| view_of(id, conn, now))
    }

    /// Connections in the table (`conntrack -C`, `nf_conntrack_count`).
    pub fn count(&self) -> u32 {
        self.table.count()
    }

    /// `conntrack -D`: forgets those in the table that are `wanted`, and says which they were.
    pub fn delete_matching(&mut self, wanted: impl Fn(&CtView) -> bool, now: SimTime) -> Vec<CtView> {
        let gone: Vec<CtView> = self.list(now).into_iter().filter(wanted).collect();
        for view in &gone {
            self.table.kill(view.id);
        }
        gone
    }

    /// `conntrack -F`.
    pub fn flush(&mut self) {
        for id in self.table.select(|_| true) {
            self.table.kill(id);
        }
    }

    /// `conntrack -L`'s line of a connection.
    pub fn line(view: &CtView) -> String {
        let mut line = body(view);
        write!(line, " mark={}", view.mark).expect("a String takes all");
        if view.zone != 0 {
            write!(line, " zone={}", view.zone).expect("a String takes all");
        }
        line.push_str(" use=1");
        line
    }

    /// `conntrack -E`'s line of what a record says; none for what is no event to the kernel (a packet of a known connection).
    pub fn event_line(event: CtEvent, view: &CtView) -> Option<String> {
        let word = match event {
            CtEvent::Confirmed => "[NEW]",
            CtEvent::Changed => "[UPDATE]",
            CtEvent::Destroyed => "[DESTROY]",
            CtEvent::New | CtEvent::Found | CtEvent::Invalid | CtEvent::Untracked => return None,
        };
        let mut line = format!("{word:>9} {}", body(view));
        if view.mark != 0 {
            write!(line, " mark={}", view.mark).expect("a String takes all");
        }
        Some(line)
    }
}

/// What `-L` and `-E` have in common.
fn body(view: &CtView) -> String {
    let protocol = view.original.proto;
    let mut line = format!("{:<8} {protocol} {}", protocol_name(protocol), view.timeout);
    let mut put = |text: std::fmt::Arguments<'_>| line.write_fmt(text).expect("a String takes all");
    if let Some(state) = view.state {
        put(format_args!(" {state}"));
    }
    for (at, tuple) in [(0, &view.original), (1, &view.reply)] {
        put(format_args!(" src={} dst={}", tuple.src, tuple.dst));
        match protocol {
            proto::ICMP | proto::ICMPV6 => {
                put(format_args!(" type={} code={} id={}", tuple.dport >> 8, tuple.dport & 0xff, tuple.sport));
            }
            proto::GRE => put(format_args!(" srckey=0x{:x} dstkey=0x{:x}", tuple.sport, tuple.dport)),
            // The tool knows DCCP, the kernel no longer does: its ports are 0.
            _ if tuple.has_ports() || protocol == DCCP => put(format_args!(" sport={} dport={}", tuple.sport, tuple.dport)),
            _ => {}
        }
        if let Some(counts) = &view.counts {
            put(format_args!(" packets={} bytes={}", counts[at].0, counts[at].1));
        }
        if at == 0 && view.unreplied {
            put(format_args!(" [UNREPLIED]"));
        }
    }
    if view.assured {
        put(format_args!(" [ASSURED]"));
    }
    line
}

const DCCP: u8 = 33;

/// The name that conntrack-tools give a protocol.
fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::UDPLITE => "udplite",
        proto::ICMP => "icmp",
        proto::ICMPV6 => "icmpv6",
        proto::SCTP => "sctp",
        proto::GRE => "gre",
        DCCP => "dccp",
        _ => "unknown",
    }
}
