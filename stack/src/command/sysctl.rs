//! `sysctl` (procps 4.0).

use std::fmt;

use super::lex::{Parsed, Words, quoted};

/// `sysctl [-w] KEY[=VALUE]...`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SysctlCommand {
    /// `-q`: says nothing where it went well.
    pub quiet: bool,
    /// `-n`: prints values without keys.
    pub values: bool,
    /// `-e`: unknown keys are no error.
    pub ignore: bool,
    /// Keys, with the values that they get.
    pub items: Vec<(String, Option<String>)>,
}

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<SysctlCommand> {
    let mut command = SysctlCommand { quiet: false, values: false, ignore: false, items: Vec::new() };
    let mut write = false;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "-w" | "--write" => write = true,
            "-q" | "--quiet" => command.quiet = true,
            "-n" | "--values" => command.values = true,
            "-e" | "--ignore" => command.ignore = true,
            "-qw" | "-wq" => (write, command.quiet) = (true, true),
            option if option.starts_with('-') => return Err(word.unsupported("this option of sysctl")),
            text => match text.split_once('=') {
                Some((key, value)) => command.items.push((key.trim().to_owned(), Some(value.trim().to_owned()))),
                None if write => {
                    let message = format!("sysctl: \"{text}\" must be of the form name=value");
                    return Err(word.mistake(message, "write KEY=VALUE, without blanks around the ="));
                }
                None => command.items.push((text.to_owned(), None)),
            },
        }
    }
    if let Some((key, _)) = command.items.iter().find(|(key, _)| key.is_empty()) {
        return Err(args.missing(&format!("sysctl: malformed setting, empty key `{key}`"), "write KEY=VALUE"));
    }
    if command.items.is_empty() {
        return Err(args.missing("sysctl: no variables specified", "write KEY or KEY=VALUE"));
    }
    Ok(command)
}

impl fmt::Display for SysctlCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sysctl")?;
        if self.items.iter().all(|(_, value)| value.is_some()) {
            f.write_str(" -w")?;
        }
        for (set, flag) in [(self.quiet, " -q"), (self.values, " -n"), (self.ignore, " -e")] {
            if set {
                f.write_str(flag)?;
            }
        }
        for (key, value) in &self.items {
            match value {
                Some(value) => write!(f, " {}", quoted(&format!("{key}={value}")))?,
                None => write!(f, " {}", quoted(key))?,
            }
        }
        Ok(())
    }
}
