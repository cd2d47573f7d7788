//! `nft` (nftables 1.0.6): a file of commands, or one command as arguments.

use std::fmt;

use super::Stdin;
use super::lex::{Parsed, Words, quoted};

/// `nft`.
#[derive(Clone, PartialEq, Debug)]
pub struct NftCommand {
    /// `-a`: lists handles.
    pub handles: bool,
    /// `-s`: lists no counts.
    pub stateless: bool,
    /// `-c`: only looks.
    pub check: bool,
    /// What it does.
    pub does: NftDoes,
}

/// Where the commands of `nft` come from.
#[derive(Clone, PartialEq, Debug)]
pub enum NftDoes {
    /// `-f FILE`, `-f -`: the text of the file comes as standard input, whatever the file is called.
    File(Stdin),
    /// The words behind the options.
    Arguments(Vec<String>),
}

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<NftCommand> {
    let does = NftDoes::Arguments(Vec::new());
    let mut command = NftCommand { handles: false, stateless: false, check: false, does };
    let mut file = None;
    while let Some(word) = args.peek().filter(|word| word.text.starts_with('-')) {
        let text = word.text.clone();
        let option = args.need()?;
        match text.as_str() {
            "-f" | "--file" => {
                args.need()?;
                file = Some(());
            }
            "-a" | "--handle" => command.handles = true,
            "-s" | "--stateless" => command.stateless = true,
            "-c" | "--check" => command.check = true,
            "-n" | "-nn" | "-nnn" | "-y" | "-p" | "-S" | "-u" | "-T" | "-j" | "-i" | "-e" | "-o" | "-N" | "-d" | "-I" | "-D"
            | "-t" | "--json" | "--echo" | "--optimize" | "--terse" | "--numeric" => {
                return Err(option.unsupported("this option of nft"));
            }
            // `nft -5` is no option.
            _ => {
                return Err(option.mistake(
                    format!("nft: invalid option -- '{}'", text.trim_start_matches('-')),
                    "the options are -f, -a, -s, -c",
                ));
            }
        }
    }
    let mut words = Vec::new();
    while let Some(word) = args.next() {
        words.push(word.text.clone());
    }
    command.does = match file {
        Some(()) => {
            if let Some(extra) = words.first() {
                let help = "with -f the commands are in the file";
                return Err(args.missing(&format!("nft: `{extra}` behind the file"), help));
            }
            NftDoes::File(Stdin { text: "".into(), provs: [].into() })
        }
        None if words.is_empty() => {
            return Err(args.missing("nft: no command specified", "write `-f FILE`, or a command such as `list ruleset`"));
        }
        None => NftDoes::Arguments(words),
    };
    Ok(command)
}

impl fmt::Display for NftCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nft")?;
        for (on, option) in [(self.handles, " -a"), (self.stateless, " -s"), (self.check, " -c")] {
            f.write_str(if on { option } else { "" })?;
        }
        match &self.does {
            NftDoes::File(_) => f.write_str(" -f -"),
            NftDoes::Arguments(words) => words.iter().try_for_each(|word| write!(f, " {}", quoted(word))),
        }
    }
}
