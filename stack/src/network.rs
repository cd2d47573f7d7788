//! Namespaces joined by links: what spans two of them, and the way from outside into one.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{LinkConfig, LinkId, NodeId, PacketId, Sim, TraceMode};

use crate::addr::Mac;
use crate::app::{self, AppId, Client, Server};
use crate::command::addr::AddrCommand;
use crate::command::apply::bridge::{bridge_options, port_options};
use crate::command::apply::vxlan::new_vxlan;
use crate::command::apply::{device, failed, kernel, unsupported};
use crate::command::link::{LinkCommand, LinkEnd, LinkSet, NewKind, NewLink};
use crate::command::show::{self, Peer, Peers};
use crate::command::{self, BridgeCommand, Command, CommandError, IpCommand, rtnetlink};
use crate::dev::device::{DevId, DeviceKind};
use crate::dev::vlan::{self, Vlan};
use crate::dev::{admin, dev_queue_xmit};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::provenance::{ProvId, Provenances};
use crate::skb::{PktType, Skb};
use crate::trace::{Record, cause};

mod macvlan;

use macvlan::Tie;

/// A network of namespaces.
#[derive(Debug)]
pub struct Network {
    /// The engine.
    pub sim: Sim<Netns>,
    /// Who made what.
    pub provenances: Provenances,
    by_name: BTreeMap<Arc<str>, NodeId>,
    /// The macvlan devices, in the order in which they were made.
    ties: Vec<Tie>,
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64, mode: TraceMode) -> Network {
        Network { sim: Sim::new(seed, mode), provenances: Provenances::default(), by_name: BTreeMap::new(), ties: Vec::new() }
    }

    /// `ip netns add`: a namespace with a loopback device that is down. The name must be new.
    ///
    /// # Errors
    /// `Exist`.
    pub fn add_netns(&mut self, name: &str) -> Result<NodeId, Errno> {
        if self.by_name.contains_key(name) {
            return Err(Errno::Exist);
        }
        let id = self.sim.add_node(name, Netns::new(name));
        self.by_name.insert(name.into(), id);
        Ok(id)
    }

    /// The namespace of a name.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// All namespaces, by name.
    pub fn names(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.by_name.iter().map(|(name, id)| (&**name, *id))
    }

    /// A namespace.
    pub fn netns(&self, id: NodeId) -> &Netns {
        self.sim.node(id)
    }

    /// Joins two new devices, one in each namespace, by a link: a veth pair where `config` is the default, else a cable. Both
    /// devices are down. MACs derive from the names (`<namespace>/<device>`).
    ///
    /// # Errors
    /// `Exist` where a name is taken in its namespace.
    pub fn join(&mut self, a: (NodeId, &str), b: (NodeId, &str), config: LinkConfig, prov: ProvId) -> Result<LinkId, Errno> {
        let taken = |(ns, name): (NodeId, &str)| self.netns(ns).devices.named(name).is_some();
        if taken(a) || taken(b) || a == b {
            return Err(Errno::Exist);
        }
        // As veth_newlink: the peer comes first.
        let far = admin::add(self.sim.node_mut(b.0), b.1, DeviceKind::Veth, prov)?;
        let near = admin::add(self.sim.node_mut(a.0), a.1, DeviceKind::Veth, prov)?;
        self.plug((a.0, near), (b.0, far), config)
    }

    /// Puts a link between the ports of two devices.
    fn plug(&mut self, a: (NodeId, DevId), b: (NodeId, DevId), config: LinkConfig) -> Result<LinkId, Errno> {
        let port = |(ns, dev): (NodeId, DevId)| self.netns(ns).devices.get(dev).port.map(|port| (ns, port)).ok_or(Errno::OpNotSupp);
        let (near, far) = (port(a)?, port(b)?);
        Ok(self.sim.connect(near, far, config))
    }

    /// The other end of a veth or cable.
    pub fn peer(&self, ns: NodeId, dev: DevId) -> Option<(NodeId, DevId)> {
        let port = self.netns(ns).devices.get(dev).port?;
        let link = self.sim.link_at(ns, port)?;
        let (far, far_port) = self.sim.link_ends(link).into_iter().find(|&end| end != (ns, port))?;
        self.netns(far).devices.at_port(far_port).map(|dev| (far, dev))
    }

    /// The link at a device, where it is a veth or the end of a cable.
    pub fn link_of(&self, ns: NodeId, dev: DevId) -> Option<LinkId> {
        self.netns(ns).devices.get(dev).port.and_then(|port| self.sim.link_at(ns, port))
    }

    /// Takes a link up or down, as one that pulls a cable does: both ends lose or gain their carrier.
    pub fn set_link_up(&mut self, link: LinkId, up: bool) {
        self.sim.set_link_up(link, up);
        let [(ns, port), _] = self.sim.link_ends(link);
        if let Some(dev) = self.netns(ns).devices.at_port(port) {
            self.update_carrier(ns, dev);
        }
        self.sync_macvlans();
    }

    /// `veth_open`, `veth_close`: both ends have a carrier while both are up and the link is.
    fn update_carrier(&mut self, ns: NodeId, dev: DevId) {
        let Some(far) = self.peer(ns, dev) else { return };
        let link_up = self.link_of(ns, dev).is_some_and(|link| self.sim.link_is_up(link));
        let carrier = link_up && [(ns, dev), far].iter().all(|&(ns, dev)| self.netns(ns).devices.get(dev).up);
        for (ns, dev) in [(ns, dev), far] {
            self.sim.with(ns, |netns, cx| admin::set_carrier(netns, cx, dev, carrier));
        }
    }

    /// Runs a command in a namespace, and returns what the tool would have printed to standard output.
    ///
    /// # Errors
    /// What the tool would have printed to standard error, and its exit code.
    pub fn apply(&mut self, ns: NodeId, command: &Command, prov: ProvId) -> Result<String, CommandError> {
        match command {
            Command::Ip(IpCommand::Link(command @ (LinkCommand::Add(_) | LinkCommand::Delete { .. } | LinkCommand::Set(_)))) => {
                let done = match command {
                    LinkCommand::Add(new) => self.add_link(ns, new, prov),
                    LinkCommand::Delete { dev } => self.delete_link(ns, dev),
                    LinkCommand::Set(set) => self.set_link(ns, set),
                    LinkCommand::Show { .. } => Ok(()),
                };
                // Also after a command that was refused half way.
                self.sync_macvlans();
                done.map(|()| String::new())
            }
            Command::Ip(IpCommand::Link(LinkCommand::Show { dev })) => show::links(self.netns(ns), &self.peers(ns), dev.as_deref()),
            Command::Bridge(BridgeCommand::LinkShow { dev }) => show::bridge_links(self.netns(ns), &self.peers(ns), dev.as_deref()),
            Command::Ip(IpCommand::Addr(AddrCommand::Show(select))) => show::addresses(self.netns(ns), &self.peers(ns), select),
            other => self.sim.with(ns, |netns, cx| command::apply(netns, cx, other, prov)),
        }
    }

    /// The other ends of the veths of a namespace, for a listing.
    fn peers(&self, ns: NodeId) -> Peers {
        let mut peers = Peers::new();
        for device in self.netns(ns).devices.iter() {
            let below = device.vlan().map(|vlan| (ns, vlan.lower)).or_else(|| self.macvlan_lower((ns, device.id)));
            let Some((far, dev)) = below.or_else(|| self.peer(ns, device.id)) else { continue };
            let peer = self.netns(far).devices.get(dev);
            let netns = (far != ns).then(|| self.sim.name(far).to_owned());
            peers.insert(device.id, Peer { netns, name: peer.name.to_string(), ifindex: peer.ifindex, up: peer.up });
        }
        peers
    }

    /// The namespace that a command names, or the one that it runs in.
    fn resolve(&self, here: NodeId, netns: Option<&str>) -> Result<NodeId, CommandError> {
        match netns {
            None => Ok(here),
            Some(name) => self
                .named(name)
                .ok_or_else(|| failed(255, format!("Error: argument \"{name}\" is wrong: Invalid \"netns\" value\n"))),
        }
    }

    fn add_link(&mut self, ns: NodeId, new: &NewLink, prov: ProvId) -> Result<(), CommandError> {
        let home = self.resolve(ns, new.end.netns.as_deref())?;
        match &new.kind {
            NewKind::Veth(peer) => {
                let far = self.resolve(ns, peer.netns.as_deref())?;
                self.join((home, &new.end.name), (far, &peer.name), LinkConfig::default(), prov).map_err(rtnetlink)?;
                self.equip(far, peer)?;
                self.equip(home, &new.end)
            }
            NewKind::Bridge(options) => {
                let kind = DeviceKind::Bridge(Box::default());
                let dev = admin::add(self.sim.node_mut(home), &new.end.name, kind, prov).map_err(rtnetlink)?;
                bridge_options(self.sim.node_mut(home), dev, options)?;
                self.equip(home, &new.end)
            }
            NewKind::Dummy => {
                admin::add(self.sim.node_mut(home), &new.end.name, DeviceKind::Dummy, prov).map_err(rtnetlink)?;
                self.equip(home, &new.end)
            }
            NewKind::Macvlan(mode) => self.add_macvlan((ns, home), new, *mode, prov),
            NewKind::Vlan(id) => {
                if home != ns {
                    return Err(unsupported("VLAN devices in another namespace than the device below"));
                }
                let Some(link) = &new.link else { return Err(kernel("8021q: link not specified.")) };
                let lower = device(self.netns(ns), link)?;
                if *id >= 4095 {
                    return Err(kernel("8021q: Invalid VLAN id."));
                }
                if self.netns(ns).devices.get(lower).is_loopback() {
                    return Err(kernel("8021q: VLANs not supported on device."));
                }
                if vlan::find(self.netns(ns), lower, *id).is_some() {
                    return Err(kernel("8021q: VLAN device already exists."));
                }
                let kind = DeviceKind::Vlan(Vlan { lower, id: *id });
                admin::add(self.sim.node_mut(ns), &new.end.name, kind, prov).map_err(rtnetlink)?;
                self.equip(ns, &new.end)
            }
            NewKind::Vxlan(args) => {
                let vxlan = new_vxlan(self.netns(home), args)?;
                let most = admin::vxlan_mtu_max(self.netns(home), &vxlan.config);
                let kind = DeviceKind::Vxlan(Box::new(vxlan));
                admin::add(self.sim.node_mut(home), &new.end.name, kind, prov).map_err(rtnetlink)?;
                // A new device takes as much of what was asked for as fits; only a later change is refused.
                let mtu = new.end.mtu.map(|mtu| most.map_or(mtu, |most| mtu.min(most)));
                self.equip(home, &LinkEnd { mtu, ..new.end.clone() })
            }
        }
    }

    /// What was asked of a new device beyond its type.
    fn equip(&mut self, ns: NodeId, end: &LinkEnd) -> Result<(), CommandError> {
        let dev = device(self.netns(ns), &end.name)?;
        if let Some(mac) = end.mac {
            self.set_mac(ns, dev, mac)?;
        }
        if let Some(mtu) = end.mtu {
            self.set_mtu(ns, dev, mtu)?;
        }
        if end.up {
            self.set_up(ns, dev, true)?;
        }
        Ok(())
    }

    fn set_mac(&mut self, ns: NodeId, dev: DevId, mac: Mac) -> Result<(), CommandError> {
        if mac.is_multicast() || mac == Mac::ZERO {
            return Err(rtnetlink(Errno::AddrNotAvail));
        }
        self.sim.with(ns, |netns, cx| admin::set_mac(netns, cx, dev, mac));
        Ok(())
    }

    fn set_mtu(&mut self, ns: NodeId, dev: DevId, mtu: u32) -> Result<(), CommandError> {
        if self.macvlan_mtu_max((ns, dev)).is_some_and(|most| mtu > most) {
            return Err(rtnetlink(Errno::Inval));
        }
        self.sim.with(ns, |netns, cx| admin::set_mtu(netns, cx, dev, mtu)).map_err(|errno| match errno {
            Errno::Inval if mtu < 68 => kernel("mtu less than device minimum."),
            Errno::Inval if mtu > 65_535 => kernel("mtu greater than device maximum."),
            other => rtnetlink(other),
        })
    }

    fn set_up(&mut self, ns: NodeId, dev: DevId, up: bool) -> Result<(), CommandError> {
        let device = self.netns(ns).devices.get(dev);
        if up && !device.up {
            self.may_go_up((ns, dev))?;
            // vlan_dev_open
            if device.vlan().is_some_and(|vlan| !self.netns(ns).devices.get(vlan.lower).up) {
                return Err(rtnetlink(Errno::NetDown));
            }
        }
        self.sim.with(ns, |netns, cx| admin::set_up(netns, cx, dev, up));
        self.update_carrier(ns, dev);
        Ok(())
    }

    /// `do_setlink`: in this order.
    fn set_link(&mut self, here: NodeId, set: &LinkSet) -> Result<(), CommandError> {
        let mut dev = device(self.netns(here), &set.dev)?;
        let mut ns = here;
        if let Some(netns) = &set.netns {
            let target = self.resolve(here, Some(netns))?;
            if target != here {
                dev = self.move_device(here, dev, target)?;
                ns = target;
            }
        }
        if let Some(mac) = set.mac {
            self.set_mac(ns, dev, mac)?;
        }
        if let Some(mtu) = set.mtu {
            self.set_mtu(ns, dev, mtu)?;
        }
        if let Some(name) = set.name.as_deref().filter(|&name| *name != *self.netns(ns).devices.get(dev).name) {
            if self.netns(ns).devices.named(name).is_some() {
                return Err(rtnetlink(Errno::Exist));
            }
            self.sim.node_mut(ns).devices.rename(dev, name);
        }
        if let Some(master) = &set.master {
            self.set_master(ns, dev, master.as_deref())?;
        }
        if !set.bridge.is_empty() {
            bridge_options(self.sim.node_mut(ns), dev, &set.bridge)?;
        }
        if !set.port.is_empty() {
            port_options(self.sim.node_mut(ns), dev, &set.port)?;
        }
        if let Some(up) = set.up {
            self.set_up(ns, dev, up)?;
        }
        Ok(())
    }

    fn set_master(&mut self, ns: NodeId, dev: DevId, master: Option<&str>) -> Result<(), CommandError> {
        let master = match master {
            None => None,
            Some(name) => Some(
                self.netns(ns)
                    .devices
                    .named(name)
                    .ok_or_else(|| failed(255, format!("Error: argument \"{name}\" is wrong: Device does not exist\n")))?,
            ),
        };
        self.sim.with(ns, |netns, cx| admin::set_master(netns, cx, dev, master)).map_err(|errno| match errno {
            Errno::Loop => kernel("Can not enslave a bridge to a bridge."),
            other => rtnetlink(other),
        })
    }

    /// `dev_change_net_namespace`: the device arrives down, without addresses, its link plugged in anew.
    fn move_device(&mut self, ns: NodeId, dev: DevId, target: NodeId) -> Result<DevId, CommandError> {
        let old = self.netns(ns).devices.get(dev);
        let (name, mac, mtu, prov) = (old.name.clone(), old.mac, old.mtu, old.prov);
        if matches!(old.kind, DeviceKind::Vxlan(_) | DeviceKind::Dummy | DeviceKind::Vlan(_)) || old.macvlans {
            return Err(unsupported("moving devices of this type to another namespace"));
        }
        let macvlan = match old.kind {
            DeviceKind::Macvlan(mode) => Some(mode),
            _ => None,
        };
        if !matches!(old.kind, DeviceKind::Veth | DeviceKind::Macvlan(_)) {
            return Err(kernel("The interface netns is immutable."));
        }
        if self.netns(target).devices.named(&name).is_some() {
            return Err(rtnetlink(Errno::Exist));
        }
        let far = self.peer(ns, dev);
        let config = self.link_of(ns, dev).map(|link| self.sim.link_config(link)).unwrap_or_default();
        self.set_up(ns, dev, false)?;
        self.unplug(ns, dev);
        self.sim.with(ns, |netns, cx| admin::delete(netns, cx, dev)).map_err(rtnetlink)?;
        let kind = macvlan.map_or(DeviceKind::Veth, DeviceKind::Macvlan);
        let moved = admin::add(self.sim.node_mut(target), &name, kind, prov).map_err(rtnetlink)?;
        self.macvlan_moved((ns, dev), (target, moved))?;
        self.sim
            .with(target, |netns, cx| {
                admin::set_mac(netns, cx, moved, mac);
                admin::set_mtu(netns, cx, moved, mtu)
            })
            .map_err(rtnetlink)?;
        if let Some(far) = far {
            self.plug((target, moved), far, config).map_err(rtnetlink)?;
        }
        Ok(moved)
    }

    fn unplug(&mut self, ns: NodeId, dev: DevId) {
        if let Some(port) = self.netns(ns).devices.get(dev).port {
            self.sim.disconnect((ns, port));
        }
    }

    /// A veth takes its other end with it.
    fn delete_link(&mut self, ns: NodeId, name: &str) -> Result<(), CommandError> {
        let dev = device(self.netns(ns), name)?;
        let far = self.peer(ns, dev);
        if far.is_some() {
            self.set_up(ns, dev, false)?;
            self.unplug(ns, dev);
        }
        for (ns, dev) in [Some((ns, dev)), far].into_iter().flatten() {
            self.sim.with(ns, |netns, cx| admin::delete(netns, cx, dev)).map_err(rtnetlink)?;
        }
        Ok(())
    }

    /// Sends a raw frame (Ethernet header first) out of a device, as an `AF_PACKET` socket does: netfilter is not passed.
    ///
    /// # Errors
    /// `NoDev`, `NetDown`.
    pub fn inject(&mut self, ns: NodeId, device: &str, frame: &[u8]) -> Result<PacketId, Errno> {
        self.sim.with(ns, |netns, cx| {
            let dev = netns.devices.named(device).ok_or(Errno::NoDev)?;
            if !netns.devices.get(dev).up {
                return Err(Errno::NetDown);
            }
            let mut packet = cx.packet(frame, None, cause::ORIGINAL);
            let id = packet.id();
            let snap = cx.snap_made(&mut packet);
            cx.record(id, Record::Originate { socket: None, frame: snap });
            let mut skb = Skb::new(packet, dev);
            skb.iif = DevId::NONE;
            skb.pkt_type = PktType::Outgoing;
            dev_queue_xmit(netns, cx, &mut skb);
            Ok(id)
        })
    }

    /// Starts a server in a namespace.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    pub fn serve(&mut self, ns: NodeId, server: Server) -> Result<AppId, Errno> {
        self.sim.with(ns, |netns, cx| app::serve(netns, cx, server))
    }

    /// Starts a client in a namespace; run the network, then read [`crate::app::Apps::answer`].
    pub fn ask(&mut self, ns: NodeId, client: Client) -> AppId {
        self.sim.with(ns, |netns, cx| app::ask(netns, cx, client))
    }
}

#[cfg(test)]
mod tests;
