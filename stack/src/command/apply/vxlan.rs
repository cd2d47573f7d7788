//! `ip link add ... type vxlan`, and `bridge fdb` of such a device.

use std::fmt::Write as _;

use sim_core::SimTime;

use super::{Done, device, failed, kernel, rtnetlink};
use crate::addr::Family;
use crate::command::CommandError;
use crate::command::bridge::{FdbArgs, FdbOp, FdbState};
use crate::command::vxlan::VxlanArgs;
use crate::dev::device::DevId;
use crate::dev::vxlan::{AGEING, Change, EntryKind, Inherit, PORT_DEFAULT, Remote, Vxlan, VxlanConfig, check_vni};
use crate::errno::Errno;
use crate::netns::Netns;

/// `vxlan_newlink`: the device that a line describes.
pub(crate) fn new_vxlan(ns: &Netns, args: &VxlanArgs) -> Result<Vxlan, CommandError> {
    let lower = args.dev.as_deref().map(|name| device(ns, name)).transpose()?;
    let config = VxlanConfig {
        id: args.id,
        remote: args.remote.filter(|remote| !remote.is_unspecified()),
        local: args.local.filter(|local| !local.is_unspecified()),
        dev: lower,
        dstport: args.dstport.filter(|&port| port != 0).unwrap_or(PORT_DEFAULT),
        srcport: args.srcport.filter(|&range| range != (0, 0)),
        ttl: args.ttl.unwrap_or(Inherit::Value(0)),
        tos: args.tos.unwrap_or(Inherit::Value(0)),
        df: args.df.unwrap_or(Inherit::Value(false)),
        learning: args.switch("learning").unwrap_or(true),
        proxy: args.switch("proxy").unwrap_or(false),
        udpcsum: args.switch("udpcsum").unwrap_or(true),
        udp6zerocsumtx: args.switch("udp6zerocsumtx").unwrap_or(false),
        udp6zerocsumrx: args.switch("udp6zerocsumrx").unwrap_or(false),
    };
    if config.remote.is_some_and(|remote| remote.is_multicast()) && lower.is_none() {
        return Err(kernel("Local interface required for multicast remote destination."));
    }
    if config.srcport.is_some_and(|(low, high)| low > high) {
        return Err(kernel("Invalid source port range."));
    }
    check_vni(ns, &config).map_err(|_| kernel("A VXLAN device with the specified VNI already exists."))?;
    let ageing = args.ageing.map_or(AGEING, |seconds| SimTime::from_secs(u64::from(seconds)));
    Ok(Vxlan::new(config, ageing, args.maxaddress.unwrap_or(0)))
}

/// `vxlan_fdb_add`, `vxlan_fdb_delete`.
pub(super) fn fdb(ns: &mut Netns, now: SimTime, op: FdbOp, dev: DevId, entry: &FdbArgs) -> Result<(), CommandError> {
    let refused = |errno| CommandError { exit: 255, ..rtnetlink(errno) };
    let via = match &entry.via {
        Some(name) => Some(ns.devices.named(name).ok_or_else(|| failed(255, format!("Cannot find device \"{name}\"")))?),
        None => None,
    };
    let Some(vxlan) = ns.devices.get_mut(dev).vxlan_mut() else { return Err(refused(Errno::OpNotSupp)) };
    let (own_port, own_vni) = (vxlan.config.dstport, vxlan.config.id);
    let host =
        |dst| Remote { dst, port: entry.port.filter(|&port| port != own_port), vni: entry.vni.filter(|&vni| vni != own_vni), via };
    if entry.dst.is_some_and(|dst| Family::of(dst) != vxlan.config.family()) {
        return Err(CommandError {
            exit: 255,
            ..failed(255, "RTNETLINK answers: Address family not supported by protocol".into())
        });
    }
    let kind = match entry.state {
        FdbState::Permanent => EntryKind::Permanent,
        FdbState::Static => EntryKind::Static,
        FdbState::Dynamic => EntryKind::Dynamic,
    };
    let change = match op {
        FdbOp::Delete => return vxlan.fdb.delete(entry.mac, entry.dst.map(host), now).map_err(refused),
        FdbOp::Add => Change::Add,
        FdbOp::Append => Change::Append,
        FdbOp::Replace => Change::Replace,
    };
    let Some(dst) = entry.dst else { return Err(refused(Errno::Inval)) };
    vxlan.fdb.change(change, entry.mac, kind, host(dst), now).map_err(|errno| match errno {
        Errno::OpNotSupp => CommandError { exit: 255, ..kernel("Cannot replace non-unicast fdb entries.") },
        other => refused(other),
    })
}

/// The lines of `bridge fdb show` for a VXLAN device; `named` where the listing is of one device.
pub(super) fn list(ns: &Netns, now: SimTime, dev: DevId, named: bool, out: &mut String) {
    let device = ns.devices.get(dev);
    let Some(vxlan) = device.vxlan() else { return };
    for (mac, entry) in vxlan.fdb.list(now) {
        for host in &entry.remotes {
            let _ = write!(out, "{mac} ");
            if !named {
                let _ = write!(out, "dev {} ", device.name);
            }
            let _ = write!(out, "dst {} ", host.dst);
            if let Some(port) = host.port {
                let _ = write!(out, "port {port} ");
            }
            if let Some(vni) = host.vni {
                let _ = write!(out, "vni {vni} ");
            }
            if let Some(via) = host.via {
                let _ = write!(out, "via {} ", ns.devices.get(via).name);
            }
            out.push_str(match entry.kind {
                EntryKind::Dynamic => "self \n",
                EntryKind::Static => "self static\n",
                EntryKind::Permanent => "self permanent\n",
            });
        }
    }
}

/// `bridge fdb` says nothing where all went well.
pub(super) fn done(result: Result<(), CommandError>) -> Done {
    result.map(|()| String::new())
}
