//! The standard input of `iptables-restore`, line by line, and who wrote which line.

use std::sync::Arc;

use stack::command::Stdin;
use stack::{Provenance, Provenances};

/// A text whose lines know where they came from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleText {
    /// The text; every line ends with a line feed.
    pub text: String,
    /// From line (counted from 0) on, until the next entry.
    pub provs: Vec<(u32, Provenance)>,
    lines: u32,
}

impl RuleText {
    /// Adds a line; words are joined by blanks.
    pub fn line(&mut self, prov: &Provenance, words: &[&str]) {
        if self.provs.last().is_none_or(|(_, last)| last != prov) {
            self.provs.push((self.lines, prov.clone()));
        }
        for (index, word) in words.iter().filter(|word| !word.is_empty()).enumerate() {
            if index > 0 {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
        self.text.push('\n');
        self.lines += 1;
    }

    /// Adds all lines of another text.
    pub fn append(&mut self, other: &RuleText) {
        for (line, prov) in &other.provs {
            if self.provs.last().is_none_or(|(_, last)| last != prov) {
                self.provs.push((self.lines + line, prov.clone()));
            }
        }
        self.text.push_str(&other.text);
        self.lines += other.lines;
    }

    /// How many lines there are.
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// Who wrote a line (counted from 0).
    pub fn prov(&self, line: u32) -> Option<&Provenance> {
        self.provs.iter().rev().find(|(from, _)| *from <= line).map(|(_, prov)| prov)
    }

    /// As the standard input of a command, with the provenances of a network.
    pub fn stdin(&self, provenances: &mut Provenances) -> Stdin {
        let provs: Vec<_> = self.provs.iter().map(|(line, prov)| (*line, provenances.intern(prov.clone()))).collect();
        Stdin { text: Arc::from(self.text.as_str()), provs: provs.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::by;

    #[test]
    fn lines_of_one_author_share_an_entry_and_keep_it_when_texts_are_joined() {
        let mut first = RuleText::default();
        first.line(&by("a"), &["*nat"]);
        first.line(&by("b"), &["-A", "X", "", "-j", "Y"]);
        let mut second = RuleText::default();
        second.line(&by("b"), &["-A", "Z"]);
        second.line(&by("a"), &["COMMIT"]);
        first.append(&second);
        assert_eq!(first.text, "*nat\n-A X -j Y\n-A Z\nCOMMIT\n");
        assert_eq!(first.provs, [(0, by("a")), (1, by("b")), (3, by("a"))]);
        assert_eq!(first.prov(2), Some(&by("b")));
        assert_eq!(first.lines(), 4);
    }
}
