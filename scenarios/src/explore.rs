//! All arms of what is drawn by chance: the question is asked again with each arm forced, and the chances are multiplied along
//! the choice points.
//!
//! A Service of three endpoints is three rules: 1/3, then 1/2 of the rest, then the rest. Each run forces one path through them;
//! the shares come out as 1/3 each.

use std::collections::BTreeMap;
use std::fmt;

use sim_core::{Arms, Choice, ChoiceKey, TraceMode};
use stack::trace::purpose;

use crate::ask::Asked;
use crate::build::World;
use crate::load::Loaded;
use crate::outcome::{EndpointShare, OutcomeClass};
use crate::problem::Problems;
use crate::question::Question;

/// More paths than this are not walked.
const MAX_PATHS: usize = 1024;
/// How far a probability in a rule may be from the fraction that was meant: iptables keeps 31 bits, kube-proxy writes ten decimals.
const TOLERANCE: f64 = 2e-9;

/// A probability, exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fraction {
    over: u128,
    under: u128,
}

impl Fraction {
    /// `over/under`, reduced; `under` must not be 0.
    pub fn new(over: u128, under: u128) -> Fraction {
        let (mut a, mut b) = (over, under);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = a.max(1);
        Fraction { over: over / divisor, under: (under / divisor).max(1) }
    }

    /// The simplest fraction near `over/under`: by continued fractions.
    pub fn near(over: u64, under: u64) -> Fraction {
        let wanted = over as f64 / under.max(1) as f64;
        let (mut p0, mut q0, mut p1, mut q1) = (0u128, 1u128, 1u128, 0u128);
        let (mut a, mut b) = (u128::from(over), u128::from(under.max(1)));
        while b != 0 {
            let whole = a / b;
            (p0, q0, p1, q1) = (p1, q1, whole * p1 + p0, whole * q1 + q0);
            (a, b) = (b, a % b);
            if ((p1 as f64 / q1 as f64) - wanted).abs() <= TOLERANCE {
                break;
            }
        }
        Fraction::new(p1, q1)
    }

    /// The product; falls back to less exact numbers before it would overflow.
    pub fn times(self, other: Fraction) -> Fraction {
        let (a, b) = (Fraction::new(self.over, other.under), Fraction::new(other.over, self.under));
        match (a.over.checked_mul(b.over), a.under.checked_mul(b.under)) {
            (Some(over), Some(under)) => Fraction::new(over, under),
            _ => Fraction::new((self.over >> 32) * (other.over >> 32), ((self.under >> 32) * (other.under >> 32)).max(1)),
        }
    }

    /// The sum.
    pub fn plus(self, other: Fraction) -> Fraction {
        let cross = |a: Fraction, b: Fraction| a.over.checked_mul(b.under);
        match (cross(self, other), cross(other, self), self.under.checked_mul(other.under)) {
            (Some(a), Some(b), Some(under)) => Fraction::new(a.saturating_add(b), under),
            _ => Fraction::new((self.over >> 32) + (other.over >> 32), (self.under >> 32).max(1)),
        }
    }
}

/// `1/3`; `1` where it is certain.
impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.under == 1 { write!(f, "{}", self.over) } else { write!(f, "{}/{}", self.over, self.under) }
    }
}

/// Who was picked, and how the question ended there.
type Goal = (Option<std::net::IpAddr>, Option<u16>, OutcomeClass);

/// Asks the question in every way in which chance can turn; the first answer is the one that the seed gives.
///
/// # Errors
/// As building the world and asking.
pub fn explore(loaded: &Loaded, question: &Question) -> Result<Asked, Problems> {
    let mut pending: Vec<Vec<(ChoiceKey, u32)>> = vec![Vec::new()];
    let mut shares: BTreeMap<Goal, (Fraction, Option<String>)> = BTreeMap::new();
    let mut first: Option<Asked> = None;
    let mut paths = 0;
    while let Some(script) = pending.pop() {
        if paths == MAX_PATHS {
            break;
        }
        paths += 1;
        let mut world = loaded.converged(TraceMode::Headers)?;
        let before = world.network.sim.choices().len();
        for (key, arm) in &script {
            world.network.sim.force_choice(*key, *arm);
        }
        let asked = world.ask(question)?;
        let taken = choices(&world, before);
        // Other arms of what came behind the script; what comes last is walked first.
        for at in script.len()..taken.len() {
            let arms = match taken[at].arms {
                Arms::Equal(n) => n,
                Arms::Chance { .. } => 2,
            };
            for arm in (0..arms).filter(|arm| *arm != taken[at].arm) {
                let mut other: Vec<(ChoiceKey, u32)> = taken[..at].iter().map(|choice| (choice.key, choice.arm)).collect();
                other.push((taken[at].key, arm));
                pending.push(other);
            }
        }
        let chance = taken.iter().fold(Fraction::new(1, 1), |chance, choice| chance.times(share(choice)));
        let (ip, port, pod) = picked(&asked);
        let entry = shares.entry((ip, port, asked.answer.outcome)).or_insert((Fraction::new(0, 1), pod));
        entry.0 = entry.0.plus(chance);
        first.get_or_insert(asked);
    }
    let mut asked = first.expect("the first path is always walked");
    asked.answer.endpoints = shares
        .into_iter()
        .map(|((ip, port, outcome), (chance, pod))| EndpointShare { ip, port, pod, probability: chance.to_string(), outcome })
        .collect();
    if !pending.is_empty() {
        asked.answer.assumptions.push(format!("more than {MAX_PATHS} paths: not all endpoints are listed"));
    }
    Ok(asked)
}

/// The choices that pick an endpoint or a path, each at its first draw: a retry draws again, and is the same question.
fn choices(world: &World, before: usize) -> Vec<Choice> {
    let mut seen = std::collections::BTreeSet::new();
    let log = world.network.sim.choices().iter().skip(before);
    log.filter(|choice| matches!(choice.key.purpose, purpose::STATISTIC | purpose::NUMGEN | purpose::MULTIPATH))
        .filter(|choice| seen.insert((choice.key.purpose, choice.key.key)))
        .copied()
        .collect()
}

fn share(choice: &Choice) -> Fraction {
    match choice.arms {
        Arms::Equal(n) => Fraction::new(1, u128::from(n.max(1))),
        Arms::Chance { yes, of } => {
            let yes = Fraction::near(u64::from(yes), u64::from(of));
            if choice.arm == 1 { yes } else { Fraction::new(yes.under - yes.over.min(yes.under), yes.under) }
        }
    }
}

/// Who was picked: who got it, else where NAT sent it.
fn picked(asked: &Asked) -> (Option<std::net::IpAddr>, Option<u16>, Option<String>) {
    if let Some(to) = &asked.answer.delivered_to {
        let pod = to.namespace.as_ref().zip(to.pod.as_ref()).map(|(namespace, pod)| format!("{namespace}/{pod}"));
        return (Some(to.ip), to.port, pod);
    }
    let original = asked.exchange.packets.iter().find(|packet| packet.cause == "original");
    let nat = original.and_then(|packet| packet.steps.iter().find(|step| step.action == "nat"));
    let value = |end: &str| {
        nat.and_then(|step| step.diff.iter().find(|change| change.field.ends_with(end))).map(|change| change.new.clone())
    };
    (value(".dst").and_then(|ip| ip.parse().ok()), value(".dport").and_then(|port| port.parse().ok()), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iptables_keeps_reads_as_the_fraction_that_was_meant() {
        for n in 1..=200u64 {
            // iptables: --probability 0.3333333333 is lround(p * 2^31).
            let kept = ((1u64 << 31) as f64 * (format!("{:.10}", 1.0 / n as f64).parse::<f64>().expect("a number"))).round() as u64;
            assert_eq!(Fraction::near(kept, 1 << 31).to_string(), if n == 1 { "1".to_owned() } else { format!("1/{n}") });
        }
    }

    #[test]
    fn shares_of_a_service_are_equal_and_add_up() {
        let n = 7;
        let mut rest = Fraction::new(1, 1);
        let mut sum = Fraction::new(0, 1);
        for left in (1..=n).rev() {
            let here = rest.times(Fraction::new(1, left));
            assert_eq!(here.to_string(), "1/7");
            sum = sum.plus(here);
            rest = rest.times(Fraction::new(left - 1, left));
        }
        assert_eq!(sum.to_string(), "1");
    }
}
