//! `-m comment`: a remark, for people.

use std::sync::Arc;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::{Parsed, save_string};
use crate::netfilter::ruleset::Base;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Comment {
    pub(crate) text: Option<Arc<str>>,
}

impl Extension for Comment {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--comment" {
            return Ok(false);
        }
        let text = args.value()?;
        if text.len() > 255 {
            return Err(args.bad("COMMENT must be shorter than 256 characters"));
        }
        self.text = Some(text.into());
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.text.is_none() { Err("comment: option \"--comment\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m comment --comment ");
        save_string(self.text.as_deref().unwrap_or_default(), out);
    }
}

impl Test for Comment {
    fn test(&self, _: &mut Look<'_, '_>) -> bool {
        true
    }
}
