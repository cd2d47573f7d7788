//! An end of a question to a namespace, an address and a port.

use std::net::IpAddr;

use k8s_model::api::service::{PortRef, Protocol};
use k8s_model::{ClusterPod, PodState};
use sim_core::NodeId;
use stack::app::{L4, Resolver, Service, Target};
use stack::dev::device::DeviceKind;

use crate::build::{EXTERNAL, World};
use crate::ends::{End, EndKind, Place, Port};
use crate::problem::Problem;
use crate::question::{Proto, Question};
use crate::scenario::nearest;

const DNS_PORT: u16 = 53;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its namespace.
    pub netns: NodeId,
    /// The address that its socket is bound to; none lets the kernel choose.
    pub bind: Option<IpAddr>,
    /// How it finds names.
    pub resolver: Option<Resolver>,
}

/// Whom.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The address or name that is asked.
    pub target: Target,
    /// The port; 0 for pings.
    pub port: u16,
    /// How.
    pub proto: Proto,
    /// The `Host` of an HTTP request.
    pub host: String,
    /// Whether it is asked as a DNS server is: nothing else is answered there.
    pub dns: bool,
    /// What was assumed.
    pub assumptions: Vec<String>,
}

/// What of a Service is asked: its address or name, its port, the namespace and port of one who serves it, and whether the port
/// is one of UDP.
type ServiceTarget = (Target, u16, Option<(String, u16)>, bool);

impl World {
    /// Who asks.
    ///
    /// # Errors
    /// Nobody of that name, or it cannot ask.
    pub fn source(&self, end: &End) -> Result<Source, Problem> {
        self.check_cluster(end, "--from")?;
        let wrong = |message: String| Problem::whole(format!("--from {end}"), message);
        let (name, bind) = match &end.kind {
            EndKind::Pod { namespace, name, .. } => (self.pod_netns(namespace, name, "--from", end)?, None),
            EndKind::Node { name, .. } => (self.node(name, "--from", end)?, None),
            EndKind::Netns { name, .. } => (self.bare(name, "--from", end)?, None),
            EndKind::External { address, .. } => (EXTERNAL.to_owned(), *address),
            EndKind::AddressAt { address, at: Place::External } => (EXTERNAL.to_owned(), Some(*address)),
            EndKind::AddressAt { address, at: Place::Node(node) } => {
                let node = self.node(node, "--from", end)?;
                let cluster = self.cluster.as_ref().ok_or_else(|| wrong("there is no cluster".to_owned()))?;
                let pod = cluster.pods.iter().find(|pod| pod.has_netns() && pod.ips.contains(address));
                match pod {
                    Some(pod) if pod.node.as_deref() == Some(&node) => (pod.meta.full_name(), Some(*address)),
                    Some(pod) => {
                        let at = pod.node.as_deref().unwrap_or("no node");
                        return Err(wrong(format!("{address} is pod {}, which is on {at}", pod.meta.full_name())));
                    }
                    None if cluster.nodes.iter().any(|one| one.name == node && one.ips.contains(address)) => (node, Some(*address)),
                    None => {
                        return Err(wrong(format!(
                            "nobody on {node} has the address {address}, and making a pod for it is not modelled"
                        ))
                        .help("add a Pod with `nodeName` to the manifests, or ask from pod/NS/NAME")
                        .unsupported());
                    }
                }
            }
            EndKind::Address { address, .. } => match self.owner(*address) {
                Some(name) => (name, Some(*address)),
                None => {
                    return Err(wrong(format!("nobody has the address {address}"))
                        .help("write ADDR@external for a host outside, or ADDR@node/NAME for a pod"));
                }
            },
            EndKind::Service { .. } => {
                return Err(wrong("a Service sends nothing: it is an address that is translated".to_owned())
                    .help("name a pod: pod/NS/NAME"));
            }
            EndKind::Name { .. } | EndKind::Url(_) => {
                return Err(
                    wrong("a name or URL is no source".to_owned()).help("write pod/NS/NAME, node/NAME, ns/NAME or external")
                );
            }
        };
        let netns = self.network.named(&name).ok_or_else(|| {
            wrong(format!("there is no network namespace {name}")).help(if name == EXTERNAL {
                "`external` exists where there is a cluster: give -f, or a scenario with one"
            } else {
                "see `pktlab run` for the namespaces of a scenario"
            })
        })?;
        Ok(Source { netns, bind, resolver: self.resolvers.get(&name).cloned() })
    }

    /// Whom.
    ///
    /// # Errors
    /// Nobody of that name, no such port, or a port must be said.
    pub fn destination(&self, question: &Question) -> Result<Destination, Problem> {
        let end = &question.to;
        self.check_cluster(end, "--to")?;
        let wrong = |message: String| Problem::whole(format!("--to {end}"), message);
        let mut assumptions = Vec::new();
        let icmp = question.proto == Some(Proto::Icmp);
        let l4 = if question.proto == Some(Proto::Udp) { L4::Udp } else { L4::Tcp };
        let mut udp = false;
        let at = |address: IpAddr| Target::Address(address);
        let (target, port, served_by) = match &end.kind {
            EndKind::Pod { namespace, name, port } => {
                let netns = self.pod_netns(namespace, name, "--to", end)?;
                let pod = self.pod(namespace, name).ok_or_else(|| wrong("no such pod".to_owned()))?;
                let ip = *pod.ips.first().ok_or_else(|| wrong(format!("pod {} has no address", pod.meta.full_name())))?;
                let number = match port {
                    _ if icmp => 0,
                    Some(Port::Number(number)) => *number,
                    Some(Port::Name(name)) => {
                        let protocol = if l4 == L4::Udp { Protocol::Udp } else { Protocol::Tcp };
                        let of_udp = || pod.named_port(name, Protocol::Udp).filter(|_| question.proto.is_none());
                        pod.named_port(name, protocol).or_else(of_udp).ok_or_else(|| {
                            let names: Vec<&str> = pod.container_ports().filter_map(|port| port.name.as_deref()).collect();
                            let help = if names.is_empty() {
                                "it names no ports: write a number".to_owned()
                            } else {
                                format!("its ports are {}", names.join(", "))
                            };
                            wrong(format!("pod {} has no port that is called {name}", pod.meta.full_name())).help(help)
                        })?
                    }
                    None => self.only_port(&netns, l4, &wrong)?,
                };
                (at(ip), number, Some((netns, number)))
            }
            EndKind::Service { namespace, name, port } => {
                let (target, number, served, of_udp) =
                    self.service_target(namespace, name, port.as_ref(), question.proto, &mut assumptions, end)?;
                udp = of_udp;
                (target, number, served)
            }
            EndKind::Node { name, port } => {
                let node = self.node(name, "--to", end)?;
                let cluster = self.cluster.as_ref().ok_or_else(|| wrong("there is no cluster".to_owned()))?;
                let found = cluster.nodes.iter().find(|one| one.name == node);
                let ip = *found.and_then(|node| node.ips.first()).ok_or_else(|| wrong("the node has no address".to_owned()))?;
                let number = match port {
                    _ if icmp => 0,
                    Some(Port::Number(number)) => *number,
                    Some(Port::Name(wanted)) => self.node_port(wanted, &wrong)?,
                    None => {
                        return Err(wrong("the port is missing".to_owned())
                            .help("write node/NAME:PORT, for example a nodePort, or --proto icmp"));
                    }
                };
                (at(ip), number, self.behind_node_port(number).or(Some((node, number))))
            }
            EndKind::Netns { name, port } => {
                let name = self.bare(name, "--to", end)?;
                let ip = self
                    .first_address(&name)
                    .ok_or_else(|| wrong(format!("{name} has no address")).help("`ip addr add` is missing in it"))?;
                let number = match port {
                    _ if icmp => 0,
                    Some(Port::Number(number)) => *number,
                    Some(Port::Name(_)) => return Err(wrong("a bare namespace names no ports: write a number".to_owned())),
                    None => self.only_port(&name, l4, &wrong)?,
                };
                (at(ip), number, Some((name, number)))
            }
            EndKind::External { address, port } => {
                let name = EXTERNAL.to_owned();
                let ip =
                    address.or_else(|| self.first_address(&name)).ok_or_else(|| wrong("there is nobody outside".to_owned()))?;
                let number = match port {
                    _ if icmp => 0,
                    Some(Port::Number(number)) => *number,
                    Some(Port::Name(_)) => return Err(wrong("write the port as a number".to_owned())),
                    None => self.only_port(&name, l4, &wrong)?,
                };
                (at(ip), number, Some((name, number)))
            }
            EndKind::Address { address, port } => {
                let number = match port {
                    _ if icmp => 0,
                    Some(Port::Number(number)) => *number,
                    Some(Port::Name(_)) => return Err(wrong("write the port of an address as a number".to_owned())),
                    None => {
                        return Err(
                            wrong("the port is missing".to_owned()).help(format!("write {end}:PORT, or --proto icmp to ping it"))
                        );
                    }
                };
                (at(*address), number, self.served_at(*address, number))
            }
            EndKind::Name { name, port } => {
                let number = match port {
                    _ if icmp => 0,
                    Some(Port::Number(number)) => *number,
                    Some(Port::Name(_)) => return Err(wrong("write the port of a DNS name as a number".to_owned())),
                    None => {
                        return Err(wrong("the port is missing".to_owned())
                            .help(format!("write {name}:PORT, http://{name}/, or --proto icmp")));
                    }
                };
                (Target::Name(name.clone()), number, None)
            }
            EndKind::Url(url) => {
                if url.tls {
                    return Err(wrong("TLS is not modelled".to_owned())
                        .help("ask http://, or NAME:443 for the connection alone")
                        .unsupported());
                }
                let port = url.port.unwrap_or(80);
                let target = url.host.parse().map_or_else(|_| Target::Name(url.host.clone()), Target::Address);
                (target, port, None)
            }
            EndKind::AddressAt { .. } => {
                return Err(wrong("ADDR@PLACE is a source".to_owned()).help("a destination is written ADDR:PORT"));
            }
        };
        let served = |l4: L4| served_by.as_ref().is_some_and(|(netns, port)| self.listens(netns, *port, l4));
        let http =
            matches!(end.kind, EndKind::Url(_)) || served_by.as_ref().is_some_and(|(netns, port)| self.serves_http(netns, *port));
        let udp = udp || (served(L4::Udp) && !served(L4::Tcp));
        let proto = question.proto.unwrap_or(match (http, udp) {
            (true, _) => Proto::Http,
            (false, true) => Proto::Udp,
            (false, false) => Proto::Tcp,
        });
        let host = match &target {
            Target::Name(name) => name.clone(),
            Target::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Target::Address(address) => address.to_string(),
        };
        let host = if port == 80 { host } else { format!("{host}:{port}") };
        let server = served_by.as_ref().and_then(|(netns, port)| self.server(netns, *port, L4::Udp));
        let dns = match server {
            Some(server) => matches!(server, Service::Dns(_)),
            None => port == DNS_PORT,
        };
        let dns = dns && matches!(target, Target::Address(_));
        Ok(Destination { target, port, proto, host, dns, assumptions })
    }

    fn service_target(
        &self,
        namespace: &str,
        name: &str,
        port: Option<&Port>,
        proto: Option<Proto>,
        assumptions: &mut Vec<String>,
        end: &End,
    ) -> Result<ServiceTarget, Problem> {
        let icmp = proto == Some(Proto::Icmp);
        let wrong = |message: String| Problem::whole(format!("--to {end}"), message);
        let cluster =
            self.cluster.as_ref().ok_or_else(|| wrong("there is no cluster".to_owned()).help("give manifests with -f"))?;
        let service = cluster.services.iter().find(|service| service.meta.key() == (namespace, name)).ok_or_else(|| {
            let known = cluster.services.iter().map(|service| format!("svc/{}", service.meta.full_name())).collect::<Vec<_>>();
            wrong(format!("there is no Service {namespace}/{name}")).help(did_you_mean(&format!("svc/{namespace}/{name}"), &known))
        })?;
        if let Some(external) = &service.external_name {
            assumptions.push(format!("Service {namespace}/{name} is of type ExternalName: {external} is asked"));
            let Some(Port::Number(number)) = port else {
                return Err(
                    wrong("an ExternalName Service has no ports".to_owned()).help(format!("write svc/{namespace}/{name}:PORT"))
                );
            };
            return Ok((Target::Name(external.clone()), *number, None, false));
        }
        let list = || {
            service
                .ports
                .iter()
                .map(|port| match (port.name.is_empty(), port.protocol) {
                    (true, Protocol::Tcp) => port.port.to_string(),
                    (false, Protocol::Tcp) => format!("{} ({})", port.port, port.name),
                    (true, protocol) => format!("{} ({protocol})", port.port),
                    (false, protocol) => format!("{} ({}, {protocol})", port.port, port.name),
                })
                .collect::<Vec<_>>()
                .join(", ")
        };
        // One number may be a port of TCP and one of UDP.
        let wanted = |protocol: Protocol| match proto {
            Some(Proto::Udp) => protocol == Protocol::Udp,
            Some(Proto::Tcp | Proto::Http) => protocol == Protocol::Tcp,
            Some(Proto::Icmp) | None => true,
        };
        let of_number = |number: u16| {
            let all = || service.ports.iter().filter(move |port| port.port == number && wanted(port.protocol));
            all().find(|port| port.protocol == Protocol::Tcp).or_else(|| all().next())
        };
        let entry = match port {
            Some(Port::Number(number)) => of_number(*number),
            Some(Port::Name(name)) => service.port(&PortRef::Name(name.clone())),
            None => match &service.ports[..] {
                [only] => Some(only),
                _ if icmp => None,
                _ => return Err(wrong("which port?".to_owned()).help(format!("its ports are {}", list()))),
            },
        };
        // An undeclared port is a fair question: the answer is that no rule has it.
        let number = match (entry, port) {
            _ if icmp => 0,
            (Some(entry), _) => entry.port,
            (None, Some(Port::Number(number))) => {
                let of = if proto == Some(Proto::Udp) { "UDP port" } else { "port" };
                assumptions.push(format!("Service {namespace}/{name} has no {of} {number}; its ports are {}", list()));
                *number
            }
            (None, _) => return Err(wrong("no such port".to_owned()).help(format!("its ports are {}", list()))),
        };
        let protocol = entry.map(|entry| entry.protocol);
        if protocol == Some(Protocol::Sctp) && !icmp {
            return Err(wrong("SCTP is not modelled".to_owned()).unsupported());
        }
        let of_udp = protocol == Some(Protocol::Udp);
        let endpoints = cluster.slices.iter().filter(|slice| slice.meta.namespace == namespace && slice.service == name);
        let mut first = None;
        for slice in endpoints {
            let target =
                slice.ports.iter().find(|port| entry.is_none_or(|entry| port.name == entry.name)).and_then(|port| port.port);
            let ready = slice.endpoints.iter().find(|endpoint| endpoint.is_ready()).and_then(|endpoint| endpoint.addresses.first());
            first = first.or(ready.copied().zip(target));
        }
        let served = first.and_then(|(ip, port)| self.served_at(ip, port));
        if service.is_headless() {
            let Some((ip, target)) = first else {
                return Err(wrong("the Service is headless and has no ready endpoint: DNS has no address for it".to_owned())
                    .help("ask by its name to see the DNS answer: NAME.NS.svc.cluster.local:PORT"));
            };
            let untranslated = match entry {
                Some(_) if !icmp && target != number => format!(", on port {number}: no rule turns that into {target}"),
                _ => String::new(),
            };
            assumptions.push(format!("Service {namespace}/{name} is headless: its first endpoint {ip} is asked{untranslated}"));
            return Ok((Target::Address(ip), number, self.served_at(ip, number), of_udp));
        }
        let ip = *service.cluster_ips.addresses().first().ok_or_else(|| wrong("the Service has no address".to_owned()))?;
        Ok((Target::Address(ip), number, served, of_udp))
    }

    /// A cluster that is named must be the one that there is.
    fn check_cluster(&self, end: &End, flag: &str) -> Result<(), Problem> {
        let Some(name) = &end.cluster else { return Ok(()) };
        let known = self.cluster.as_ref().map(|cluster| cluster.config.name.as_str());
        if known == Some(name) {
            return Ok(());
        }
        let help =
            known.map_or_else(|| "there is no cluster".to_owned(), |known| format!("the cluster is called {known}; leave it out"));
        Err(Problem::whole(format!("{flag} {end}"), format!("there is no cluster {name}")).help(help))
    }

    /// A pod by name, or the first running pod of the workload of that name.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&ClusterPod> {
        let here = || self.cluster.iter().flat_map(|cluster| &cluster.pods).filter(|pod| pod.meta.namespace == namespace);
        here().find(|pod| pod.meta.name == name).or_else(|| {
            here().find(|pod| pod.state == PodState::Running && pod.workload.as_ref().is_some_and(|workload| workload.name == name))
        })
    }

    fn pod_netns(&self, namespace: &str, name: &str, flag: &str, end: &End) -> Result<String, Problem> {
        let wrong = |message: String| Problem::whole(format!("{flag} {end}"), message);
        let Some(pod) = self.pod(namespace, name) else {
            let known: Vec<String> =
                self.cluster.iter().flat_map(|cluster| &cluster.pods).map(|pod| format!("pod/{}", pod.meta.full_name())).collect();
            let message = if self.cluster.is_none() {
                "there is no cluster".to_owned()
            } else {
                format!("there is no pod {namespace}/{name}")
            };
            return Err(wrong(message).help(did_you_mean(&format!("pod/{namespace}/{name}"), &known)));
        };
        match &pod.state {
            PodState::Running if pod.spec.host_network => Ok(pod.node.clone().unwrap_or_default()),
            PodState::Running => Ok(pod.meta.full_name()),
            PodState::Pending(why) => Err(wrong(format!("pod {} is Pending: {why}", pod.meta.full_name()))),
            PodState::Finished => Err(wrong(format!("pod {} has run to its end: no network is left of it", pod.meta.full_name()))),
        }
    }

    fn node(&self, name: &str, flag: &str, end: &End) -> Result<String, Problem> {
        let nodes: Vec<String> = self.cluster.iter().flat_map(|cluster| &cluster.nodes).map(|node| node.name.clone()).collect();
        if nodes.iter().any(|node| node == name) {
            return Ok(name.to_owned());
        }
        Err(Problem::whole(format!("{flag} {end}"), format!("there is no node {name}")).help(did_you_mean(name, &nodes)))
    }

    fn bare(&self, name: &str, flag: &str, end: &End) -> Result<String, Problem> {
        if self.network.named(name).is_some() {
            return Ok(name.to_owned());
        }
        let known: Vec<String> = self.network.names().map(|(name, _)| name.to_owned()).collect();
        Err(Problem::whole(format!("{flag} {end}"), format!("there is no namespace {name}")).help(did_you_mean(name, &known)))
    }

    /// The namespace that has an address.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<String> {
        self.network
            .names()
            .find(|(_, id)| self.network.netns(*id).devices.iter().any(|dev| dev.addrs.iter().any(|have| have.address == address)))
            .map(|(name, _)| name.to_owned())
    }

    fn first_address(&self, netns: &str) -> Option<IpAddr> {
        let netns = self.network.netns(self.network.named(netns)?);
        // Addresses of loopback come last: they stand for others.
        let (lo, other): (Vec<_>, Vec<_>) = netns.devices.iter().partition(|dev| matches!(dev.kind, DeviceKind::Loopback));
        let all = || other.iter().chain(&lo).flat_map(|dev| &dev.addrs).map(|have| have.address);
        let global = |address: &IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback() && (v6.segments()[0] & 0xffc0) != 0xfe80,
        };
        all().find(|address| address.is_ipv4() && global(address)).or_else(|| all().find(global))
    }

    /// The only port on which somebody listens there.
    fn only_port(&self, netns: &str, l4: L4, wrong: &dyn Fn(String) -> Problem) -> Result<u16, Problem> {
        let listening = |wanted: L4| {
            self.servers
                .iter()
                .filter(|(name, server)| name == netns && server.l4 == wanted)
                .map(|(_, server)| server.port)
                .collect::<Vec<_>>()
        };
        let mut ports = listening(l4);
        ports.sort_unstable();
        ports.dedup();
        match ports[..] {
            [port] => Ok(port),
            [] => Err(wrong("the port is missing, and nothing listens there".to_owned())
                .help("write the port behind a colon, or --proto icmp")),
            _ => {
                let list: Vec<String> = ports.iter().map(u16::to_string).collect();
                Err(wrong("which port?".to_owned()).help(format!("these are open: {}", list.join(", "))))
            }
        }
    }

    fn node_port(&self, wanted: &str, wrong: &dyn Fn(String) -> Problem) -> Result<u16, Problem> {
        let ports: Vec<u16> = (self.cluster.iter().flat_map(|cluster| &cluster.services))
            .flat_map(|service| &service.ports)
            .filter(|port| port.name == wanted && port.node_port > 0)
            .map(|port| port.node_port)
            .collect();
        match ports[..] {
            [port] => Ok(port),
            [] => Err(wrong(format!("no node port is called {wanted}"))),
            _ => Err(wrong(format!("several node ports are called {wanted}: write the number"))),
        }
    }

    /// Who is behind a node port, for one: what its first ready endpoint serves is what is asked for.
    fn behind_node_port(&self, number: u16) -> Option<(String, u16)> {
        let cluster = self.cluster.as_ref().filter(|_| number > 0)?;
        let of_number = |service: &&k8s_model::api::Service| service.ports.iter().any(|port| port.node_port == number);
        let service = cluster.services.iter().find(of_number)?;
        let entry = service.ports.iter().find(|port| port.node_port == number)?;
        let slices = cluster
            .slices
            .iter()
            .filter(|slice| slice.meta.namespace == service.meta.namespace && slice.service == service.meta.name);
        let mut found = slices.filter_map(|slice| {
            let port = slice.ports.iter().find(|port| port.name == entry.name)?.port?;
            let ready = slice.endpoints.iter().find(|endpoint| endpoint.is_ready())?;
            self.served_at(*ready.addresses.first()?, port)
        });
        found.next()
    }

    fn served_at(&self, address: IpAddr, port: u16) -> Option<(String, u16)> {
        self.owner(address).map(|name| (name, port))
    }

    fn server(&self, netns: &str, port: u16, l4: L4) -> Option<&Service> {
        let here = |(name, server): &&(String, stack::app::Server)| name == netns && server.port == port && server.l4 == l4;
        self.servers.iter().find(here).map(|(_, server)| &server.service)
    }

    fn listens(&self, netns: &str, port: u16, l4: L4) -> bool {
        self.server(netns, port, l4).is_some()
    }

    fn serves_http(&self, netns: &str, port: u16) -> bool {
        matches!(self.server(netns, port, L4::Tcp), Some(Service::Http(_)))
    }
}

/// What was probably meant, or what there is.
fn did_you_mean(wanted: &str, known: &[String]) -> String {
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    if let Some(meant) = nearest(wanted, &words).or_else(|| words.iter().copied().find(|word| word.starts_with(wanted))) {
        return format!("`{meant}` was probably meant");
    }
    match words.len() {
        0 => "there is none; give manifests with -f or a scenario with -s".to_owned(),
        n if n <= 12 => format!("there are {}", words.join(", ")),
        n => format!("there are {n}, among them {}", words[..8].join(", ")),
    }
}
