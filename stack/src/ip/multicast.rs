//! Which multicast groups a namespace listens to (`ip_check_mc_rcu`, `ipv6_chk_mcast_addr`): those that the kernel joins itself. No
//! socket joins any.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dev::device::DevId;
use crate::netns::Netns;

/// Whether packets to a multicast address that come in through a device are for this namespace.
pub(crate) fn is_member(ns: &Netns, dev: DevId, group: IpAddr) -> bool {
    match group {
        IpAddr::V4(all) if all == Ipv4Addr::new(224, 0, 0, 1) => true,
        IpAddr::V4(_) => of_tunnel(ns, dev, group),
        IpAddr::V6(v6) => is_member6(ns, dev, v6) || of_tunnel(ns, dev, group),
    }
}

/// `vxlan_igmp_join`: the group of a VXLAN device that is up.
fn of_tunnel(ns: &Netns, dev: DevId, group: IpAddr) -> bool {
    let configs = ns.vxlans.iter().filter_map(|&open| ns.devices.get(open).vxlan().map(|vxlan| &vxlan.config));
    configs.into_iter().any(|config| config.remote == Some(group) && config.dev == Some(dev))
}

fn is_member6(ns: &Netns, dev: DevId, group: Ipv6Addr) -> bool {
    let device = ns.devices.get(dev);
    if device.conf6.disable_ipv6 {
        return false;
    }
    match group.segments() {
        // All nodes of the interface, of the link.
        [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1] => true,
        // All routers of the interface, of the link, of the site.
        [0xff01 | 0xff02 | 0xff05, 0, 0, 0, 0, 0, 0, 2] => device.conf6.forwarding,
        // Solicited nodes: one group for each address, and for each address that we answer for.
        [0xff02, 0, 0, 0, 0, 1, high, low] if high >> 8 == 0xff => {
            let tail = |address: IpAddr| match address {
                IpAddr::V6(v6) => v6.segments()[6] & 0xff == high & 0xff && v6.segments()[7] == low,
                IpAddr::V4(_) => false,
            };
            device.addrs.iter().any(|at| tail(at.address))
                || (device.conf6.proxy_ndp
                    && ns.neighbours.list().iter().any(|entry| entry.proxy && entry.dev == dev && tail(entry.address)))
        }
        _ => false,
    }
}
