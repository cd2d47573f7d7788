//! The extended matches (`-m`), one file each.
//!
//! The set is closed: an enum, whose parts read their options ([`Extension`]), print them as `iptables-save` does, and test a
//! packet ([`Test`]). What is not here is refused as `unsupported` when a rule set is read.

pub(crate) mod addrtype;
pub(crate) mod comment;
pub(crate) mod connmark;
pub(crate) mod conntrack;
pub(crate) mod dscp;
pub(crate) mod icmp;
pub(crate) mod iprange;
pub(crate) mod length;
pub(crate) mod limit;
pub(crate) mod mac;
pub(crate) mod mark;
pub(crate) mod multiport;
pub(crate) mod owner;
pub(crate) mod physdev;
pub(crate) mod pkttype;
pub(crate) mod quota;
pub(crate) mod recent;
pub(crate) mod rpfilter;
pub(crate) mod sctp;
pub(crate) mod state;
pub(crate) mod statistic;
pub(crate) mod tcp;
pub(crate) mod tos;
pub(crate) mod ttl;
pub(crate) mod udp;

use super::TableName;
use super::hook::HookState;
use super::iptables::args::Args;
use super::iptables::lex::Parsed;
use super::ruleset::{Base, Seen};
use crate::Cx;
use crate::addr::Family;
use crate::netns::Netns;
use crate::skb::Skb;

/// What every match and target can do with text.
pub(crate) trait Extension {
    /// Takes an option (with its dashes) and its values from `args`; false where it is not one of this extension.
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool>;

    /// After the last option: what is still missing, or does not go together, in the real tool's words.
    fn finish(&self, base: &Base, family: Family) -> Result<(), String> {
        let _ = (base, family);
        Ok(())
    }

    /// Writes its options as `iptables-save` does, with its name (` -m tcp --dport 80`, ` -j DNAT ...`).
    fn print(&self, out: &mut String, family: Family);
}

/// What a match can do with a packet.
pub(crate) trait Test {
    fn test(&self, look: &mut Look<'_, '_>) -> bool;
}

/// What a match sees.
pub(crate) struct Look<'a, 'c> {
    pub(crate) ns: &'a mut Netns,
    pub(crate) cx: &'a mut Cx<'c>,
    pub(crate) state: &'a HookState,
    pub(crate) skb: &'a Skb,
    pub(crate) seen: &'a Seen,
    pub(crate) table: TableName,
    /// Names the rule in random choices.
    pub(crate) key: u64,
    /// Set by a match that cannot read what it must read: the packet is dropped (`par->hotdrop`).
    pub(crate) hot_drop: bool,
}

impl Look<'_, '_> {
    /// The state of a match in this namespace, and whether it is new.
    pub(crate) fn slot(&mut self, slot: u32) -> &mut [u64; 2] {
        let counts = self.ns.netfilter.get_mut(self.state.family).counts_mut(self.table);
        counts.states.entry(slot).or_insert([u64::MAX; 2])
    }

    /// The name of a device.
    pub(crate) fn device_name(&self, dev: Option<crate::dev::device::DevId>) -> Option<&str> {
        dev.map(|dev| &*self.ns.devices.get(dev).name)
    }
}

/// The ports of `-m tcp` and `-m udp` where they test nothing else: these stand in the rule's block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ports {
    pub(crate) sport: (u16, u16),
    pub(crate) dport: (u16, u16),
    pub(crate) not_sport: bool,
    pub(crate) not_dport: bool,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports { sport: (0, u16::MAX), dport: (0, u16::MAX), not_sport: false, not_dport: false }
    }
}

impl Ports {
    pub(crate) fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--sport" | "--source-port" => {
                self.not_sport = args.inverted();
                let text = args.value()?;
                self.sport = args.ports(text, ':')?;
            }
            "--dport" | "--destination-port" => {
                self.not_dport = args.inverted();
                let text = args.value()?;
                self.dport = args.ports(text, ':')?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn print(&self, out: &mut String) {
        for (name, (lo, hi), not) in [("--sport", self.sport, self.not_sport), ("--dport", self.dport, self.not_dport)] {
            if (lo, hi) == (0, u16::MAX) && !not {
                continue;
            }
            out.push_str(if not { " ! " } else { " " });
            out.push_str(name);
            out.push(' ');
            print_range(out, lo, hi, ':');
        }
    }

    pub(crate) fn fit(&self, sport: u16, dport: u16) -> bool {
        let inside = |port: u16, range: (u16, u16)| range.0 <= port && port <= range.1;
        inside(sport, self.sport) != self.not_sport && inside(dport, self.dport) != self.not_dport
    }
}

/// `lo`, or `lo:hi` where they differ.
pub(crate) fn print_range(out: &mut String, lo: u16, hi: u16, separator: char) {
    use std::fmt::Write as _;
    let _ = if lo == hi { write!(out, "{lo}") } else { write!(out, "{lo}{separator}{hi}") };
}

/// `value`, or `value/mask`, as marks are printed by matches.
pub(crate) fn print_mark(out: &mut String, value: u32, mask: u32) {
    use std::fmt::Write as _;
    let _ = if mask == u32::MAX { write!(out, "0x{value:x}") } else { write!(out, "0x{value:x}/0x{mask:x}") };
}

macro_rules! match_enum {
    ($($variant:ident($ty:ty) = $($name:literal)|+,)*) => {
        /// An extended match of a rule.
        #[derive(Clone, PartialEq, Debug)]
        pub(crate) enum Match { $($variant($ty),)* }

        impl Match {
            /// `-m NAME`.
            pub(crate) fn load(name: &str) -> Option<Match> {
                match name {
                    $($($name)|+ => Some(Match::$variant(<$ty>::default())),)*
                    _ => None,
                }
            }

            pub(crate) fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
                match self { $(Match::$variant(m) => m.option(option, args),)* }
            }

            pub(crate) fn finish(&self, base: &Base, family: Family) -> Result<(), String> {
                match self { $(Match::$variant(m) => m.finish(base, family),)* }
            }

            pub(crate) fn print(&self, out: &mut String, family: Family) {
                match self { $(Match::$variant(m) => m.print(out, family),)* }
            }

            pub(crate) fn test(&self, look: &mut Look<'_, '_>) -> bool {
                match self { $(Match::$variant(m) => m.test(look),)* }
            }
        }
    };
}

match_enum! {
    Addrtype(addrtype::Addrtype) = "addrtype",
    Comment(comment::Comment) = "comment",
    Connmark(connmark::Connmark) = "connmark",
    Conntrack(Box<conntrack::Conntrack>) = "conntrack",
    Dscp(dscp::Dscp) = "dscp",
    Icmp(icmp::Icmp) = "icmp" | "icmp6" | "icmpv6",
    Iprange(iprange::Iprange) = "iprange",
    Length(length::Length) = "length",
    Limit(limit::Limit) = "limit",
    Mac(mac::MacSource) = "mac",
    Mark(mark::Mark) = "mark",
    Multiport(multiport::Multiport) = "multiport",
    Owner(owner::OwnerMatch) = "owner",
    Physdev(Box<physdev::Physdev>) = "physdev",
    Pkttype(pkttype::Pkttype) = "pkttype",
    Quota(quota::Quota) = "quota",
    Recent(Box<recent::Recent>) = "recent",
    Rpfilter(rpfilter::Rpfilter) = "rpfilter",
    Sctp(sctp::Sctp) = "sctp",
    State(state::State) = "state",
    Statistic(statistic::Statistic) = "statistic",
    Tcp(tcp::Tcp) = "tcp",
    Tos(tos::Tos) = "tos",
    Ttl(ttl::Ttl) = "ttl" | "hl",
    Udp(udp::Udp) = "udp",
}

/// Real matches that are refused as not modelled.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "ah",
    "bpf",
    "cgroup",
    "cluster",
    "connbytes",
    "connlabel",
    "connlimit",
    "cpu",
    "dccp",
    "devgroup",
    "dst",
    "ecn",
    "esp",
    "eui64",
    "frag",
    "hashlimit",
    "hbh",
    "helper",
    "ipcomp",
    "ipv6header",
    "ipvs",
    "mh",
    "nfacct",
    "osf",
    "policy",
    "rateest",
    "realm",
    "rt",
    "set",
    "socket",
    "srh",
    "string",
    "tcpmss",
    "time",
    "u32",
    "udplite",
];

/// Bits by hook, as in `hook_mask`.
pub(crate) mod at {
    use crate::netfilter::hook::Hook;

    pub(crate) const PRE: u8 = 1;
    pub(crate) const IN: u8 = 1 << 1;
    pub(crate) const FORWARD: u8 = 1 << 2;
    pub(crate) const OUT: u8 = 1 << 3;
    pub(crate) const POST: u8 = 1 << 4;
    pub(crate) const ALL: u8 = 31;

    /// The bit of a hook.
    pub(crate) fn bit(hook: Hook) -> u8 {
        1 << hook as u8
    }
}

impl Match {
    /// A match that only remarks.
    pub(crate) fn is_remark(&self) -> bool {
        matches!(self, Match::Comment(_))
    }

    /// The ports, where the match tests nothing else.
    pub(crate) fn ports_alone(&self) -> Option<Ports> {
        match self {
            Match::Tcp(tcp) => tcp.ports_alone(),
            Match::Udp(udp) => Some(udp.0),
            _ => None,
        }
    }

    /// Whether loading it switches connection tracking on (`nf_ct_netns_get` in its check).
    pub(crate) fn needs_conntrack(&self) -> bool {
        matches!(self, Match::Conntrack(_) | Match::State(_) | Match::Connmark(_))
    }

    /// The tables that it is bound to.
    pub(crate) fn tables(&self) -> Option<&'static [TableName]> {
        match self {
            Match::Rpfilter(_) => Some(&[TableName::Raw, TableName::Mangle]),
            _ => None,
        }
    }

    /// The hooks from which it may be reached.
    pub(crate) fn hooks(&self) -> u8 {
        match self {
            Match::Owner(_) => at::OUT | at::POST,
            Match::Rpfilter(_) => at::PRE,
            Match::Mac(_) => at::PRE | at::IN | at::FORWARD,
            Match::Addrtype(m) => m.hooks(),
            Match::Physdev(m) => m.hooks(),
            _ => at::ALL,
        }
    }

    /// Gives it a slot for its state, where it has some.
    pub(crate) fn take_slot(&mut self, next: &mut u32) {
        let slot = match self {
            Match::Limit(m) => &mut m.slot,
            Match::Quota(m) => &mut m.slot,
            Match::Statistic(m) => &mut m.slot,
            _ => return,
        };
        *slot = *next;
        *next += 1;
    }

    /// Whether it draws random choices.
    pub(crate) fn draws(&self) -> bool {
        matches!(self, Match::Statistic(m) if m.is_random())
    }

    /// Equality as `iptables -D` and `-C` see it: without the state.
    pub(crate) fn same(&self, other: &Match) -> bool {
        match self {
            Match::Limit(_) | Match::Quota(_) | Match::Statistic(_) => {
                let mut other = other.clone();
                let (mut slot, mut this) = (0, self.clone());
                this.take_slot(&mut slot);
                slot = 0;
                other.take_slot(&mut slot);
                this == other
            }
            _ => self == other,
        }
    }
}

impl<T: Extension> Extension for Box<T> {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        (**self).option(option, args)
    }

    fn finish(&self, base: &Base, family: Family) -> Result<(), String> {
        (**self).finish(base, family)
    }

    fn print(&self, out: &mut String, family: Family) {
        (**self).print(out, family);
    }
}
