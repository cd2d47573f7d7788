//! Link-layer addresses of IP addresses: ARP, NDP, and the table of what they learned.

use std::net::IpAddr;

use crate::Cx;
use crate::addr::Mac;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::skb::Skb;

/// The neighbour table of a namespace, both families.
#[derive(Debug, Default)]
pub struct Neighbours {}

/// `NUD_*`: what is known of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are those of ip-neighbour(8)")]
pub enum NeighState {
    None,
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    Noarp,
    Permanent,
}

/// One entry, as `ip neigh` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighInfo {
    /// Device.
    pub dev: DevId,
    /// IP address.
    pub address: IpAddr,
    /// MAC, where known.
    pub mac: Option<Mac>,
    /// State.
    pub state: NeighState,
    /// Whether it is a proxy entry (`ip neigh add proxy`).
    pub proxy: bool,
    /// Whether the neighbour is a router (NDP).
    pub router: bool,
}

impl Neighbours {
    /// All entries, in the order of device and address.
    pub fn list(&self) -> Vec<NeighInfo> {
        Vec::new()
    }
}

/// `neigh_output` behind `ip_finish_output2`: writes the link-layer header for `next_hop` and sends the packet out of `skb.dev`
/// (`dev::dev_queue_xmit`), or queues it and asks. Consumes the skb: its records end here or in the device.
/// Without ARP (loopback, NOARP devices) no question is asked. Multicast and broadcast addresses are mapped.
pub(crate) fn output(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb, next_hop: IpAddr) -> Result<(), DropReason> {
    let _ = (ns, next_hop);
    cx.recycle(skb.packet);
    Ok(())
}

/// `arp_rcv`: an ARP packet that came in through `skb.dev`; `skb.l3` is the offset of the ARP header. Consumes it, records included.
pub(crate) fn arp_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let _ = ns;
    cx.recycle(skb.packet);
}

/// `ndisc_rcv`: a neighbour discovery message (ICMPv6 133 to 137) that passed INPUT. The caller ends its records.
pub(crate) fn ndisc_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    let _ = (ns, cx, skb);
    Ok(())
}

/// A timer of an entry has gone off.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr) {
    let _ = (ns, cx, dev, address);
}

/// A device went down, lost an address or was deleted (`neigh_ifdown`, `neigh_changeaddr`): its entries go; what waited is
/// dropped. `keep_permanent` on carrier loss.
pub(crate) fn flush_device(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, keep_permanent: bool) {
    let _ = (ns, cx, dev, keep_permanent);
}

/// `ip neigh replace`: sets an entry; what waited for it goes on.
pub(crate) fn set(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    dev: DevId,
    address: IpAddr,
    mac: Option<Mac>,
    state: NeighState,
) -> Result<(), Errno> {
    let _ = (ns, cx, dev, address, mac, state);
    Ok(())
}

/// `ip neigh del`, and `ip neigh del proxy`.
pub(crate) fn delete(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr, proxy: bool) -> Result<(), Errno> {
    let _ = (ns, cx, dev, address, proxy);
    Ok(())
}

/// `ip neigh add proxy`.
pub(crate) fn set_proxy(ns: &mut Netns, dev: DevId, address: IpAddr) -> Result<(), Errno> {
    let _ = (ns, dev, address);
    Ok(())
}

/// Gratuitous ARP (a request for its own address), or an unsolicited neighbour advertisement.
pub(crate) fn announce(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr) {
    let _ = (ns, cx, dev, address);
}
