//! A network namespace: devices, routes, neighbours, rules, connections, sockets, and the walk of a packet through them.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{Node, Packet, PortNo, WireEvent};

use crate::Cx;
use crate::addr::{ByFamily, Family};
use crate::app::{self, Apps};
use crate::conntrack::Conntrack;
use crate::dev::device::{DevId, DeviceKind, Devices};
use crate::dev::macvlan::{self, Child};
use crate::dev::{self, admin};
use crate::drop_reason::DropReason;
use crate::ip::frag::{self, Fragments};
use crate::ip::icmp::Peers;
use crate::neigh::{self, Neighbours};
use crate::netfilter::{Netfilter, Nft};
use crate::provenance::ProvId;
use crate::route::Rib;
use crate::route::cache::InputCache;
use crate::skb::Skb;
use crate::socket::{self, Sockets};
use crate::sysctl::Sysctls;
use crate::timer::{Timer, Timers};
use crate::trace::Record;
use crate::view::ETH_HLEN;

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
    /// Its rule set of nftables.
    pub nft: Nft,
    /// Its connections.
    pub conntrack: Conntrack,
    /// Its sockets.
    pub sockets: Sockets,
    /// What runs on them.
    pub apps: Apps,
    /// What was decided about packets that came in.
    pub(crate) inputs: InputCache,
    pub(crate) fragments: Fragments,
    /// What ICMP errors were sent to whom.
    pub(crate) peers: Peers,
    pub(crate) timers: Timers,
    /// Packets that this namespace sends to itself: loopback, decapsulation, a veth within one namespace.
    pub(crate) backlog: VecDeque<(DevId, Skb)>,
    /// The VXLAN devices that are up: those that the namespace listens for.
    pub(crate) vxlans: Vec<DevId>,
    /// The macvlan devices that stand on devices of this namespace, the newest first.
    pub(crate) macvlans: Vec<Child>,
    /// Identifications of IP packets drawn so far.
    pub(crate) ip_ids: u64,
}

impl Netns {
    /// An empty namespace, with a loopback device that is down.
    pub fn new(name: &str) -> Netns {
        let mut ns = Netns {
            name: name.into(),
            devices: Devices::default(),
            sysctls: Sysctls::default(),
            routes: ByFamily { v4: Rib::new(Family::V4), v6: Rib::new(Family::V6) },
            neighbours: Neighbours::default(),
            netfilter: ByFamily::default(),
            nft: Nft::default(),
            conntrack: Conntrack::default(),
            sockets: Sockets::default(),
            apps: Apps::default(),
            inputs: InputCache::default(),
            fragments: Fragments::default(),
            peers: Peers::default(),
            timers: Timers::default(),
            backlog: VecDeque::new(),
            vxlans: Vec::new(),
            macvlans: Vec::new(),
            ip_ids: 0,
        };
        admin::add(&mut ns, "lo", DeviceKind::Loopback, ProvId::default())
            .expect("the first device of a namespace has a free name");
        ns
    }

    /// `kfree_skb_reason`: ends a packet that does not arrive: records the drop and takes the buffer back. The one place where
    /// packets end without arriving.
    pub(crate) fn finish(&mut self, cx: &mut Cx<'_>, skb: Skb, reason: DropReason) {
        cx.record(skb.id(), Record::Drop { reason, dev: skb.dev });
        cx.recycle(skb.packet);
    }

    /// [`Netns::finish`] of a packet that was lent.
    #[cold]
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>, skb: &mut Skb, reason: DropReason) {
        self.finish(cx, skb.take(), reason);
    }

    /// `netif_rx`: puts a packet into the backlog: it comes in through `dev` at this instant, after what is queued already.
    pub(crate) fn requeue(&mut self, cx: &mut Cx<'_>, dev: DevId, skb: Skb) {
        self.backlog.push_back((dev, skb));
        cx.wake_now();
    }

    /// Runs the timers that are due.
    fn run_timers(&mut self, cx: &mut Cx<'_>) {
        let round = self.timers.armed_so_far();
        while let Some(timer) = self.timers.pop_due(cx.now(), round) {
            match timer {
                Timer::Neighbour(dev, address) => neigh::on_timer(self, cx, dev, address),
                Timer::Fragments(queue) => frag::on_timer(self, cx, queue),
                Timer::Socket(socket) => socket::on_timer(self, cx, socket),
                Timer::App(app) => app::on_timer(self, cx, app),
            }
        }
        if let Some(at) = self.timers.next_at()
            && at > cx.now()
        {
            cx.wake_at(at);
        }
    }
}

impl Node for Netns {
    type Record = Record;

    fn receive(&mut self, cx: &mut Cx<'_>, port: PortNo, mut packet: Packet) {
        let Some(dev) = self.devices.at_port(port) else {
            return macvlan::from_child(self, cx, port, packet);
        };
        // is_skb_forwardable: a veth loses what is larger than its MTU before any tap sees it. Four bytes are for a VLAN tag.
        if packet.len() > self.devices.get(dev).mtu as usize + ETH_HLEN + 4
            && matches!(self.devices.get(dev).kind, DeviceKind::Veth)
        {
            cx.record(packet.id(), Record::Wire { port, event: WireEvent::TooBig });
            return cx.recycle(packet);
        }
        let frame = cx.snap_received(&mut packet);
        cx.record(packet.id(), Record::Receive { dev, frame });
        dev::netif_receive(self, cx, &mut Skb::new(packet, dev));
    }

    /// One wake was asked for with each packet of the backlog and one with each timer. Where a timer is due, this is its wake.
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if self.timers.next_at().is_some_and(|at| at <= cx.now()) {
            return self.run_timers(cx);
        }
        let Some((dev, mut skb)) = self.backlog.pop_front() else {
            // The timer that asked for it was cancelled: the next one is armed.
            return self.run_timers(cx);
        };
        skb.dev = dev;
        skb.iif = dev;
        let frame = cx.snap(skb.packet.bytes());
        // No tap sees the copy of a broadcast that comes back to its sender (PACKET_LOOPBACK).
        let record =
            if self.devices.get(dev).is_loopback() { Record::Receive { dev, frame } } else { Record::Resume { dev, frame } };
        cx.record(skb.id(), record);
        // What has a route already was sent by this namespace to itself; the rest comes out of a tunnel, whose taps see it.
        if matches!(record, Record::Resume { .. }) && skb.route.is_none() {
            cx.record(skb.id(), Record::DevIn { dev, frame });
        }
        dev::netif_receive(self, cx, &mut skb);
        if let Some(at) = self.timers.next_at() {
            cx.wake_at(at);
        }
    }

    /// A cut link takes the carrier away. Whether a mended one gives it back depends on the device at its other end, which only the
    /// network sees.
    fn link_changed(&mut self, cx: &mut Cx<'_>, port: PortNo, up: bool) {
        if let Some(dev) = self.devices.at_port(port)
            && !up
        {
            admin::set_carrier(self, cx, dev, false);
        }
    }
}

#[cfg(test)]
mod tests;
