//! Words and signs of nft's language (`src/scanner.l` of nftables).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::netfilter::RestoreError;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A name, a number, an address.
    Word,
    /// In quotes; the text is what is between them.
    Quoted,
    /// `$name`; the text is the name.
    Variable,
    Sign,
    /// End of a line, or `;`.
    End,
    /// End of the input.
    Eof,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Bytes in the input.
    pub(crate) len: u32,
}

impl Token {
    /// How nft names it in a syntax error.
    pub(crate) fn described(&self) -> String {
        match self.kind {
            Kind::End if self.text == "\n" => "newline".into(),
            Kind::End => "semicolon".into(),
            Kind::Eof => "end of file".into(),
            Kind::Quoted => "quoted string".into(),
            Kind::Word if self.text.bytes().all(|b| b.is_ascii_digit()) => "number".into(),
            Kind::Word | Kind::Sign => self.text.clone(),
            Kind::Variable => format!("${}", self.text),
        }
    }

    pub(crate) fn error(&self, message: impl Into<String>, help: &str) -> RestoreError {
        RestoreError {
            message: message.into(),
            line: self.line,
            column: self.column,
            len: self.len,
            help: help.into(),
            unsupported: false,
        }
    }

    pub(crate) fn unsupported(&self, what: impl Into<String>) -> RestoreError {
        let message = format!("pktlab does not model {}", what.into());
        RestoreError { unsupported: true, ..self.error(message, "leave it out, or write the rule with what is modelled") }
    }

    pub(crate) fn is(&self, sign: &str) -> bool {
        matches!(self.kind, Kind::Sign | Kind::Word) && self.text == sign
    }
}

const SIGNS: [&str; 27] = [
    "==", "!=", "<=", ">=", "<<", ">>", "{", "}", "(", ")", "[", "]", ",", ".", ":", "=", "!", "<", ">", "&", "|", "^", "-", "/",
    "+", "*", "@",
];

/// Cuts the input into tokens, with the definitions put in their places.
pub(crate) fn tokens(input: &str) -> Result<Vec<Token>, RestoreError> {
    let mut out = Vec::new();
    let (mut line, mut begin, mut at) = (1_u32, 0_usize, 0_usize);
    let bytes = input.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let rest = &input[at..];
        let place = |kind, text: &str, len: usize| Token {
            kind,
            text: text.into(),
            line,
            column: (at - begin) as u32 + 1,
            len: len as u32,
        };
        match byte {
            b' ' | b'\t' | b'\r' => at += 1,
            b'#' => at += rest.find('\n').unwrap_or(rest.len()),
            b'\\' if rest[1..].starts_with('\n') => (line, begin, at) = (line + 1, at + 2, at + 2),
            b'\n' => {
                out.push(place(Kind::End, "\n", 1));
                (line, begin, at) = (line + 1, at + 1, at + 1);
            }
            b';' => {
                out.push(place(Kind::End, ";", 1));
                at += 1;
            }
            b'"' => {
                let Some(len) = rest[1..].find('"') else {
                    let token = place(Kind::Quoted, "", 1);
                    return Err(token.error("syntax error, unexpected junk", "the quote has no end"));
                };
                out.push(place(Kind::Quoted, &rest[1..=len], len + 2));
                at += len + 2;
                let newlines = rest[..len + 2].matches('\n').count();
                if newlines > 0 {
                    line += newlines as u32;
                    begin = input[..at].rfind('\n').map_or(0, |newline| newline + 1);
                }
            }
            b'$' => {
                let len =
                    rest[1..].bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/')).count();
                out.push(place(Kind::Variable, &rest[1..=len], len + 1));
                at += len + 1;
            }
            _ => {
                let (kind, len) = word(rest).map_or_else(|| (Kind::Sign, sign(rest)), |len| (Kind::Word, len));
                if len == 0 {
                    let token = place(Kind::Sign, "", 1);
                    return Err(token.error("syntax error, unexpected junk", "this sign is none of nft's"));
                }
                out.push(place(kind, &rest[..len], len));
                at += len;
            }
        }
    }
    out.push(Token { kind: Kind::Eof, text: String::new(), line, column: (at - begin) as u32 + 1, len: 1 });
    Ok(out)
}

/// `define name = value`: the value stands wherever `$name` does.
pub(crate) fn defined(tokens: Vec<Token>) -> Result<Vec<Token>, RestoreError> {
    /// Tokens of an input at most, once the definitions are in their places.
    const MOST: usize = 1 << 22;
    if tokens.iter().all(|token| token.kind != Kind::Variable && token.text != "define") {
        return Ok(tokens);
    }
    let mut known: BTreeMap<String, Vec<Token>> = BTreeMap::new();
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    let put = |out: &mut Vec<Token>, known: &BTreeMap<String, Vec<Token>>, token: &Token| -> Result<(), RestoreError> {
        if token.kind != Kind::Variable {
            out.push(token.clone());
            return Ok(());
        }
        let Some(value) = known.get(&token.text) else {
            let name = Token { column: token.column + 1, len: token.len - 1, ..token.clone() };
            return Err(name.error(format!("unknown identifier '{}'", token.text), "define it before it is used"));
        };
        if out.len() + value.len() > MOST {
            return Err(token.unsupported("definitions that grow so large"));
        }
        out.extend(value.iter().map(|part| Token { line: token.line, column: token.column, len: token.len, ..part.clone() }));
        Ok(())
    };
    while let Some(token) = tokens.get(at) {
        let begins = out.last().is_none_or(|last| last.kind == Kind::End || last.is("{"));
        if !(begins && token.kind == Kind::Word && token.text == "define") {
            put(&mut out, &known, token)?;
            at += 1;
            continue;
        }
        let name = tokens.get(at + 1).filter(|name| name.kind == Kind::Word);
        let equals = tokens.get(at + 2).filter(|sign| sign.is("="));
        let (Some(name), Some(_)) = (name, equals) else {
            return Err(token.error("syntax error, unexpected define", "write `define name = value`"));
        };
        at += 3;
        let (mut value, mut depth) = (Vec::new(), 0_usize);
        while let Some(part) = tokens.get(at) {
            match part.text.as_str() {
                _ if part.kind == Kind::Eof || part.kind == Kind::End && depth == 0 => break,
                "{" if part.kind == Kind::Sign => depth += 1,
                "}" if part.kind == Kind::Sign => depth = depth.saturating_sub(1),
                _ => {}
            }
            put(&mut value, &known, part)?;
            at += 1;
        }
        known.insert(name.text.clone(), value);
    }
    Ok(out)
}

fn sign(rest: &str) -> usize {
    SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(0, |sign| sign.len())
}

/// The length of the word, number or address that the text begins with.
fn word(rest: &str) -> Option<usize> {
    let run = |fits: &dyn Fn(u8) -> bool| rest.bytes().take_while(|&b| fits(b)).count();
    let address = run(&|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    let colons = rest[..address].matches(':').count();
    if colons >= 2 {
        let mut text = &rest[..address];
        // A colon or dot that follows an address is not a part of it.
        while text.len() > 2 && text.parse::<Ipv6Addr>().is_err() && !is_mac(text) && text.ends_with([':', '.']) {
            text = &text[..text.len() - 1];
        }
        if text.parse::<Ipv6Addr>().is_ok() || is_mac(text) {
            return Some(text.len());
        }
    }
    let first = rest.bytes().next()?;
    if first.is_ascii_digit() {
        let mut len = run(&|b| b.is_ascii_alphanumeric() || b == b'.');
        while rest[..len].ends_with('.') {
            len -= 1;
        }
        return Some(len);
    }
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return None;
    }
    let len = run(&|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'));
    Some(if rest[len..].starts_with('*') { len + 1 } else { len })
}

fn is_mac(text: &str) -> bool {
    text.split(':').count() == 6 && text.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit()))
}
