//! The position in the input, and what is known at it.

use sim_core::SimTime;

use super::lex::{Kind, Token};
use super::model::{Ruleset, Table, TableFamily};
use crate::addr::Family;
use crate::netfilter::RestoreError;
use crate::provenance::ProvId;

pub(crate) type Parsed<T> = Result<T, RestoreError>;

/// What the statements of a rule so far say of its packets.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Context {
    pub(crate) family: Option<Family>,
    /// The transport, where it is one.
    pub(crate) l4: Option<u8>,
    /// Whether the transport was asked for at all.
    pub(crate) transport: bool,
}

/// Reads commands and applies them to a draft.
pub(crate) struct Parser<'t> {
    pub(crate) tokens: &'t [Token],
    pub(crate) at: usize,
    pub(crate) draft: Ruleset,
    /// First values of slots.
    pub(crate) initial: Vec<(u32, [u64; 2])>,
    /// Of the table that is being worked on.
    pub(crate) table: usize,
    pub(crate) context: Context,
    pub(crate) now: SimTime,
    /// Who wrote which lines.
    pub(crate) provs: &'t [(u32, ProvId)],
    /// What `list` printed.
    pub(crate) output: String,
    /// Whether anything but `list` was said.
    pub(crate) changed: bool,
    /// Parentheses that are open.
    pub(crate) depth: u32,
    pub(crate) state: &'t super::State,
    pub(crate) options: super::NftOptions,
}

/// Parentheses within each other at most.
const DEEPEST: u32 = 32;

impl<'t> Parser<'t> {
    /// `(`, where one is open already or not.
    pub(crate) fn open(&mut self) -> Parsed<bool> {
        let token = self.peek();
        if !self.eat("(") {
            return Ok(false);
        }
        self.depth += 1;
        if self.depth > DEEPEST { Err(token.unsupported("parentheses that deep")) } else { Ok(true) }
    }

    pub(crate) fn close(&mut self) -> Parsed<()> {
        self.depth -= 1;
        self.expect(")")
    }

    pub(crate) fn peek(&self) -> &'t Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub(crate) fn ahead(&self, by: usize) -> &'t Token {
        &self.tokens[(self.at + by).min(self.tokens.len() - 1)]
    }

    pub(crate) fn next(&mut self) -> &'t Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub(crate) fn eat(&mut self, text: &str) -> bool {
        let found = self.peek().is(text);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn unexpected(&self, help: &str) -> RestoreError {
        let token = self.peek();
        token.error(format!("syntax error, unexpected {}", token.described()), help)
    }

    pub(crate) fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.eat(text) {
            return Ok(());
        }
        let token = self.peek();
        let expected = if text.bytes().all(|b| b.is_ascii_punctuation()) { format!("'{text}'") } else { text.to_owned() };
        Err(token.error(
            format!("syntax error, unexpected {}, expecting {expected}", token.described()),
            &format!("`{text}` belongs here"),
        ))
    }

    /// A name: a word, or in quotes.
    pub(crate) fn name(&mut self, what: &str) -> Parsed<&'t Token> {
        match self.peek().kind {
            Kind::Word | Kind::Quoted => Ok(self.next()),
            _ => Err(self.unexpected(&format!("{what} belongs here"))),
        }
    }

    pub(crate) fn quoted(&mut self) -> Parsed<&'t str> {
        match self.peek().kind {
            Kind::Quoted => Ok(&self.next().text),
            _ => Err(self.unexpected("a text in quotes belongs here")),
        }
    }

    pub(crate) fn number(&mut self, max: u64) -> Parsed<u64> {
        let token = self.name("a number")?;
        let value = super::types::number(&token.text).filter(|&value| value <= u128::from(max));
        value
            .map(|value| value as u64)
            .ok_or_else(|| token.error("syntax error, expecting number", &format!("a number up to {max} belongs here")))
    }

    /// Whether a rule or a line of a block ends here.
    pub(crate) fn at_end(&self) -> bool {
        matches!(self.peek().kind, Kind::End | Kind::Eof) || self.peek().is("}")
    }

    pub(crate) fn skip_ends(&mut self) {
        while self.peek().kind == Kind::End {
            self.at += 1;
        }
    }

    /// Newlines, which mean nothing between the elements of a set.
    pub(crate) fn skip_newlines(&mut self) {
        while self.peek().kind == Kind::End && self.peek().text == "\n" {
            self.at += 1;
        }
    }

    /// The end of a line: `;` or a newline. As in nft 1.0.6 the brace that ends the block is none.
    pub(crate) fn end_of_line(&mut self) -> Parsed<()> {
        if self.peek().kind == Kind::End {
            self.at += 1;
            return Ok(());
        }
        if self.peek().kind == Kind::Eof {
            return Ok(());
        }
        let token = self.peek();
        let message = format!("syntax error, unexpected {}, expecting newline or semicolon", quoted_sign(token));
        Err(token.error(message, "end the line here, or with `;`"))
    }

    /// Past everything up to the end of this line, or of the block around it.
    pub(crate) fn skip_line(&mut self) {
        let mut depth = 0_usize;
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Eof => return,
                Kind::End if depth == 0 => return,
                Kind::Sign if token.text == "{" => depth += 1,
                Kind::Sign if token.text == "}" && depth == 0 => return,
                Kind::Sign if token.text == "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    pub(crate) fn family(&self) -> TableFamily {
        self.draft.tables[self.table].family
    }

    pub(crate) fn here(&self) -> &Table {
        &self.draft.tables[self.table]
    }

    pub(crate) fn here_mut(&mut self) -> &mut Table {
        std::sync::Arc::make_mut(&mut self.draft.tables[self.table])
    }

    /// A slot for state that packets change, with its first value.
    pub(crate) fn slot(&mut self, first: [u64; 2]) -> u32 {
        let slot = self.draft.slots;
        self.draft.slots += 1;
        self.initial.push((slot, first));
        slot
    }

    pub(crate) fn prov(&self, line: u32) -> ProvId {
        let behind = self.provs.partition_point(|&(from, _)| from < line);
        behind.checked_sub(1).map_or(ProvId::default(), |at| self.provs[at].1)
    }
}

fn quoted_sign(token: &Token) -> String {
    if token.kind == Kind::Sign { format!("'{}'", token.text) } else { token.described() }
}
