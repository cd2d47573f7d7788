use crate::api::{AddressType, ClusterIps, Policy, PortRef, Protocol, ServiceType, WorkloadKind};
use crate::report::Effect;
use crate::source::{load_paths, load_text, manifest_files};

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        ports:
        - name: http
          containerPort: 80
        readinessProbe:
          httpGet: {path: /healthz, port: http}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: web}
  ports:
  - name: http
    port: 80
    targetPort: http
    nodePort: 30080
  - name: dns
    port: 53
    protocol: UDP
";

fn refused(text: &str) -> Vec<String> {
    load_text("t.yaml", text).expect_err("must be refused").0.iter().map(ToString::to_string).collect()
}

#[test]
fn workloads_and_services_keep_what_the_network_needs() {
    let manifests = load_text("web.yaml", WEB).expect("loads");
    let [web] = manifests.objects.workloads.as_slice() else { panic!("one workload") };
    assert_eq!((web.kind, web.replicas, web.meta.namespace.as_str()), (WorkloadKind::Deployment, 2, "default"));
    assert_eq!(web.template.containers[0].ports[0].origin.to_string(), "web.yaml:17");
    assert_eq!(web.template.containers[0].probes[0].port, PortRef::Name("http".into()));
    let [service] = manifests.objects.services.as_slice() else { panic!("one Service") };
    assert_eq!(service.meta.origin.to_string(), "web.yaml:22");
    assert_eq!(service.kind, ServiceType::NodePort);
    assert_eq!(service.external_policy, Policy::Local);
    assert_eq!(service.cluster_ips, ClusterIps::Unset);
    assert_eq!(service.ports[0].target, PortRef::Name("http".into()));
    assert_eq!(service.ports[1].target, PortRef::Number(53));
    assert_eq!(service.ports[1].protocol, Protocol::Udp);
    assert_eq!(service.ports[1].origin.to_string(), "web.yaml:36");
    assert_eq!(manifests.report.counts(), (2, 0, 0));
}

#[test]
fn lists_are_flattened_and_items_of_typed_lists_inherit_their_kind() {
    let list = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: a}
  spec:
    containers: [{name: c, image: x}]
  status: {podIP: 10.244.1.7, phase: Running, conditions: [{type: Ready, status: 'False'}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSliceList
items:
- metadata:
    name: web-abc
    labels: {kubernetes.io/service-name: web}
  addressType: IPv4
  ports: [{name: http, port: 8080}]
  endpoints: [{addresses: [10.244.1.7], nodeName: kind-worker}]
---
apiVersion: v1
kind: List
items:
";
    let manifests = load_text("dump.yaml", list).expect("loads");
    assert_eq!(manifests.objects.pods[0].status.ips, ["10.244.1.7".parse::<std::net::IpAddr>().expect("ip")]);
    assert!(!manifests.objects.pods[0].is_ready());
    let slice = &manifests.objects.slices[0];
    assert_eq!((slice.service.as_str(), slice.address_type), ("web", AddressType::Ipv4));
    assert!(slice.endpoints[0].is_ready());
    assert_eq!(manifests.report.counts(), (2, 0, 0));
}

#[test]
fn every_kind_is_accepted_and_listed_with_its_effect() {
    let text = "\
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}}}
---
{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: l7}}
---
{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}}
---
{apiVersion: extensions/v1beta1, kind: Deployment, metadata: {name: old}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}}
";
    let manifests = load_text("all.yaml", text).expect("loads");
    let objects = &manifests.report.files[0].objects;
    let classes: Vec<&str> = objects
        .iter()
        .map(|object| match object.effect {
            Effect::Used => "used",
            Effect::None(_) => "none",
            Effect::NotModelled(_) => "not modelled",
        })
        .collect();
    assert_eq!(classes, ["none", "not modelled", "not modelled", "none", "not modelled", "none"]);
    assert_eq!(objects[1].to_string(), "NetworkPolicy default/deny");
    assert_eq!(objects[5].to_string(), "ClusterRole r");
    let loud: Vec<String> = manifests.report.not_modelled().collect();
    assert!(loud[0].starts_with("all.yaml:3: NetworkPolicy default/deny: policy is not enforced"), "{loud:?}");
    assert!(loud[2].contains("apps/v1"), "{loud:?}");
}

#[test]
fn all_errors_of_a_file_are_reported_together_with_their_places() {
    let text = "\
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  ports:
  - port: eighty
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec:
  clusterIP: 10.96.0.300
  externalTrafficPolicy: Local
  ports:
  - port: 70000
  - port: 80
    nodePort: 30000
";
    assert_eq!(
        refused(text),
        [
            "t.yaml:6:11: spec.ports[0].port: invalid type: string \"eighty\", expected i32 of Service",
            "t.yaml:12:14: spec.clusterIP: \"10.96.0.300\" is not an IP address",
            "t.yaml:15:11: spec.ports[0].port: 70000 is not a port (ports are 1 to 65535)",
            "t.yaml:13:26: spec.externalTrafficPolicy: may be set for externally reachable Services only (set type NodePort or LoadBalancer, or externalIPs)",
            "t.yaml:15:5: spec.ports[0].name: each port of a Service with several ports needs a name (for example `name: http`)",
            "t.yaml:16:5: spec.ports[1].name: each port of a Service with several ports needs a name (for example `name: http`)",
            "t.yaml:17:15: spec.ports[1].nodePort: may be set for types NodePort and LoadBalancer only (set `type: NodePort`)",
        ]
    );
}

#[test]
fn an_error_quotes_its_line() {
    let errors = load_text("t.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: 7\n").expect_err("wrong type");
    assert_eq!(errors.0[0].text, "spec: 7");
}

#[test]
fn a_selector_that_misses_its_template_is_refused() {
    let text = WEB.replace("labels: {app: web}", "labels: {app: wep}");
    assert!(refused(&text)[0].contains("the selector does not match the labels of the template"));
}

#[test]
fn what_has_no_kind_is_refused_by_name_and_passed_over_in_a_directory() {
    assert!(refused("replicas: 1\n")[0].starts_with("t.yaml:1:1: this is not a Kubernetes object"));
}

#[test]
fn unknown_fields_and_second_definitions_are_warnings() {
    let text = "\
apiVersion: v1
kind: Namespace
metadata: {name: a, labls: {x: y}}
---
apiVersion: v1
kind: Namespace
metadata: {name: a}
";
    let manifests = load_text("t.yaml", text).expect("loads");
    let warnings: Vec<(u32, &str)> =
        manifests.report.files[0].warnings.iter().map(|note| (note.pos.line, note.text.as_str())).collect();
    assert_eq!(
        warnings,
        [
            (3, "unknown field of Namespace: did you mean `labels`?"),
            (5, "Namespace a is defined again; this one replaces the one at t.yaml:1"),
        ]
    );
    assert_eq!(manifests.objects.namespaces.len(), 1);
}

#[test]
fn addresses_with_leading_zeros_are_decimal() {
    assert_eq!(super::parse_ip("010.096.000.010"), "10.96.0.10".parse().ok());
    assert_eq!(super::parse_ip("::ffff:10.0.0.1"), "10.0.0.1".parse().ok());
    assert_eq!(super::parse_ip("10.0.0"), None);
    assert_eq!(super::parse_cidr(" 010.0.0.0/8 "), "10.0.0.0/8".parse().ok());
    assert_eq!(super::parse_cidr("10.0.0.0/33"), None);
}

#[test]
fn a_missing_file_and_an_empty_directory_are_clear_errors() {
    let missing = load_paths(&["no/such/file.yaml".into()]).expect_err("missing");
    assert_eq!(missing.to_string(), "no/such/file.yaml: cannot be read: no such file or directory (is the path right?)");
    let empty = std::env::temp_dir().join(format!("pktlab-empty-{}", std::process::id()));
    std::fs::create_dir_all(&empty).expect("a directory");
    let error = manifest_files(&empty).expect_err("empty");
    std::fs::remove_dir_all(&empty).expect("removed");
    assert_eq!(error.message, "the directory holds no manifest");
}

/// `PKTLAB_MANIFESTS=DIR:DIR cargo test -p pktlab-k8s-model -- --ignored --nocapture directories`
#[test]
#[ignore = "reads the directories that PKTLAB_MANIFESTS names"]
fn directories_of_manifests_load() {
    let paths = std::env::var("PKTLAB_MANIFESTS").expect("PKTLAB_MANIFESTS is set");
    for path in paths.split(':') {
        match load_paths(&[path.into()]) {
            Ok(manifests) => println!("{}{:?}", manifests.report, manifests.report.counts()),
            Err(errors) => panic!("{errors}"),
        }
    }
}
