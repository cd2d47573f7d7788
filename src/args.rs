//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use scenarios::load::{ClusterFlags, Input};
use scenarios::question::Proto;

/// Follow one packet through Linux and Kubernetes.
///
/// Ends are written pod/NS/NAME[:PORT], svc/NS/NAME[:PORT], node/NAME[:PORT], ns/NAME[:PORT], external[:ADDR][:PORT], ADDR:PORT,
/// [V6]:PORT, a DNS name or a URL (as destination), ADDR@node/NAME or ADDR@external (as source).
///
/// Exit codes: 0 answered, and every expectation held; 1 an expectation did not hold; 2 the input is wrong; 3 the answer rests on
/// something that is not modelled; 4 this machine lacks what the verb needs.
#[derive(Debug, Parser)]
#[command(name = "pktlab", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a scenario: packets, paths, expectations
    Run(RunArgs),
    /// One exchange, every hop, both directions
    Trace(TraceArgs),
    /// Many questions in one run
    Probe(ProbeArgs),
    /// Who reaches whom, all pairs
    Matrix(MatrixArgs),
    /// Regression cases
    Cases(CasesArgs),
    /// The network as text that the real tools take, or a capture
    Export(ExportArgs),
    /// What a code means, and what to look at
    Explain(ExplainArgs),
}

/// What the network is made of: the same in every verb.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Input")]
pub(crate) struct InputArgs {
    /// Scenario file
    #[arg(short, long, value_name = "FILE.ron")]
    pub(crate) scenario: Option<PathBuf>,
    /// Manifests: a file, or a directory with all below it
    #[arg(short, long = "file", value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Seed of what is drawn by chance [default: the scenario's, or 1]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    cluster: Option<String>,
    /// How many nodes, the control plane included
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    nodes: Option<usize>,
    /// Who wires the pods
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    cni: Option<String>,
    /// How kube-proxy writes Services
    #[arg(long, value_name = "MODE", help_heading = "Cluster")]
    proxy_mode: Option<String>,
    /// Prefixes of the pods
    #[arg(long, value_name = "CIDR", help_heading = "Cluster")]
    cluster_cidr: Option<String>,
    /// Length of a node's piece of them
    #[arg(long, value_name = "BITS", help_heading = "Cluster")]
    node_cidr_mask_size: Option<u8>,
    /// Whether nodes get a piece
    #[arg(long, value_name = "BOOL", help_heading = "Cluster", num_args = 0..=1, default_missing_value = "true")]
    allocate_node_cidrs: Option<bool>,
    /// Prefixes of Services
    #[arg(long, value_name = "CIDR", help_heading = "Cluster")]
    service_cluster_ip_range: Option<String>,
    /// How kube-proxy tells its node's pods
    #[arg(long, value_name = "MODE", help_heading = "Cluster")]
    detect_local_mode: Option<String>,
    /// Networks of the nodes
    #[arg(long, value_name = "CIDR", help_heading = "Cluster")]
    node_network: Option<String>,
    /// For detect-local mode BridgeInterface
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pod_bridge_interface: Option<String>,
    /// For detect-local mode InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX", help_heading = "Cluster")]
    pod_interface_name_prefix: Option<String>,
    /// Masquerade everything that goes to a Service
    #[arg(long, value_name = "BOOL", help_heading = "Cluster", num_args = 0..=1, default_missing_value = "true")]
    masquerade_all: Option<bool>,
    /// Node addresses that take node ports
    #[arg(long, value_name = "CIDR", help_heading = "Cluster")]
    nodeport_addresses: Option<String>,
    /// Whether 127.0.0.1 takes node ports
    #[arg(long, value_name = "BOOL", help_heading = "Cluster", num_args = 0..=1, default_missing_value = "true")]
    iptables_localhost_nodeports: Option<bool>,
    /// Scheduler of IPVS
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    ipvs_scheduler: Option<String>,
}

impl InputArgs {
    pub(crate) fn input(&self) -> Input {
        Input {
            scenario: self.scenario.clone(),
            files: self.files.clone(),
            seed: self.seed,
            flags: ClusterFlags {
                name: self.cluster.clone(),
                nodes: self.nodes,
                cni: self.cni.clone(),
                proxy_mode: self.proxy_mode.clone(),
                cluster_cidr: self.cluster_cidr.clone(),
                node_cidr_mask_size: self.node_cidr_mask_size,
                allocate_node_cidrs: self.allocate_node_cidrs,
                service_cluster_ip_range: self.service_cluster_ip_range.clone(),
                detect_local_mode: self.detect_local_mode.clone(),
                pod_bridge_interface: self.pod_bridge_interface.clone(),
                pod_interface_name_prefix: self.pod_interface_name_prefix.clone(),
                masquerade_all: self.masquerade_all,
                nodeport_addresses: self.nodeport_addresses.clone(),
                iptables_localhost_nodeports: self.iptables_localhost_nodeports,
                ipvs_scheduler: self.ipvs_scheduler.clone(),
                node_network: self.node_network.clone(),
                cluster_domain: None,
            },
        }
    }
}

/// How the answer is printed: the same in every verb.
#[derive(Debug, Args, Clone, Copy, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Text for people, one JSON document, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Colours
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: When,
    /// Say what was read, and what of it has no effect
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum When {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Explain {
    /// The way there and back, what decided
    #[default]
    Brief,
    /// Every packet with all its steps
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtoArg {
    Tcp,
    Udp,
    Icmp,
    Http,
}

impl From<ProtoArg> for Proto {
    fn from(arg: ProtoArg) -> Proto {
        match arg {
            ProtoArg::Tcp => Proto::Tcp,
            ProtoArg::Udp => Proto::Udp,
            ProtoArg::Icmp => Proto::Icmp,
            ProtoArg::Http => Proto::Http,
        }
    }
}

/// One question.
#[derive(Debug, Args)]
#[command(next_help_heading = "Question")]
pub(crate) struct QuestionArgs {
    /// Who asks
    #[arg(long, value_name = "END")]
    pub(crate) from: String,
    /// Whom
    #[arg(long, value_name = "END")]
    pub(crate) to: String,
    /// How [default: http where that is served, else tcp]
    #[arg(long, value_enum)]
    pub(crate) proto: Option<ProtoArg>,
    /// Source port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) sport: Option<u16>,
    /// By which node a question from outside enters
    #[arg(long, value_name = "END")]
    pub(crate) via: Option<String>,
    /// What must come of it: a class, or outcome=..,code=..,to=..,source_seen=..,status=..,via=..,not_via=..
    #[arg(long, value_name = "EXPECTATION")]
    pub(crate) expect: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Scenario file, or the name of one that comes with pktlab
    #[arg(value_name = "SCENARIO", required_unless_present_any = ["list", "scenario"], conflicts_with = "scenario")]
    pub(crate) positional: Option<PathBuf>,
    /// List the scenarios that come with pktlab
    #[arg(long)]
    pub(crate) list: bool,
    /// How much of each trace is shown
    #[arg(long, value_enum, default_value_t)]
    pub(crate) explain: Explain,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    /// Ask in every way that chance can turn, and list all endpoints with their probability
    #[arg(long)]
    pub(crate) explore: bool,
    /// How much is shown
    #[arg(long, value_enum, default_value_t)]
    pub(crate) explain: Explain,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// File of questions: a list of {name, from, to, proto, sport, via, expect} in YAML, JSON or RON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) probes: PathBuf,
    /// Ask each in every way that chance can turn
    #[arg(long)]
    pub(crate) explore: bool,
    /// Write a JUnit report too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CasesArgs {
    #[command(subcommand)]
    pub(crate) action: CasesAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CasesAction {
    /// Simulate every case below a directory, and write the results in the same shape
    Run {
        /// Directory of cases
        dir: PathBuf,
        /// Directory for the results
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The rules of a node
    Rules,
    /// A shell script that builds the network out of real namespaces
    Commands,
    /// A capture of one exchange (needs --from and --to)
    Pcapng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Form {
    /// What kube-proxy gives to iptables-restore
    #[default]
    Restore,
    /// What iptables-save prints back
    Save,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to export
    #[arg(value_enum)]
    pub(crate) format: ExportFormat,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Which node, for rules [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// In which form, for rules
    #[arg(long, value_enum, default_value_t)]
    pub(crate) form: Form,
    /// Not those of kube-proxy alone but of kubelet, CNI plugins and portmap too, for rules (iptables-save has them always)
    #[arg(long)]
    pub(crate) all: bool,
    /// 4 for iptables, 6 for ip6tables, for rules [default: all that the cluster has]
    #[arg(long, value_name = "4|6", value_parser = clap::value_parser!(u8).range(4..=6))]
    pub(crate) family: Option<u8>,
    /// What the names of the namespaces begin with, for commands
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Who asks, for pcapng
    #[arg(long, value_name = "END", requires = "to")]
    pub(crate) from: Option<String>,
    /// Whom, for pcapng
    #[arg(long, value_name = "END", requires = "from")]
    pub(crate) to: Option<String>,
    /// How, for pcapng
    #[arg(long, value_enum)]
    pub(crate) proto: Option<ProtoArg>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code, such as PL0201; all are listed without one
    pub(crate) code: Option<String>,
}
