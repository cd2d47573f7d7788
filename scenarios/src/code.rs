//! The stable codes of outcomes, with a page each: `pktlab explain PL0201`.
//!
//! The first digit behind `PL0` is the class: 0 delivered, 1 rejected, 2 dropped, 3 left the model, 4 looped, 5 unresolved, 6 not
//! modelled. A code never changes its meaning.

use stack::DropReason;

use crate::outcome::OutcomeClass;

/// A code's page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// `PL0201`.
    pub code: &'static str,
    /// The class that it belongs to.
    pub class: OutcomeClass,
    /// One line.
    pub title: &'static str,
    /// What has happened.
    pub meaning: &'static str,
    /// Where it usually comes from.
    pub causes: &'static [&'static str],
    /// What to look at on a real host.
    pub look: &'static [&'static str],
}

macro_rules! pages {
    ($($code:ident $class:ident $title:literal $meaning:literal [$($cause:literal),* $(,)?] [$($look:literal),* $(,)?])*) => {
        $(
            #[doc = $title]
            pub const $code: &str = stringify!($code);
        )*
        /// Every page, by code.
        pub const PAGES: &[Page] = &[$(Page {
            code: $code,
            class: OutcomeClass::$class,
            title: $title,
            meaning: $meaning,
            causes: &[$($cause),*],
            look: &[$($look),*],
        },)*];
    };
}

pages! {
    PL0001 Delivered "Delivered, and answered"
        "The packet reached a socket (or the kernel's echo), and the answer came back to the one who asked."
        [] []
    PL0002 Delivered "Delivered, but the server answered with an error"
        "The network did its part: the answer is an HTTP status of 400 or more."
        ["a path that the server does not have", "an upstream of the server that is down"]
        ["curl -v"]
    PL0101 Rejected "Nothing listens there"
        "The host is there and has no socket on that port: TCP is answered with a reset, UDP with ICMP port unreachable."
        ["the targetPort of the Service is not the port that the container listens on", "the process listens on 127.0.0.1 only", "the process is not running"]
        ["ss -lntup (in the pod)", "kubectl get endpointslices"]
    PL0102 Rejected "A rule says no"
        "A REJECT rule ended the packet and told the sender."
        ["a firewall rule on the way", "a Service address or port that has no rule"]
        ["iptables-save -c | grep REJECT", "nft list ruleset"]
    PL0103 Rejected "A route says no"
        "The route to the destination is of type unreachable or prohibit."
        ["a route that fences off a prefix, such as the aggregate of a pod network"]
        ["ip route get ADDR"]
    PL0104 Rejected "The Service has no endpoints"
        "kube-proxy rejects what goes to a Service port that has no ready endpoint."
        ["the selector matches no pod", "the pods are not ready", "the Service's port name or targetPort matches no container port"]
        ["kubectl describe service", "kubectl get endpointslices", "kubectl get pods --show-labels"]
    PL0105 Rejected "An ICMP error came back"
        "Somebody on the way answered with an ICMP error."
        ["see the packet that caused it"]
        ["tcpdump -ni any icmp"]
    PL0201 Dropped "A rule or a policy drops it"
        "A DROP rule, or the policy of a chain, ended the packet without a word: the sender waits until it gives up."
        ["a firewall rule on the way", "FORWARD with policy DROP (Docker sets it)", "a NetworkPolicy"]
        ["iptables-save -c", "nft monitor trace"]
    PL0202 Dropped "No route"
        "The routing table has no route to the destination."
        ["no default route", "a route to the other node's pods is missing", "the device that the route goes through is down"]
        ["ip route get ADDR", "ip rule"]
    PL0203 Dropped "Nobody has that address on the link"
        "The next hop does not answer ARP (or neighbour solicitation): after three questions the packets that waited are dropped."
        ["the host is down or not on this link", "a wrong prefix length: the address is taken to be on the link", "a wrong gateway"]
        ["ip neigh", "arping"]
    PL0204 Dropped "Reverse path filter"
        "The answer to the source would leave by another device than the one it came in by (or by none), and rp_filter is on."
        ["asymmetric routes", "a source address that was rewritten to one of another network"]
        ["sysctl net.ipv4.conf.all.rp_filter", "ip route get SOURCE"]
    PL0205 Dropped "Too big"
        "The packet is larger than the MTU of the way out and must not be fragmented; or the link carries no frame of this size."
        ["an overlay's header that the MTU of the pods does not leave room for", "a filter that drops ICMP fragmentation needed"]
        ["ip link", "ping -M do -s SIZE", "tracepath"]
    PL0206 Dropped "TTL ran out"
        "Every router lowers the TTL by one; at zero the packet ends."
        ["a TTL that is too low for the distance"]
        ["traceroute"]
    PL0207 Dropped "Connection tracking"
        "The connection could not be tracked or translated: the table is full, or two connections have the same tuple."
        ["nf_conntrack_max", "two packets of one flow that raced"]
        ["conntrack -S", "dmesg | grep nf_conntrack"]
    PL0208 Dropped "Lost by a device or a link"
        "The packet met a device that is down, a link that is down, or one that lost it."
        ["ip link set ... up was not done", "a cable that is out", "loss on the link"]
        ["ip -s link"]
    PL0209 Dropped "Forwarding is off"
        "The packet is for somebody else and this host is no router."
        ["net.ipv4.ip_forward is 0"]
        ["sysctl net.ipv4.ip_forward"]
    PL0210 Dropped "An address that must not appear there"
        "Martian source or destination: loopback, multicast or local addresses on a wire."
        ["route_localnet is off and the packet was translated to 127.0.0.1", "spoofed source"]
        ["sysctl net.ipv4.conf.all.route_localnet", "sysctl net.ipv4.conf.all.log_martians"]
    PL0211 Dropped "Blackhole route"
        "The route to the destination is a blackhole."
        ["the aggregate of a node's pod addresses, for an address that no pod has"]
        ["ip route get ADDR"]
    PL0212 Dropped "Bridge or tunnel"
        "A bridge has no port for the frame, or a tunnel no remote."
        ["a bridge port that does not forward", "a missing fdb entry"]
        ["bridge fdb", "bridge link"]
    PL0213 Dropped "It arrived; the answer was dropped"
        "The question reached its goal. The answer ended on its way back."
        ["no route back to the source", "a reply that takes another way than the question and is not un-translated", "a rule that drops replies"]
        ["tcpdump on both sides", "ip route get SOURCE (on the server's side)", "conntrack -L"]
    PL0214 Dropped "Malformed"
        "The packet's headers, lengths or checksums are wrong."
        [] ["nstat -az"]
    PL0215 Dropped "No answer, though nothing was dropped"
        "The question was taken, and nobody answered in time."
        ["the server took the datagram and does not answer to it"]
        ["tcpdump on the server"]
    PL0216 Dropped "Dropped"
        "The packet was dropped for the reason that is named."
        [] ["the trace's last step"]
    PL0217 Dropped "The socket did not take it"
        "A socket is there and refuses the segment: its queue is full, or the segment does not fit its state."
        ["accept queue overflow", "packets of an older connection"]
        ["ss -lnt", "nstat -az | grep -i listen"]
    PL0218 Dropped "Nobody has that address of the cluster"
        "The address is one of the ranges of pods or Services. No pod has it, or no rule translates it: the packet left by the default route, and nobody outside takes it."
        ["a pod that is gone", "a port that the Service does not have: kube-proxy has rules for its ports only", "a Service that kube-proxy does not know"]
        ["kubectl get pods -A -o wide", "kubectl get services -A", "iptables-save -t nat | grep ADDR"]
    PL0301 LeftModel "It left what pktlab knows"
        "Everything that was loaded let the packet pass. What happens behind the last known place is not known."
        ["the input holds one node of many, or nothing of the outside"]
        ["what `collect` says"]
    PL0401 Looped "It goes in a circle"
        "The packet came through the same device again, until its TTL ran out."
        ["two routers with default routes to each other", "a prefix that is routed to a host that does not have it"]
        ["ip route get ADDR (on each hop)", "traceroute"]
    PL0501 Unresolved "The name does not exist"
        "DNS answered NXDOMAIN, or has no address for the name."
        ["a typo", "the wrong namespace: web.shop.svc.cluster.local", "a headless Service without ready pods"]
        ["dig NAME", "cat /etc/resolv.conf (in the pod)"]
    PL0502 Unresolved "No DNS server answered"
        "The questions to all name servers went unanswered."
        ["CoreDNS is down or has no ready pods", "a policy that blocks UDP port 53"]
        ["kubectl -n kube-system get pods -l k8s-app=kube-dns", "dig @10.96.0.10 NAME"]
    PL0503 Unresolved "The DNS server failed"
        "DNS answered SERVFAIL or REFUSED."
        ["the upstream server does not answer", "no zone for the name"]
        ["kubectl -n kube-system logs -l k8s-app=kube-dns"]
    PL0601 Unsupported "Not modelled"
        "The packet met something that pktlab does not model. What it does on a real host is not known here."
        [] []
}

/// The page of a code, in any case of letters.
pub fn page(code: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(code))
}

/// The code of a packet that was dropped on its way there.
pub fn of_reason(reason: DropReason) -> &'static str {
    match reason {
        DropReason::NoSocket => PL0101,
        DropReason::NetfilterDrop => PL0201,
        DropReason::IpInNoRoutes | DropReason::IpOutNoRoutes => PL0202,
        DropReason::NeighFailed | DropReason::NeighCreateFail | DropReason::NeighQueueFull => PL0203,
        DropReason::IpRpfilter => PL0204,
        DropReason::PktTooBig => PL0205,
        DropReason::IpTtlExceeded => PL0206,
        DropReason::ConntrackDrop => PL0207,
        DropReason::DevReady | DropReason::QdiscDrop | DropReason::CpuBacklog => PL0208,
        DropReason::IpForwardingOff => PL0209,
        DropReason::IpInAddrErrors
        | DropReason::IpInvalidSource
        | DropReason::IpLocalSource
        | DropReason::IpLocalnet
        | DropReason::MacInvalidSource
        | DropReason::UnicastInL2Multicast => PL0210,
        DropReason::IpBlackhole => PL0211,
        DropReason::BridgeNoPort
        | DropReason::BridgeIngressStp
        | DropReason::BridgeLinkLocal
        | DropReason::VxlanNoRemote
        | DropReason::VxlanInvalidHdr
        | DropReason::VxlanVniNotFound
        | DropReason::VxlanEntryExists
        | DropReason::LocalMac
        | DropReason::IpTunnelEcn
        | DropReason::TunnelDepth => PL0212,
        DropReason::IpInHdr
        | DropReason::IpCsum
        | DropReason::PktTooSmall
        | DropReason::TcpCsum
        | DropReason::UdpCsum
        | DropReason::IcmpCsum
        | DropReason::FragInvalid
        | DropReason::FragReasmTimeout
        | DropReason::FragTooFar => PL0214,
        DropReason::SocketRcvbuff | DropReason::TcpListenOverflow | DropReason::TcpInvalid => PL0217,
        DropReason::Unsupported => PL0601,
        _ => PL0216,
    }
}

impl Page {
    /// The page as text.
    pub fn text(&self) -> String {
        let mut text = format!("{} ({}): {}\n\n  {}\n", self.code, self.class, self.title, self.meaning);
        let list = |title: &str, lines: &[&str]| -> String {
            if lines.is_empty() {
                return String::new();
            }
            format!("\n  {title}\n{}", lines.iter().map(|line| format!("    - {line}\n")).collect::<String>())
        };
        text.push_str(&list("Usual causes", self.causes));
        text.push_str(&list("On a real host, look at", self.look));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_code_of_its_own_and_of_its_class() {
        for (at, page) in PAGES.iter().enumerate() {
            assert!(PAGES[..at].iter().all(|other| other.code < page.code), "{}", page.code);
            let class = OutcomeClass::ALL.iter().position(|class| *class == page.class).expect("a class").to_string();
            assert_eq!(&page.code[3..4], class, "{}", page.code);
        }
    }

    #[test]
    fn every_reason_has_a_page() {
        for reason in DropReason::ALL {
            assert!(page(of_reason(*reason)).is_some(), "{reason}");
        }
    }
}
