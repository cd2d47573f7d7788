//! From manifests to an answer: pods ask Services of a cluster, and what comes back is what a cluster answers.

use pktlab_k8s_model::{Cluster, ClusterConfig, Plan, load_text, plan};
use stack::app::{Answer, AnswerResult, Client, QType, Request, SocketOptions, Target};
use stack::{Errno, Network, SimTime, TraceMode};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web:1, ports: [{containerPort: 8080, hostPort: 8088}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30081}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {nodeName: kind-worker, containers: [{name: c, image: busybox}]}
";

struct World {
    cluster: Cluster,
    plan: Plan,
    network: Network,
}

fn world(change: impl FnOnce(&mut ClusterConfig)) -> World {
    let mut config = ClusterConfig::default();
    change(&mut config);
    let cluster = Cluster::build(config, load_text("web.yaml", WEB).expect("loads")).expect("builds");
    let plan = plan(&cluster).expect("plans");
    let mut network = Network::new(7, TraceMode::Off);
    plan.apply(&mut network).unwrap_or_else(|error| panic!("{error}"));
    World { cluster, plan, network }
}

impl World {
    fn ask(&mut self, from: &str, target: Target, port: u16, request: Request) -> Answer {
        let ns = self.network.named(from).expect("a namespace");
        let resolver = self.plan.resolvers.get(from).cloned();
        let options = SocketOptions::default();
        let client =
            Client { name: "curl".into(), target, port, request, resolver, options, timeout: Some(SimTime::from_secs(10)) };
        let app = self.network.ask(ns, client);
        self.network.sim.run_until(self.network.sim.now() + SimTime::from_secs(30));
        self.network.netns(ns).apps.answer(app).cloned().expect("the client has run")
    }

    /// The body of an HTTP answer, or how the question ended otherwise.
    fn curl(&mut self, from: &str, host: &str, port: u16) -> Result<String, AnswerResult> {
        let target = host.parse().map_or_else(|_| Target::Name(host.to_owned()), Target::Address);
        let request =
            Request::Http { method: "GET".to_owned(), host: host.to_owned(), path: "/host".to_owned(), headers: Vec::new() };
        match self.ask(from, target, port, request).result.expect("it has ended") {
            AnswerResult::Http { status: 200, body, .. } => Ok(String::from_utf8(body).expect("text")),
            other => Err(other),
        }
    }

    fn web_pods(&self) -> Vec<String> {
        let web = self.cluster.pods.iter().filter(|pod| pod.meta.name.starts_with("web-"));
        web.map(|pod| format!("NODE: {}, POD IP:{}", pod.node.as_deref().unwrap_or_default(), pod.ips[0])).collect()
    }

    fn cluster_ip(&self, name: &str) -> String {
        self.cluster.service("default", name).expect("a Service").cluster_ips.addresses()[0].to_string()
    }
}

#[test]
fn a_pod_reaches_a_service_by_address_and_by_name() {
    let mut world = world(|_| {});
    let (ip, pods) = (world.cluster_ip("web"), world.web_pods());
    for host in [ip.as_str(), "web", "web.default.svc.cluster.local"] {
        let body = world.curl("default/client", host, 80);
        assert!(body.as_ref().is_ok_and(|body| pods.contains(body)), "{host}: {body:?}, none of {pods:?}");
    }
}

#[test]
fn an_endpoint_reaches_itself_through_its_service() {
    let mut world = world(|_| {});
    let ip = world.cluster_ip("web");
    let web: Vec<String> =
        world.plan.namespaces.iter().map(|ns| ns.name.clone()).filter(|name| name.starts_with("default/web-")).collect();
    // Eight tries from each: chance sends some of them back to where they came from.
    for from in web {
        for _ in 0..8 {
            let body = world.curl(&from, &ip, 80);
            assert!(body.is_ok(), "{from}: {body:?}");
        }
    }
}

#[test]
fn the_outside_reaches_node_ports_and_host_ports_but_no_service_address() {
    let mut world = world(|_| {});
    let pods = world.web_pods();
    for node in ["172.18.0.2", "172.18.0.3", "172.18.0.4", "172.18.0.5"] {
        let body = world.curl("external", node, 30080);
        assert!(body.as_ref().is_ok_and(|body| pods.contains(body)), "{node}: {body:?}");
        let own = pods.iter().find(|body| {
            let named = world.cluster.node_by_ip(node.parse().expect("ip")).expect("a node");
            body.starts_with(&format!("NODE: {},", named.name))
        });
        let own = own.cloned();
        for port in [30081, 8088] {
            let near = world.curl("external", node, port);
            match &own {
                Some(own) => assert_eq!(near.as_ref(), Ok(own), "{node}:{port}"),
                None if port == 30081 => assert_eq!(near, Err(AnswerResult::TimedOut), "policy Local drops, {node}"),
                None => assert_eq!(near, Err(AnswerResult::Error(Errno::ConnRefused)), "nobody forwards, {node}"),
            }
        }
    }
    let ip = world.cluster_ip("web");
    let unreachable = world.curl("external", &ip, 80);
    assert_eq!(unreachable, Err(AnswerResult::Error(Errno::NetUnreach)), "the world outside has no route to Services");
}

#[test]
fn a_service_without_endpoints_refuses() {
    let mut world = world(|_| {});
    let ip = world.cluster_ip("nobody");
    assert_eq!(world.curl("default/client", &ip, 80), Err(AnswerResult::Error(Errno::ConnRefused)));
}

#[test]
fn a_pod_reaches_the_world_outside_by_name() {
    let mut world = world(|_| {});
    let body = world.curl("default/client", "github.com", 80);
    assert_eq!(body.as_deref(), Ok("The world outside the cluster\n"));
    let answer = world.ask(
        "default/client",
        Target::Name("nowhere.example".to_owned()),
        0,
        Request::Dns { name: "nowhere.example".to_owned(), qtype: QType::A },
    );
    assert_eq!(answer.lookups.last().and_then(|lookup| lookup.rcode), Some(3), "{answer:?}");
}

#[test]
fn two_families_are_reached_alike() {
    let mut world = world(|config| {
        let net = |text: &str| text.parse().expect("a prefix");
        config.cluster_cidr.push(net("fd00:10:244::/56"));
        config.service_cluster_ip_range.push(net("fd00:10:96::/112"));
        config.node_network.push(net("fc00:f853:ccd:e793::/64"));
    });
    let far = world.cluster.pods.iter().find(|pod| pod.meta.name.starts_with("web-") && pod.node.as_deref() != Some("kind-worker"));
    let ip = far.and_then(|pod| pod.ip(6)).expect("an IPv6 address").to_string();
    let body = world.curl("default/client", &ip, 8080);
    assert!(body.is_ok(), "{ip}: {body:?}");
    let service = world.cluster.service("default", "web").expect("a Service").cluster_ips.addresses()[1];
    assert!(service.is_ipv6());
    let body = world.curl("default/client", &service.to_string(), 80);
    assert!(body.is_ok(), "{service}: {body:?}");
    let body = world.curl("external", "fc00:f853:ccd:e793::3", 30080);
    assert!(body.is_ok(), "a node port: {body:?}");
}

#[test]
fn a_cluster_of_ipv6_alone_answers_by_name() {
    let mut world = world(|config| {
        let net = |text: &str| vec![text.parse().expect("a prefix")];
        config.cluster_cidr = net("fd00:10:244::/56");
        config.service_cluster_ip_range = net("fd00:10:96::/112");
        config.node_network = net("fc00:f853:ccd:e793::/64");
    });
    let (body, pods) = (world.curl("default/client", "web", 80), world.web_pods());
    assert!(body.as_ref().is_ok_and(|body| pods.contains(body)), "{body:?}, none of {pods:?}");
}
