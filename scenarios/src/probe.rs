//! Many questions in one run: a file of them (YAML, JSON or RON), an answer each.

use std::path::Path;

use k8s_model::yaml;
use k8s_model::{InputError, Pos};
use sim_core::TraceMode;

use crate::explore::explore;
use crate::load::Loaded;
use crate::outcome::Answer;
use crate::problem::{Problem, Problems};
use crate::question::Question;
use crate::scenario::{self, QuestionSpec};

/// More questions in one file are refused.
const MAX_QUESTIONS: usize = 1_000_000;

/// Reads a file of questions: RON by its ending, else YAML (and JSON, which is YAML).
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn read(path: &Path) -> Result<Vec<Question>, Problems> {
    let file = path.to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::NotFound { "no such file".to_owned() } else { error.to_string() };
        Problem::whole(&*file, format!("cannot be read: {why}")).help("name a file with a list of {name, from, to, expect}")
    })?;
    parse(&file, text.strip_prefix('\u{feff}').unwrap_or(&text))
}

/// Reads questions from text.
///
/// # Errors
/// Something in it is wrong.
pub fn parse(file: &str, text: &str) -> Result<Vec<Question>, Problems> {
    let specs: Vec<(QuestionSpec, Option<Pos>)> = if file.ends_with(".ron") {
        let specs = scenario::read_ron::<Vec<QuestionSpec>>(file, text)?;
        specs.into_iter().map(|spec| (spec, None)).collect()
    } else {
        of_yaml(file, text)?
    };
    if specs.is_empty() {
        return Err(Problem::whole(file, "holds no question").help("a list of {name, from, to, expect}").into());
    }
    if specs.len() > MAX_QUESTIONS {
        return Err(Problem::whole(file, format!("holds more than {MAX_QUESTIONS} questions")).into());
    }
    let mut problems = Vec::new();
    let mut questions = Vec::new();
    let mut searched_to = 0;
    for (spec, pos) in &specs {
        match Question::of_spec(spec) {
            Ok(question) => questions.push(question),
            Err((value, error)) => {
                // The value stands behind the place of its question; from there the first one is it.
                if let Some(pos) = pos {
                    searched_to = text.split_inclusive('\n').take(pos.line.saturating_sub(1) as usize).map(str::len).sum();
                }
                let at = text[searched_to..].find(&value).map(|at| at + searched_to);
                let problem = match at {
                    Some(at) => Problem::at(file, text, at + error.at, error.len, &error.message),
                    None => Problem::whole(file, format!("`{value}`: {}", error.message)),
                };
                problems.push(problem.help(&error.help));
            }
        }
    }
    if problems.is_empty() { Ok(questions) } else { Err(Problems(problems)) }
}

fn of_yaml(file: &str, text: &str) -> Result<Vec<(QuestionSpec, Option<Pos>)>, Problems> {
    let nodes = yaml::parse(file, text, yaml::Limits::default()).map_err(|error| Problems(vec![Problem::from(&error)]))?;
    let mut specs = Vec::new();
    let mut problems = Vec::new();
    for document in &nodes {
        let yaml::Value::Seq(items) = &document.value else {
            let error = InputError { pos: document.pos, ..InputError::whole(file, "is no list of questions") };
            problems.push(Problem::from(&error.quote(text)).help("begin each question with `- from: ...`"));
            continue;
        };
        for item in items {
            let wrong = |pos: Pos, path: String, message: String| {
                Problem::from(&InputError { pos, path, ..InputError::whole(file, message) }.quote(text))
            };
            match yaml::from_node::<QuestionSpec>(item) {
                Ok((spec, unknown)) => {
                    for field in unknown {
                        let help = field.meant.map_or_else(
                            || "the fields are name, from, to, proto, sport, via, expect".to_owned(),
                            |meant| format!("`{meant}` was probably meant"),
                        );
                        problems.push(
                            wrong(field.pos, String::new(), format!("`{}` is no field of a question", field.path)).help(help),
                        );
                    }
                    specs.push((spec, Some(item.pos)));
                }
                Err(error) => problems.push(wrong(error.pos, error.path, error.message)),
            }
        }
    }
    if problems.is_empty() { Ok(specs) } else { Err(Problems(problems)) }
}

/// Asks all questions, in one network that has converged; with `all_arms` each in every way that chance can turn.
///
/// # Errors
/// The network cannot be built, or a question is about somebody who is not there.
pub fn ask(
    loaded: &Loaded,
    questions: &[Question],
    all_arms: bool,
    mut tell: impl FnMut(&Answer),
) -> Result<Vec<Answer>, Problems> {
    let mut answers = Vec::with_capacity(questions.len());
    let mut world = loaded.converged(TraceMode::Headers)?;
    // Nothing is asked before all questions are known to be possible.
    let impossible = |question: &Question| {
        let named = |problem: Problem| Problem { file: format!("{}: {}", question.name, problem.file), ..problem };
        world.source(&question.from).map(drop).and_then(|()| world.destination(question).map(drop)).err().map(named)
    };
    let problems: Vec<Problem> = questions.iter().filter_map(impossible).collect();
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    for question in questions {
        let answer = if all_arms { explore(loaded, question)?.answer } else { world.ask(question)?.answer };
        tell(&answer);
        answers.push(answer);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::OutcomeClass;

    #[test]
    fn yaml_json_and_ron_say_the_same() {
        let yaml = "- name: a\n  from: pod/default/client\n  to: svc/default/web:80\n  expect: {outcome: delivered, source_seen: 10.244.1.2}\n";
        let json = r#"[{"name": "a", "from": "pod/default/client", "to": "svc/default/web:80",
            "expect": {"outcome": "delivered", "source_seen": "10.244.1.2"}}]"#;
        let ron = r#"[(name: "a", from: "pod/default/client", to: "svc/default/web:80",
            expect: (outcome: Delivered, source_seen: "10.244.1.2"))]"#;
        let questions = parse("p.yaml", yaml).expect("YAML");
        assert_eq!(questions[0].expect.as_ref().and_then(|expect| expect.outcome), Some(OutcomeClass::Delivered));
        assert_eq!(questions, parse("p.json", json).expect("JSON"));
        assert_eq!(questions, parse("p.ron", ron).expect("RON"));
    }

    #[test]
    fn mistakes_stand_in_their_line() {
        for (text, place, says) in [
            ("- from: pod/default/a\n", "p.yaml:1:", "missing field `to`"),
            ("- from: pod/default/a\n  too: b\n", "p.yaml:2:3", "unknown field `too`"),
            ("- from: pod/default/a\n  to: b:80\n  exspect: {}\n", "p.yaml:3:3", "unknown field `exspect`"),
            ("- from: pod/a\n  to: b:80\n", "p.yaml:1:", "namespace is missing"),
            ("- from: pod/default/a\n  to: b:80\n  expect: {outcome: delivred}\n", "p.yaml:3:", "delivred"),
            ("from: a\n", "p.yaml:1:1", "no list"),
            ("[]\n", "p.yaml", "no question"),
        ] {
            let shown = parse("p.yaml", text).expect_err(text).render(false);
            assert!(shown.contains(place) && shown.contains(says), "{text}\n{shown}");
        }
    }
}
