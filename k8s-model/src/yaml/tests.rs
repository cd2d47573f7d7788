use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Service};

use super::*;

fn one(text: &str) -> Node {
    let mut documents = parse("test.yaml", text, Limits::default()).expect("valid YAML");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn refused(text: &str) -> String {
    parse("test.yaml", text, Limits::default()).expect_err("must be refused").to_string()
}

#[test]
fn plain_words_are_read_as_kubectl_reads_them() {
    let rows = [
        ("yes", Value::Bool(true)),
        ("On", Value::Bool(true)),
        ("n", Value::Bool(false)),
        ("OFF", Value::Bool(false)),
        ("'yes'", Value::Str("yes".into())),
        ("!!str yes", Value::Str("yes".into())),
        ("~", Value::Null),
        ("0x1f", Value::Int(31)),
        ("0644", Value::Int(420)),
        ("0b11", Value::Int(3)),
        ("1_000", Value::Int(1000)),
        ("-7", Value::Int(-7)),
        ("1.5", Value::Float(1.5)),
        ("10.96.0.10", Value::Str("10.96.0.10".into())),
        ("1e3", Value::Float(1000.0)),
        ("10.244.0.0/16", Value::Str("10.244.0.0/16".into())),
        ("08", Value::Float(8.0)),
        ("v1", Value::Str("v1".into())),
    ];
    for (text, expected) in rows {
        let node = one(&format!("k: {text}\n"));
        assert_eq!(node.field("k").expect("k").value, expected, "{text}");
    }
}

#[test]
fn keys_that_are_booleans_or_numbers_become_text() {
    let node = one("on: a\n80: b\n");
    assert_eq!(node.field("true").and_then(Node::as_str), Some("a"));
    assert_eq!(node.field("80").and_then(Node::as_str), Some("b"));
}

#[test]
fn empty_documents_are_left_out_and_positions_count_from_the_start_of_the_file() {
    let documents = parse("t", "---\n# nothing\n---\na: 1\n---\n---\n  b: 2\n", Limits::default()).expect("valid");
    assert_eq!(documents.len(), 2);
    assert_eq!((documents[0].pos.line, documents[0].pos.column), (4, 1));
    assert_eq!((documents[1].pos.line, documents[1].pos.column), (7, 3));
}

#[test]
fn a_syntax_error_names_line_and_column() {
    let text = refused("a: 1\nb: [1, 2\nc: 3\n");
    assert!(text.starts_with("test.yaml:"), "{text}");
    assert!(text.contains("YAML syntax"), "{text}");
}

#[test]
fn a_helm_template_is_recognised() {
    assert!(refused("metadata:\n  name: {{ .Values.name }}\n  {{- include }}\n").contains("helm template"));
}

#[test]
fn a_key_that_is_set_twice_is_refused() {
    let text = refused("spec:\n  replicas: 1\n  replicas: 2\n");
    assert_eq!(text, "test.yaml:3:3: key \"replicas\" is already set, on line 2 (remove one of the two)");
}

#[test]
fn aliases_and_merge_keys_are_expanded() {
    let node = one("base: &b {p: 1, q: 2}\nuse:\n  <<: *b\n  q: 3\nsame: *b\n");
    let used = node.field("use").expect("use");
    assert_eq!(used.field("p").expect("p").value, Value::Int(1));
    assert_eq!(used.field("q").expect("q").value, Value::Int(3));
    assert_eq!(node.field("same").and_then(|same| same.field("q")).expect("q").value, Value::Int(2));
}

#[test]
fn aliases_of_aliases_do_not_grow_without_end() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
    }
    assert!(refused(&text).contains("more than 4000000 nodes"));
}

#[test]
fn nesting_is_limited() {
    let text = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(refused(&text).contains("nested more than 128 deep"));
}

#[test]
fn json_with_tabs_is_yaml_too() {
    let node = one("{\n\t\"kind\": \"Service\",\n\t\"ports\": [\n\t\t{\"port\": 80}\n\t]\n}\n");
    let port = node.field("ports").and_then(|ports| ports.item(0)).and_then(|port| port.field("port"));
    assert_eq!(port.expect("port").value, Value::Int(80));
}

#[test]
fn a_wrong_type_has_its_place_and_path() {
    let text = "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - port: 80\n  - name: x\n    port: eighty\n";
    let wrong = from_node::<Service>(&one(text)).expect_err("a string is no port");
    assert_eq!((wrong.pos.line, wrong.pos.column, wrong.pos.len), (7, 11, 6));
    assert_eq!(wrong.path, "spec.ports[1].port");
    assert_eq!(wrong.message, "invalid type: string \"eighty\", expected i32");
}

#[test]
fn unknown_fields_have_their_place_and_the_name_that_was_meant() {
    let text = "apiVersion: v1\nkind: Service\nspec:\n  externalTraficPolicy: Local\n  foo: [1, {bar: 2}]\n";
    let (_, unknown) = from_node::<Service>(&one(text)).expect("right types");
    let rows: Vec<_> = unknown.iter().map(|u| (u.pos.line, u.pos.column, u.path.as_str(), u.meant)).collect();
    assert_eq!(rows, [(4, 3, "spec.externalTraficPolicy", Some("externalTrafficPolicy")), (5, 3, "spec.foo", None)]);
}

#[test]
fn a_number_where_text_is_wanted_is_refused_as_kubectl_does() {
    let text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  PORT: 80\n";
    let wrong = from_node::<ConfigMap>(&one(text)).expect_err("data holds text");
    assert_eq!(wrong.path, "data.PORT");
    assert_eq!(wrong.message, "invalid type: integer `80`, expected a string");
    let quoted = one("apiVersion: v1\nkind: ConfigMap\ndata:\n  PORT: \"80\"\n");
    let (map, _) = from_node::<ConfigMap>(&quoted).expect("text");
    assert_eq!(map.data, Some(BTreeMap::from([("PORT".to_owned(), "80".to_owned())])));
}
