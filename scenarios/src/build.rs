//! How a [`World`] is put together: the plan of a cluster and the network of a scenario become namespaces, links, commands and
//! servers in one [`Network`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_model::network::{NsKind, Plan};
use k8s_model::{Cluster, LoadReport};
use sim_core::{LinkConfig, LinkId, SimTime, TraceMode};
use stack::app::{HttpFallback, HttpPage, HttpSite, L4, Resolver, Server, Service};
use stack::command::{CommandError, Stdin};
use stack::provenance::Place;
use stack::{Command, Errno, Network, Provenance};

use crate::ends::EndKind;
use crate::outcome::DeliveredTo;
use crate::problem::{Problem, Problems};
use crate::question::Proto;
use crate::scenario::{App, CommandSpec, Item, ScenarioFile, Transport};
use crate::trace::PlaceKind;

/// The namespace of the world outside of a cluster.
pub const EXTERNAL: &str = "external";
/// A cluster has converged when nothing is left to do, or after this long (duplicate address detection takes two seconds).
const CONVERGED: SimTime = SimTime::from_secs(10);
/// Bytes of a frame above its MTU: the Ethernet header.
const ETHERNET: u32 = 14;

/// A network to ask questions of, and what is known about it.
#[derive(Debug)]
pub struct World {
    /// The network.
    pub network: Network,
    /// The cluster, where there is one.
    pub cluster: Option<Cluster>,
    /// Its network as plain data.
    pub plan: Option<Plan>,
    /// What listens, by namespace.
    pub servers: Vec<(String, Server)>,
    /// How each namespace finds names.
    pub resolvers: BTreeMap<String, Resolver>,
    /// What each namespace is.
    pub kinds: BTreeMap<String, PlaceKind>,
    /// Links by the devices at their ends, as `namespace/device`.
    pub links: BTreeMap<String, LinkId>,
    /// What was read.
    pub coverage: LoadReport,
    /// What the network rests on besides the input.
    pub assumptions: Vec<String>,
    /// What is assumed of a server, by namespace, protocol and port.
    listening: BTreeMap<(String, L4, u16), String>,
}

impl World {
    /// The network of a cluster, or none, and of a scenario, or none.
    ///
    /// # Errors
    /// The cluster cannot be planned, or a command fails.
    pub fn build(cluster: Option<Cluster>, scenario: Option<&ScenarioFile>, seed: u64, mode: TraceMode) -> Result<World, Problems> {
        let mut world = World {
            network: Network::new(seed, TraceMode::Off),
            cluster: None,
            plan: None,
            servers: Vec::new(),
            resolvers: BTreeMap::new(),
            kinds: BTreeMap::new(),
            links: BTreeMap::new(),
            coverage: LoadReport::default(),
            assumptions: Vec::new(),
            listening: BTreeMap::new(),
        };
        if let Some(cluster) = cluster {
            world.add_cluster(cluster)?;
        }
        if let Some(scenario) = scenario {
            world.add_scenario(scenario)?;
        }
        world.network.sim.tracer_mut().set_mode(mode);
        Ok(world)
    }

    /// Lets the network come to rest: `trace` and `probe` ask a cluster that has converged.
    pub fn converge(&mut self) {
        let mode = self.network.sim.tracer().mode();
        self.network.sim.tracer_mut().set_mode(TraceMode::Off);
        while let Some(due) = self.network.sim.next_event_at().filter(|due| *due <= CONVERGED) {
            self.network.sim.run_until(due);
        }
        self.network.sim.tracer_mut().set_mode(mode);
    }

    fn add_cluster(&mut self, cluster: Cluster) -> Result<(), Problems> {
        let plan = k8s_model::plan(&cluster).map_err(Problems::from)?;
        let broken = |what: &str, why: String| Problem::whole("cluster", format!("{what}: {why}"));
        for ns in &plan.namespaces {
            self.network.add_netns(&ns.name).map_err(|errno| broken(&ns.name, errno.text().to_owned()))?;
            let kind = match ns.kind {
                NsKind::Node => PlaceKind::Node,
                NsKind::Pod => PlaceKind::Pod,
                NsKind::External => PlaceKind::External,
                NsKind::Underlay => PlaceKind::Underlay,
            };
            self.kinds.insert(ns.name.clone(), kind);
        }
        for link in &plan.links {
            let (a, b) = ((link.a.0.as_str(), link.a.1.as_str()), (link.b.0.as_str(), link.b.1.as_str()));
            self.join(a, b, link.config, link.prov.clone())
                .map_err(|why| broken(&format!("link {}/{} to {}/{}", a.0, a.1, b.0, b.1), why))?;
        }
        for planned in &plan.commands {
            let what = || format!("{}: `{}` ({})", planned.netns, planned.line, planned.prov);
            let ns = self.network.named(&planned.netns).ok_or_else(|| broken(&what(), "no such namespace".to_owned()))?;
            let command = planned.command(&mut self.network.provenances).map_err(|error| {
                let problem = broken(&what(), error.message);
                if error.unsupported { problem.unsupported() } else { problem }
            })?;
            let prov = self.network.provenances.intern(planned.prov.clone());
            self.network.apply(ns, &command, prov).map_err(|error| {
                let place = error.place.map(|(line, column)| format!(", line {line}:{column} of its input")).unwrap_or_default();
                let problem = broken(&format!("{}{place}", what()), error.message);
                if error.unsupported { problem.unsupported() } else { problem }
            })?;
        }
        for planned in &plan.servers {
            let port = planned.server.port;
            self.serve(&planned.netns, planned.server.clone())
                .map_err(|why| broken(&format!("{}: {} cannot listen on port {port}", planned.netns, planned.server.name), why))?;
            self.listening.insert((planned.netns.clone(), planned.server.l4, port), planned.assumption.clone());
        }
        self.resolvers = plan.resolvers.clone();
        self.assumptions.clone_from(&plan.assumptions);
        self.coverage = cluster.report.clone();
        self.plan = Some(plan);
        self.cluster = Some(cluster);
        Ok(())
    }

    fn add_scenario(&mut self, file: &ScenarioFile) -> Result<(), Problems> {
        for item in &file.scenario.network {
            self.add_item(file, item)?;
        }
        Ok(())
    }

    fn add_item(&mut self, file: &ScenarioFile, item: &Item) -> Result<(), Problem> {
        match item {
            Item::Ns(name) => {
                self.network.add_netns(name).map_err(|_| file.problem_with(name, format!("there are two namespaces {name}")))?;
                self.kinds.insert(name.clone(), PlaceKind::Namespace);
            }
            Item::Link { a, b, delay, mtu, rate_bps, loss_ppm } => {
                let config = LinkConfig {
                    delay: delay.as_deref().map(|text| file.time(text)).transpose()?.unwrap_or_default(),
                    rate_bps: rate_bps.unwrap_or(0),
                    loss_ppm: loss_ppm.unwrap_or(0),
                    max_frame: mtu.map_or(0, |mtu| mtu + ETHERNET),
                    ..LinkConfig::default()
                };
                let (left, right) = (file.device(a)?, file.device(b)?);
                for (text, (netns, _)) in [(a, left), (b, right)] {
                    if self.network.named(netns).is_none() {
                        let problem = file.problem(text, 0, netns.len(), format!("there is no namespace {netns}"));
                        return Err(problem.help(format!("put Ns(\"{netns}\") in front of the link")));
                    }
                }
                let prov = self.scenario_prov(file, a);
                self.join(left, right, config, prov.clone())
                    .map_err(|why| file.problem_with(a, format!("link {a} to {b}: {why}")))?;
                if let Some(mtu) = mtu {
                    for (netns, device) in [left, right] {
                        self.run_line(netns, &format!("ip link set {device} mtu {mtu}"), prov.clone())
                            .map_err(|why| file.problem_with(a, format!("mtu {mtu} of {netns}/{device}: {why}")))?;
                    }
                }
            }
            Item::In(netns, commands) => {
                let Some(ns) = self.network.named(netns) else {
                    return Err(file
                        .problem_with(netns, format!("there is no namespace {netns}"))
                        .help(format!("put Ns(\"{netns}\") in front")));
                };
                for spec in commands {
                    let (line, command, stdin_file) = self.command(file, spec)?;
                    let prov = self.scenario_prov(file, line);
                    let prov = self.network.provenances.intern(prov);
                    self.network.apply(ns, &command, prov).map_err(|error| command_failed(file, line, stdin_file, &error))?;
                }
            }
            Item::Listen { on, port, proto, app, bind } => {
                let end = file.end(on)?;
                let netns = match &end.kind {
                    EndKind::Netns { name, .. } | EndKind::Node { name, .. } => name.clone(),
                    EndKind::Pod { namespace, name, .. } => format!("{namespace}/{name}"),
                    EndKind::External { .. } => EXTERNAL.to_owned(),
                    _ => {
                        return Err(file
                            .problem_with(on, "nobody can listen there")
                            .help("write ns/NAME, node/NAME, pod/NS/NAME or external"));
                    }
                };
                // Of both families, as most servers bind.
                let (l4, any) = (if *proto == Transport::Udp { L4::Udp } else { L4::Tcp }, IpAddr::from([0_u16; 8]));
                let (service, name) = match app {
                    App::Http => (Service::Http(Arc::new(hello(&netns))), "httpd"),
                    App::Echo => (Service::Echo, "echo"),
                    App::Sink => (Service::Sink, "sink"),
                };
                let server = Server { name: name.into(), bind: bind.unwrap_or(any), port: *port, l4, service, transparent: false };
                self.serve(&netns, server)
                    .map_err(|why| file.problem_with(on, format!("{netns} cannot listen on port {port}: {why}")))?;
            }
        }
        Ok(())
    }

    /// A command of a scenario; the file of its standard input too.
    fn command<'a>(&mut self, file: &ScenarioFile, spec: &'a CommandSpec) -> Result<(&'a str, Command, Option<&'a str>), Problem> {
        match spec {
            CommandSpec::Line(line) => Ok((line, line.parse().map_err(|error| file.command_problem(line, &error))?, None)),
            CommandSpec::Stdin(line, name) => {
                let text = file.file_text(name)?;
                let source: Arc<str> = file.path(name).to_string_lossy().into();
                let provs: Vec<(u32, stack::ProvId)> = (text.lines().enumerate())
                    .map(|(at, _)| {
                        let place = Place { file: source.clone(), line: at as u32 + 1, column: 0 };
                        let prov = Provenance { generator: "scenario".into(), place: Some(place), ..Provenance::default() };
                        (at as u32, self.network.provenances.intern(prov))
                    })
                    .collect();
                let stdin = Stdin { text: text.clone().into(), provs: provs.into() };
                let command = Command::with_stdin(line, stdin).map_err(|error| file.command_problem(line, &error))?;
                Ok((line, command, Some(name)))
            }
        }
    }

    fn scenario_prov(&self, file: &ScenarioFile, text: &str) -> Provenance {
        let place = file.problem_with(text, "").line.map(|line| Place { file: file.file.as_str().into(), line, column: 0 });
        Provenance { generator: "scenario".into(), place, ..Provenance::default() }
    }

    fn join(&mut self, a: (&str, &str), b: (&str, &str), config: LinkConfig, prov: Provenance) -> Result<(), String> {
        let missing = |name: &str| format!("there is no namespace {name}");
        let left = self.network.named(a.0).ok_or_else(|| missing(a.0))?;
        let right = self.network.named(b.0).ok_or_else(|| missing(b.0))?;
        let prov = self.network.provenances.intern(prov);
        let link = self.network.join((left, a.1), (right, b.1), config, prov).map_err(|errno: Errno| errno.text().to_owned())?;
        self.links.insert(format!("{}/{}", a.0, a.1), link);
        self.links.insert(format!("{}/{}", b.0, b.1), link);
        Ok(())
    }

    /// Runs a line in a namespace, as a person would.
    pub(crate) fn run_line(&mut self, netns: &str, line: &str, prov: Provenance) -> Result<String, String> {
        let ns = self.network.named(netns).ok_or_else(|| format!("there is no namespace {netns}"))?;
        let command: Command = line.parse().map_err(|error: stack::command::ParseCommandError| error.message)?;
        let prov = self.network.provenances.intern(prov);
        self.network.apply(ns, &command, prov).map_err(|error| error.message)
    }

    fn serve(&mut self, netns: &str, server: Server) -> Result<(), String> {
        let ns = self.network.named(netns).ok_or_else(|| format!("there is no namespace {netns}"))?;
        self.network.serve(ns, server.clone()).map_err(|errno| errno.text().to_owned())?;
        self.servers.push((netns.to_owned(), server));
        Ok(())
    }

    /// Who is behind an address of a namespace.
    pub(crate) fn describe(&self, netns: &str, ip: IpAddr, port: Option<u16>) -> DeliveredTo {
        let pod =
            self.cluster.iter().flat_map(|cluster| &cluster.pods).find(|pod| pod.has_netns() && pod.meta.full_name() == netns);
        let node = match pod {
            Some(pod) => pod.node.clone(),
            None => (self.kinds.get(netns) == Some(&PlaceKind::Node)).then(|| netns.to_owned()),
        };
        DeliveredTo {
            node,
            namespace: pod.map(|pod| pod.meta.namespace.clone()),
            pod: pod.map(|pod| pod.meta.name.clone()),
            netns: netns.to_owned(),
            ip,
            port,
        }
    }

    /// What an answer from there rests on besides the input.
    pub(crate) fn assumptions_about(&self, reached: Option<&DeliveredTo>, proto: Proto) -> Vec<String> {
        let l4 = if proto == Proto::Udp { L4::Udp } else { L4::Tcp };
        let key = reached.and_then(|reached| Some((reached.netns.clone(), l4, reached.port?)));
        let listening = key.and_then(|key| self.listening.get(&key)).cloned();
        listening.into_iter().chain(self.not_modelled()).collect()
    }

    /// Objects and fields of the input that a real cluster's packets may depend on and that are not modelled.
    pub fn not_modelled(&self) -> Vec<String> {
        self.coverage.not_modelled().map(|line| format!("not modelled: {line}")).collect()
    }
}

/// What a scenario's HTTP server answers.
fn hello(netns: &str) -> HttpSite {
    let body = format!("Hello from {netns}\n").into_bytes();
    let page = HttpPage { status: 200, content_type: "text/plain".to_owned(), body };
    HttpSite { fallback: Some(HttpFallback::Page(page)), ..HttpSite::default() }
}

fn command_failed(file: &ScenarioFile, line: &str, stdin_file: Option<&str>, error: &CommandError) -> Problem {
    let problem = match (error.place, stdin_file) {
        (Some((row, column)), Some(name)) => {
            let text = file.file_text(name).unwrap_or_default();
            let before: usize = text.split_inclusive('\n').take(row.saturating_sub(1) as usize).map(str::len).sum();
            let at = before + column.saturating_sub(1) as usize;
            let rest = text.get(at..).and_then(|rest| rest.lines().next()).unwrap_or_default();
            let len = rest.find(' ').unwrap_or(rest.len());
            Problem::at(file.path(name).to_string_lossy(), &text, at, len, &error.message)
        }
        _ => file.problem_with(line, format!("{} (exit code {})", error.message, error.exit)),
    };
    if error.unsupported { problem.unsupported() } else { problem }
}
