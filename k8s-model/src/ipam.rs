//! CNI plugin host-local, and the arithmetic of prefixes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// 4 or 6.
pub fn family(ip: &IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    }
}

/// The address `n` after the first of a prefix; wraps at the end of the family.
pub fn nth(prefix: IpNet, n: u128) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip).wrapping_add(n as u32))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip).wrapping_add(n))),
    }
}

/// How many addresses a prefix has; the largest number for IPv6's all.
pub fn size(prefix: IpNet) -> u128 {
    let host_bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
    1u128.checked_shl(host_bits).unwrap_or(u128::MAX)
}

/// A node's addresses, given out one after another: host-local with one range.
///
/// The first address is the gateway; the last one of IPv4 is the broadcast address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLocal {
    subnet: IpNet,
    taken: BTreeSet<IpAddr>,
    /// Where the next search starts: after the address given last.
    next: u128,
}

/// No address of a range is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no IP addresses available in range set: {first}-{last}")]
pub struct Exhausted {
    /// The first address for pods.
    pub first: IpAddr,
    /// The last one.
    pub last: IpAddr,
}

impl HostLocal {
    /// All of a subnet is free but the gateway.
    pub fn new(subnet: IpNet) -> Self {
        Self { subnet, taken: BTreeSet::new(), next: 2 }
    }

    /// The gateway of the pods: the subnet's first address.
    pub fn gateway(&self) -> IpAddr {
        nth(self.subnet, 1)
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Takes an address that is already in use; false if somebody has it.
    pub fn reserve(&mut self, ip: IpAddr) -> bool {
        self.taken.insert(ip)
    }

    /// The next free address.
    pub fn allocate(&mut self) -> Result<IpAddr, Exhausted> {
        let last = self.last();
        let hosts = last - 1;
        // One look at each address that could be taken, and one more.
        for step in 0..hosts.min(self.taken.len() as u128 + 1) {
            let offset = 2 + (self.next - 2 + step) % hosts;
            let ip = nth(self.subnet, offset);
            if self.taken.insert(ip) {
                self.next = if offset == last { 2 } else { offset + 1 };
                return Ok(ip);
            }
        }
        Err(Exhausted { first: nth(self.subnet, 2), last: nth(self.subnet, last) })
    }

    fn last(&self) -> u128 {
        let reserved_at_end = if self.subnet.addr().is_ipv4() { 2 } else { 1 };
        size(self.subnet).saturating_sub(reserved_at_end).max(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> HostLocal {
        HostLocal::new(text.parse().expect("a prefix"))
    }

    #[test]
    fn the_first_pod_gets_the_second_address_and_the_first_is_the_gateway() {
        let mut pool = pool("10.244.1.0/24");
        assert_eq!(pool.gateway().to_string(), "10.244.1.1");
        assert_eq!(pool.allocate().map(|ip| ip.to_string()), Ok("10.244.1.2".to_owned()));
        assert!(pool.reserve("10.244.1.3".parse().expect("ip")));
        assert_eq!(pool.allocate().map(|ip| ip.to_string()), Ok("10.244.1.4".to_owned()));
    }

    #[test]
    fn an_exhausted_range_says_which() {
        let mut pool = pool("10.0.0.0/29");
        let given: Vec<String> = std::iter::from_fn(|| pool.allocate().ok()).map(|ip| ip.to_string()).collect();
        assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        let error = pool.allocate().expect_err("exhausted");
        assert_eq!(error.to_string(), "no IP addresses available in range set: 10.0.0.2-10.0.0.6");
    }

    #[test]
    fn ipv6_has_no_broadcast_address() {
        let mut pool = pool("fd00:10:244:1::/64");
        assert_eq!(pool.allocate().map(|ip| ip.to_string()), Ok("fd00:10:244:1::2".to_owned()));
    }
}
