//! What an administrator does to a device: make, delete, up and down, MTU, MAC, master.

use crate::Cx;
use crate::addr::Mac;
use crate::dev::bridge::{self, BridgePort};
use crate::dev::device::{DevId, Device, DeviceKind};
use crate::dev::vlan;
use crate::dev::vxlan::{self, VxlanConfig};
use crate::errno::Errno;
use crate::neigh;
use crate::netns::Netns;
use crate::provenance::ProvId;

/// Bytes of a name, without the terminating zero of the kernel's.
const NAME_MAX: usize = 15;
/// `ETH_MIN_MTU`.
const MTU_MIN: u32 = 68;
/// `ETH_MAX_MTU`.
const MTU_MAX: u32 = 65_535;
/// The MTU of Ethernet.
const MTU_ETHERNET: u32 = 1500;
/// The MTU of loopback.
const MTU_LOOPBACK: u32 = 65_536;
/// Devices that a namespace may make in its life; slots are never reused.
const DEVICES_MAX: usize = 60_000;

/// `dev_valid_name`.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte.is_ascii_whitespace())
}

/// `ip link add`: a device that is down. Its MAC derives from namespace and name, its sysctls from `default`. A veth gets a port
/// of its own ([`Device::port`]), and no carrier before a link is plugged in.
///
/// # Errors
/// `Exist` where the name is taken, `Inval` where it is no name (1 to 15 bytes, no `/`, no space).
pub(crate) fn add(ns: &mut Netns, name: &str, kind: DeviceKind, prov: ProvId) -> Result<DevId, Errno> {
    if !is_valid_name(name) {
        return Err(Errno::Inval);
    }
    if ns.devices.named(name).is_some() {
        return Err(Errno::Exist);
    }
    if ns.devices.slots() >= DEVICES_MAX {
        return Err(Errno::NoMem);
    }
    let (mac, mtu, port) = match kind {
        DeviceKind::Loopback => (Mac::ZERO, MTU_LOOPBACK, None),
        DeviceKind::Veth => (Mac::of_name(&format!("{}/{name}", ns.name)), MTU_ETHERNET, Some(ns.devices.free_port())),
        DeviceKind::Macvlan(_) => (Mac::of_name(&format!("{}/{name}", ns.name)), MTU_ETHERNET, Some(ns.devices.free_port())),
        DeviceKind::Vlan(vlan) => (ns.devices.get(vlan.lower).mac, ns.devices.get(vlan.lower).mtu, None),
        DeviceKind::Bridge(_) | DeviceKind::Dummy => (Mac::of_name(&format!("{}/{name}", ns.name)), MTU_ETHERNET, None),
        DeviceKind::Vxlan(ref vxlan) => {
            let mtu = vxlan_mtu_max(ns, &vxlan.config).unwrap_or(MTU_ETHERNET);
            (Mac::of_name(&format!("{}/{name}", ns.name)), mtu, None)
        }
    };
    let dev = ns.devices.add(Device {
        id: DevId::NONE,
        ifindex: 0,
        name: name.into(),
        carrier: matches!(kind, DeviceKind::Loopback | DeviceKind::Vxlan(_) | DeviceKind::Dummy),
        kind,
        mac,
        mtu,
        up: false,
        master: None,
        bridge_port: BridgePort::default(),
        port,
        macvlans: false,
        conf4: ns.sysctls.default4.clone(),
        conf6: ns.sysctls.default6.clone(),
        neigh4: ns.sysctls.neigh4.clone(),
        neigh6: ns.sysctls.neigh6.clone(),
        addrs: Vec::new(),
        gone: false,
        prov,
    });
    if ns.devices.get(dev).bridge().is_some() {
        bridge::refresh_locals(ns, dev);
    }
    if let Some(vlan) = ns.devices.get(dev).vlan() {
        ns.devices.get_mut(dev).carrier = ns.devices.get(vlan.lower).running();
    }
    Ok(dev)
}

/// `vxlan_config_apply`, `vxlan_change_mtu`: the largest payload that fits the device below, where one was named.
pub(crate) fn vxlan_mtu_max(ns: &Netns, config: &VxlanConfig) -> Option<u32> {
    config.dev.map(|lower| ns.devices.get(lower).mtu.saturating_sub(config.overhead()))
}

/// `ip link del`.
///
/// # Errors
/// `OpNotSupp` for loopback.
pub(crate) fn delete(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) -> Result<(), Errno> {
    if ns.devices.get(dev).is_loopback() {
        return Err(Errno::OpNotSupp);
    }
    take_out(ns, cx, dev);
    Ok(())
}

/// `unregister_netdevice`: for deletion, and for a move to another namespace.
pub(crate) fn take_out(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    // vxlan_handle_lowerdev_unregister, vlan_device_event
    let above: Vec<DevId> = ns
        .devices
        .iter()
        .filter(|device| {
            device.vxlan().is_some_and(|vxlan| vxlan.config.dev == Some(dev)) || device.vlan().is_some_and(|vlan| vlan.lower == dev)
        })
        .map(|device| device.id)
        .collect();
    for tunnel in above {
        take_out(ns, cx, tunnel);
    }
    set_up(ns, cx, dev, false);
    if ns.devices.get(dev).bridge().is_some() {
        let ports: Vec<DevId> = bridge::ports(ns, dev).collect();
        for port in ports {
            release(ns, cx, port);
        }
    }
    if ns.devices.get(dev).master.is_some() {
        release(ns, cx, dev);
    }
    for address in ns.devices.get(dev).addrs.clone() {
        // The kernel cannot fail here either: what is listed is there.
        let _ = super::addr::delete(ns, cx, dev, address.address, Some(address.prefix_len));
    }
    neigh::flush_device(ns, cx, dev, false);
    ns.devices.remove(dev);
}

/// `ip link set up`, `down`.
pub(crate) fn set_up(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, up: bool) {
    if ns.devices.get(dev).up == up {
        return;
    }
    ns.devices.get_mut(dev).up = up;
    vxlan::set_up(ns, dev, up);
    if up {
        bridge::port_changed(ns, cx, dev);
        super::addr::device_up(ns, cx, dev);
    } else {
        super::addr::device_down(ns, cx, dev);
        neigh::flush_device(ns, cx, dev, false);
        crate::conntrack::nat::masq_device_down(ns, dev);
        bridge::port_changed(ns, cx, dev);
    }
    for vlan in vlans(ns, dev) {
        // NETDEV_UP, NETDEV_DOWN: VLAN devices go up and down with the device below.
        set_carrier(ns, cx, vlan, up && ns.devices.get(dev).carrier);
        set_up(ns, cx, vlan, up);
    }
}

/// The VLAN devices on a device.
fn vlans(ns: &Netns, dev: DevId) -> Vec<DevId> {
    vlan::above(ns, dev).map(|device| device.id).collect()
}

/// The device gained or lost its carrier.
pub(crate) fn set_carrier(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, carrier: bool) {
    let device = ns.devices.get_mut(dev);
    if device.carrier == carrier || device.keeps_carrier() {
        return;
    }
    device.carrier = carrier;
    let up = device.up;
    bridge::port_changed(ns, cx, dev);
    for vlan in vlans(ns, dev) {
        set_carrier(ns, cx, vlan, up && carrier);
    }
    if !up {
        return;
    }
    if carrier {
        // addrconf waits for the link before it makes its link-local address.
        super::addr::device_up(ns, cx, dev);
    } else {
        // neigh_carrier_down. Routes stay, as `linkdown`.
        neigh::flush_device(ns, cx, dev, true);
    }
}

/// `ip link set mtu`.
///
/// # Errors
/// `Inval` out of the device's range.
pub(crate) fn set_mtu(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, mtu: u32) -> Result<(), Errno> {
    let _ = cx;
    change_mtu(ns, dev, mtu)
}

fn change_mtu(ns: &mut Netns, dev: DevId, mtu: u32) -> Result<(), Errno> {
    if ns.devices.get(dev).vlan().is_some_and(|vlan| mtu > ns.devices.get(vlan.lower).mtu) {
        return Err(Errno::Range);
    }
    let most = ns.devices.get(dev).vxlan().and_then(|vxlan| vxlan_mtu_max(ns, &vxlan.config));
    let device = ns.devices.get_mut(dev);
    let in_range = (MTU_MIN..=MTU_MAX).contains(&mtu) || (mtu < MTU_MIN && matches!(device.kind, DeviceKind::Dummy));
    if !device.is_loopback() && (!in_range || most.is_some_and(|most| mtu > most)) {
        return Err(Errno::Inval);
    }
    device.mtu = mtu;
    for vlan in vlans(ns, dev) {
        if ns.devices.get(vlan).mtu > mtu {
            change_mtu(ns, vlan, mtu)?;
        }
    }
    let device = ns.devices.get_mut(dev);
    if let Some(bridge) = device.bridge_mut() {
        bridge.mtu_set = true;
    }
    if let Some(bridge) = device.master {
        bridge::adjust_mtu(ns, bridge);
    }
    Ok(())
}

/// `ip link set address`.
pub(crate) fn set_mac(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, mac: Mac) {
    if ns.devices.get(dev).mac == mac {
        return;
    }
    let old = std::mem::replace(&mut ns.devices.get_mut(dev).mac, mac);
    for vlan in vlans(ns, dev) {
        // vlan_sync_address: as long as it was given none of its own.
        if ns.devices.get(vlan).mac == old {
            set_mac(ns, cx, vlan, mac);
        }
    }
    if let Some(bridge) = ns.devices.get_mut(dev).bridge_mut() {
        bridge.mac_set = true;
    }
    // neigh_changeaddr: what was learned while we had another address goes.
    neigh::flush_device(ns, cx, dev, false);
    if let Some(bridge) = ns.devices.get(dev).master {
        bridge::choose_mac(ns, cx, bridge);
    } else if ns.devices.get(dev).bridge().is_some() {
        bridge::refresh_locals(ns, dev);
    }
}

/// `ip link set master`, `nomaster`.
///
/// # Errors
/// `Inval`, `Loop` as the kernel.
pub(crate) fn set_master(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, master: Option<DevId>) -> Result<(), Errno> {
    if ns.devices.get(dev).master == master {
        return Ok(());
    }
    if let Some(master) = master {
        if ns.devices.get(master).bridge().is_none() {
            return Err(Errno::OpNotSupp);
        }
        if ns.devices.get(dev).is_loopback() {
            return Err(Errno::Inval);
        }
        if ns.devices.get(dev).macvlans {
            return Err(Errno::Busy);
        }
        if ns.devices.get(dev).bridge().is_some() {
            return Err(Errno::Loop);
        }
    }
    if ns.devices.get(dev).master.is_some() {
        release(ns, cx, dev);
    }
    if let Some(master) = master {
        ns.devices.get_mut(dev).master = Some(master);
        ns.devices.get_mut(dev).bridge_port = BridgePort::default();
        bridge::choose_mac(ns, cx, master);
        bridge::adjust_mtu(ns, master);
        bridge::port_changed(ns, cx, dev);
    }
    Ok(())
}

/// `br_del_if`.
fn release(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    let Some(master) = ns.devices.get_mut(dev).master.take() else { return };
    if let Some(bridge) = ns.devices.get_mut(master).bridge_mut() {
        bridge.forget_port(dev);
    }
    bridge::choose_mac(ns, cx, master);
    bridge::adjust_mtu(ns, master);
    bridge::update_carrier(ns, cx, master);
}
