//! The scenarios that come with pktlab, by the chapters of the book.

use std::path::{Path, PathBuf};

use crate::problem::{Problem, Problems};
use crate::scenario::{self, ScenarioFile, nearest};

/// A scenario that is built in.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name: `first-packet`.
    pub name: &'static str,
    /// The chapter of the book.
    pub chapter: u8,
    /// Its path below `scenarios/book`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The files that it names, by the path that it names them with.
    pub files: &'static [(&'static str, &'static str)],
}

macro_rules! book {
    ($($chapter:literal $name:literal [$($file:literal),* $(,)?]),* $(,)?) => {
        &[$(Entry {
            name: $name,
            chapter: $chapter,
            path: concat!("ch", $chapter, "/", $name, ".ron"),
            text: include_str!(concat!("../book/ch", $chapter, "/", $name, ".ron")),
            files: &[$(($file, include_str!(concat!("../book/ch", $chapter, "/", $file)))),*],
        }),*]
    };
}

/// All of them, by chapter.
pub const BOOK: &[Entry] = book![
    1 "two-hosts" [],
    1 "no-such-port" [],
    1 "udp" [],
    1 "ipv6" [],
    1 "learning" [],
    2 "router" [],
    2 "forwarding-off" [],
    2 "snat" [],
    2 "firewall" ["firewall.rules"],
    2 "bridge" [],
    2 "packet-path" [],
    2 "longest-prefix" [],
    2 "load-balance" [],
    3 "vxlan" [],
    4 "pod-to-pod" ["pods.yaml"],
    4 "cluster-ip" ["web.yaml"],
    4 "no-endpoints" ["no-endpoints.yaml"],
    4 "dns" ["dns.yaml"],
    5 "first-packet" ["web/web.yaml"],
    5 "node-port" ["node-port.yaml"],
    5 "headless" ["headless.yaml"],
    5 "endpoints" ["endpoints.yaml"],
    5 "services" ["services.yaml"],
];

/// One of them, read.
///
/// # Errors
/// There is none of that name.
pub fn named(name: &str) -> Result<ScenarioFile, Problems> {
    let Some(entry) = BOOK.iter().find(|entry| entry.name == name) else {
        let names: Vec<&str> = BOOK.iter().map(|entry| entry.name).collect();
        let help = match nearest(name, &names) {
            Some(meant) => format!("`{meant}` was probably meant"),
            None => format!("there are {}; or name a .ron file", names.join(", ")),
        };
        return Err(Problem::whole(name, "no such file, and no scenario of that name comes with pktlab").help(help).into());
    };
    scenario::parse(entry.path, PathBuf::new(), entry.text.to_owned(), entry.files)
}

/// A scenario by its path, or by its name where no such file is there.
///
/// # Errors
/// As reading it.
pub fn find(given: &Path) -> Result<ScenarioFile, Problems> {
    let name = given.to_string_lossy();
    let is_name = !given.exists() && !name.contains(['/', '\\']) && !name.ends_with(".ron");
    if is_name { named(&name) } else { scenario::read(given) }
}

/// A line for each.
pub fn list() -> String {
    let mut text = String::new();
    for entry in BOOK {
        let title = named(entry.name).map(|file| file.scenario.title).unwrap_or_default();
        text.push_str(&format!("{:<16} chapter {}  {title}\n", entry.name, entry.chapter));
    }
    text
}
