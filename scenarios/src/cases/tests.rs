//! Cases in small.

use serde_json::json;

use super::*;

#[test]
fn a_case_that_cannot_be_read_says_where() {
    let Outcome::Failed(trouble) = run_text("{\n \"format\": \"orc-kernel-case/1\",\n \"id\": 5}") else { panic!("it is wrong") };
    assert!(trouble.place.starts_with("line 3 column "), "{trouble}");
}

#[test]
fn a_field_that_nobody_knows_is_an_error() {
    let case = json!({"format": "orc-kernel-case/1", "id": "x", "group": "g", "title": "t", "frobs": 1,
        "topology": {"namespaces": []}, "stimuli": []});
    let Outcome::Failed(trouble) = run_text(&case.to_string()) else { panic!("it is wrong") };
    assert!(trouble.why.contains("frobs"), "{trouble}");
}

#[test]
fn what_is_not_modelled_is_named_with_its_place() {
    let case = json!({"format": "orc-kernel-case/1", "id": "x", "group": "g", "title": "t",
        "topology": {"namespaces": [{"name": "r", "nft": "table bridge t {}"}]}, "stimuli": []});
    let outcome = run_text(&case.to_string());
    let Outcome::Unsupported(trouble) = outcome else { panic!("{outcome:?}") };
    assert_eq!(trouble.place, "r: nft -f -");
    assert!(trouble.why.contains("bridge"), "{trouble}");
}
