//! The keys of `/proc/sys/net` and where their values stand; what follows from setting some of them.
//!
//! Models `net/ipv4/devinet.c` (`devinet_conf_proc`, `inet_forward_change`), `net/ipv6/addrconf.c` and the `sysctl_table`s.

use sim_core::SimTime;

use super::{Conf4, Conf6, ConfNeigh, CtSysctls, SysctlError, Sysctls};
use crate::Cx;
use crate::dev::addr::{ipv6_down, ipv6_up};
use crate::dev::device::DevId;
use crate::netns::Netns;

/// Where the value of a key stands.
enum Slot<'a> {
    Bool(&'a mut bool),
    U8(&'a mut u8),
    U16(&'a mut u16),
    U32(&'a mut u32),
    I32(&'a mut i32),
    Millis(&'a mut SimTime),
    Secs(&'a mut SimTime),
    /// Hundredths of a second (`USER_HZ`).
    Ticks(&'a mut SimTime),
    Ports(&'a mut (u16, u16)),
    Groups(&'a mut (u32, u32)),
}

macro_rules! slots {
    ($conf:expr, $key:expr; $($slot:ident: $($field:ident)*;)*) => {
        match $key {
            $($(stringify!($field) => Some(Slot::$slot(&mut $conf.$field)),)*)*
            _ => None,
        }
    };
}

fn conf4<'a>(conf: &'a mut Conf4, key: &str) -> Option<Slot<'a>> {
    slots!(conf, key;
        Bool: forwarding arp_filter arp_notify proxy_arp proxy_arp_pvlan accept_local route_localnet src_valid_mark send_redirects
            accept_redirects secure_redirects shared_media log_martians promote_secondaries bc_forwarding
            drop_unicast_in_l2_multicast ignore_routes_with_linkdown;
        U8: rp_filter arp_ignore arp_announce arp_accept;
    )
}

fn conf6<'a>(conf: &'a mut Conf6, key: &str) -> Option<Slot<'a>> {
    slots!(conf, key;
        Bool: disable_ipv6 forwarding autoconf proxy_ndp accept_redirects drop_unicast_in_l2_multicast ignore_routes_with_linkdown;
        U8: accept_ra accept_dad dad_transmits hop_limit addr_gen_mode;
        I32: router_solicitations keep_addr_on_down;
    )
}

fn neigh<'a>(conf: &'a mut ConfNeigh, key: &str) -> Option<Slot<'a>> {
    match key {
        "base_reachable_time_ms" => Some(Slot::Millis(&mut conf.base_reachable_time)),
        "base_reachable_time" => Some(Slot::Secs(&mut conf.base_reachable_time)),
        "retrans_time_ms" => Some(Slot::Millis(&mut conf.retrans_time)),
        "retrans_time" => Some(Slot::Ticks(&mut conf.retrans_time)),
        "delay_first_probe_time" => Some(Slot::Secs(&mut conf.delay_first_probe_time)),
        "locktime" => Some(Slot::Ticks(&mut conf.locktime)),
        other => slots!(conf, other; U8: ucast_solicit mcast_solicit app_solicit; U16: unres_qlen;),
    }
}

fn conntrack<'a>(ct: &'a mut CtSysctls, key: &str) -> Option<Slot<'a>> {
    slots!(ct, key;
        Bool: acct checksum helper tcp_loose tcp_be_liberal tcp_ignore_invalid_rst;
        U8: tcp_max_retrans;
        U32: max buckets generic_timeout icmp_timeout icmpv6_timeout tcp_timeout_syn_sent tcp_timeout_syn_recv
            tcp_timeout_established tcp_timeout_fin_wait tcp_timeout_close_wait tcp_timeout_last_ack tcp_timeout_time_wait
            tcp_timeout_close tcp_timeout_max_retrans tcp_timeout_unacknowledged udp_timeout udp_timeout_stream gre_timeout
            gre_timeout_stream sctp_timeout_closed sctp_timeout_cookie_wait sctp_timeout_cookie_echoed sctp_timeout_established
            sctp_timeout_shutdown_sent sctp_timeout_shutdown_recd sctp_timeout_shutdown_ack_sent sctp_timeout_heartbeat_sent;
    )
}

fn ipv4<'a>(sysctls: &'a mut Sysctls, key: &str) -> Option<Slot<'a>> {
    match key {
        "ip_forward" => Some(Slot::Bool(&mut sysctls.all4.forwarding)),
        "ip_local_port_range" => Some(Slot::Ports(&mut sysctls.ip_local_port_range)),
        "ping_group_range" => Some(Slot::Groups(&mut sysctls.ping_group_range)),
        other => slots!(sysctls, other;
            Bool: ip_nonlocal_bind fwmark_reflect fib_multipath_use_neigh icmp_echo_ignore_all icmp_echo_ignore_broadcasts
                icmp_errors_use_inbound_ifaddr;
            U8: ip_default_ttl ip_no_pmtu_disc fib_multipath_hash_policy tcp_syn_retries tcp_syn_linear_timeouts;
            U16: ip_unprivileged_port_start;
            U32: icmp_ratelimit icmp_ratemask ipfrag_time tcp_fin_timeout;
        ),
    }
}

fn bridge<'a>(sysctls: &'a mut Sysctls, key: &str) -> Option<Slot<'a>> {
    match key {
        "bridge-nf-call-iptables" => Some(Slot::Bool(&mut sysctls.bridge_nf_call_iptables)),
        "bridge-nf-call-ip6tables" => Some(Slot::Bool(&mut sysctls.bridge_nf_call_ip6tables)),
        "bridge-nf-call-arptables" => Some(Slot::Bool(&mut sysctls.bridge_nf_call_arptables)),
        "bridge-nf-filter-vlan-tagged" => Some(Slot::Bool(&mut sysctls.bridge_nf_filter_vlan_tagged)),
        _ => None,
    }
}

/// Keys of `conf` and of the folders above that Linux has and that are modelled with this one value only.
const FIXED: [(&str, &str); 15] = [
    // A proxy answers at once.
    ("proxy_delay", "0"),
    ("accept_source_route", "0"),
    ("arp_evict_nocarrier", "1"),
    ("drop_gratuitous_arp", "0"),
    ("mc_forwarding", "0"),
    ("medium_id", "0"),
    ("icmp_ignore_bogus_error_responses", "1"),
    ("ip_early_demux", "1"),
    ("ip_forward_use_pmtu", "0"),
    ("nf_conntrack_events", "1"),
    ("nf_conntrack_log_invalid", "0"),
    ("bridge-nf-pass-vlan-input-dev", "0"),
    ("bridge-nf-filter-pppoe-tagged", "0"),
    ("use_tempaddr", "0"),
    ("optimistic_dad", "0"),
];

/// Beginnings of keys that Linux has in these folders and that are not modelled. Below `net` only; what else there is belongs to
/// the machine, not to a namespace.
const OTHERS: [(&str, &[&str]); 5] = [
    (
        "net.ipv4",
        &[
            "fib_",
            "icmp_",
            "igmp_",
            "inet_peer",
            "ip_autobind",
            "ip_dynaddr",
            "ip_early",
            "ip_forward_",
            "ip_local_reserved",
            "ipfrag_",
            "nexthop_compat",
            "raw_l3mdev",
            "tcp_",
            "udp_",
            "xfrm4_",
            "route",
            "neigh",
        ],
    ),
    (
        "net.ipv6",
        &[
            "anycast_",
            "auto_flowlabels",
            "bindv6only",
            "fib_",
            "flowlabel_",
            "idgen_",
            "ioam6_",
            "ip6frag_",
            "ip_nonlocal",
            "max_",
            "seg6_",
            "xfrm6_",
            "icmp",
            "route",
            "fwmark_reflect",
            "neigh",
            "mld_",
        ],
    ),
    (
        "net.netfilter",
        &[
            "nf_conntrack_expect",
            "nf_conntrack_frag6",
            "nf_conntrack_timestamp",
            "nf_conntrack_count",
            "nf_log",
            "nf_hooks",
            "nf_conntrack_dccp",
        ],
    ),
    (
        "net.core",
        &["optmem", "rmem", "rps_", "somaxconn", "tstamp", "txrehash", "wmem", "xfrm", "netdev_", "default_qdisc", "bpf_", "busy_"],
    ),
    ("net", &["unix", "mptcp"]),
];

const OTHERS4: [&str; 9] = [
    "bootp_relay",
    "disable_policy",
    "disable_xfrm",
    "force_igmp_version",
    "igmpv2_unsolicited_report_interval",
    "igmpv3_unsolicited_report_interval",
    "tag",
    "accept_source_route",
    "mc_forwarding",
];
const OTHERS6: [&str; 28] = [
    "accept_ra_",
    "accept_source_route",
    "accept_untracked_na",
    "disable_policy",
    "drop_unsolicited_na",
    "enhanced_dad",
    "force_",
    "ioam6_",
    "max_addresses",
    "max_desync_factor",
    "mldv1_",
    "mldv2_",
    "mtu",
    "ndisc_",
    "ra_",
    "regen_",
    "router_probe_interval",
    "router_solicitation_",
    "rpl_seg",
    "seg6_",
    "stable_secret",
    "suppress_frag_ndisc",
    "temp_",
    "use_",
    "optimistic_dad",
    "mc_forwarding",
    "accept_dad",
    "addr_gen_mode",
];
const OTHERS_NEIGH: [&str; 9] = [
    "anycast_delay",
    "gc_",
    "interval_probe_time_ms",
    "mcast_resolicit",
    "proxy_delay",
    "proxy_qlen",
    "unres_qlen_bytes",
    "app_solicit",
    "locktime",
];

/// Whose `conf` a key names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    All,
    Default,
    Device(DevId),
}

/// A key, taken apart.
enum Key<'a> {
    Conf4(Whose, &'a str),
    Conf6(Whose, &'a str),
    Neigh4(DevId, &'a str),
    Neigh6(DevId, &'a str),
    Conntrack(&'a str),
    Ipv4(&'a str),
    Ipv6(&'a str),
    Bridge(&'a str),
}

/// A key with `.` between its parts, and `/` for a dot inside of one.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => key
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn parse<'a>(ns: &Netns, dotted: &'a str, key: &str) -> Result<Key<'a>, SysctlError> {
    let unknown = || SysctlError::Unknown(key.to_owned());
    let parts: Vec<&str> = dotted.split('.').collect();
    let device = |name: &str| ns.devices.named(&name.replace('/', ".")).ok_or_else(unknown);
    let whose = |name: &str| match name {
        "all" => Ok(Whose::All),
        "default" => Ok(Whose::Default),
        name => device(name).map(Whose::Device),
    };
    match parts.as_slice() {
        ["net", "ipv4", "conf", name, key] => Ok(Key::Conf4(whose(name)?, key)),
        ["net", "ipv6", "conf", name, key] => Ok(Key::Conf6(whose(name)?, key)),
        ["net", "ipv4", "neigh", name, key] => Ok(Key::Neigh4(device(name)?, key)),
        ["net", "ipv6", "neigh", name, key] => Ok(Key::Neigh6(device(name)?, key)),
        ["net", "netfilter", key] => match key.strip_prefix("nf_conntrack_") {
            Some(key) => Ok(Key::Conntrack(key)),
            None => Err(other(dotted, key)),
        },
        ["net", "nf_conntrack_max"] => Ok(Key::Conntrack("max")),
        ["net", "ipv4", key] => Ok(Key::Ipv4(key)),
        ["net", "ipv6", key] => Ok(Key::Ipv6(key)),
        ["net", "bridge", key] => Ok(Key::Bridge(key)),
        _ => Err(other(dotted, key)),
    }
}

/// A key that is not modelled: whether Linux has it.
fn other(dotted: &str, key: &str) -> SysctlError {
    let begins = |name: &str, beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    let (folder, name) = dotted.rsplit_once('.').unwrap_or(("", dotted));
    let in_folder = |wanted: &str| folder.starts_with(wanted) && folder.matches('.').count() == 3;
    let known = if in_folder("net.ipv4.conf.") {
        OTHERS4.contains(&name)
    } else if in_folder("net.ipv6.conf.") {
        begins(name, &OTHERS6)
    } else if in_folder("net.ipv4.neigh.") || in_folder("net.ipv6.neigh.") {
        begins(name, &OTHERS_NEIGH)
    } else {
        OTHERS.iter().any(|(folder, names)| {
            dotted.strip_prefix(folder).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| begins(rest, names))
        })
    };
    let of_machine = ["kernel.", "vm.", "fs.", "dev.", "user.", "abi.", "debug."].iter().any(|top| dotted.starts_with(top));
    if known || of_machine { SysctlError::Unsupported(key.to_owned()) } else { SysctlError::Unknown(key.to_owned()) }
}

fn slot<'a>(ns: &'a mut Netns, key: &Key<'_>) -> Option<Slot<'a>> {
    match *key {
        Key::Conf4(Whose::All, key) => conf4(&mut ns.sysctls.all4, key),
        Key::Conf4(Whose::Default, key) => conf4(&mut ns.sysctls.default4, key),
        Key::Conf4(Whose::Device(dev), key) => conf4(&mut ns.devices.get_mut(dev).conf4, key),
        Key::Conf6(Whose::All, key) => conf6(&mut ns.sysctls.all6, key),
        Key::Conf6(Whose::Default, key) => conf6(&mut ns.sysctls.default6, key),
        Key::Conf6(Whose::Device(dev), key) => conf6(&mut ns.devices.get_mut(dev).conf6, key),
        Key::Neigh4(dev, key) => neigh(&mut ns.devices.get_mut(dev).neigh4, key),
        Key::Neigh6(dev, key) => neigh(&mut ns.devices.get_mut(dev).neigh6, key),
        Key::Conntrack(key) => conntrack(&mut ns.sysctls.ct, key),
        Key::Ipv4(key) => ipv4(&mut ns.sysctls, key),
        Key::Ipv6("ip6frag_time") => Some(Slot::U32(&mut ns.sysctls.ip6frag_time)),
        Key::Ipv6(_) => None,
        Key::Bridge(key) => bridge(&mut ns.sysctls, key),
    }
}

/// `proc_dointvec`: a C integer.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    let value = if negative { -value } else { value };
    (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(&value).then_some(value)
}

impl Slot<'_> {
    /// Whether the value was taken.
    fn set(self, text: &str) -> bool {
        fn fits<T: TryFrom<i64>>(slot: &mut T, text: &str) -> bool {
            integer(text).and_then(|value| T::try_from(value).ok()).map(|value| *slot = value).is_some()
        }
        fn pair<T: TryFrom<i64>>(text: &str) -> Option<(T, T)> {
            let mut parts = text.split_whitespace().map(|part| integer(part).and_then(|value| T::try_from(value).ok()));
            match (parts.next(), parts.next(), parts.next()) {
                (Some(Some(low)), Some(Some(high)), None) => Some((low, high)),
                _ => None,
            }
        }
        let time =
            |unit: u64| integer(text).and_then(|value| u64::try_from(value).ok()).map(|value| SimTime::from_millis(value * unit));
        match self {
            Slot::Bool(slot) => integer(text).map(|value| *slot = value != 0).is_some(),
            Slot::U8(slot) => fits(slot, text),
            Slot::U16(slot) => fits(slot, text),
            Slot::U32(slot) => fits(slot, text),
            Slot::I32(slot) => fits(slot, text),
            Slot::Millis(slot) => time(1).map(|value| *slot = value).is_some(),
            Slot::Secs(slot) => time(1000).map(|value| *slot = value).is_some(),
            Slot::Ticks(slot) => time(10).map(|value| *slot = value).is_some(),
            Slot::Ports(slot) => pair(text).filter(|&(low, high)| low <= high && low > 0).map(|ports| *slot = ports).is_some(),
            Slot::Groups(slot) => pair(text).map(|groups| *slot = groups).is_some(),
        }
    }

    fn get(self) -> String {
        let millis = |time: &SimTime| time.as_micros() / 1000;
        match self {
            Slot::Bool(slot) => u8::from(*slot).to_string(),
            Slot::U8(slot) => slot.to_string(),
            Slot::U16(slot) => slot.to_string(),
            Slot::U32(slot) => slot.to_string(),
            Slot::I32(slot) => slot.to_string(),
            Slot::Millis(slot) => millis(slot).to_string(),
            Slot::Secs(slot) => slot.as_secs().to_string(),
            Slot::Ticks(slot) => (millis(slot) / 10).to_string(),
            Slot::Ports((low, high)) => format!("{low}\t{high}"),
            Slot::Groups((low, high)) => format!("{low}\t{high}"),
        }
    }
}

/// The one value of a key that is modelled with one only.
fn fixed(dotted: &str) -> Option<&'static str> {
    let name = dotted.rsplit('.').next()?;
    FIXED.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

pub(super) fn set(ns: &mut Netns, cx: &mut Cx<'_>, key: &str, value: &str) -> Result<(), SysctlError> {
    let dotted = dotted(key);
    let value = value.trim();
    let invalid = || SysctlError::Invalid { key: key.to_owned(), value: value.to_owned() };
    let parsed = parse(ns, &dotted, key)?;
    let before = (ns.sysctls.default4.clone(), ns.sysctls.all4.forwarding, ns.sysctls.all6.clone());
    let device_before = match parsed {
        Key::Conf6(Whose::Device(dev), _) => Some(ns.devices.get(dev).conf6.disable_ipv6),
        _ => None,
    };
    match slot(ns, &parsed) {
        Some(slot) => {
            if !in_range(&parsed, value) || !slot.set(value) {
                return Err(invalid());
            }
        }
        None => {
            return match fixed(&dotted) {
                Some(only) if only == value => Ok(()),
                Some(_) => Err(SysctlError::Unsupported(format!("{key}={value}"))),
                None => Err(other(&dotted, key)),
            };
        }
    }
    match parsed {
        Key::Ipv4("ip_forward") | Key::Conf4(Whose::All, "forwarding") if ns.sysctls.all4.forwarding != before.1 => {
            forward_change(ns)
        }
        // `devinet_copy_dflt_conf`: devices that nobody has told otherwise follow.
        Key::Conf4(Whose::Default, key) if key != "forwarding" => {
            let mut was = before.0;
            let Some(old) = conf4(&mut was, key).map(Slot::get) else { return Ok(()) };
            for dev in devices(ns) {
                let conf = &mut ns.devices.get_mut(dev).conf4;
                if conf4(conf, key).map(Slot::get).as_deref() == Some(&*old)
                    && let Some(slot) = conf4(conf, key)
                {
                    slot.set(value);
                }
            }
        }
        Key::Conf6(Whose::All, "forwarding") if ns.sysctls.all6.forwarding != before.2.forwarding => {
            let on = ns.sysctls.all6.forwarding;
            ns.sysctls.default6.forwarding = on;
            for dev in devices(ns) {
                ns.devices.get_mut(dev).conf6.forwarding = on;
            }
        }
        Key::Conf6(Whose::All, "disable_ipv6") => {
            let off = ns.sysctls.all6.disable_ipv6;
            ns.sysctls.default6.disable_ipv6 = off;
            for dev in devices(ns) {
                let was = std::mem::replace(&mut ns.devices.get_mut(dev).conf6.disable_ipv6, off);
                disable_change(ns, cx, dev, was);
            }
        }
        Key::Conf6(Whose::Device(dev), "disable_ipv6") => disable_change(ns, cx, dev, device_before.unwrap_or_default()),
        _ => {}
    }
    Ok(())
}

/// The ranges that the kernel checks, beyond those of the types.
fn in_range(key: &Key<'_>, value: &str) -> bool {
    match key {
        Key::Ipv4("ip_default_ttl") => integer(value) != Some(0),
        _ => true,
    }
}

fn devices(ns: &Netns) -> Vec<DevId> {
    ns.devices.iter().map(|device| device.id).collect()
}

/// `inet_forward_change`.
fn forward_change(ns: &mut Netns) {
    let on = ns.sysctls.all4.forwarding;
    ns.sysctls.all4.accept_redirects = !on;
    ns.sysctls.default4.forwarding = on;
    for dev in devices(ns) {
        ns.devices.get_mut(dev).conf4.forwarding = on;
    }
}

/// `dev_disable_change`.
fn disable_change(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, was: bool) {
    match (was, ns.devices.get(dev).conf6.disable_ipv6) {
        (false, true) => ipv6_down(ns, cx, dev),
        (true, false) => ipv6_up(ns, cx, dev),
        _ => {}
    }
}

pub(super) fn get(ns: &Netns, key: &str) -> Result<String, SysctlError> {
    let dotted = dotted(key);
    let parsed = parse(ns, &dotted, key)?;
    // Read out of copies, by the same table that sets.
    let mut sysctls = ns.sysctls.clone();
    let value = match parsed {
        Key::Conf4(Whose::All, key) => conf4(&mut sysctls.all4, key).map(Slot::get),
        Key::Conf4(Whose::Default, key) => conf4(&mut sysctls.default4, key).map(Slot::get),
        Key::Conf4(Whose::Device(dev), key) => conf4(&mut ns.devices.get(dev).conf4.clone(), key).map(Slot::get),
        Key::Conf6(Whose::All, key) => conf6(&mut sysctls.all6, key).map(Slot::get),
        Key::Conf6(Whose::Default, key) => conf6(&mut sysctls.default6, key).map(Slot::get),
        Key::Conf6(Whose::Device(dev), key) => conf6(&mut ns.devices.get(dev).conf6.clone(), key).map(Slot::get),
        Key::Neigh4(dev, key) => neigh(&mut ns.devices.get(dev).neigh4.clone(), key).map(Slot::get),
        Key::Neigh6(dev, key) => neigh(&mut ns.devices.get(dev).neigh6.clone(), key).map(Slot::get),
        Key::Conntrack("count") => Some(ns.conntrack.count().to_string()),
        Key::Conntrack(key) => conntrack(&mut sysctls.ct, key).map(Slot::get),
        Key::Ipv4(key) => ipv4(&mut sysctls, key).map(Slot::get),
        Key::Ipv6("ip6frag_time") => Some(sysctls.ip6frag_time.to_string()),
        Key::Ipv6(_) => None,
        Key::Bridge(key) => bridge(&mut sysctls, key).map(Slot::get),
    };
    match value.or_else(|| fixed(&dotted).map(str::to_owned)) {
        Some(value) => Ok(value),
        None => Err(other(&dotted, key)),
    }
}

#[cfg(test)]
mod tests {
    use sim_core::{Sim, TraceMode};

    use super::*;

    fn with<T>(call: impl FnOnce(&mut Netns, &mut Cx<'_>) -> T) -> T {
        let mut sim = Sim::new(1, TraceMode::Off);
        let node = sim.add_node("n", Netns::new("n"));
        sim.with(node, call)
    }

    #[test]
    fn forwarding_of_all_is_that_of_every_device() {
        with(|ns, cx| {
            set(ns, cx, "net.ipv4.ip_forward", "1").expect("a key");
            for key in ["net.ipv4.conf.all.forwarding", "net.ipv4.conf.default.forwarding", "net.ipv4.conf.lo.forwarding"] {
                assert_eq!(get(ns, key).as_deref(), Ok("1"), "{key}");
            }
            assert_eq!(get(ns, "net.ipv4.conf.all.accept_redirects").as_deref(), Ok("0"));
            assert_eq!(get(ns, "net/ipv4/ip_forward").as_deref(), Ok("1"));
        });
    }

    #[test]
    fn devices_follow_the_default_unless_they_were_told_otherwise() {
        with(|ns, cx| {
            set(ns, cx, "net.ipv4.conf.default.rp_filter", "2").expect("a key");
            assert_eq!(get(ns, "net.ipv4.conf.lo.rp_filter").as_deref(), Ok("2"));
            set(ns, cx, "net.ipv4.conf.lo.rp_filter", "0x1").expect("a key");
            set(ns, cx, "net.ipv4.conf.default.rp_filter", "0").expect("a key");
            assert_eq!(get(ns, "net.ipv4.conf.lo.rp_filter").as_deref(), Ok("1"));
        });
    }

    #[test]
    fn switching_ipv6_off_switches_every_device_off() {
        with(|ns, cx| {
            set(ns, cx, "net.ipv6.conf.all.disable_ipv6", "1").expect("a key");
            assert_eq!(get(ns, "net.ipv6.conf.lo.disable_ipv6").as_deref(), Ok("1"));
            assert_eq!(get(ns, "net.ipv6.conf.default.disable_ipv6").as_deref(), Ok("1"));
        });
    }

    #[test]
    fn what_linux_lacks_and_what_pktlab_lacks_are_told_apart() {
        with(|ns, cx| {
            let mut fails = |key: &str, value: &str| set(ns, cx, key, value).expect_err(key);
            assert!(matches!(fails("net.ipv4.conf.nope.rp_filter", "1"), SysctlError::Unknown(_)));
            assert!(matches!(fails("net.ipv4.bogus", "1"), SysctlError::Unknown(_)));
            assert!(matches!(fails("net.ipv4.tcp_timestamps", "0"), SysctlError::Unsupported(_)));
            assert!(matches!(fails("net.ipv4.conf.lo.accept_source_route", "1"), SysctlError::Unsupported(_)));
            assert!(matches!(fails("kernel.panic", "1"), SysctlError::Unsupported(_)));
            for (key, value) in [
                ("net.ipv4.ip_forward", "a"),
                ("net.ipv4.ip_forward", ""),
                ("net.ipv4.ip_forward", "5000000000"),
                ("net.ipv4.ip_default_ttl", "0"),
                ("net.ipv4.ip_default_ttl", "300"),
                ("net.ipv4.ip_local_port_range", "5 3"),
                ("net.ipv4.ip_local_port_range", "5"),
            ] {
                assert!(matches!(fails(key, value), SysctlError::Invalid { .. }), "{key}={value}");
            }
        });
    }

    #[test]
    fn times_and_ranges_are_read_back_as_the_kernel_prints_them() {
        with(|ns, cx| {
            assert_eq!(get(ns, "net.ipv4.ip_local_port_range").as_deref(), Ok("32768\t60999"));
            assert_eq!(get(ns, "net.ipv4.neigh.lo.locktime").as_deref(), Ok("100"));
            set(ns, cx, "net.ipv4.neigh.lo.base_reachable_time_ms", "1500").expect("a key");
            assert_eq!(get(ns, "net.ipv4.neigh.lo.base_reachable_time").as_deref(), Ok("1"));
            set(ns, cx, "net.netfilter.nf_conntrack_udp_timeout", "10").expect("a key");
            assert_eq!(get(ns, "net.netfilter.nf_conntrack_udp_timeout").as_deref(), Ok("10"));
        });
    }
}
