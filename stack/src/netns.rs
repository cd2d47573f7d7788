//! A network namespace: devices, routes, neighbours, rules, connections, sockets, and the walk of a packet through them.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{Node, Packet, PortNo};

use crate::Cx;
use crate::addr::{ByFamily, Family};
use crate::app::Apps;
use crate::conntrack::Conntrack;
use crate::dev::device::{DevId, Devices};
use crate::drop_reason::DropReason;
use crate::ip::frag::Fragments;
use crate::neigh::Neighbours;
use crate::netfilter::Netfilter;
use crate::route::Rib;
use crate::skb::Skb;
use crate::socket::Sockets;
use crate::sysctl::Sysctls;
use crate::timer::Timers;
use crate::trace::Record;

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    /// Its name.
    pub name: Arc<str>,
    /// Its devices.
    pub devices: Devices,
    /// Its sysctls, except those of its devices.
    pub sysctls: Sysctls,
    /// Its routes and policy rules.
    pub routes: ByFamily<Rib>,
    /// Its neighbours.
    pub neighbours: Neighbours,
    /// Its rule sets.
    pub netfilter: ByFamily<Netfilter>,
    /// Its connections.
    pub conntrack: Conntrack,
    /// Its sockets.
    pub sockets: Sockets,
    /// What runs on them.
    pub apps: Apps,
    pub(crate) fragments: Fragments,
    pub(crate) timers: Timers,
    /// Packets that this namespace sends to itself: loopback, decapsulation, a veth within one namespace.
    pub(crate) backlog: VecDeque<(DevId, Skb)>,
}

impl Netns {
    /// An empty namespace, with a loopback device that is down.
    pub fn new(name: &str) -> Netns {
        Netns {
            name: name.into(),
            devices: Devices::default(),
            sysctls: Sysctls::default(),
            routes: ByFamily { v4: Rib::new(Family::V4), v6: Rib::new(Family::V6) },
            neighbours: Neighbours::default(),
            netfilter: ByFamily::default(),
            conntrack: Conntrack::default(),
            sockets: Sockets::default(),
            apps: Apps::default(),
            fragments: Fragments::default(),
            timers: Timers::default(),
            backlog: VecDeque::new(),
        }
    }
}

impl Netns {
    /// `kfree_skb_reason`: ends a packet that does not arrive: records the drop and takes the buffer back. The one place where
    /// packets end without arriving.
    pub(crate) fn finish(&mut self, cx: &mut Cx<'_>, skb: Skb, reason: DropReason) {
        cx.record(skb.id(), Record::Drop { reason, dev: skb.dev });
        cx.recycle(skb.packet);
    }
}

impl Node for Netns {
    type Record = Record;

    fn receive(&mut self, cx: &mut Cx<'_>, port: PortNo, packet: Packet) {
        let _ = port;
        cx.recycle(packet);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    fn link_changed(&mut self, cx: &mut Cx<'_>, port: PortNo, up: bool) {
        let _ = (cx, port, up);
    }
}
