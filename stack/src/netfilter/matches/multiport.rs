//! `-m multiport`: up to fifteen ports.

use super::{Extension, Look, Test, print_range};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

const MAX_PORTS: usize = 15;
/// TCP, UDP, UDP-Lite, SCTP, DCCP.
const WITH_PORTS: [u8; 5] = [6, 17, 136, 132, 33];

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Side {
    Source,
    Destination,
    #[default]
    Either,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Multiport {
    side: Side,
    ports: Vec<(u16, u16)>,
    not: bool,
}

impl Extension for Multiport {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let side = match option {
            "--sports" | "--source-ports" => Side::Source,
            "--dports" | "--destination-ports" => Side::Destination,
            "--ports" => Side::Either,
            _ => return Ok(false),
        };
        if !self.ports.is_empty() {
            return Err(args.bad_option("multiport: only one of --source-ports, --destination-ports, --ports is allowed"));
        }
        self.side = side;
        self.not = args.inverted();
        let text = args.value()?;
        let mut slots = 0;
        for part in text.split(',') {
            let (lo, hi) = match part.split_once(':') {
                Some((lo, hi)) => (args.port(lo)?, args.port(hi)?),
                None => (args.port(part)?, args.port(part)?),
            };
            slots += if part.contains(':') { 2 } else { 1 };
            if slots > MAX_PORTS {
                return Err(args.bad("too many ports specified").help("fifteen fit; a range takes two of them"));
            }
            if part.contains(':') && lo >= hi {
                return Err(args.bad("invalid portrange specified"));
            }
            self.ports.push((lo, hi));
        }
        Ok(true)
    }

    fn finish(&self, base: &Base, _: Family) -> Result<(), String> {
        if base.not_proto || !WITH_PORTS.contains(&base.proto) {
            return Err("multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'".into());
        }
        if self.ports.is_empty() {
            return Err("multiport expection an option".into());
        }
        Ok(())
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(if self.not { " -m multiport ! " } else { " -m multiport " });
        out.push_str(match self.side {
            Side::Source => "--sports ",
            Side::Destination => "--dports ",
            Side::Either => "--ports ",
        });
        for (i, &(lo, hi)) in self.ports.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            print_range(out, lo, hi, ':');
        }
    }
}

impl Test for Multiport {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        if look.seen.fragment_offset != 0 {
            return false;
        }
        let Some(&[a, b, c, d]) = look.skb.transport().get(..4) else {
            look.hot_drop = true;
            return false;
        };
        let (sport, dport) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let inside = |port: u16| self.ports.iter().any(|&(lo, hi)| lo <= port && port <= hi);
        let fits = match self.side {
            Side::Source => inside(sport),
            Side::Destination => inside(dport),
            Side::Either => inside(sport) || inside(dport),
        };
        fits != self.not
    }
}
