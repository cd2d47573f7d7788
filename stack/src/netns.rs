//! A network namespace: devices, routes, neighbours, rules, connections, sockets, and the walk of a packet through them.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{Node, Packet, PortNo};

use crate::Cx;
use crate::addr::ByFamily;
use crate::conntrack::Conntrack;
use crate::dev::device::{DevId, Devices};
use crate::netfilter::Netfilter;
use crate::skb::Skb;
use crate::socket::Sockets;
use crate::timer::Timers;
use crate::trace::Record;

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    /// Its name.
    pub name: Arc<str>,
    /// Its devices.
    pub devices: Devices,
    pub(crate) netfilter: ByFamily<Netfilter>,
    pub(crate) conntrack: Conntrack,
    pub(crate) sockets: Sockets,
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
            netfilter: ByFamily::default(),
            conntrack: Conntrack::default(),
            sockets: Sockets::default(),
            timers: Timers::default(),
            backlog: VecDeque::new(),
        }
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
