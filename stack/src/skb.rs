//! A packet inside one namespace: `struct sk_buff`.
//!
//! Made on receive, taken apart on transmit, so that its metadata cannot cross a link. Offsets are from the start of the
//! frame; after any edit that moves headers they are set anew.

use sim_core::{Packet, PacketId};

use crate::addr::{Family, Mac};
use crate::dev::device::DevId;
use crate::route::Route;
use crate::trace::{CtId, CtInfo};

/// `skb->pkt_type`: for whom the frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PktType {
    /// For the device's own MAC.
    #[default]
    Host,
    /// Broadcast.
    Broadcast,
    /// Multicast.
    Multicast,
    /// For somebody else.
    OtherHost,
    /// Ours, on its way out.
    Outgoing,
}

/// `skb->_nfct`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ct {
    /// Not looked at yet.
    #[default]
    None,
    /// Exempt, or unfit: INVALID when seen by a rule where `None` after tracking.
    Untracked,
    /// Looked at, and fits no connection.
    Invalid,
    /// A packet of this connection.
    Entry(CtId, CtInfo),
}

/// What br_netfilter remembers (`struct nf_bridge_info`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BridgeInfo {
    /// The port that the frame came in through.
    pub physin: Option<DevId>,
    /// The port that it goes out through.
    pub physout: Option<DevId>,
}

/// What br_netfilter restores of a frame that comes back from the neighbour table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BridgedDnat {
    /// The source MAC that it had.
    pub(crate) source: Mac,
    /// Whether the taps of the bridge see it on the way: not where the header comes out of the cache.
    pub(crate) tapped: bool,
}

/// Who sent a packet of our own (`skb->sk`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The socket's number.
    pub socket: u32,
    /// User of its process.
    pub uid: u32,
    /// Group of its process.
    pub gid: u32,
}

/// A packet and its metadata inside one namespace.
#[derive(Debug)]
pub struct Skb {
    /// The frame. At receive it begins with the Ethernet header (where the device has one).
    pub packet: Packet,
    /// `skb->dev`: the device that it came in through, or goes out of.
    pub dev: DevId,
    /// `skb->skb_iif`: the device that it first came in through; [`DevId::NONE`] for our own.
    pub iif: DevId,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the transport header.
    pub l4: u16,
    /// IP version, once known.
    pub family: Option<Family>,
    /// Transport protocol, behind the extension headers.
    pub l4proto: u8,
    /// For whom the frame is.
    pub pkt_type: PktType,
    /// `skb->mark`.
    pub mark: u32,
    /// Its connection.
    pub ct: Ct,
    /// Where it goes, once looked up (`skb_dst`).
    pub route: Option<Route>,
    /// Set while bridge netfilter has it.
    pub bridge: Option<BridgeInfo>,
    /// `nf_bridge->bridged_dnat`: br_netfilter sends it through the neighbour table only to learn a new destination MAC.
    pub(crate) bridged_dnat: Option<BridgedDnat>,
    /// Who sent it, if a socket here did.
    pub owner: Option<Owner>,
    /// `IPCB(skb)->frag_max_size`: the largest fragment that it was put together from; 0: none.
    pub frag_max: u16,
    /// Tunnels around it so far.
    pub depth: u8,
}

impl Skb {
    /// A frame that came in through a device. Offsets are set by the receive path.
    pub fn new(packet: Packet, dev: DevId) -> Skb {
        Skb {
            packet,
            dev,
            iif: dev,
            l3: 0,
            l4: 0,
            family: None,
            l4proto: 0,
            pkt_type: PktType::Host,
            mark: 0,
            ct: Ct::None,
            route: None,
            bridge: None,
            bridged_dnat: None,
            owner: None,
            frag_max: 0,
            depth: 0,
        }
    }

    /// Takes the packet out, with its metadata, and leaves an empty one behind: the walk lends an skb from function to function, and
    /// whoever keeps it, or ends it, takes it.
    pub fn take(&mut self) -> Skb {
        Skb { packet: self.packet.take(), ..*self }
    }

    /// Who the packet is.
    #[inline]
    pub fn id(&self) -> PacketId {
        self.packet.id()
    }
}
