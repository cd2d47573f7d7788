use super::*;
use crate::config::ClusterConfig;
use crate::source::load_text;

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.1.1, selector: {app: web}, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: pg, port: 5432, targetPort: sql}]}
---
apiVersion: v1
kind: Service
metadata: {name: early, namespace: shop}
spec: {clusterIP: None, selector: {app: late}, publishNotReadyAddresses: true, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: patient, namespace: shop}
spec: {clusterIP: None, selector: {app: late}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec: {type: ExternalName, externalName: GitHub.com.}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: postgres, ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: shop, labels: {app: late}}
spec: {containers: [{name: c, image: x}]}
status: {conditions: [{type: Ready, status: 'False'}]}
";

fn zones_of(text: &str, change: impl FnOnce(&mut ClusterConfig)) -> (Cluster, DnsZones) {
    let mut config = ClusterConfig::default();
    change(&mut config);
    let cluster = Cluster::build(config, load_text("t.yaml", text).expect("loads")).expect("builds");
    let zones = zones(&cluster);
    (cluster, zones)
}

fn rows(zones: &DnsZones, name: &str) -> Vec<String> {
    let row = |record: &DnsRecord| match &record.data {
        DnsData::A(ip) => format!("A {ip}"),
        DnsData::Aaaa(ip) => format!("AAAA {ip}"),
        DnsData::Cname(name) => format!("CNAME {name}"),
        DnsData::Ptr(name) => format!("PTR {name}"),
        DnsData::Txt(text) => format!("TXT {text}"),
        DnsData::Ns(name) => format!("NS {name}"),
        DnsData::Srv { priority, weight, port, target } => format!("SRV {priority} {weight} {port} {target}"),
    };
    zones.records.get(name).into_iter().flatten().map(row).collect()
}

#[test]
fn a_service_has_its_address_its_ports_and_its_name_in_reverse() {
    let (_, zones) = zones_of(OBJECTS, |_| {});
    let web = "web.shop.svc.cluster.local";
    assert_eq!(rows(&zones, web), ["A 10.96.1.1".to_owned(), format!("SRV 0 50 53 {web}"), format!("SRV 0 50 80 {web}"),]);
    assert_eq!(rows(&zones, &format!("_http._tcp.{web}")), [format!("SRV 0 100 80 {web}")]);
    assert_eq!(rows(&zones, &format!("_dns._udp.{web}")), [format!("SRV 0 100 53 {web}")]);
    assert!(rows(&zones, &format!("_dns._tcp.{web}")).is_empty());
    assert_eq!(rows(&zones, "1.1.96.10.in-addr.arpa"), [format!("PTR {web}")]);
    assert!(zones.records.values().flatten().all(|record| record.ttl == 30));
}

#[test]
fn a_headless_service_answers_with_its_pods_by_name() {
    let (cluster, zones) = zones_of(OBJECTS, |_| {});
    let ip = |name: &str| cluster.pod("shop", name).expect("a pod").ips[0];
    let db = "db.shop.svc.cluster.local";
    let mut expected = vec![format!("A {}", ip("db-0")), format!("A {}", ip("db-1"))];
    let mut found = rows(&zones, db);
    found.retain(|row| row.starts_with("A "));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(rows(&zones, &format!("db-1.{db}")), [format!("A {}", ip("db-1"))]);
    assert_eq!(rows(&zones, &reverse_name(ip("db-1"))), [format!("PTR db-1.{db}")]);
    let mut srv = rows(&zones, &format!("_pg._tcp.{db}"));
    srv.sort();
    assert_eq!(srv, [format!("SRV 0 50 5432 db-0.{db}"), format!("SRV 0 50 5432 db-1.{db}")]);
}

#[test]
fn pods_that_are_not_ready_are_left_out_unless_the_service_publishes_them() {
    let (cluster, zones) = zones_of(OBJECTS, |_| {});
    let ip = cluster.pod("shop", "late").expect("a pod").ips[0];
    let dashed = ip.to_string().replace('.', "-");
    assert!(rows(&zones, "patient.shop.svc.cluster.local").is_empty());
    let early = "early.shop.svc.cluster.local";
    assert_eq!(rows(&zones, early)[0], format!("A {ip}"));
    assert_eq!(rows(&zones, &format!("{dashed}.{early}")), [format!("A {ip}")]);
    assert!(rows(&zones, &reverse_name(ip)).is_empty(), "only a hostname gives a name in reverse");
}

#[test]
fn a_service_of_another_name_is_an_alias() {
    let (_, zones) = zones_of(OBJECTS, |_| {});
    assert_eq!(rows(&zones, "away.shop.svc.cluster.local"), ["CNAME github.com"]);
    assert!(zones.forward.as_ref().is_some_and(|names| names.contains_key("github.com")));
}

#[test]
fn the_zone_says_what_it_is() {
    let (_, zones) = zones_of("", |c| c.cluster_domain = "Corp.Example".to_owned());
    assert_eq!(zones.origins, ["corp.example", "in-addr.arpa", "ip6.arpa"]);
    assert_eq!(rows(&zones, "dns-version.corp.example"), ["TXT 1.1.0"]);
    assert_eq!(rows(&zones, "corp.example"), ["NS kube-dns.kube-system.svc.corp.example"]);
    assert_eq!(rows(&zones, "kubernetes.default.svc.corp.example")[0], "A 10.96.0.1");
    assert!(zones.pods_insecure.contains(&"default".to_owned()));
    assert_eq!((zones.ttl, zones.shuffle), (30, true));
}

#[test]
fn two_families_have_two_kinds_of_records() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ipFamilyPolicy: RequireDualStack, clusterIPs: [10.96.1.1, 'fd00:10:96::7'], ports: [{port: 80}]}\n";
    let (_, zones) = zones_of(text, |c| {
        let net = |text: &str| text.parse().expect("a prefix");
        c.cluster_cidr.push(net("fd00:10:244::/56"));
        c.service_cluster_ip_range.push(net("fd00:10:96::/112"));
        c.node_network.push(net("fc00:f853:ccd:e793::/64"));
    });
    let web = "web.default.svc.cluster.local";
    assert_eq!(rows(&zones, web)[..2], ["A 10.96.1.1", "AAAA fd00:10:96::7"]);
    let reverse = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(rows(&zones, reverse), [format!("PTR {web}")]);
}

#[test]
fn a_resolver_is_told_what_resolv_conf_says() {
    let options = |pairs: &[(&str, Option<&str>)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect::<Vec<_>>()
    };
    let conf =
        ResolvConf { options: options(&[("ndots", Some("20")), ("timeout", Some("2")), ("edns0", None)]), ..ResolvConf::default() };
    let told = resolver(&conf);
    assert_eq!((told.ndots, told.timeout, told.attempts), (15, 2, 2));
    assert_eq!(resolver(&ResolvConf::default()).ndots, 1);
}
