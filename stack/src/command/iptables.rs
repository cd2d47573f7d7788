//! `iptables`, `iptables-save`, `iptables-restore`, their IPv6 twins and their `-legacy` and `-nft` names.

use std::fmt;

use super::lex::{Parsed, Words};
use super::{Command, Stdin, xtables_name};
use crate::addr::Family;
use crate::netfilter::{TableName, Variant, check_arguments};

/// `iptables-restore`.
#[derive(Clone, PartialEq, Debug)]
pub struct Restore {
    /// `iptables-restore` or `ip6tables-restore`.
    pub family: Family,
    /// The suffix of its name, where it has one.
    pub variant: Option<Variant>,
    /// `--noflush`.
    pub noflush: bool,
    /// `--counters`.
    pub counters: bool,
    /// `--test`.
    pub test: bool,
    /// What it reads.
    pub input: Stdin,
}

/// `iptables ARGUMENTS`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Iptables {
    /// `iptables` or `ip6tables`.
    pub family: Family,
    /// The suffix of its name, where it has one.
    pub variant: Option<Variant>,
    /// What is behind its name, as written.
    pub args: String,
}

/// `iptables-save`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Save {
    /// `iptables-save` or `ip6tables-save`.
    pub family: Family,
    /// The suffix of its name, where it has one.
    pub variant: Option<Variant>,
    /// `-t`.
    pub table: Option<TableName>,
    /// `-c`.
    pub counters: bool,
}

/// What a tool of this family is.
#[derive(Clone, Copy)]
pub(super) struct Tool {
    family: Family,
    variant: Option<Variant>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Change,
    Save,
    Restore,
}

/// The tool of a name: `ip6tables-nft-restore`.
pub(super) fn tool(name: &str) -> Option<Tool> {
    let (family, rest) = match name.strip_prefix("ip6tables") {
        Some(rest) => (Family::V6, rest),
        None => (Family::V4, name.strip_prefix("iptables")?),
    };
    let (variant, rest) = if let Some(rest) = rest.strip_prefix("-legacy") {
        (Some(Variant::Legacy), rest)
    } else if let Some(rest) = rest.strip_prefix("-nft") {
        (Some(Variant::Nft), rest)
    } else {
        (None, rest)
    };
    let kind = match rest {
        "" => Kind::Change,
        "-save" => Kind::Save,
        "-restore" => Kind::Restore,
        _ => return None,
    };
    Some(Tool { family, variant, kind })
}

pub(super) fn parse(tool: Tool, args: &mut Words<'_>) -> Parsed<Command> {
    let Tool { family, variant, kind } = tool;
    match kind {
        Kind::Change => change(family, variant, args),
        Kind::Save => save(family, variant, args).map(Command::Save),
        Kind::Restore => restore(family, variant, args).map(Command::Restore),
    }
}

fn change(family: Family, variant: Option<Variant>, args: &mut Words<'_>) -> Parsed<Command> {
    let text = args.rest();
    let at = args.here();
    if text.is_empty() {
        let message = format!("{}: no command specified", xtables_name(family, variant));
        return Err(args.missing(&message, "write a command such as `-A FORWARD -j ACCEPT`"));
    }
    check_arguments(family, text).map_err(|error| super::ParseCommandError {
        message: error.message,
        at: at + (error.column.saturating_sub(1) as usize).min(text.len()),
        len: error.len as usize,
        help: error.help,
        unsupported: error.unsupported,
    })?;
    Ok(Command::Iptables(Iptables { family, variant, args: text.to_owned() }))
}

fn table(args: &mut Words<'_>) -> Parsed<TableName> {
    let word = args.need()?;
    [TableName::Raw, TableName::Mangle, TableName::Nat, TableName::Filter, TableName::Security]
        .into_iter()
        .find(|table| table.as_str() == word.text)
        .ok_or_else(|| {
            word.mistake(format!("table `{}` does not exist", word.text), "the tables are raw, mangle, nat, filter, security")
        })
}

fn save(family: Family, variant: Option<Variant>, args: &mut Words<'_>) -> Parsed<Save> {
    let mut save = Save { family, variant, table: None, counters: false };
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "-c" | "--counters" => save.counters = true,
            "-t" | "--table" => save.table = Some(table(args)?),
            _ => return Err(word.unsupported("this option of iptables-save")),
        }
    }
    Ok(save)
}

fn restore(family: Family, variant: Option<Variant>, args: &mut Words<'_>) -> Parsed<Restore> {
    let input = Stdin { text: "".into(), provs: [].into() };
    let mut restore = Restore { family, variant, noflush: false, counters: false, test: false, input };
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "-n" | "--noflush" => restore.noflush = true,
            "-c" | "--counters" => restore.counters = true,
            "-t" | "--test" => restore.test = true,
            "-v" | "--verbose" => {}
            // Waiting for the lock: there is nobody to wait for.
            "-w" | "--wait" => {
                if args.peek().is_some_and(|word| word.text.parse::<u32>().is_ok()) {
                    args.next();
                }
            }
            text if text.starts_with("--wait=") => {}
            option if option.starts_with('-') => return Err(word.unsupported("this option of iptables-restore")),
            _ => return Err(word.unsupported("a file as argument: give its text as standard input")),
        }
    }
    Ok(restore)
}

impl fmt::Display for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-restore", xtables_name(self.family, self.variant))?;
        for (set, flag) in [(self.noflush, " --noflush"), (self.counters, " --counters"), (self.test, " --test")] {
            if set {
                f.write_str(flag)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Iptables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", xtables_name(self.family, self.variant), self.args)
    }
}

impl fmt::Display for Save {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-save", xtables_name(self.family, self.variant))?;
        if let Some(table) = self.table {
            write!(f, " -t {table}")?;
        }
        if self.counters { f.write_str(" -c") } else { Ok(()) }
    }
}
