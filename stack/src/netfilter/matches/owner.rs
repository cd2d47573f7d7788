//! `-m owner`: who made a packet of this namespace (`net/netfilter/xt_owner.c`).

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::{Args, parse_number};
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

type Asked = Option<(u32, u32, bool)>;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct OwnerMatch {
    uid: Asked,
    gid: Asked,
    /// Whether inverted.
    exists: Option<bool>,
}

fn ids(args: &mut Args<'_, '_>, what: &str) -> Parsed<Asked> {
    let not = args.inverted();
    let text = args.value()?;
    let (lo, hi) = text.split_once('-').unwrap_or((text, text));
    let id = |text: &str| match text {
        "root" => Some(0),
        _ => parse_number(text).and_then(|n| u32::try_from(n).ok()),
    };
    match id(lo).zip(id(hi)) {
        Some((lo, hi)) => Ok(Some((lo, hi, not))),
        None => {
            Err(args.bad(format!("owner: Bad value for \"{what}\" option: \"{text}\"")).help("write a number, or two joined by -"))
        }
    }
}

impl Extension for OwnerMatch {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--uid-owner" => self.uid = ids(args, option)?,
            "--gid-owner" => self.gid = ids(args, option)?,
            "--socket-exists" => self.exists = Some(args.inverted()),
            "--suppl-groups" => {
                return Err(args.words[args.option].unsupported("pktlab does not model --suppl-groups of match owner"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if *self == OwnerMatch::default() {
            return Err("owner: At least one of --uid-owner, --gid-owner or --socket-exists is required".into());
        }
        Ok(())
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m owner");
        if let Some(not) = self.exists {
            out.push_str(if not { " ! --socket-exists" } else { " --socket-exists" });
        }
        for (name, asked) in [("--uid-owner", self.uid), ("--gid-owner", self.gid)] {
            if let Some((lo, hi, not)) = asked {
                let _ = write!(out, "{} {name} {lo}", if not { " !" } else { "" });
                if hi != lo {
                    let _ = write!(out, "-{hi}");
                }
            }
        }
    }
}

impl Test for OwnerMatch {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let inverted = |asked: Asked| asked.is_none_or(|(.., not)| not);
        let Some(owner) = look.skb.owner else {
            return self.exists.is_none_or(|not| not) && inverted(self.uid) && inverted(self.gid);
        };
        let fits = |asked: Asked, id: u32| asked.is_none_or(|(lo, hi, not)| (lo <= id && id <= hi) != not);
        self.exists != Some(true) && fits(self.uid, owner.uid) && fits(self.gid, owner.gid)
    }
}
