//! The sysctls of a namespace: what of `net.*` changes a packet's way. Defaults are those of a fresh namespace of Linux 6.18.
//!
//! Keys are as `sysctl` prints them (`net.ipv4.conf.eth0.rp_filter`; a dot in an interface's name is written `/`).

use sim_core::SimTime;

mod keys;

/// `net.ipv4.conf.<dev>.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf4 {
    /// `forwarding`.
    pub forwarding: bool,
    /// `rp_filter`: 0 off, 1 strict, 2 loose.
    pub rp_filter: u8,
    /// `arp_ignore`.
    pub arp_ignore: u8,
    /// `arp_announce`.
    pub arp_announce: u8,
    /// `arp_filter`.
    pub arp_filter: bool,
    /// `arp_accept`.
    pub arp_accept: u8,
    /// `arp_notify`.
    pub arp_notify: bool,
    /// `proxy_arp`.
    pub proxy_arp: bool,
    /// `proxy_arp_pvlan`.
    pub proxy_arp_pvlan: bool,
    /// `accept_local`.
    pub accept_local: bool,
    /// `route_localnet`.
    pub route_localnet: bool,
    /// `src_valid_mark`.
    pub src_valid_mark: bool,
    /// `send_redirects`.
    pub send_redirects: bool,
    /// `accept_redirects`.
    pub accept_redirects: bool,
    /// `secure_redirects`.
    pub secure_redirects: bool,
    /// `shared_media`.
    pub shared_media: bool,
    /// `log_martians`.
    pub log_martians: bool,
    /// `promote_secondaries`.
    pub promote_secondaries: bool,
    /// `bc_forwarding`.
    pub bc_forwarding: bool,
    /// `drop_unicast_in_l2_multicast`.
    pub drop_unicast_in_l2_multicast: bool,
    /// `ignore_routes_with_linkdown`.
    pub ignore_routes_with_linkdown: bool,
}

impl Default for Conf4 {
    fn default() -> Conf4 {
        Conf4 {
            forwarding: false,
            rp_filter: 0,
            arp_ignore: 0,
            arp_announce: 0,
            arp_filter: false,
            arp_accept: 0,
            arp_notify: false,
            proxy_arp: false,
            proxy_arp_pvlan: false,
            accept_local: false,
            route_localnet: false,
            src_valid_mark: false,
            send_redirects: true,
            accept_redirects: true,
            secure_redirects: true,
            shared_media: true,
            log_martians: false,
            promote_secondaries: false,
            bc_forwarding: false,
            drop_unicast_in_l2_multicast: false,
            ignore_routes_with_linkdown: false,
        }
    }
}

/// `net.ipv6.conf.<dev>.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf6 {
    /// `disable_ipv6`.
    pub disable_ipv6: bool,
    /// `forwarding`.
    pub forwarding: bool,
    /// `accept_ra`.
    pub accept_ra: u8,
    /// `autoconf`.
    pub autoconf: bool,
    /// `accept_dad`.
    pub accept_dad: u8,
    /// `dad_transmits`.
    pub dad_transmits: u8,
    /// `hop_limit`.
    pub hop_limit: u8,
    /// `proxy_ndp`.
    pub proxy_ndp: bool,
    /// `accept_redirects`.
    pub accept_redirects: bool,
    /// `router_solicitations`.
    pub router_solicitations: i32,
    /// `addr_gen_mode`.
    pub addr_gen_mode: u8,
    /// `keep_addr_on_down`.
    pub keep_addr_on_down: i32,
    /// `drop_unicast_in_l2_multicast`.
    pub drop_unicast_in_l2_multicast: bool,
    /// `ignore_routes_with_linkdown`.
    pub ignore_routes_with_linkdown: bool,
}

impl Default for Conf6 {
    fn default() -> Conf6 {
        Conf6 {
            disable_ipv6: false,
            forwarding: false,
            accept_ra: 1,
            autoconf: true,
            accept_dad: 1,
            dad_transmits: 1,
            hop_limit: 64,
            proxy_ndp: false,
            accept_redirects: true,
            router_solicitations: -1,
            addr_gen_mode: 0,
            keep_addr_on_down: 0,
            drop_unicast_in_l2_multicast: false,
            ignore_routes_with_linkdown: false,
        }
    }
}

/// `net.ipv4.neigh.<dev>.*` and its IPv6 twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfNeigh {
    /// `base_reachable_time_ms`.
    pub base_reachable_time: SimTime,
    /// `delay_first_probe_time`.
    pub delay_first_probe_time: SimTime,
    /// `retrans_time_ms`.
    pub retrans_time: SimTime,
    /// `locktime` (IPv4).
    pub locktime: SimTime,
    /// `ucast_solicit`.
    pub ucast_solicit: u8,
    /// `mcast_solicit`.
    pub mcast_solicit: u8,
    /// `app_solicit`.
    pub app_solicit: u8,
    /// `unres_qlen`: packets that wait for one neighbour.
    pub unres_qlen: u16,
}

impl Default for ConfNeigh {
    fn default() -> ConfNeigh {
        ConfNeigh {
            base_reachable_time: SimTime::from_secs(30),
            delay_first_probe_time: SimTime::from_secs(5),
            retrans_time: SimTime::from_secs(1),
            locktime: SimTime::from_secs(1),
            ucast_solicit: 3,
            mcast_solicit: 3,
            app_solicit: 0,
            unres_qlen: 101,
        }
    }
}

/// `net.netfilter.nf_conntrack_*`. Times are as the kernel counts them, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the sysctls")]
pub struct CtSysctls {
    pub max: u32,
    pub buckets: u32,
    pub acct: bool,
    pub checksum: bool,
    pub helper: bool,
    pub tcp_loose: bool,
    pub tcp_be_liberal: bool,
    pub tcp_max_retrans: u8,
    pub tcp_ignore_invalid_rst: bool,
    pub generic_timeout: u32,
    pub icmp_timeout: u32,
    pub icmpv6_timeout: u32,
    pub tcp_timeout_syn_sent: u32,
    pub tcp_timeout_syn_recv: u32,
    pub tcp_timeout_established: u32,
    pub tcp_timeout_fin_wait: u32,
    pub tcp_timeout_close_wait: u32,
    pub tcp_timeout_last_ack: u32,
    pub tcp_timeout_time_wait: u32,
    pub tcp_timeout_close: u32,
    pub tcp_timeout_max_retrans: u32,
    pub tcp_timeout_unacknowledged: u32,
    pub udp_timeout: u32,
    pub udp_timeout_stream: u32,
    pub gre_timeout: u32,
    pub gre_timeout_stream: u32,
    pub sctp_timeout_closed: u32,
    pub sctp_timeout_cookie_wait: u32,
    pub sctp_timeout_cookie_echoed: u32,
    pub sctp_timeout_established: u32,
    pub sctp_timeout_shutdown_sent: u32,
    pub sctp_timeout_shutdown_recd: u32,
    pub sctp_timeout_shutdown_ack_sent: u32,
    pub sctp_timeout_heartbeat_sent: u32,
}

impl Default for CtSysctls {
    fn default() -> CtSysctls {
        CtSysctls {
            max: 262_144,
            buckets: 262_144,
            acct: false,
            checksum: true,
            helper: false,
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_max_retrans: 3,
            tcp_ignore_invalid_rst: false,
            generic_timeout: 600,
            icmp_timeout: 30,
            icmpv6_timeout: 30,
            tcp_timeout_syn_sent: 120,
            tcp_timeout_syn_recv: 60,
            tcp_timeout_established: 432_000,
            tcp_timeout_fin_wait: 120,
            tcp_timeout_close_wait: 60,
            tcp_timeout_last_ack: 30,
            tcp_timeout_time_wait: 120,
            tcp_timeout_close: 10,
            tcp_timeout_max_retrans: 300,
            tcp_timeout_unacknowledged: 300,
            udp_timeout: 30,
            udp_timeout_stream: 120,
            gre_timeout: 30,
            gre_timeout_stream: 180,
            sctp_timeout_closed: 10,
            sctp_timeout_cookie_wait: 3,
            sctp_timeout_cookie_echoed: 3,
            sctp_timeout_established: 210,
            sctp_timeout_shutdown_sent: 3,
            sctp_timeout_shutdown_recd: 3,
            sctp_timeout_shutdown_ack_sent: 3,
            sctp_timeout_heartbeat_sent: 30,
        }
    }
}

/// The sysctls of a namespace that belong to no device. Those of a device stand in [`crate::dev::device::Device`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the sysctls")]
pub struct Sysctls {
    /// `net.ipv4.conf.all.*`; its `forwarding` is `net.ipv4.ip_forward`.
    pub all4: Conf4,
    /// `net.ipv4.conf.default.*`: what a new device starts with.
    pub default4: Conf4,
    /// `net.ipv6.conf.all.*`.
    pub all6: Conf6,
    /// `net.ipv6.conf.default.*`.
    pub default6: Conf6,
    /// What a new device's neighbour sysctls start with, IPv4.
    pub neigh4: ConfNeigh,
    /// What a new device's neighbour sysctls start with, IPv6.
    pub neigh6: ConfNeigh,
    pub ct: CtSysctls,
    pub ip_default_ttl: u8,
    pub ip_no_pmtu_disc: u8,
    pub ip_local_port_range: (u16, u16),
    pub ip_unprivileged_port_start: u16,
    pub ip_nonlocal_bind: bool,
    pub ping_group_range: (u32, u32),
    pub fwmark_reflect: bool,
    pub fib_multipath_hash_policy: u8,
    pub fib_multipath_use_neigh: bool,
    pub icmp_echo_ignore_all: bool,
    pub icmp_echo_ignore_broadcasts: bool,
    /// Minimal distance of two ICMP errors to one destination, in milliseconds.
    pub icmp_ratelimit: u32,
    pub icmp_ratemask: u32,
    pub icmp_errors_use_inbound_ifaddr: bool,
    pub ipfrag_time: u32,
    pub ip6frag_time: u32,
    pub tcp_syn_retries: u8,
    pub tcp_syn_linear_timeouts: u8,
    pub tcp_fin_timeout: u32,
    pub bridge_nf_call_iptables: bool,
    pub bridge_nf_call_ip6tables: bool,
    pub bridge_nf_call_arptables: bool,
    pub bridge_nf_filter_vlan_tagged: bool,
}

impl Default for Sysctls {
    fn default() -> Sysctls {
        Sysctls {
            all4: Conf4::default(),
            default4: Conf4::default(),
            all6: Conf6 { accept_dad: 0, ..Conf6::default() },
            default6: Conf6::default(),
            neigh4: ConfNeigh::default(),
            neigh6: ConfNeigh { locktime: SimTime::ZERO, ..ConfNeigh::default() },
            ct: CtSysctls::default(),
            ip_default_ttl: 64,
            ip_no_pmtu_disc: 0,
            ip_local_port_range: (32_768, 60_999),
            ip_unprivileged_port_start: 1024,
            ip_nonlocal_bind: false,
            ping_group_range: (1, 0),
            fwmark_reflect: false,
            fib_multipath_hash_policy: 0,
            fib_multipath_use_neigh: false,
            icmp_echo_ignore_all: false,
            icmp_echo_ignore_broadcasts: true,
            icmp_ratelimit: 1000,
            icmp_ratemask: 6168,
            icmp_errors_use_inbound_ifaddr: false,
            ipfrag_time: 30,
            ip6frag_time: 60,
            tcp_syn_retries: 6,
            tcp_syn_linear_timeouts: 4,
            tcp_fin_timeout: 60,
            bridge_nf_call_iptables: true,
            bridge_nf_call_ip6tables: true,
            bridge_nf_call_arptables: true,
            bridge_nf_filter_vlan_tagged: false,
        }
    }
}

/// Why a sysctl was not set or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SysctlError {
    /// No such key in Linux (as far as pktlab knows), or no such device.
    #[error("cannot stat /proc/sys/{}: No such file or directory", .0.replace('.', "/"))]
    Unknown(String),
    /// Linux has it, pktlab does not model it.
    #[error("{0}: pktlab does not model this sysctl")]
    Unsupported(String),
    /// The value is not one that the key takes.
    #[error("setting key \"{key}\": Invalid argument")]
    Invalid {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

/// Sets a sysctl by its name, as `sysctl -w key=value` does, with the consequences that the kernel attaches to it
/// (`conf.all.forwarding` sets every device's, ...). Both `.` and `/` separate the parts of a key.
///
/// # Errors
/// See [`SysctlError`].
pub fn set(ns: &mut crate::Netns, cx: &mut crate::Cx<'_>, key: &str, value: &str) -> Result<(), SysctlError> {
    keys::set(ns, cx, key, value)
}

/// Reads a sysctl by its name.
///
/// # Errors
/// See [`SysctlError`].
pub fn get(ns: &crate::Netns, key: &str) -> Result<String, SysctlError> {
    keys::get(ns, key)
}
