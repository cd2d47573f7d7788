//! macvlan devices span two namespaces: the child's, and that of the device below. What is changed at either end is told to the other.

use sim_core::{LinkConfig, NodeId, PortNo};

use super::Network;
use crate::command::CommandError;
use crate::command::apply::{device, rtnetlink, unsupported};
use crate::command::link::NewLink;
use crate::dev::admin;
use crate::dev::device::{DevId, DeviceKind};
use crate::dev::macvlan::{Child, MacvlanMode};
use crate::errno::Errno;
use crate::provenance::ProvId;

/// A child and the device below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tie {
    child: (NodeId, DevId),
    lower: (NodeId, DevId),
    /// The port of the lower device's namespace that the child is plugged in at.
    port: PortNo,
    mode: MacvlanMode,
}

impl Network {
    /// `macvlan_common_newlink`. `here` is where the command runs, and the device below is; `home` where the child is made.
    pub(super) fn add_macvlan(
        &mut self,
        (here, home): (NodeId, NodeId),
        new: &NewLink,
        mode: MacvlanMode,
        prov: ProvId,
    ) -> Result<(), CommandError> {
        let Some(link) = &new.link else { return Err(rtnetlink(Errno::Inval)) };
        let lower = device(self.netns(here), link)?;
        let below = self.netns(here).devices.get(lower);
        if below.is_loopback() {
            return Err(rtnetlink(Errno::Inval));
        }
        if below.master.is_some() {
            return Err(rtnetlink(Errno::Busy));
        }
        if matches!(below.kind, DeviceKind::Macvlan(_)) {
            return Err(unsupported("macvlan devices on macvlan devices"));
        }
        let siblings: Vec<MacvlanMode> = self.ties.iter().filter(|tie| tie.lower == (here, lower)).map(|tie| tie.mode).collect();
        if siblings.contains(&MacvlanMode::Passthru) || (mode == MacvlanMode::Passthru && !siblings.is_empty()) {
            return Err(rtnetlink(Errno::Inval));
        }
        let (mac, mtu) = (below.mac, below.mtu);
        let child = admin::add(self.sim.node_mut(home), &new.end.name, DeviceKind::Macvlan(mode), prov).map_err(rtnetlink)?;
        let port = self.sim.node_mut(here).devices.reserve_port();
        self.plug_child((home, child), (here, port))?;
        self.ties.push(Tie { child: (home, child), lower: (here, lower), port, mode });
        let made = self.sim.with(home, |netns, cx| {
            if mode == MacvlanMode::Passthru {
                admin::set_mac(netns, cx, child, mac);
            }
            admin::set_mtu(netns, cx, child, mtu)
        });
        made.map_err(rtnetlink)?;
        self.sync_macvlans();
        self.equip(home, &new.end)
    }

    fn plug_child(&mut self, (home, child): (NodeId, DevId), lower: (NodeId, PortNo)) -> Result<(), CommandError> {
        let port = self.netns(home).devices.get(child).port.ok_or_else(|| rtnetlink(Errno::OpNotSupp))?;
        self.sim.connect((home, port), lower, LinkConfig::default());
        Ok(())
    }

    /// `macvlan_open`: no two devices with one MAC.
    pub(super) fn may_go_up(&self, child: (NodeId, DevId)) -> Result<(), CommandError> {
        let Some(tie) = self.ties.iter().find(|tie| tie.child == child && tie.mode != MacvlanMode::Passthru) else { return Ok(()) };
        let mac = self.netns(child.0).devices.get(child.1).mac;
        let lower = self.netns(tie.lower.0);
        let sibling = |at: &&Child| at.lower == tie.lower.1 && at.port != tie.port && at.up && at.mac == mac;
        if lower.devices.get(tie.lower.1).mac == mac || lower.macvlans.iter().any(|at| sibling(&at)) {
            return Err(rtnetlink(Errno::AddrInUse));
        }
        Ok(())
    }

    /// `macvlan_change_mtu`.
    pub(super) fn macvlan_mtu_max(&self, child: (NodeId, DevId)) -> Option<u32> {
        let tie = self.ties.iter().find(|tie| tie.child == child)?;
        Some(self.netns(tie.lower.0).devices.get(tie.lower.1).mtu)
    }

    /// The device below a macvlan device.
    pub(super) fn macvlan_lower(&self, child: (NodeId, DevId)) -> Option<(NodeId, DevId)> {
        self.ties.iter().find(|tie| tie.child == child).map(|tie| tie.lower)
    }

    /// A child was moved to another namespace, where it has another number.
    pub(super) fn macvlan_moved(&mut self, old: (NodeId, DevId), new: (NodeId, DevId)) -> Result<(), CommandError> {
        let Some(at) = self.ties.iter().position(|tie| tie.child == old) else { return Ok(()) };
        self.ties[at].child = new;
        let lower = (self.ties[at].lower.0, self.ties[at].port);
        self.plug_child(new, lower)
    }

    /// `macvlan_device_event`: what each end has to know of the other: MACs, who is up, carriers, MTUs, who is gone.
    pub(super) fn sync_macvlans(&mut self) {
        if self.ties.is_empty() {
            return;
        }
        let ties = std::mem::take(&mut self.ties);
        let mut touched: Vec<NodeId> = ties.iter().map(|tie| tie.lower.0).collect();
        touched.sort_unstable();
        touched.dedup();
        for ns in touched {
            let netns = self.sim.node_mut(ns);
            netns.macvlans.clear();
            let flagged: Vec<DevId> = netns.devices.iter().filter(|device| device.macvlans).map(|device| device.id).collect();
            for dev in flagged {
                netns.devices.get_mut(dev).macvlans = false;
            }
        }
        for tie in ties {
            let (lower_gone, running, most) = {
                let lower = self.netns(tie.lower.0).devices.get(tie.lower.1);
                (lower.gone, lower.running(), lower.mtu)
            };
            let child = self.netns(tie.child.0).devices.get(tie.child.1);
            let (gone, mac, up, mtu) = (child.gone, child.mac, child.up, child.mtu);
            if gone || lower_gone {
                self.sim.disconnect((tie.lower.0, tie.port));
                if !gone {
                    self.sim.with(tie.child.0, |netns, cx| admin::take_out(netns, cx, tie.child.1));
                }
                continue;
            }
            self.sim.with(tie.child.0, |netns, cx| {
                admin::set_carrier(netns, cx, tie.child.1, running);
                if mtu > most {
                    // A smaller MTU than one that the lower device has is in range.
                    let _ = admin::set_mtu(netns, cx, tie.child.1, most);
                }
            });
            let netns = self.sim.node_mut(tie.lower.0);
            netns.devices.get_mut(tie.lower.1).macvlans = true;
            netns.macvlans.insert(0, Child { lower: tie.lower.1, port: tie.port, mode: tie.mode, mac, up });
            self.ties.push(tie);
        }
    }
}
