//! Why a packet ended without arriving: `enum skb_drop_reason` (include/net/dropreason-core.h), and a few of ours where the
//! kernel drops without a word.

use std::fmt;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet ended. `Display` is the kernel's word, without the prefix `SKB_DROP_REASON_`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// The kernel's word, without its prefix.
            pub fn as_str(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// No more specific reason.
    NotSpecified = "NOT_SPECIFIED",
    /// The device, or its carrier, is down.
    DevReady = "DEV_READY",
    /// Nobody handles this EtherType.
    UnhandledProto = "UNHANDLED_PROTO",
    /// Another host's MAC.
    OtherHost = "OTHERHOST",
    /// The IP header is malformed, or its addresses are.
    IpInHdr = "IP_INHDR",
    /// Bad IP header checksum.
    IpCsum = "IP_CSUM",
    /// Shorter than its headers say.
    PktTooSmall = "PKT_TOO_SMALL",
    /// An address that must not appear here (martian).
    IpInAddrErrors = "IP_INADDRERRORS",
    /// Source of 0/8, 127/8 and the like from a wire.
    IpInvalidSource = "IP_INVALID_SOURCE",
    /// A source that is a local address.
    IpLocalSource = "IP_LOCAL_SOURCE",
    /// A destination of 127/8 from a wire.
    IpLocalnet = "IP_LOCALNET",
    /// Reverse path filter.
    IpRpfilter = "IP_RPFILTER",
    /// No route for a packet that came in.
    IpInNoRoutes = "IP_INNOROUTES",
    /// No route for a packet of our own.
    IpOutNoRoutes = "IP_OUTNOROUTES",
    /// A blackhole route.
    IpBlackhole = "IP_BLACKHOLE",
    /// Forwarding is off.
    IpForwardingOff = "IP_FORWARDING_OFF",
    /// TTL or hop limit ran out.
    IpTtlExceeded = "IP_TTL_EXCEEDED",
    /// Larger than the MTU, and must not be fragmented.
    PktTooBig = "PKT_TOO_BIG",
    /// IPv6 is off on the device.
    Ipv6Disabled = "IPV6DISABLED",
    /// A unicast IP address in a broadcast or multicast frame.
    UnicastInL2Multicast = "UNICAST_IN_L2_MULTICAST",
    /// No protocol handler for the IP protocol.
    IpNoProto = "IP_NOPROTO",
    /// Fragments that never became whole.
    FragReasmTimeout = "FRAG_REASM_TIMEOUT",
    /// A fragment that does not fit the others.
    FragInvalid = "DUP_FRAG",
    /// Too many fragments wait.
    FragTooFar = "FRAG_TOO_FAR",
    /// A rule, or a policy, said so.
    NetfilterDrop = "NETFILTER_DROP",
    /// A connection could not be tracked or translated (table full, tuple clash).
    ConntrackDrop = "NETFILTER_CONNTRACK_DROP",
    /// No answer to ARP or neighbour solicitation.
    NeighFailed = "NEIGH_FAILED",
    /// No neighbour entry could be made.
    NeighCreateFail = "NEIGH_CREATEFAIL",
    /// Too many packets wait for a neighbour.
    NeighQueueFull = "NEIGH_QUEUEFULL",
    /// ARP or NDP: read and done, as it should be.
    NeighConsumed = "CONSUMED",
    /// No socket listens or is connected there.
    NoSocket = "NO_SOCKET",
    /// Bad TCP checksum.
    TcpCsum = "TCP_CSUM",
    /// Bad UDP checksum.
    UdpCsum = "UDP_CSUM",
    /// Bad ICMP checksum.
    IcmpCsum = "ICMP_CSUM",
    /// An ICMP message that nobody waits for.
    IcmpUnwanted = "INVALID_PROTO",
    /// A socket's buffer is full.
    SocketRcvbuff = "SOCKET_RCVBUFF",
    /// The accept queue of a listener is full.
    TcpListenOverflow = "TCP_LISTEN_OVERFLOW",
    /// A segment that its socket cannot take.
    TcpInvalid = "TCP_INVALID_SEQUENCE",
    /// The bridge has no port for it.
    BridgeNoPort = "BRIDGE_NO_EGRESS_PORT",
    /// The bridge port does not forward.
    BridgeIngressStp = "BRIDGE_INGRESS_STP_STATE",
    /// A frame for 01:80:c2:00:00:0x that no bridge forwards.
    BridgeLinkLocal = "MAC_IEEE_MAC_CONTROL",
    /// A frame whose source MAC is a multicast address or the bridge's own.
    MacInvalidSource = "MAC_INVALID_SOURCE",
    /// No VXLAN remote is known.
    VxlanNoRemote = "VXLAN_NO_REMOTE",
    /// A VXLAN header without a VNI, or with bits of an extension.
    VxlanInvalidHdr = "VXLAN_INVALID_HDR",
    /// No VXLAN device has the VNI.
    VxlanVniNotFound = "VXLAN_VNI_NOT_FOUND",
    /// A frame came from another host than the one that its source MAC is entered at, to stay.
    VxlanEntryExists = "VXLAN_ENTRY_EXISTS",
    /// A frame out of a tunnel has the device's own MAC as its source.
    LocalMac = "LOCAL_MAC",
    /// Congestion marked on the outside of a packet that cannot carry the mark.
    IpTunnelEcn = "IP_TUNNEL_ECN",
    /// Too many packets wait to come in.
    CpuBacklog = "CPU_BACKLOG",
    /// Nested too deep.
    TunnelDepth = "RECURSION_LIMIT",
    /// Egress queue full.
    QdiscDrop = "QDISC_DROP",
    /// pktlab does not model what this packet needs.
    Unsupported = "PKTLAB_UNSUPPORTED",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
