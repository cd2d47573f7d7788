//! A scenario, step by step: what is asked, typed, cut and injected at its time, and whether the expectations hold.
//!
//! A step that takes time (a client that waits for two minutes) is run to its end before the next one; a step whose time has
//! passed by then happens at once, and its `at_ns` says when that was.

use std::fmt::Write as _;

use serde::Serialize;
use sim_core::{SimTime, TraceMode};
use stack::Provenance;

use crate::ask::Asked;
use crate::build::World;
use crate::ends::{End, EndKind};
use crate::load::Loaded;
use crate::outcome::Answer;
use crate::problem::{Problem, Problems};
use crate::question::Question;
use crate::render::TextOptions;
use crate::report::{self, Coverage, MODEL, Model};
use crate::scenario::{self, Action, Carrier, ScenarioFile, Timed};
use crate::shell::{self, Typed};
use crate::trace::{Exchange, TraceInput};

/// The JSON document of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// `pktlab.run/1`.
    pub schema: &'static str,
    /// What is modelled.
    pub model: Model,
    /// The scenario's title.
    pub title: String,
    /// The seed.
    pub seed: u64,
    /// What happened, in order.
    pub steps: Vec<StepReport>,
    /// How many expectations hold.
    pub held: usize,
    /// How many do not.
    pub failed: usize,
    /// What was read.
    pub coverage: Coverage,
    /// What the network rests on besides the input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// When it happened.
    pub at_ns: u64,
    /// What it was: `trace`, `probe`, `shell`, `link`, `packet`.
    pub kind: &'static str,
    /// The step in a few words.
    pub text: String,
    /// What came of a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Its packets, for traces and raw frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// What the tool printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// How long a raw frame is followed.
const FRAME_TIME: SimTime = SimTime::from_secs(1);

/// Runs a scenario.
///
/// # Errors
/// The network cannot be built, or a step is about somebody who is not there.
pub fn run(loaded: &Loaded) -> Result<RunReport, Problems> {
    run_watched(loaded, |_, _| {})
}

/// The same; shows the network after each step.
///
/// # Errors
/// As `run`.
pub fn run_watched(loaded: &Loaded, mut watch: impl FnMut(&World, &StepReport)) -> Result<RunReport, Problems> {
    let Some(file) = &loaded.scenario else {
        return Err(Problem::whole("run", "there is no scenario")
            .help("name one: pktlab run FILE.ron, or pktlab run --list")
            .into());
    };
    let mut world = loaded.world(TraceMode::Headers)?;
    let mut steps: Vec<(SimTime, &Action)> = Vec::new();
    for Timed::At(time, action) in &file.scenario.steps {
        steps.push((file.time(time)?, action));
    }
    steps.sort_by_key(|(time, _)| *time);
    let mut reports = Vec::new();
    for (time, action) in steps {
        world.network.sim.run_until(time.max(world.network.sim.now()));
        let report = step(&mut world, file, action)?;
        watch(&world, &report);
        reports.push(report);
    }
    let answers = || reports.iter().filter_map(|step: &StepReport| step.answer.as_ref());
    let (held, failed) =
        (answers().filter(|answer| answer.ok == Some(true)).count(), answers().filter(|answer| answer.ok == Some(false)).count());
    Ok(RunReport {
        schema: "pktlab.run/1",
        model: MODEL,
        title: file.scenario.title.clone(),
        seed: loaded.seed,
        held,
        failed,
        steps: reports,
        coverage: Coverage::of(&world.coverage),
        assumptions: world.assumptions.clone(),
    })
}

fn step(world: &mut World, file: &ScenarioFile, action: &Action) -> Result<StepReport, Problem> {
    let at_ns = world.network.sim.now().as_nanos();
    let plain = |kind, text: String| StepReport { at_ns, kind, text, answer: None, exchange: None, output: String::new() };
    match action {
        Action::Trace(spec) | Action::Probe(spec) => {
            let question = Question::of_spec(spec)
                .map_err(|(text, error)| file.problem(&text, error.at, error.len, &error.message).help(&error.help))?;
            let asked = ask(world, file, &question, &spec.from, &spec.to)?;
            let traced = matches!(action, Action::Trace(_));
            let report = plain(if traced { "trace" } else { "probe" }, question.name.clone());
            Ok(StepReport { answer: Some(asked.answer), exchange: traced.then_some(asked.exchange), ..report })
        }
        Action::Shell(on, line) => {
            let report = plain("shell", format!("{on}$ {line}"));
            match shell::read(line).map_err(|error| file.command_problem(line, &error))? {
                Typed::Command(command) => {
                    let Some(ns) = world.network.named(on) else {
                        return Err(file.problem_with(on, format!("there is no namespace {on}")));
                    };
                    let prov =
                        world.network.provenances.intern(Provenance { generator: "scenario".into(), ..Provenance::default() });
                    // What the tool prints to standard error is output too: learners see failures as they are.
                    let output = match world.network.apply(ns, &command, prov) {
                        Ok(output) => output,
                        Err(error) if error.unsupported => return Err(file.problem_with(line, error.message).unsupported()),
                        Err(error) => format!("{}\n(exit code {})\n", error.message, error.exit),
                    };
                    Ok(StepReport { output, ..report })
                }
                Typed::Ask { to, proto } => {
                    let from = End { cluster: None, kind: EndKind::Netns { name: on.clone(), port: None } };
                    let question = Question { name: line.clone(), proto: Some(proto), ..Question::new(from, *to) };
                    let asked = ask(world, file, &question, on, line)?;
                    Ok(StepReport { output: format!("{}\n", asked.answer.symptom), answer: Some(asked.answer), ..report })
                }
            }
        }
        Action::Kubectl(line) => Err(file.problem_with(line, "kubectl steps are not modelled yet").unsupported()),
        Action::Link(device, carrier) => {
            let Some(&link) = world.links.get(device) else {
                let known: Vec<&str> = world.links.keys().map(String::as_str).collect();
                let help =
                    scenario::nearest(device, &known).map_or_else(String::new, |meant| format!("`{meant}` was probably meant"));
                return Err(file.problem_with(device, format!("no link is at {device}")).help(help));
            };
            world.network.sim.set_link_up(link, *carrier == Carrier::Up);
            Ok(plain("link", format!("{device} {}", if *carrier == Carrier::Up { "up" } else { "down" })))
        }
        Action::Packet { from, hex } => {
            let bytes = scenario::frame(hex).map_err(|(at, message)| file.problem(hex, at, 1, message))?;
            let (netns, device) = file.device(from)?;
            let ns = world
                .network
                .named(netns)
                .ok_or_else(|| file.problem(from, 0, netns.len(), format!("there is no namespace {netns}")))?;
            world.network.sim.tracer_mut().clear();
            let first_choice = world.network.sim.choices().len();
            world
                .network
                .inject(ns, device, &bytes)
                .map_err(|errno| file.problem_with(from, format!("cannot send out of {from}: {errno}")))?;
            world.network.sim.run_until(world.network.sim.now() + FRAME_TIME);
            let input = TraceInput { from: Some(ns), first_choice, kinds: world.kinds.clone() };
            let exchange = crate::trace::exchange(&world.network, &input);
            Ok(StepReport { exchange: Some(exchange), ..plain("packet", format!("{} bytes out of {from}", bytes.len())) })
        }
    }
}

/// Asks; a problem with an end points into the scenario.
fn ask(world: &mut World, file: &ScenarioFile, question: &Question, from: &str, to: &str) -> Result<Asked, Problem> {
    world.ask(question).map_err(|problem| {
        let text = if problem.file.starts_with("--from") { from } else { to };
        let placed = file.problem_with(text, problem.message).help(problem.help);
        if problem.fault == crate::problem::Fault::Unsupported { placed.unsupported() } else { placed }
    })
}

impl RunReport {
    /// For people.
    pub fn text(&self, options: &TextOptions) -> String {
        let mut text = format!("{}\n\n", self.title);
        for step in &self.steps {
            let _ = writeln!(text, "[{}] {} {}", SimTime(step.at_ns), step.kind, step.text);
            for line in step.output.lines() {
                let _ = writeln!(text, "  {line}");
            }
            match (&step.answer, &step.exchange) {
                (Some(answer), Some(exchange)) => {
                    text.push_str(&report::text(&Asked { answer: answer.clone(), exchange: exchange.clone() }, options));
                }
                (Some(answer), None) if step.kind == "probe" => text.push_str(&report::summary(answer, options.color)),
                (None, Some(exchange)) => text.push_str(&crate::render::text(exchange, options)),
                _ => {}
            }
            text.push('\n');
        }
        let total = self.held + self.failed;
        let _ = writeln!(text, "{} of {total} expectations hold", self.held);
        text
    }

    /// 3 where an answer rests on what is not modelled, 1 where an expectation does not hold.
    pub fn exit_code(&self) -> u8 {
        report::exit_code(self.steps.iter().filter_map(|step| step.answer.as_ref()))
    }
}
