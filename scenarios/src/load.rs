//! Scenario file, manifests and flags: all load into one [`World`], by one way.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};
use k8s_model::{Cluster, ClusterConfig, Manifests};
use sim_core::TraceMode;

use crate::build::World;
use crate::problem::{Problem, Problems};
use crate::scenario::{self, ClusterSpec, ScenarioFile};

/// `kind`'s Docker network, in IPv6.
const KIND_IPV6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0xf853, 0x0ccd, 0xe793, 0, 0, 0, 0), 64);

/// The cluster's flags, as given on the command line or in a scenario; none leaves the default.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the flags; see k8s_model::ClusterConfig")]
pub struct ClusterFlags {
    pub name: Option<String>,
    pub nodes: Option<usize>,
    pub cni: Option<String>,
    pub proxy_mode: Option<String>,
    pub cluster_cidr: Option<String>,
    pub node_cidr_mask_size: Option<u8>,
    pub allocate_node_cidrs: Option<bool>,
    pub service_cluster_ip_range: Option<String>,
    pub detect_local_mode: Option<String>,
    pub pod_bridge_interface: Option<String>,
    pub pod_interface_name_prefix: Option<String>,
    pub masquerade_all: Option<bool>,
    pub nodeport_addresses: Option<String>,
    pub iptables_localhost_nodeports: Option<bool>,
    pub ipvs_scheduler: Option<String>,
    pub node_network: Option<String>,
    pub cluster_domain: Option<String>,
}

impl ClusterFlags {
    /// Those of a scenario's cluster.
    fn of_spec(spec: &ClusterSpec) -> ClusterFlags {
        ClusterFlags {
            name: spec.name.clone(),
            nodes: spec.nodes,
            cni: spec.cni.map(|cni| cni.flag().to_owned()),
            proxy_mode: spec.proxy.map(|proxy| proxy.flag().to_owned()),
            cluster_cidr: spec.cluster_cidr.clone(),
            node_cidr_mask_size: spec.node_cidr_mask_size,
            allocate_node_cidrs: spec.allocate_node_cidrs,
            service_cluster_ip_range: spec.service_cluster_ip_range.clone(),
            detect_local_mode: spec.detect_local_mode.clone(),
            pod_bridge_interface: spec.pod_bridge_interface.clone(),
            pod_interface_name_prefix: spec.pod_interface_name_prefix.clone(),
            masquerade_all: spec.masquerade_all,
            nodeport_addresses: spec.nodeport_addresses.clone(),
            iptables_localhost_nodeports: spec.iptables_localhost_nodeports,
            ipvs_scheduler: spec.ipvs_scheduler.clone(),
            node_network: spec.node_network.clone(),
            cluster_domain: spec.cluster_domain.clone(),
        }
    }

    /// Whether any is given.
    pub fn any(&self) -> bool {
        *self != ClusterFlags::default()
    }

    /// Lays the flags over a configuration. `wrong` makes the problem of a flag's value.
    fn apply(&self, config: &mut ClusterConfig, wrong: &dyn Fn(&str, &str, String) -> Problem) -> Result<(), Problem> {
        fn set<T: Clone>(field: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        let prefixes = |flag: &str, text: &str| {
            let parse = |part: &str| {
                part.trim()
                    .parse::<IpNet>()
                    .map_err(|_| wrong(flag, text, format!("`{part}` is no prefix; write for example 10.0.0.0/16")))
            };
            text.split(',').map(parse).collect::<Result<Vec<IpNet>, Problem>>()
        };
        let flag_error = |flag: &str, value: &str, error: k8s_model::config::FlagError| {
            let problem = wrong(flag, value, error.to_string());
            if matches!(error, k8s_model::config::FlagError::Unsupported { .. }) { problem.unsupported() } else { problem }
        };
        set(&mut config.name, &self.name);
        set(&mut config.nodes, &self.nodes);
        set(&mut config.node_cidr_mask_size, &self.node_cidr_mask_size);
        set(&mut config.allocate_node_cidrs, &self.allocate_node_cidrs);
        set(&mut config.pod_bridge_interface, &self.pod_bridge_interface);
        set(&mut config.pod_interface_name_prefix, &self.pod_interface_name_prefix);
        set(&mut config.masquerade_all, &self.masquerade_all);
        set(&mut config.iptables_localhost_nodeports, &self.iptables_localhost_nodeports);
        set(&mut config.ipvs_scheduler, &self.ipvs_scheduler);
        set(&mut config.cluster_domain, &self.cluster_domain);
        if let Some(text) = &self.cni {
            config.cni = text.parse().map_err(|error| flag_error("cni", text, error))?;
        }
        if let Some(text) = &self.proxy_mode {
            config.proxy_mode = text.parse().map_err(|error| flag_error("proxy-mode", text, error))?;
        }
        if let Some(text) = &self.detect_local_mode {
            config.detect_local_mode = text.parse().map_err(|error| flag_error("detect-local-mode", text, error))?;
        }
        if let Some(text) = &self.cluster_cidr {
            config.cluster_cidr = prefixes("cluster-cidr", text)?;
        }
        if let Some(text) = &self.service_cluster_ip_range {
            config.service_cluster_ip_range = prefixes("service-cluster-ip-range", text)?;
        }
        if let Some(text) = &self.nodeport_addresses {
            config.nodeport_addresses = prefixes("nodeport-addresses", text)?;
        }
        if let Some(text) = &self.node_network {
            config.node_network = prefixes("node-network", text)?;
        } else if config.cluster_cidr.iter().any(|prefix| matches!(prefix, IpNet::V6(_))) {
            // The networks that kind gives its nodes.
            let of_nodes = |pods: &IpNet| match pods {
                IpNet::V4(_) => ClusterConfig::default().node_network[0],
                IpNet::V6(_) => IpNet::V6(KIND_IPV6),
            };
            config.node_network = config.cluster_cidr.iter().map(of_nodes).collect();
        }
        Ok(())
    }
}

/// What the user gave.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// `-s`.
    pub scenario: Option<PathBuf>,
    /// `-f`.
    pub files: Vec<PathBuf>,
    /// The cluster's flags.
    pub flags: ClusterFlags,
    /// `--seed`.
    pub seed: Option<u64>,
}

/// What the user gave, read and checked; worlds are built out of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The scenario.
    pub scenario: Option<ScenarioFile>,
    /// The cluster.
    pub cluster: Option<Cluster>,
    /// The seed.
    pub seed: u64,
}

impl Input {
    /// Reads everything.
    ///
    /// # Errors
    /// Something cannot be read, or is wrong.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let scenario = match &self.scenario {
            None => None,
            Some(path) if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") => {
                let problem = Problem::whole(path.to_string_lossy(), "a manifest is no scenario");
                return Err(problem.help("give manifests with -f").into());
            }
            Some(path) => Some(scenario::read(path)?),
        };
        self.load_with(scenario)
    }

    /// The same with a scenario that was read already.
    ///
    /// # Errors
    /// As [`Input::load`].
    pub fn load_with(&self, scenario: Option<ScenarioFile>) -> Result<Loaded, Problems> {
        for path in &self.files {
            if path.extension().is_some_and(|end| end == "ron") {
                let problem = Problem::whole(path.to_string_lossy(), "a scenario is no manifest");
                return Err(problem.help("give scenarios with -s").into());
            }
        }
        let spec = match &scenario {
            None => None,
            Some(file) => match &file.scenario.clusters[..] {
                [] => None,
                [one] => Some(one),
                _ => {
                    let problem = Problem::whole(&*file.file, "several clusters in one scenario are not modelled yet");
                    return Err(problem.help("one `Cluster` is possible").unsupported().into());
                }
            },
        };
        let wanted = spec.is_some() || scenario.is_none() || !self.files.is_empty() || self.flags.any();
        let cluster = if wanted { Some(self.cluster(scenario.as_ref(), spec)?) } else { None };
        let seed = self.seed.or(scenario.as_ref().map(|file| file.scenario.seed)).unwrap_or(1);
        Ok(Loaded { scenario, cluster, seed })
    }

    fn cluster(&self, scenario: Option<&ScenarioFile>, spec: Option<&ClusterSpec>) -> Result<Cluster, Problems> {
        let mut config = ClusterConfig::default();
        let mut manifests = Manifests::default();
        if let (Some(file), Some(spec)) = (scenario, spec) {
            let wrong = |_: &str, value: &str, message: String| file.problem_with(value, message);
            // CNI and proxy mode are words of RON, not strings: the whole file is the best place that is known.
            let wrong = |flag: &str, value: &str, message: String| match file.literals.find(value) {
                Some(_) => wrong(flag, value, message),
                None => word_problem(file, flag, value, message),
            };
            ClusterFlags::of_spec(spec).apply(&mut config, &wrong)?;
            manifests = self.manifests(Some(file), spec)?;
        } else if !self.files.is_empty() {
            manifests = k8s_model::load_paths(&self.files)?;
        }
        let wrong = |flag: &str, value: &str, message: String| Problem::at(format!("--{flag}"), value, 0, value.len(), message);
        self.flags.apply(&mut config, &wrong)?;
        Ok(Cluster::build(config, manifests)?)
    }

    /// The manifests of a scenario, then those of `-f`.
    fn manifests(&self, file: Option<&ScenarioFile>, spec: &ClusterSpec) -> Result<Manifests, Problems> {
        let embedded = file.map_or(&[][..], |file| file.embedded);
        if embedded.is_empty() {
            let paths = spec.manifests.iter().map(|name| file.map_or_else(|| PathBuf::from(name), |file| file.path(name)));
            let paths: Vec<PathBuf> = paths.chain(self.files.iter().cloned()).collect();
            return if paths.is_empty() { Ok(Manifests::default()) } else { Ok(k8s_model::load_paths(&paths)?) };
        }
        if let Some(path) = self.files.first() {
            let problem = Problem::whole(path.to_string_lossy(), "a scenario that comes with pktlab takes no further manifests");
            return Err(problem.help("`pktlab run --write DIR` writes it out, to be changed").into());
        }
        // One text, so that one reader sees all objects; each file keeps its name.
        let mut texts = Vec::new();
        for name in &spec.manifests {
            let text = embedded.iter().find(|(path, _)| path == name).map(|(_, text)| *text);
            texts.push((name.as_str(), text.ok_or_else(|| Problem::whole(name.as_str(), "is not built in"))?));
        }
        match texts[..] {
            [] => Ok(Manifests::default()),
            [(name, text)] => Ok(k8s_model::load_text(name, text)?),
            _ => {
                let name = texts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("+");
                let text = texts.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n---\n");
                Ok(k8s_model::load_text(&name, &text)?)
            }
        }
    }
}

/// The place of a RON word such as `Cilium` behind `cni:`.
fn word_problem(file: &ScenarioFile, flag: &str, value: &str, message: String) -> Problem {
    let lower = file.text.to_ascii_lowercase();
    let field = flag.replace('-', "_");
    let from = lower.find(&format!("{field}:")).or_else(|| lower.find("proxy:")).unwrap_or(0);
    match lower[from..].find(&value.to_ascii_lowercase()) {
        Some(at) => Problem::at(&*file.file, &file.text, from + at, value.len(), message),
        None => Problem::whole(&*file.file, message),
    }
}

impl Loaded {
    /// A world at time 0.
    ///
    /// # Errors
    /// A command fails, or the cluster has what is not modelled.
    pub fn world(&self, mode: TraceMode) -> Result<World, Problems> {
        World::build(self.cluster.clone(), self.scenario.as_ref(), self.seed, mode)
    }

    /// A world that has come to rest, as `trace`, `probe` and `matrix` ask it.
    ///
    /// # Errors
    /// As [`Loaded::world`].
    pub fn converged(&self, mode: TraceMode) -> Result<World, Problems> {
        let mut world = self.world(mode)?;
        world.converge();
        Ok(world)
    }
}
