//! A link joins two ports. A veth pair is a link without delay, a cable is one with a delay: one concept.

use std::collections::VecDeque;

use crate::id::{NodeId, PortNo};
use crate::packet::Packet;
use crate::queue::Seq;
use crate::time::SimTime;

/// One in a million, the unit of the chances of a link.
pub const MILLION: u32 = 1_000_000;

/// What a link does to a frame. The default is a veth pair: no delay, no limit, nothing lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkConfig {
    /// Propagation delay.
    pub delay: SimTime,
    /// Bits a second; 0 is unlimited.
    pub rate_bps: u64,
    /// Chance that a frame is lost, in millionths.
    pub loss_ppm: u32,
    /// Chance that a frame arrives twice, in millionths.
    pub duplicate_ppm: u32,
    /// Chance that a frame is held back by one more `delay`, so that later ones overtake it, in millionths.
    pub reorder_ppm: u32,
    /// Largest frame that passes, in bytes, Ethernet header included; 0 is unlimited.
    pub max_frame: u32,
}

/// What befell a frame between two ports. The frame's node turns it into a record of its own (see [`crate::sim::WireRecord`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireEvent {
    /// Lost by chance.
    Lost,
    /// Arrives twice; the second arrival is the packet with this id.
    Duplicated(crate::PacketId),
    /// Held back, so that later frames overtake it.
    HeldBack,
    /// Larger than the link carries.
    TooBig,
    /// The link is down.
    LinkDown,
    /// No link is plugged into the port.
    Unplugged,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    /// Frames under way, in order of arrival.
    pub(crate) fifo: VecDeque<(SimTime, Seq, Packet)>,
    /// When the last bit of the last frame has left.
    pub(crate) busy_until: SimTime,
    /// Frames sent so far: the draw number of the chances.
    pub(crate) sent: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [(NodeId, PortNo); 2],
    pub(crate) config: LinkConfig,
    pub(crate) up: bool,
    /// Whether it is up and does nothing to frames.
    pub(crate) plain: bool,
    /// A stable key for the chances, from the names of the two ends.
    pub(crate) key: u64,
    pub(crate) directions: [Direction; 2],
}

impl Link {
    pub(crate) fn set(&mut self, config: LinkConfig, up: bool) {
        (self.config, self.up) = (config, up);
        self.plain = up && config == LinkConfig::default();
    }
}
