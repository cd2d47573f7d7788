//! `nft_do_chain`: the walk of a packet through a base chain.

use std::sync::Arc;

use super::eval::{Effect, Eval};
use super::model::{ChainId, Reject, Rule, Ruleset, Stmt, Verdict};
use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::{HookState, HookVerdict};
use crate::netns::Netns;
use crate::skb::Skb;
use crate::trace::{Record, RuleRef, RuleVerdict};

/// Records of nft programs are told from those of iptables by this bit.
pub(crate) const PROGRAM: u32 = 1 << 31;

/// The end of a chain, or its policy; no chain, in a record.
const END: u32 = u32::MAX;

/// `NFT_JUMP_STACK_SIZE`.
const STACK: usize = 16;

/// What a rule said.
enum Said {
    /// It did not match, or has no verdict: on with the next one.
    Next,
    Verdict(Verdict),
    /// The packet goes on to the next hook.
    Accept,
    Drop(DropReason),
}

/// A rule that is being run, for its record.
struct Running<'r> {
    rule: &'r Rule,
    chain: u32,
    at: u32,
    /// Rules of this chain that did not match since the last record.
    tried: u32,
    recorded: bool,
}

struct Walk<'a, 'c, 'r> {
    eval: Eval<'a, 'c, 'r>,
    rules: &'r Ruleset,
    program: u32,
    tracing: bool,
}

/// Walks one base chain: accept is final for this chain only, drop for the packet.
pub(crate) fn do_chain(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    state: &HookState,
    skb: &mut Skb,
    chain: ChainId,
) -> Result<HookVerdict, DropReason> {
    let tracing = cx.tracing();
    let (program, rules): (u32, Arc<Ruleset>) = ns.netfilter.get_mut(state.family).enter_nft(tracing);
    let Some((table, base)) = rules.chain(chain) else { return Ok(HookVerdict::Accept) };
    let drops = base.base.is_some_and(|base| base.drop);
    let eval = Eval { ns, cx, state, skb, table, key: 0 };
    let mut walk = Walk { eval, rules: &rules, program: program | PROGRAM, tracing };
    walk.run(chain, drops)
}

impl<'r> Walk<'_, '_, 'r> {
    fn run(&mut self, base: ChainId, drops: bool) -> Result<HookVerdict, DropReason> {
        let mut stack = [(0_u32, 0_u32); STACK];
        let (mut depth, mut slot, mut at, mut since) = (0_usize, base.slot(), 0_u32, 0_u32);
        let id = |slot: u32| ChainId::new(base.table(), slot).0;
        loop {
            let rules: &'r Ruleset = self.rules;
            let Some((_, chain)) = rules.chain(ChainId(id(slot))) else { return Ok(HookVerdict::Accept) };
            let Some(rule) = chain.rules.get(at as usize) else {
                let tried = at - since;
                if depth == 0 {
                    return self.policy(id(base.slot()), tried, drops);
                }
                self.record(id(slot), END, tried, RuleVerdict::Return, END);
                depth -= 1;
                (slot, at) = stack[depth];
                since = at;
                continue;
            };
            let mut running = Running { rule, chain: id(slot), at, tried: at - since, recorded: false };
            at += 1;
            let said = self.rule(&mut running);
            if running.recorded {
                since = at;
            }
            match said {
                Said::Next | Said::Verdict(Verdict::Continue) => {}
                Said::Accept | Said::Verdict(Verdict::Accept) => return Ok(HookVerdict::Accept),
                Said::Drop(reason) => return Err(reason),
                Said::Verdict(Verdict::Drop) => return Err(DropReason::NetfilterDrop),
                Said::Verdict(Verdict::Return) => {
                    if depth == 0 {
                        return self.policy(id(base.slot()), 0, drops);
                    }
                    depth -= 1;
                    (slot, at) = stack[depth];
                    since = at;
                }
                Said::Verdict(Verdict::Jump { slot: to, .. }) => {
                    // Loading checked the depth of static jumps; the kernel drops what is deeper still.
                    if depth == STACK {
                        return Err(DropReason::NetfilterDrop);
                    }
                    stack[depth] = (slot, at);
                    depth += 1;
                    (slot, at, since) = (to, 0, 0);
                }
                Said::Verdict(Verdict::Goto { slot: to, .. }) => (slot, at, since) = (to, 0, 0),
            }
        }
    }

    /// Runs the statements of a rule.
    fn rule(&mut self, running: &mut Running<'r>) -> Said {
        let rule = running.rule;
        self.eval.key = rule.key;
        for (at, stmt) in rule.stmts.iter().enumerate() {
            // From here on the rule matches.
            if at == rule.settled {
                self.record_rule(running, fixed(&rule.stmts[at..]));
            }
            match self.eval.run(stmt) {
                Effect::Next => {}
                Effect::Break => return Said::Next,
                Effect::Verdict(verdict) => {
                    self.record_rule(running, verdict_of(verdict));
                    return Said::Verdict(verdict.clone());
                }
                Effect::Accept => return Said::Accept,
                Effect::Drop(reason) => return Said::Drop(reason),
            }
        }
        self.record_rule(running, (RuleVerdict::Continue, None));
        Said::Next
    }

    /// Once a rule.
    fn record_rule(&mut self, running: &mut Running<'_>, (verdict, target): (RuleVerdict, Option<u32>)) {
        if std::mem::replace(&mut running.recorded, true) {
            return;
        }
        let target = target.map_or(END, |slot| ChainId::new(ChainId(running.chain).table(), slot).0);
        self.record(running.chain, running.at, running.tried, verdict, target);
    }

    /// The end of a base chain.
    fn policy(&mut self, chain: u32, tried: u32, drops: bool) -> Result<HookVerdict, DropReason> {
        self.record(chain, END, tried, if drops { RuleVerdict::Drop } else { RuleVerdict::Accept }, END);
        if drops { Err(DropReason::NetfilterDrop) } else { Ok(HookVerdict::Accept) }
    }

    fn record(&mut self, chain: u32, rule: u32, tried: u32, verdict: RuleVerdict, target_chain: u32) {
        if self.tracing {
            let rule = RuleRef { program: self.program, chain, rule };
            let id = self.eval.skb.id();
            self.eval.cx.record(id, Record::Rule { rule, tried, verdict, target_chain });
        }
    }
}

fn verdict_of(verdict: &Verdict) -> (RuleVerdict, Option<u32>) {
    match verdict {
        Verdict::Accept => (RuleVerdict::Accept, None),
        Verdict::Drop => (RuleVerdict::Drop, None),
        Verdict::Continue => (RuleVerdict::Continue, None),
        Verdict::Return => (RuleVerdict::Return, None),
        Verdict::Jump { slot, .. } => (RuleVerdict::Jump, Some(*slot)),
        Verdict::Goto { slot, .. } => (RuleVerdict::Goto, Some(*slot)),
    }
}

/// The verdict that statements lead to which cannot break any more.
fn fixed(stmts: &[Stmt]) -> (RuleVerdict, Option<u32>) {
    match stmts.last() {
        Some(Stmt::Verdict(verdict)) => verdict_of(verdict),
        Some(Stmt::Reject(Reject::Reset | Reject::Icmp(_) | Reject::Icmp6(_) | Reject::Icmpx(_))) => (RuleVerdict::Reject, None),
        Some(Stmt::Nat(_)) => (RuleVerdict::Nat, None),
        _ => (RuleVerdict::Continue, None),
    }
}
