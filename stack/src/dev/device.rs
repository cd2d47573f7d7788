//! `struct net_device`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sim_core::PortNo;

use crate::addr::Mac;
use crate::dev::bridge::{Bridge, BridgePort};
use crate::dev::macvlan::MacvlanMode;
use crate::dev::vlan::Vlan;
use crate::dev::vxlan::Vxlan;
use crate::provenance::ProvId;
use crate::sysctl::{Conf4, Conf6, ConfNeigh};

/// A device of a namespace. Never reused: a deleted device keeps its slot, so that records can name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DevId(pub u16);

impl DevId {
    /// No device.
    pub const NONE: DevId = DevId(u16::MAX);
}

/// What a device is. A closed set.
#[derive(Debug)]
pub enum DeviceKind {
    /// `lo`.
    Loopback,
    /// A veth, or the end of a cable: what it sends goes out of a port of the namespace.
    Veth,
    /// A bridge.
    Bridge(Box<Bridge>),
    /// A VXLAN tunnel end.
    Vxlan(Box<Vxlan>),
    /// A dummy: swallows what it is sent.
    Dummy,
    /// A VLAN of another device of the namespace.
    Vlan(Vlan),
    /// A device behind another one, which may be in another namespace: plugged in like a veth.
    Macvlan(MacvlanMode),
}

/// An address of a device (`struct in_ifaddr`, `struct inet6_ifaddr`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IfAddr {
    /// The address itself.
    pub address: IpAddr,
    /// The far end of a point-to-point address, else the address.
    pub peer: IpAddr,
    /// Length of its prefix.
    pub prefix_len: u8,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// Of the same prefix as an earlier one.
    pub secondary: bool,
    /// Broadcast address, if set.
    pub broadcast: Option<IpAddr>,
    /// `IFA_F_NODAD`: taken to be nobody else's without asking. IPv6 only.
    pub nodad: bool,
    /// Who set it.
    pub prov: ProvId,
}

/// A device.
#[derive(Debug)]
pub struct Device {
    /// Its slot.
    pub id: DevId,
    /// Its number, as `ip` shows it.
    pub ifindex: u32,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: DeviceKind,
    /// Its link-layer address.
    pub mac: Mac,
    /// Its MTU, in bytes, without the link-layer header.
    pub mtu: u32,
    /// `IFF_UP`: set by the administrator.
    pub up: bool,
    /// Whether there is somebody at the other end (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// The bridge that it is a port of.
    pub master: Option<DevId>,
    /// How it behaves as a port of that bridge; means nothing without a master.
    pub bridge_port: BridgePort,
    /// Where its link is plugged in.
    pub port: Option<PortNo>,
    /// Whether macvlan devices stand on it (`rx_handler`).
    pub macvlans: bool,
    /// `net.ipv4.conf.<dev>`.
    pub conf4: Conf4,
    /// `net.ipv6.conf.<dev>`.
    pub conf6: Conf6,
    /// `net.ipv4.neigh.<dev>`.
    pub neigh4: ConfNeigh,
    /// `net.ipv6.neigh.<dev>`.
    pub neigh6: ConfNeigh,
    /// Its addresses, in the order in which they were added (IPv4) or as the kernel sorts them (IPv6).
    pub addrs: Vec<IfAddr>,
    /// Whether it was deleted, or moved to another namespace.
    pub gone: bool,
    /// Who made it.
    pub prov: ProvId,
}

impl Device {
    /// Whether frames can pass: up, and somebody at the other end.
    #[inline]
    pub fn running(&self) -> bool {
        self.up && self.carrier
    }

    /// `IFF_LOOPBACK`.
    #[inline]
    pub fn is_loopback(&self) -> bool {
        matches!(self.kind, DeviceKind::Loopback)
    }

    /// The bridge that it is, if it is one.
    #[inline]
    pub fn bridge(&self) -> Option<&Bridge> {
        match &self.kind {
            DeviceKind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }

    /// Whether frames come and go whatever happens elsewhere: such a device has its carrier from the start.
    #[inline]
    pub(crate) fn keeps_carrier(&self) -> bool {
        matches!(self.kind, DeviceKind::Loopback | DeviceKind::Vxlan(_) | DeviceKind::Dummy)
    }

    /// `IFF_NOARP`: no neighbour is asked for its address.
    #[inline]
    pub fn noarp(&self) -> bool {
        matches!(self.kind, DeviceKind::Dummy)
    }

    /// The VLAN that it is, if it is one.
    #[inline]
    pub fn vlan(&self) -> Option<Vlan> {
        match self.kind {
            DeviceKind::Vlan(vlan) => Some(vlan),
            _ => None,
        }
    }

    /// The VXLAN tunnel end that it is, if it is one.
    #[inline]
    pub fn vxlan(&self) -> Option<&Vxlan> {
        match &self.kind {
            DeviceKind::Vxlan(vxlan) => Some(vxlan),
            _ => None,
        }
    }

    /// The VXLAN tunnel end that it is, to be changed.
    #[inline]
    pub(crate) fn vxlan_mut(&mut self) -> Option<&mut Vxlan> {
        match &mut self.kind {
            DeviceKind::Vxlan(vxlan) => Some(vxlan),
            _ => None,
        }
    }

    /// The bridge that it is, to be changed.
    #[inline]
    pub(crate) fn bridge_mut(&mut self) -> Option<&mut Bridge> {
        match &mut self.kind {
            DeviceKind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }
}

/// The devices of a namespace, by slot, name and port.
#[derive(Debug, Default)]
pub struct Devices {
    slots: Vec<Device>,
    by_name: BTreeMap<Arc<str>, DevId>,
    by_port: Vec<DevId>,
    generation: u64,
}

impl Devices {
    /// Adds a device; its `id` and `ifindex` are set here. The name must be free.
    pub(crate) fn add(&mut self, mut device: Device) -> DevId {
        self.generation += 1;
        let id = DevId(self.slots.len() as u16);
        device.id = id;
        device.ifindex = u32::from(id.0) + 1;
        self.by_name.insert(device.name.clone(), id);
        if let Some(port) = device.port {
            let at = port.0 as usize;
            if self.by_port.len() <= at {
                self.by_port.resize(at + 1, DevId::NONE);
            }
            self.by_port[at] = id;
        }
        self.slots.push(device);
        id
    }

    /// How many devices there have been.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The device of a name, if there is one now.
    pub fn named(&self, name: &str) -> Option<DevId> {
        self.by_name.get(name).copied()
    }

    /// The device at a port.
    #[inline]
    pub(crate) fn at_port(&self, port: PortNo) -> Option<DevId> {
        self.by_port.get(port.0 as usize).copied().filter(|&id| id != DevId::NONE)
    }

    /// A port number that no device has had.
    pub(crate) fn free_port(&self) -> PortNo {
        PortNo(self.by_port.len() as u16)
    }

    /// Sets a port number aside for what is no device: the lower end of a macvlan.
    pub(crate) fn reserve_port(&mut self) -> PortNo {
        let port = self.free_port();
        self.by_port.push(DevId::NONE);
        port
    }

    /// A number that changes with every change of a device (other than what a bridge learns): what was decided under another one is
    /// stale.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// A device, also one that is gone. `id` must be one that this namespace gave out.
    #[inline]
    pub fn get(&self, id: DevId) -> &Device {
        &self.slots[id.0 as usize]
    }

    /// A device, to be changed.
    pub(crate) fn get_mut(&mut self, id: DevId) -> &mut Device {
        self.generation += 1;
        &mut self.slots[id.0 as usize]
    }

    /// The bridge that a device is, to be changed on a packet's way: what it learns decides nothing outside of it.
    #[inline]
    pub(crate) fn bridge_mut(&mut self, id: DevId) -> Option<&mut Bridge> {
        self.slots[id.0 as usize].bridge_mut()
    }

    /// The tunnel end that a device is, to be changed on a packet's way, likewise.
    #[inline]
    pub(crate) fn vxlan_mut(&mut self, id: DevId) -> Option<&mut Vxlan> {
        self.slots[id.0 as usize].vxlan_mut()
    }

    /// Those that are there, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.slots.iter().filter(|device| !device.gone)
    }

    /// Takes a device out; its slot stays, so that records can name it.
    pub(crate) fn remove(&mut self, id: DevId) {
        self.generation += 1;
        let device = &mut self.slots[id.0 as usize];
        device.gone = true;
        self.by_name.remove(&device.name);
        if let Some(port) = device.port {
            self.by_port[port.0 as usize] = DevId::NONE;
        }
    }

    /// Gives a device another name, which must be free.
    pub(crate) fn rename(&mut self, id: DevId, name: &str) {
        self.generation += 1;
        let old = std::mem::replace(&mut self.slots[id.0 as usize].name, name.into());
        self.by_name.remove(&old);
        self.by_name.insert(name.into(), id);
    }
}
