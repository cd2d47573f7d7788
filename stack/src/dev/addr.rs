//! Addresses of devices (`net/ipv4/devinet.c`, `net/ipv6/addrconf.c`) and the routes that come and go with them.

use std::net::IpAddr;

use crate::Cx;
use crate::dev::device::{DevId, IfAddr};
use crate::errno::Errno;
use crate::netns::Netns;

/// `ip addr add`: the address, its local and broadcast routes, and its connected route where the device is up.
///
/// # Errors
/// `Exist` where the device has the address, `Acces` for IPv6 where it is off.
pub(crate) fn add(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IfAddr) -> Result<(), Errno> {
    let _ = (ns, cx, dev, address);
    Err(Errno::OpNotSupp)
}

/// `ip addr del`: also its secondaries (or their promotion), and its routes.
///
/// # Errors
/// `AddrNotAvail` where the device lacks it.
pub(crate) fn delete(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr, prefix_len: Option<u8>) -> Result<(), Errno> {
    let _ = (ns, cx, dev, address, prefix_len);
    Err(Errno::OpNotSupp)
}

/// What a device's going up means for addresses and routes: local, connected and broadcast routes, the IPv6 link-local address and
/// `ff00::/8`; for IPv6 addresses duplicate address detection where `accept_dad` and `dad_transmits` ask for it.
pub(crate) fn device_up(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    let _ = (ns, cx, dev);
}

/// What its going down means: routes through it go (also static ones), IPv6 addresses go unless they are kept, neighbours go.
pub(crate) fn device_down(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    let _ = (ns, cx, dev);
}

/// Whether an address is one of this namespace, on any device (`inet_addr_type` is `RTN_LOCAL`; 127/8 included).
pub fn is_local(ns: &Netns, address: IpAddr) -> bool {
    let _ = (ns, address);
    false
}
