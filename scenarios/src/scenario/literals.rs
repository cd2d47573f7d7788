//! Where the strings of a RON text stand, so that a mistake inside one can be pointed at.

use std::borrow::Cow;

/// A string of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Byte offset of its contents, behind the quote.
    pub start: usize,
    /// Bytes of its contents as written.
    pub len: usize,
    /// Its value.
    pub value: String,
}

/// All strings of a text, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Literals(Vec<Literal>);

impl Literal {
    /// The place in the file of bytes `at..at + len` of the value; all of the string where it has escapes.
    pub fn inside(&self, at: usize, len: usize) -> (usize, usize) {
        if self.len == self.value.len() { (self.start + at.min(self.len), len.max(1)) } else { (self.start, self.len) }
    }
}

impl Literals {
    /// The strings of a RON text.
    pub fn of(text: &str) -> Literals {
        let mut found = Vec::new();
        scan(text, |token| {
            if let Token::String(literal) = token {
                found.push(literal);
            }
        });
        Literals(found)
    }

    /// The first string of this value. Where there are several, what is wrong with one is wrong with all.
    pub fn find(&self, value: &str) -> Option<&Literal> {
        self.0.iter().find(|literal| literal.value == value)
    }
}

enum Token {
    String(Literal),
    Word(usize, usize),
    Punctuation(char),
}

/// Tells the tokens of a RON text: strings, words, and single characters; blanks and comments are passed over.
fn scan(text: &str, mut tell: impl FnMut(Token)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'/' if text[at..].starts_with("//") => at += text[at..].find('\n').unwrap_or(text.len() - at),
            b'/' if text[at..].starts_with("/*") => at = after_comment(text, at),
            b'"' => {
                let (literal, end) = plain(text, at + 1);
                tell(Token::String(literal));
                at = end;
            }
            b'r' if is_raw(&text[at + 1..]) => {
                let hashes = text[at + 1..].bytes().take_while(|&b| b == b'#').count();
                let start = at + 1 + hashes + 1;
                let close = format!("\"{}", "#".repeat(hashes));
                let len = text[start..].find(&close).unwrap_or(text.len() - start);
                tell(Token::String(Literal { start, len, value: text[start..start + len].to_owned() }));
                at = (start + len + close.len()).min(text.len());
            }
            b if b.is_ascii_alphanumeric() || b == b'_' => {
                let len = text[at..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                tell(Token::Word(at, len));
                at += len;
            }
            b if b.is_ascii_whitespace() => at += 1,
            b if b.is_ascii() => {
                tell(Token::Punctuation(b as char));
                at += 1;
            }
            _ => at += 1,
        }
    }
}

fn is_raw(rest: &str) -> bool {
    rest.trim_start_matches('#').starts_with('"')
}

/// Behind a block comment, which may hold others.
fn after_comment(text: &str, mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// A string with escapes; its value, and the offset behind its last quote.
fn plain(text: &str, start: usize) -> (Literal, usize) {
    let mut value = String::new();
    let mut chars = text[start..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Literal { start, len: at, value }, start + at + 1),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, '0')) => value.push('\0'),
                Some((_, other)) => value.push(other),
                None => {}
            },
            c => value.push(c),
        }
    }
    (Literal { start, len: text.len() - start, value }, text.len())
}

/// Labels that people write in front of what is one of several positions: `Stdin("x", file: "y")`, `Shell(on: "x", "y")`.
const LABELS: [(&str, &str); 2] = [("Stdin", "file"), ("Shell", "on")];

/// The text with blanks for those labels: RON has positions or names, not both. No place in the text moves.
pub(super) fn without_labels(text: &str) -> Cow<'_, str> {
    let mut blank: Vec<(usize, usize)> = Vec::new();
    let mut depth: Vec<&str> = Vec::new();
    let mut last_word = (0, 0);
    let mut last_was_word = false;
    scan(text, |token| match token {
        Token::Word(at, len) => {
            last_word = (at, len);
            last_was_word = true;
        }
        Token::String(_) => last_was_word = false,
        Token::Punctuation(c) => {
            let word = &text[last_word.0..last_word.0 + last_word.1];
            match c {
                '(' => depth.push(if last_was_word { word } else { "" }),
                ')' => drop(depth.pop()),
                ':' if last_was_word && depth.last().is_some_and(|outer| LABELS.contains(&(outer, word))) => {
                    let colon = text[last_word.0..].find(':').unwrap_or(0);
                    blank.push((last_word.0, colon + 1));
                }
                _ => {}
            }
            last_was_word = false;
        }
    });
    if blank.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut result = text.to_owned();
    for (at, len) in blank {
        result.replace_range(at..at + len, &" ".repeat(len));
    }
    Cow::Owned(result)
}
