//! Virtual time: integer nanoseconds since the start of the run. Never a float, never the machine's clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// A point in, or a span of, virtual time, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SimTime(pub u64);

impl SimTime {
    /// The start of the run, and the empty span.
    pub const ZERO: SimTime = SimTime(0);
    /// Later than anything that happens.
    pub const MAX: SimTime = SimTime(u64::MAX);

    /// `n` microseconds.
    pub const fn from_micros(n: u64) -> SimTime {
        SimTime(n.saturating_mul(1_000))
    }

    /// `n` milliseconds.
    pub const fn from_millis(n: u64) -> SimTime {
        SimTime(n.saturating_mul(1_000_000))
    }

    /// `n` seconds.
    pub const fn from_secs(n: u64) -> SimTime {
        SimTime(n.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The span from `earlier` to `self`; zero where `earlier` is later.
    pub const fn since(self, earlier: SimTime) -> SimTime {
        SimTime(self.0.saturating_sub(earlier.0))
    }
}

impl Add for SimTime {
    type Output = SimTime;
    fn add(self, span: SimTime) -> SimTime {
        SimTime(self.0.saturating_add(span.0))
    }
}

impl AddAssign for SimTime {
    fn add_assign(&mut self, span: SimTime) {
        *self = *self + span;
    }
}

impl Sub for SimTime {
    type Output = SimTime;
    fn sub(self, other: SimTime) -> SimTime {
        self.since(other)
    }
}

/// Seconds with nine decimals cut to what is there: `0s`, `0.00005s`, `1.5s`.
impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if nanos == 0 {
            return write!(f, "{secs}s");
        }
        let decimals = format!("{nanos:09}");
        write!(f, "{secs}.{}s", decimals.trim_end_matches('0'))
    }
}

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time: write a number and a unit (ns, us, ms, s, m, h), such as `50us` or `1.5s`")]
pub struct ParseTimeError {
    text: String,
}

/// `50us`, `1.5s`, `200ms`, `2m`: a decimal number and a unit.
impl FromStr for SimTime {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<SimTime, ParseTimeError> {
        let error = || ParseTimeError { text: text.to_owned() };
        let trimmed = text.trim();
        let unit_at = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (number, unit) = trimmed.split_at(unit_at);
        let unit_ns: u128 = match unit.trim() {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(error()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.len() > 15 || whole.len() > 18 {
            return Err(error());
        }
        let whole: u128 = whole.parse().map_err(|_| error())?;
        let scale = 10u128.pow(fraction.len() as u32);
        let fraction: u128 = fraction.parse().map_err(|_| error())?;
        let nanos = whole * unit_ns + fraction * unit_ns / scale;
        u64::try_from(nanos).map(SimTime).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::SimTime;

    #[test]
    fn times_read_and_print() {
        for (text, nanos, shown) in [
            ("50us", 50_000, "0.00005s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("0s", 0, "0s"),
            ("2m", 120_000_000_000, "120s"),
            ("10 ms", 10_000_000, "0.01s"),
        ] {
            let time: SimTime = text.parse().expect(text);
            assert_eq!((time.as_nanos(), time.to_string().as_str()), (nanos, shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "5", "s", "1..5s", "1.s", "-1s", "5 parsecs", "99999999999999999999s"] {
            assert!(text.parse::<SimTime>().is_err(), "{text}");
        }
    }
}
