//! The timers of a namespace. The engine wakes a namespace once; what is due then stands here, in (time, order of arming).

use std::collections::BTreeMap;
use std::net::IpAddr;

use sim_core::SimTime;

use crate::Cx;
use crate::dev::device::DevId;

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// A neighbour entry's probe, or its state's end (`neigh_timer_handler`).
    Neighbour(DevId, IpAddr),
    /// A reassembly queue has waited too long (`ip_expire`): the number of the queue.
    Fragments(u32),
    /// A socket wants to be polled (retransmission, delayed ACK, TIME-WAIT): the number of the socket.
    Socket(u32),
    /// An app wants to go on: the number of the app.
    App(u32),
}

/// A timer that was armed; cancels it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerKey(SimTime, u64);

/// The timers of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    armed: BTreeMap<TimerKey, Timer>,
    next: u64,
}

impl Timers {
    /// Arms a timer. A time that has passed means the present instant.
    pub(crate) fn arm(&mut self, cx: &mut Cx<'_>, at: SimTime, timer: Timer) -> TimerKey {
        self.next += 1;
        let key = TimerKey(at, self.next);
        self.armed.insert(key, timer);
        cx.wake_at(at);
        key
    }

    /// Disarms a timer; no effect where it has gone off.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        self.armed.remove(&key);
    }

    /// How many were armed so far: bounds one round of [`Timers::pop_due`].
    pub(crate) fn armed_so_far(&self) -> u64 {
        self.next
    }

    /// Takes the first timer that is due, of those that were armed before the round began: a handler that arms a timer for the
    /// present instant is called again by the wake that it asked for, after what is queued already.
    pub(crate) fn pop_due(&mut self, now: SimTime, round: u64) -> Option<Timer> {
        let key = self.armed.range(..=TimerKey(now, u64::MAX)).map(|(&key, _)| key).find(|key| key.1 <= round)?;
        self.armed.remove(&key)
    }

    /// When the next one is due.
    pub(crate) fn next_at(&self) -> Option<SimTime> {
        self.armed.first_key_value().map(|(key, _)| key.0)
    }
}
