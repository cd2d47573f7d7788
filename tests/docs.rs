//! The examples of the documentation are run, and must print what the pages show.
//!
//! An example is a fenced block that begins with three backticks and `console`. Lines that begin with `$ ` are commands; what
//! follows is their output. Only `pktlab` and `cat` are run, from the repository's root. A line `...` in the output stands for
//! any lines; `$ pktlab ...   # exit 1` says which exit code is expected. `PKTLAB_BLESS=1 cargo test --test docs` writes what
//! the commands print into the pages.

use std::path::{Path, PathBuf};
use std::process::Command;

const FENCE: &str = "```";
const CONSOLE: &str = "```console";

struct Example {
    command: String,
    exit: i32,
    output: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut pending = vec![root().join("docs")];
    while let Some(folder) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn parse_command(line: &str) -> (String, i32) {
    match line.split_once("  # exit ") {
        Some((command, code)) => (command.trim_end().to_owned(), code.trim().parse().expect("an exit code is a number")),
        None => (line.trim_end().to_owned(), 0),
    }
}

/// The output that belongs to the commands of one block.
fn parse_block(lines: &[&str]) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("$ ") {
            let (command, exit) = parse_command(rest);
            examples.push(Example { command, exit, output: Vec::new() });
        } else if let Some(example) = examples.last_mut() {
            example.output.push((*line).to_owned());
        }
    }
    examples
}

/// Splits a command line into words: blanks separate, single and double quotes keep together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut started = false;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                started = true;
            }
            (None, ' ') => {
                if started || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
            }
            (None, c) => word.push(c),
        }
    }
    if started || !word.is_empty() {
        words.push(word);
    }
    words
}

fn run(command: &str) -> (i32, Vec<String>) {
    let mut words = words(command).into_iter();
    let program = words.next().expect("a command has a name");
    let path = match program.as_str() {
        "pktlab" => env!("CARGO_BIN_EXE_pktlab"),
        "cat" => "cat",
        other => panic!("the documentation may run pktlab and cat, not {other}"),
    };
    let output = Command::new(path).args(words).current_dir(root()).env("NO_COLOR", "1").output().expect("the command starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text.lines().map(|line| line.trim_end().to_owned()).collect())
}

/// Whether the lines fit the pattern, in which `...` stands for any lines.
fn fits(pattern: &[String], lines: &[String]) -> bool {
    match pattern.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "..." => (0..=lines.len()).any(|skip| fits(rest, &lines[skip..])),
        Some((first, rest)) => lines.split_first().is_some_and(|(line, others)| line == first.trim_end() && fits(rest, others)),
    }
}

fn check_page(path: &Path, bless: bool) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).expect("a page is text");
    let lines: Vec<&str> = text.lines().collect();
    let mut wrong = Vec::new();
    let mut blessed: Vec<String> = Vec::new();
    let mut count = 0;
    let mut at = 0;
    while at < lines.len() {
        blessed.push(lines[at].to_owned());
        if lines[at].trim() != CONSOLE {
            at += 1;
            continue;
        }
        let end = (at + 1..lines.len()).find(|&end| lines[end].trim() == FENCE).expect("a block ends");
        for example in parse_block(&lines[at + 1..end]) {
            count += 1;
            let (exit, printed) = run(&example.command);
            let suffix = if exit == 0 { String::new() } else { format!("  # exit {exit}") };
            blessed.push(format!("$ {}{suffix}", example.command));
            let elided = example.output.iter().any(|line| line.trim() == "...");
            blessed.extend(if elided && fits(&example.output, &printed) { example.output.clone() } else { printed.clone() });
            if exit != example.exit || !fits(&example.output, &printed) {
                let place = path.strip_prefix(root()).unwrap_or(path).display();
                let (expected, got) = (example.output.join("\n"), printed.join("\n"));
                wrong.push(format!(
                    "{place}: $ {}\n--- the page shows (exit {})\n{expected}\n--- it prints (exit {exit})\n{got}\n",
                    example.command, example.exit
                ));
            }
        }
        at = end;
    }
    if bless && !wrong.is_empty() {
        std::fs::write(path, blessed.join("\n") + "\n").expect("a page can be written");
        wrong.clear();
    }
    (count, wrong)
}

#[test]
fn every_example_prints_what_its_page_shows() {
    let bless = std::env::var_os("PKTLAB_BLESS").is_some();
    let mut count = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let (examples, differences) = check_page(&page, bless);
        count += examples;
        wrong.extend(differences);
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} examples differ; PKTLAB_BLESS=1 writes what is printed:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{count} examples of the documentation print what they show");
}
