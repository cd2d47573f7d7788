use super::*;
use crate::config::ClusterConfig;
use crate::source::load_text;

fn listening(text: &str) -> (Vec<Listener>, Vec<String>) {
    let cluster = Cluster::build(ClusterConfig::default(), load_text("t.yaml", text).expect("loads")).expect("builds");
    let mut notes = Vec::new();
    let found = listeners(&cluster, &mut notes);
    (found, notes)
}

/// `udp/53` of each server in a namespace.
fn ports(found: &[Listener], netns: &str) -> Vec<String> {
    let here = found.iter().filter(|one| one.netns == netns);
    here.map(|one| format!("{}/{}", if one.server.l4 == L4::Tcp { "tcp" } else { "udp" }, one.server.port)).collect()
}

fn pod(name: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{containers: [{{name: c, {container}}}]}}\n---\n"
    )
}

#[test]
fn a_pod_listens_on_what_anybody_expects_of_it() {
    let container = "image: web:1, ports: [{containerPort: 8080}, {containerPort: 9, protocol: UDP}], readinessProbe: {httpGet: {port: 8081, path: /}}";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: web}, ports: [{name: a, port: 80, targetPort: 3000}, {name: b, port: 81, targetPort: 8080}]}\n---\n";
    let (found, _) = listening(&(pod("web", container) + service));
    assert_eq!(ports(&found, "default/web"), ["tcp/3000", "tcp/8080", "tcp/8081", "udp/9"]);
    let said =
        |port| found.iter().find(|one| one.netns == "default/web" && one.server.port == port).map(|one| one.assumption.clone());
    assert_eq!(
        said(8080).as_deref(),
        Some(
            "pod default/web listens on TCP port 8080 and answers HTTP with 200, since container c names it (t.yaml:4), it is a target port of Service default/s (t.yaml:9)"
        )
    );
    assert!(said(8081).is_some_and(|said| said.contains("readinessProbe.httpGet asks it")));
}

#[test]
fn tools_to_ask_with_listen_on_nothing_and_that_is_said() {
    let (found, notes) = listening(&pod("client", "image: 'busybox:1', ports: [{containerPort: 80}]"));
    assert!(ports(&found, "default/client").is_empty());
    assert!(notes.iter().any(|note| note.contains("pod default/client: nothing listens on port 80, since busybox:1")), "{notes:?}");
}

#[test]
fn images_that_are_known_answer_as_they_do() {
    let text = pod("db", "image: 'postgres:12.2'") + &pod("page", "image: 'nginx:1'") + &pod("cache", "image: redis");
    let (found, _) = listening(&text);
    let service = |netns: &str| found.iter().find(|one| one.netns == netns).map(|one| one.server.service.clone());
    assert!(matches!(service("default/db"), Some(Service::Greeting(_))));
    assert!(matches!(service("default/page"), Some(Service::Http(site)) if site.server_header.as_deref() == Some("nginx")));
    assert!(matches!(service("default/cache"), Some(Service::Reply(_))));
    let dns: Vec<&Listener> = found.iter().filter(|one| matches!(one.server.service, Service::Dns(_))).collect();
    let of = |prefix: &str| dns.iter().filter(|one| one.netns.starts_with(prefix)).count();
    assert_eq!((of("kube-system/coredns-"), of("external")), (4, 2), "two replicas and the gateway, UDP and TCP");
}

#[test]
fn pods_on_the_hosts_network_share_the_nodes_ports() {
    let host = |name: &str| {
        pod(name, "image: web, ports: [{containerPort: 9100}]")
            .replace("{containers", "{hostNetwork: true, nodeName: kind-worker, containers")
    };
    let (found, notes) = listening(&(host("a") + &host("b")));
    assert_eq!(ports(&found, "kind-worker").iter().filter(|port| *port == "tcp/9100").count(), 1);
    assert!(
        notes.iter().any(|note| note.starts_with("pod default/b listens on TCP port 9100") && note.contains("the port is taken")),
        "{notes:?}"
    );
}

#[test]
fn nodes_run_what_a_node_runs() {
    let (found, _) = listening("");
    assert_eq!(ports(&found, "kind-worker"), ["tcp/10250", "tcp/10248", "tcp/10256"]);
    assert!(ports(&found, "kind-control-plane").contains(&"tcp/6443".to_owned()));
}

#[test]
fn the_health_check_port_of_a_service_counts_local_endpoints() {
    let web = pod("web", "image: web, ports: [{containerPort: 80}]").replace("{containers", "{nodeName: kind-worker2, containers");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31999, selector: {app: web}, ports: [{port: 80}]}\n";
    let (found, _) = listening(&(web + service));
    let status = |node: &str| {
        let one = found.iter().find(|one| one.netns == node && one.server.port == 31999).expect("it listens");
        match &one.server.service {
            Service::Http(site) => match &site.fallback {
                Some(HttpFallback::Page(page)) => {
                    (page.status, String::from_utf8_lossy(&page.body).contains("\"localEndpoints\": 1"))
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status("kind-worker2"), (200, true));
    assert_eq!(status("kind-worker"), (503, false));
}
