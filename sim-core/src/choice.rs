//! Every random decision of a run.
//!
//! A decision is drawn from hash(seed, purpose, key, draw number), not from a shared stream of numbers: an edit elsewhere must
//! not reshuffle it. The key is made of what is stable (a flow's tuple and a rule, say); the draw number counts the draws for
//! that key, so that a retry draws anew. Each draw is logged with its arms, and a script can force an arm: that is how
//! `--explore` walks through all of them.

use std::collections::BTreeMap;
use std::hash::Hasher;

use rustc_hash::FxHashMap;
use siphasher::sip::SipHasher13;

/// What a decision is for. Named by the crate that draws.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Purpose(pub u16);

/// Which decision: purpose, stable key, and the number of the draw for that key, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChoiceKey {
    /// What it is for.
    pub purpose: Purpose,
    /// Hash of what is stable.
    pub key: u64,
    /// Draw number for that key.
    pub draw: u32,
}

/// The arms of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arms {
    /// `n` arms of equal chance, numbered from 0.
    Equal(u32),
    /// Arm 1 with a chance of `yes` in `of`, else arm 0.
    Chance {
        /// Chances for arm 1.
        yes: u32,
        /// Chances in all.
        of: u32,
    },
}

/// A decision that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Choice {
    /// Which decision.
    pub key: ChoiceKey,
    /// The arms that there were.
    pub arms: Arms,
    /// The arm that was taken.
    pub arm: u32,
}

/// At most this many decisions are logged; the run goes on without logging.
pub const CHOICE_LOG_LIMIT: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Choices {
    pub(crate) seed: u64,
    pub(crate) draws: FxHashMap<(Purpose, u64), u32>,
    pub(crate) script: BTreeMap<ChoiceKey, u32>,
    pub(crate) log: Vec<Choice>,
}

impl Choices {
    pub(crate) fn force(&mut self, key: ChoiceKey, arm: u32) {
        self.script.insert(key, arm);
    }

    pub(crate) fn decide(&mut self, purpose: Purpose, key: u64, arms: Arms) -> u32 {
        let draws = self.draws.entry((purpose, key)).or_insert(0);
        let key = ChoiceKey { purpose, key, draw: *draws };
        *draws += 1;
        let arm = match self.script.get(&key) {
            Some(&arm) => arm,
            None => {
                let number = hash(self.seed, purpose, key.key, u64::from(key.draw));
                match arms {
                    Arms::Equal(n) => below(number, n),
                    Arms::Chance { yes, of } => u32::from(below(number, of) < yes),
                }
            }
        };
        if self.log.len() < CHOICE_LOG_LIMIT {
            self.log.push(Choice { key, arms, arm });
        }
        arm
    }
}

/// A number below `n` (0 where `n` is 0), from the high bits of `number`.
pub(crate) fn below(number: u64, n: u32) -> u32 {
    ((u128::from(number) * u128::from(n)) >> 64) as u32
}

/// hash(seed, purpose, key, draw): SipHash-1-3, which is fixed for ever.
pub fn hash(seed: u64, purpose: Purpose, key: u64, draw: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, u64::from(purpose.0));
    hasher.write_u64(key.to_le());
    hasher.write_u64(draw.to_le());
    hasher.finish()
}

/// A stable 64-bit key of some bytes: SipHash-1-3 with zero keys.
pub fn key_of(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOSS: Purpose = Purpose(1);

    #[test]
    fn draws_are_golden() {
        assert_eq!(hash(1, TOSS, 2, 3), hash(1, TOSS, 2, 3));
        assert_eq!(hash(1, TOSS, 2, 3), 0xaa1d_c868_983f_6242, "seeds must mean the same for ever");
    }

    #[test]
    fn a_retry_draws_anew_and_other_keys_are_untouched() {
        let mut a = Choices { seed: 7, ..Choices::default() };
        let mut b = Choices { seed: 7, ..Choices::default() };
        let first: Vec<u32> = (0..32).map(|_| a.decide(TOSS, 1, Arms::Equal(1000))).collect();
        let mixed: Vec<u32> = (0..32)
            .map(|_| {
                b.decide(TOSS, 2, Arms::Equal(1000));
                b.decide(TOSS, 1, Arms::Equal(1000))
            })
            .collect();
        assert_eq!(first, mixed);
        assert!(first.iter().any(|&arm| arm != first[0]));
    }

    #[test]
    fn a_script_forces_an_arm() {
        let mut choices = Choices::default();
        choices.force(ChoiceKey { purpose: TOSS, key: 9, draw: 1 }, 3);
        choices.decide(TOSS, 9, Arms::Equal(4));
        assert_eq!(choices.decide(TOSS, 9, Arms::Equal(4)), 3);
    }

    #[test]
    fn chances_are_even_within_three_sigma() {
        let mut choices = Choices { seed: 3, ..Choices::default() };
        let hits: u32 = (0..10_000).map(|n| choices.decide(TOSS, n, Arms::Chance { yes: 1, of: 3 })).sum();
        assert!((3192..=3475).contains(&hits), "{hits}");
    }
}
