//! The control plane as plain data: one command, as it would be typed.
//!
//! `FromStr` reads the line, `Display` prints it in a canonical form that the real tool takes, [`crate::Network::apply`] does in
//! a namespace what the tool would have done. Tools that read standard input carry it beside the line ([`Stdin`]).
//!
//! - [`ip`]: [`link`], [`addr`], [`route`], [`rule`], [`neigh`], one file an object of iproute2.
//! - [`bridge`], [`sysctl`], [`iptables`], [`nft`], [`conntrack`]: one file a tool.
//! - `apply`: what a command does inside one namespace; what spans two is in [`crate::network`]. `show`: what it prints.
//! - [`script`]: commands as a shell script for real namespaces.

pub mod addr;
pub(crate) mod apply;
pub mod bridge;
pub mod conntrack;
pub mod ip;
pub mod iptables;
mod lex;
pub mod link;
pub mod neigh;
pub mod nft;
pub mod route;
pub mod rule;
pub mod script;
pub(crate) mod show;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub mod vxlan;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::addr::Family;
use crate::netfilter::Variant;
use crate::provenance::ProvId;
pub use bridge::BridgeCommand;
pub use conntrack::ConntrackCommand;
pub use ip::IpCommand;
pub use iptables::{Iptables, Restore, Save};
pub use nft::{NftCommand, NftDoes};
pub use sysctl::SysctlCommand;

pub(crate) use apply::{apply, rtnetlink};
use lex::{Words, split};

/// A command.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Command {
    /// `ip`.
    Ip(IpCommand),
    /// `bridge`.
    Bridge(BridgeCommand),
    /// `sysctl`.
    Sysctl(SysctlCommand),
    /// `iptables-restore` and its kin.
    Restore(Restore),
    /// `iptables`, `ip6tables` and their kin.
    Iptables(Iptables),
    /// `iptables-save` and its kin.
    Save(Save),
    /// `nft`.
    Nft(NftCommand),
    /// `conntrack`.
    Conntrack(ConntrackCommand),
}

/// The standard input of a tool. Takes no part in equality of provenance: two inputs with the same text are equal.
#[derive(Clone, Debug)]
pub struct Stdin {
    /// The text.
    pub text: Arc<str>,
    /// Who wrote which lines: from line (counted from 0) on, until the next entry. May be empty.
    pub provs: Arc<[(u32, ProvId)]>,
}

impl PartialEq for Stdin {
    fn eq(&self, other: &Stdin) -> bool {
        self.text == other.text
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseCommandError {
    /// What is wrong, naming the word.
    pub message: String,
    /// Byte offset in the line where it begins.
    pub at: usize,
    /// Bytes of the wrong word.
    pub len: usize,
    /// What to do.
    pub help: String,
    /// Whether the real tool takes it and pktlab does not model it (as opposed to a mistake).
    pub unsupported: bool,
}

/// Why a command that was read failed: what the tool would have printed to standard error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// The tool's text: `RTNETLINK answers: File exists`.
    pub message: String,
    /// The tool's exit code.
    pub exit: i32,
    /// For tools that read standard input: line (from 1) and column (from 1) in it.
    pub place: Option<(u32, u32)>,
    /// Whether the real tool and kernel take it and pktlab does not model it.
    pub unsupported: bool,
}

/// Tools that people use on such hosts and pktlab does not have.
const OTHER_TOOLS: [&str; 20] = [
    "arp",
    "arptables",
    "arptables-restore",
    "brctl",
    "curl",
    "ebtables",
    "ebtables-restore",
    "ethtool",
    "firewall-cmd",
    "ifconfig",
    "ipset",
    "ipvsadm",
    "modprobe",
    "nc",
    "ping",
    "route",
    "ss",
    "tc",
    "ufw",
    "wg",
];

impl Command {
    /// A line together with the standard input of its tool (`iptables-restore`, `nft -f`).
    ///
    /// # Errors
    /// As `FromStr`; also where the tool reads no standard input.
    pub fn with_stdin(line: &str, stdin: Stdin) -> Result<Command, ParseCommandError> {
        match line.parse()? {
            Command::Restore(restore) => Ok(Command::Restore(Restore { input: stdin, ..restore })),
            Command::Nft(NftCommand { does: NftDoes::File(_), handles, stateless, check }) => {
                Ok(Command::Nft(NftCommand { does: NftDoes::File(stdin), handles, stateless, check }))
            }
            _ => {
                let words = split(line)?;
                let tool = &words[0];
                let message = format!("`{}` reads no standard input", tool.text);
                Err(tool.mistake(message, "give standard input only to iptables-restore, ip6tables-restore and nft -f"))
            }
        }
    }

    /// The standard input that it carries.
    pub fn stdin(&self) -> Option<&Stdin> {
        match self {
            Command::Restore(restore) => Some(&restore.input),
            Command::Nft(NftCommand { does: NftDoes::File(input), .. }) => Some(input),
            _ => None,
        }
    }
}

impl FromStr for Command {
    type Err = ParseCommandError;

    fn from_str(line: &str) -> Result<Command, ParseCommandError> {
        let words = split(line)?;
        let mut args = Words::new(line, &words);
        let Some(tool) = args.next() else {
            return Err(args.missing("an empty line is no command", "write a command such as `ip link set eth0 up`"));
        };
        match tool.text.as_str() {
            "ip" => ip::parse(&mut args).map(Command::Ip),
            "bridge" => bridge::parse(&mut args).map(Command::Bridge),
            "sysctl" => sysctl::parse(&mut args).map(Command::Sysctl),
            "conntrack" => conntrack::parse(&mut args).map(Command::Conntrack),
            "nft" => nft::parse(&mut args).map(Command::Nft),
            name => match iptables::tool(name) {
                Some(tool) => iptables::parse(tool, &mut args),
                None if OTHER_TOOLS.contains(&name) => Err(tool.unsupported("this tool")),
                None => Err(tool.mistake(
                    format!("{name}: command not found"),
                    "the tools are ip, bridge, sysctl, iptables, iptables-save, iptables-restore (and ip6tables), nft, conntrack",
                )),
            },
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Ip(command) => command.fmt(f),
            Command::Bridge(command) => command.fmt(f),
            Command::Sysctl(command) => command.fmt(f),
            Command::Restore(command) => command.fmt(f),
            Command::Iptables(command) => command.fmt(f),
            Command::Save(command) => command.fmt(f),
            Command::Nft(command) => command.fmt(f),
            Command::Conntrack(command) => command.fmt(f),
        }
    }
}

/// `iptables` or `ip6tables`, with the suffix of a variant where it is not the default.
pub(crate) fn xtables_name(family: Family, variant: Option<Variant>) -> String {
    let base = if family == Family::V4 { "iptables" } else { "ip6tables" };
    match variant {
        None => base.to_owned(),
        Some(Variant::Legacy) => format!("{base}-legacy"),
        Some(Variant::Nft) => format!("{base}-nft"),
    }
}
