//! Words of a line, as `iptables-restore` cuts them (`add_param_to_argv`), each with its place.

use std::borrow::Cow;

/// A refusal, with the place in its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    /// Byte offset in the line.
    pub(crate) at: u32,
    /// Bytes.
    pub(crate) len: u32,
    pub(crate) help: String,
    pub(crate) unsupported: bool,
}

/// Boxed: the way without an error stays small.
pub(crate) type Parsed<T> = Result<T, Box<Problem>>;

/// One word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) at: u32,
    pub(crate) len: u32,
    /// Whether it stood in quotes: then it is never an option.
    pub(crate) quoted: bool,
}

impl Word<'_> {
    pub(crate) fn problem(&self, message: impl Into<String>) -> Box<Problem> {
        Box::new(Problem { message: message.into(), at: self.at, len: self.len.max(1), help: String::new(), unsupported: false })
    }

    /// The real tool takes it; we do not model it.
    pub(crate) fn unsupported(&self, what: impl Into<String>) -> Box<Problem> {
        let mut problem = self.problem(what);
        problem.unsupported = true;
        problem.help = "the real tool takes this; pktlab does not model it yet".into();
        problem
    }
}

impl Problem {
    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Problem> {
        self.help = help.into();
        self
    }
}

/// Cuts a line into words. `base` is the offset of `line` in what the user wrote.
///
/// Blanks separate; a double quote begins and ends a quoted part; inside it, a backslash takes the next character as it is.
/// With `shell`, single quotes and backslashes outside quotes count too, as a shell reads an argument line.
pub(crate) fn words<'a>(line: &'a str, base: usize, shell: bool, out: &mut Vec<Word<'a>>) -> Parsed<()> {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if blank(bytes[at], shell) {
            at += 1;
            continue;
        }
        let start = at;
        let plain = |b: u8| !blank(b, shell) && b != b'"' && !(shell && (b == b'\'' || b == b'\\'));
        while at < bytes.len() && plain(bytes[at]) {
            at += 1;
        }
        if at == bytes.len() || blank(bytes[at], shell) {
            push(&line[start..at], start, at, base, out);
            continue;
        }
        at = quoted(line, start, at, base, shell, out)?;
    }
    Ok(())
}

/// What separates words: for `iptables-restore` not the carriage return of a DOS line.
fn blank(byte: u8, shell: bool) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n') || shell && byte.is_ascii_whitespace()
}

fn push<'a>(text: &'a str, start: usize, end: usize, base: usize, out: &mut Vec<Word<'a>>) {
    let (at, len) = ((base + start) as u32, (end - start) as u32);
    // getopt_long also takes `--option=value`.
    if text.starts_with("--")
        && let Some((name, value)) = text.split_once('=')
    {
        out.push(Word { text: Cow::Borrowed(name), at, len: name.len() as u32, quoted: false });
        let shift = name.len() as u32 + 1;
        out.push(Word { text: Cow::Borrowed(value), at: at + shift, len: len - shift, quoted: true });
        return;
    }
    out.push(Word { text: Cow::Borrowed(text), at, len, quoted: false });
}

/// The slow way: a word with quotes in it.
fn quoted<'a>(line: &'a str, start: usize, from: usize, base: usize, shell: bool, out: &mut Vec<Word<'a>>) -> Parsed<usize> {
    let mut text = line[start..from].to_owned();
    let mut chars = line[from..].char_indices().peekable();
    let mut open: Option<(char, usize)> = None;
    let mut end = line.len();
    while let Some((i, c)) = chars.next() {
        match (c, open) {
            ('\\', Some(('"', _))) => {
                if let Some((_, next)) = chars.next() {
                    text.push(next);
                }
            }
            ('\\', None) if shell => {
                if let Some((_, next)) = chars.next() {
                    text.push(next);
                }
            }
            (c, Some((q, _))) if c == q => {
                open = None;
                if !shell {
                    end = from + i + 1;
                    break;
                }
            }
            ('"', None) => open = Some(('"', from + i)),
            ('\'', None) if shell => open = Some(('\'', from + i)),
            (c, None) if c.is_ascii() && blank(c as u8, shell) => {
                end = from + i;
                break;
            }
            (c, _) => text.push(c),
        }
    }
    if let Some((_, at)) = open {
        let problem = Problem {
            message: "unterminated quote".into(),
            at: (base + at) as u32,
            len: (line.len() - at) as u32,
            help: "close the quote on the same line".into(),
            unsupported: false,
        };
        return Err(Box::new(problem));
    }
    out.push(Word { text: Cow::Owned(text), at: (base + start) as u32, len: (end - start) as u32, quoted: true });
    Ok(end)
}

/// A text as `xtables_save_string` writes it: quoted where it is more than letters, digits and a few signs.
pub(crate) fn save_string(text: &str, out: &mut String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(line: &str, shell: bool) -> Vec<String> {
        let mut out = Vec::new();
        words(line, 0, shell, &mut out).map_or_else(|p| vec![p.message], |()| out.iter().map(|w| w.text.to_string()).collect())
    }

    #[test]
    fn words_are_cut_as_restore_cuts_them() {
        assert_eq!(
            cut(r#"-m comment --comment "a \"b\" \\ c" -j X"#, false),
            ["-m", "comment", "--comment", r#"a "b" \ c"#, "-j", "X"]
        );
        assert_eq!(cut("--dport=80 it's", false), ["--dport", "80", "it's"]);
        assert_eq!(cut(r"--comment 'it is' a\ b", true), ["--comment", "it is", "a b"]);
        assert_eq!(cut("\"open", false), ["unterminated quote"]);
    }

    #[test]
    fn a_saved_string_is_read_back() {
        for text in ["", "plain-text_1", "two words", r#"q" b\ a'"#, "default/web:http"] {
            let mut saved = String::new();
            save_string(text, &mut saved);
            assert_eq!(cut(&saved, false), [text]);
        }
    }
}
