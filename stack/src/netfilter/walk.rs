//! `ipt_do_table`: the walk of a packet through the chains of a table.

use std::sync::Arc;

use super::hook::{HookState, HookVerdict};
use super::matches::Look;
use super::ruleset::{Chain, Fit, Policy, Seen, Table};
use super::targets::{Act, Done, Jump, Target};
use super::{Netfilter, TableName};
use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;
use crate::trace::{Record, RuleRef, RuleVerdict};

/// Where to go on after a jump.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    chain: u32,
    rule: u32,
}

/// The end of a chain, or its policy, in a [`RuleRef`]; no chain, in a record.
const END: u32 = u32::MAX;

/// What ended a walk.
enum End {
    Accept,
    Drop(DropReason),
}

/// See [`crate::netfilter::do_table`].
pub(crate) fn do_table(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    state: &HookState,
    skb: &mut Skb,
    table: TableName,
) -> Result<HookVerdict, DropReason> {
    let tracing = cx.tracing();
    let netfilter = ns.netfilter.get_mut(state.family);
    let Some((program, rules)) = netfilter.enter(table, tracing) else { return Ok(HookVerdict::Accept) };
    let Some(base) = rules.base(state.hook) else { return Ok(HookVerdict::Accept) };
    let stack = std::mem::take(&mut netfilter.stack);
    let seen = Seen::of(skb);
    let len = skb.ip_len() as u64;
    let mut walk =
        Walk { ns, cx, state, table, program, rules: &rules, seen, len, stack, base, chain: base, at: 0, since: 0, tracing };
    let end = walk.run(skb);
    let mut stack = walk.stack;
    stack.clear();
    ns.netfilter.get_mut(state.family).stack = stack;
    match end {
        End::Accept => Ok(HookVerdict::Accept),
        End::Drop(reason) => Err(reason),
    }
}

struct Walk<'a, 'c, 'r> {
    ns: &'a mut Netns,
    cx: &'a mut Cx<'c>,
    state: &'a HookState,
    table: TableName,
    program: u32,
    rules: &'r Arc<Table>,
    seen: Seen,
    /// Bytes of the packet, for the counters.
    len: u64,
    stack: Vec<Frame>,
    base: u32,
    /// Where we are.
    chain: u32,
    at: u32,
    /// The rule behind the last one of this chain that was recorded.
    since: u32,
    tracing: bool,
}

impl<'r> Walk<'_, '_, 'r> {
    fn run(&mut self, skb: &mut Skb) -> End {
        let rules: &'r Arc<Table> = self.rules;
        loop {
            let chain = rules.chain(self.chain);
            match self.next_match(chain, skb) {
                Err(reason) => return End::Drop(reason),
                Ok(true) => {
                    if let Some(end) = self.act(chain, skb) {
                        return end;
                    }
                }
                Ok(false) => {
                    if let Some(end) = self.chain_end(chain, skb) {
                        return end;
                    }
                }
            }
        }
    }

    /// Goes to the next rule of this chain that matches; false at its end.
    fn next_match(&mut self, chain: &Chain, skb: &Skb) -> Result<bool, DropReason> {
        let candidates = chain.index.as_ref().and_then(|index| index.candidates(&self.seen, self.at));
        let Some(candidates) = candidates else { return self.next_of_all(chain, skb) };
        for at in candidates {
            let fit = chain.blocks[at as usize].fits(&self.seen);
            self.at = at;
            if fit == Fit::Yes || fit == Fit::SoFar && self.extended(chain, skb)? {
                return Ok(true);
            }
        }
        self.at = chain.blocks.len() as u32;
        Ok(false)
    }

    fn next_of_all(&mut self, chain: &Chain, skb: &Skb) -> Result<bool, DropReason> {
        while let Some(block) = chain.blocks.get(self.at as usize) {
            match block.fits(&self.seen) {
                Fit::Yes => return Ok(true),
                Fit::SoFar if self.extended(chain, skb)? => return Ok(true),
                Fit::SoFar | Fit::No => self.at += 1,
            }
        }
        Ok(false)
    }

    /// What the block leaves open: interfaces, masks that are no prefixes, extended matches.
    fn extended(&mut self, chain: &Chain, skb: &Skb) -> Result<bool, DropReason> {
        let rule = &chain.rules[self.at as usize];
        let odd = |net: super::ruleset::Net, address: u128| {
            net.prefix_len().is_some() || ((address & net.mask == net.addr) != net.invert)
        };
        if !odd(rule.base.src, self.seen.src) || !odd(rule.base.dst, self.seen.dst) {
            return Ok(false);
        }
        let mut look = Look {
            ns: &mut *self.ns,
            cx: &mut *self.cx,
            state: self.state,
            skb,
            seen: &self.seen,
            table: self.table,
            key: rule.key,
            hot_drop: false,
        };
        if rule.base.iin.as_ref().is_some_and(|iface| !iface.fits(look.device_name(self.state.indev)))
            || rule.base.out.as_ref().is_some_and(|iface| !iface.fits(look.device_name(self.state.outdev)))
        {
            return Ok(false);
        }
        for m in &rule.matches {
            let fits = m.test(&mut look);
            if look.hot_drop {
                return Err(DropReason::NetfilterDrop);
            }
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rule at `self.at` matched.
    fn act(&mut self, chain: &'r Chain, skb: &mut Skb) -> Option<End> {
        let at = self.at;
        self.count(|counts, len| {
            if let Some(count) = counts.rules.get_mut(at as usize) {
                count.0 += 1;
                count.1 += len;
            }
        });
        let target = &chain.rules[at as usize].target;
        self.at += 1;
        match target {
            Target::None => self.record(skb, at, RuleVerdict::Continue, END),
            Target::Accept => {
                self.record(skb, at, RuleVerdict::Accept, END);
                return Some(End::Accept);
            }
            Target::Drop => {
                self.record(skb, at, RuleVerdict::Drop, END);
                return Some(End::Drop(DropReason::NetfilterDrop));
            }
            Target::Return => {
                self.record(skb, at, RuleVerdict::Return, END);
                return self.back(skb);
            }
            Target::Jump(jump) => self.jump(jump, at, skb),
            extension => return self.extension(extension, at, skb),
        }
        None
    }

    fn jump(&mut self, jump: &Jump, at: u32, skb: &Skb) {
        let verdict = if jump.goto { RuleVerdict::Goto } else { RuleVerdict::Jump };
        self.record(skb, at, verdict, jump.slot);
        if !jump.goto {
            self.stack.push(Frame { chain: self.chain, rule: self.at });
        }
        (self.chain, self.at, self.since) = (jump.slot, 0, 0);
    }

    fn extension(&mut self, target: &Target, at: u32, skb: &mut Skb) -> Option<End> {
        // What the target decides is known only afterwards, but its rule is to be read first.
        let before = match target {
            Target::Nat(_) => RuleVerdict::Nat,
            Target::Reject(_) => RuleVerdict::Reject,
            _ => RuleVerdict::Continue,
        };
        self.record(skb, at, before, END);
        let mut act = Act { ns: &mut *self.ns, cx: &mut *self.cx, state: self.state, skb };
        match target.act(&mut act) {
            Done::Continue => {
                if matches!(target, Target::Tcpmss(_)) {
                    self.len = skb.ip_len() as u64;
                }
                None
            }
            Done::Nat => Some(End::Accept),
            Done::Reject => Some(End::Drop(DropReason::NetfilterDrop)),
            Done::Drop(reason) => Some(End::Drop(reason)),
        }
    }

    fn chain_end(&mut self, chain: &Chain, skb: &Skb) -> Option<End> {
        if self.chain != self.base {
            let tried = chain.blocks.len() as u32 - self.since;
            self.record_end(skb, RuleVerdict::Return, self.chain, tried);
            self.since = 0;
            return self.back(skb);
        }
        self.policy(skb, chain.blocks.len() as u32 - self.since)
    }

    /// `RETURN`: to the caller, or, where there is none, to the policy.
    fn back(&mut self, skb: &Skb) -> Option<End> {
        match self.stack.pop() {
            Some(frame) => {
                (self.chain, self.at, self.since) = (frame.chain, frame.rule, frame.rule);
                None
            }
            None => self.policy(skb, 0),
        }
    }

    fn policy(&mut self, skb: &Skb, tried: u32) -> Option<End> {
        self.chain = self.base;
        let policy = self.rules.chain(self.base).policy;
        self.count(|counts, len| {
            counts.policy.0 += 1;
            counts.policy.1 += len;
        });
        let drop = policy == Some(Policy::Drop);
        self.record_end(skb, if drop { RuleVerdict::Drop } else { RuleVerdict::Accept }, self.base, tried);
        Some(if drop { End::Drop(DropReason::NetfilterDrop) } else { End::Accept })
    }

    fn count(&mut self, add: impl FnOnce(&mut super::ruleset::ChainCounts, u64)) {
        let netfilter: &mut Netfilter = self.ns.netfilter.get_mut(self.state.family);
        if let Some(counts) = netfilter.counts[self.table as usize].chains.get_mut(self.chain as usize) {
            add(counts, self.len);
        }
    }

    fn record(&mut self, skb: &Skb, at: u32, verdict: RuleVerdict, target_chain: u32) {
        let tried = at - self.since;
        self.since = at + 1;
        if self.tracing {
            let rule = RuleRef { program: self.program, chain: self.chain, rule: at };
            self.cx.record(skb.id(), Record::Rule { rule, tried, verdict, target_chain });
        }
    }

    fn record_end(&mut self, skb: &Skb, verdict: RuleVerdict, chain: u32, tried: u32) {
        if self.tracing {
            let rule = RuleRef { program: self.program, chain, rule: END };
            self.cx.record(skb.id(), Record::Rule { rule, tried, verdict, target_chain: END });
        }
    }
}
