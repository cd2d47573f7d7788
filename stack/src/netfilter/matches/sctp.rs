//! `-m sctp`: its ports; chunk types are not modelled.

use super::{Extension, Look, Ports, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::view::proto;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sctp(Ports);

impl Extension for Sctp {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option == "--chunk-types" {
            return Err(args.words[args.option].unsupported("pktlab does not model --chunk-types of match sctp"));
        }
        self.0.option(option, args)
    }

    fn finish(&self, base: &Base, _: Family) -> Result<(), String> {
        if base.is_proto(proto::SCTP) { Ok(()) } else { Err("SCTP match requires '-p sctp'".into()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m sctp");
        self.0.print(out);
    }
}

impl Test for Sctp {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        if look.seen.fragment_offset != 0 {
            return false;
        }
        let sctp = look.skb.transport();
        if sctp.len() < 12 {
            look.hot_drop = true;
            return false;
        }
        self.0.fit(u16::from_be_bytes([sctp[0], sctp[1]]), u16::from_be_bytes([sctp[2], sctp[3]]))
    }
}
