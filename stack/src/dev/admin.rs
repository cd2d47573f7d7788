//! What an administrator does to a device: make, delete, up and down, MTU, MAC, master.

use std::sync::Arc;

use crate::Cx;
use crate::addr::Mac;
use crate::dev::device::{DevId, DeviceKind};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::provenance::ProvId;

/// `ip link add`: a device that is down. Its MAC derives from namespace and name, its sysctls from `default`.
///
/// # Errors
/// `Exist` where the name is taken, `Inval` where it is no name (1 to 15 bytes, no `/`, no space).
pub(crate) fn add(ns: &mut Netns, name: &str, kind: DeviceKind, prov: ProvId) -> Result<DevId, Errno> {
    let _ = (ns, Arc::<str>::from(name), kind, prov);
    Err(Errno::OpNotSupp)
}

/// `ip link del`.
///
/// # Errors
/// `OpNotSupp` for loopback.
pub(crate) fn delete(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) -> Result<(), Errno> {
    let _ = (ns, cx, dev);
    Err(Errno::OpNotSupp)
}

/// `ip link set up`, `down`.
pub(crate) fn set_up(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, up: bool) {
    let _ = (ns, cx, dev, up);
}

/// The device gained or lost its carrier.
pub(crate) fn set_carrier(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, carrier: bool) {
    let _ = (ns, cx, dev, carrier);
}

/// `ip link set mtu`.
///
/// # Errors
/// `Inval` out of the device's range.
pub(crate) fn set_mtu(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, mtu: u32) -> Result<(), Errno> {
    let _ = (ns, cx, dev, mtu);
    Err(Errno::OpNotSupp)
}

/// `ip link set address`.
pub(crate) fn set_mac(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, mac: Mac) {
    let _ = (ns, cx, dev, mac);
}

/// `ip link set master`, `nomaster`.
///
/// # Errors
/// `Inval`, `Loop` as the kernel.
pub(crate) fn set_master(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, master: Option<DevId>) -> Result<(), Errno> {
    let _ = (ns, cx, dev, master);
    Err(Errno::OpNotSupp)
}
