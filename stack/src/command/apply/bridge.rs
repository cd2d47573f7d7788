//! `bridge`, and the bridge options of `ip link`: ports, forwarding database.

use std::fmt::Write as _;

use sim_core::SimTime;

use super::{Done, failed, rtnetlink, unsupported, vxlan};
use crate::Cx;
use crate::command::CommandError;
use crate::command::bridge::{BridgeCommand, FdbArgs, FdbOp, FdbState};
use crate::dev::bridge::{FdbKind, fdb_add, fdb_delete};
use crate::dev::device::DevId;
use crate::errno::Errno;
use crate::netns::Netns;

/// The exit code of `bridge` when the kernel refuses.
const REFUSED: i32 = 255;

pub(crate) fn bridge(ns: &mut Netns, cx: &mut Cx<'_>, command: &BridgeCommand) -> Done {
    match command {
        BridgeCommand::LinkSet { dev, options } => {
            let dev = ns.devices.named(dev).ok_or_else(|| failed(REFUSED, format!("Cannot find bridge device \"{dev}\"")))?;
            port_options(ns, dev, options)?;
            Ok(String::new())
        }
        BridgeCommand::Fdb(op, entry) => fdb(ns, cx.now(), *op, entry),
        BridgeCommand::FdbShow { br, dev } => fdb_show(ns, cx.now(), br.as_deref(), dev.as_deref()),
        // It names the other ends of veths: the network knows them.
        BridgeCommand::LinkShow { .. } => Err(unsupported("bridge link show within one namespace")),
    }
}

fn device(ns: &Netns, name: &str) -> Result<DevId, CommandError> {
    ns.devices.named(name).ok_or_else(|| failed(REFUSED, format!("Cannot find device \"{name}\"")))
}

fn refused(errno: Errno) -> CommandError {
    CommandError { exit: REFUSED, ..rtnetlink(errno) }
}

/// `br_setport`: the options of a port.
pub(crate) fn port_options(ns: &mut Netns, dev: DevId, options: &[(String, String)]) -> Result<(), CommandError> {
    if ns.devices.get(dev).master.is_none() {
        return Err(refused(Errno::OpNotSupp));
    }
    for (name, value) in options {
        let on = value == "on";
        let port = &mut ns.devices.get_mut(dev).bridge_port;
        match name.as_str() {
            "hairpin" => port.hairpin = on,
            "isolated" => port.isolated = on,
            "learning" => port.learning = on,
            "flood" => port.flood = on,
            "mcast_flood" => port.mcast_flood = on,
            "bcast_flood" => port.bcast_flood = on,
            // Without STP neither changes anything.
            "cost" | "priority" => {}
            "state" if value == "3" || value == "forwarding" => {}
            "neigh_suppress" | "guard" | "fastleave" | "root_block" | "mcast_to_unicast" | "proxy_arp" | "proxy_arp_wifi"
            | "locked"
                if !on => {}
            _ => return Err(unsupported(&format!("ports of a bridge with {name} {value}"))),
        }
    }
    Ok(())
}

/// `br_changelink`: the options of a bridge. Those that pktlab models in one way only are refused with any other value.
pub(crate) fn bridge_options(ns: &mut Netns, dev: DevId, options: &[(String, String)]) -> Result<(), CommandError> {
    let number = |value: &str| {
        value.parse::<u64>().map_err(|_| failed(REFUSED, format!("Error: argument \"{value}\" is wrong: invalid number")))
    };
    let Some(bridge) = ns.devices.get_mut(dev).bridge_mut() else { return Err(rtnetlink(Errno::OpNotSupp)) };
    for (name, value) in options {
        match name.as_str() {
            // In hundredths of a second.
            "ageing_time" => bridge.fdb.ageing = SimTime::from_millis(number(value)? * 10),
            "group_fwd_mask" => {
                let mask = super::super::lex::number(value).and_then(|mask| u16::try_from(mask).ok());
                bridge.group_fwd_mask = mask.filter(|mask| mask & 7 == 0).ok_or_else(|| rtnetlink(Errno::Inval))?;
            }
            "stp_state" | "vlan_filtering" | "mcast_querier" if value == "0" => {}
            // Multicast is flooded either way: nobody asks for groups.
            "mcast_snooping" if value == "0" || value == "1" => {}
            // Without STP ports forward at once.
            "forward_delay" | "hello_time" | "max_age" | "priority" => {
                number(value)?;
            }
            _ => return Err(unsupported(&format!("bridges with {name} {value}"))),
        }
    }
    Ok(())
}

fn fdb(ns: &mut Netns, now: SimTime, op: FdbOp, entry: &FdbArgs) -> Done {
    let dev = device(ns, &entry.dev)?;
    if !entry.master && ns.devices.get(dev).vxlan().is_some() {
        return vxlan::done(vxlan::fdb(ns, now, op, dev, entry));
    }
    if entry.dst.is_some() || entry.vni.is_some() || entry.port.is_some() || entry.via.is_some() {
        return Err(unsupported("entries with a host in the list of a device that is no VXLAN"));
    }
    let is_bridge = ns.devices.get(dev).bridge().is_some();
    if !entry.master && !is_bridge {
        return Err(unsupported("a device's own list of addresses: say `master` for the database of its bridge"));
    }
    if entry.master && ns.devices.get(dev).master.is_none() {
        return Err(refused(Errno::OpNotSupp));
    }
    let kind = match entry.state {
        FdbState::Permanent => FdbKind::Local,
        FdbState::Static => FdbKind::Static,
        FdbState::Dynamic => FdbKind::Dynamic,
    };
    if is_bridge && kind != FdbKind::Local && op != FdbOp::Delete {
        return Err(refused(Errno::Inval));
    }
    match op {
        FdbOp::Delete => fdb_delete(ns, dev, entry.mac),
        FdbOp::Add => fdb_add(ns, now, dev, (entry.mac, kind), false),
        FdbOp::Append | FdbOp::Replace => fdb_add(ns, now, dev, (entry.mac, kind), true),
    }
    .map_err(refused)?;
    Ok(String::new())
}

/// `bridge fdb show`. The devices' own lists (`self`), which hold multicast groups, are not modelled and not listed.
fn fdb_show(ns: &Netns, now: SimTime, br: Option<&str>, dev: Option<&str>) -> Done {
    let br = br.map(|name| device(ns, name)).transpose()?;
    let dev = dev.map(|name| device(ns, name)).transpose()?;
    let mut out = String::new();
    for device in ns.devices.iter().filter(|device| br.is_none_or(|br| br == device.id)) {
        let Some(bridge) = device.bridge() else { continue };
        for (mac, entry) in bridge.fdb.list(now) {
            if dev.is_some_and(|dev| dev != entry.port) {
                continue;
            }
            let _ = write!(out, "{mac} ");
            if dev.is_none() {
                let _ = write!(out, "dev {} ", ns.devices.get(entry.port).name);
            }
            let _ = write!(out, "master {} ", device.name);
            out.push_str(match entry.kind {
                FdbKind::Dynamic => "\n",
                FdbKind::Static => "static\n",
                FdbKind::Local => "permanent\n",
            });
        }
    }
    let of_bridge = |master: Option<DevId>| br.is_none_or(|br| master == Some(br));
    for device in ns.devices.iter().filter(|device| device.vxlan().is_some() && of_bridge(device.master)) {
        if dev.is_none_or(|dev| dev == device.id) {
            vxlan::list(ns, now, device.id, dev.is_some(), &mut out);
        }
    }
    Ok(out)
}
