//! A first look at the text, before the parser: which recurses, and which repairs what it can't
//! read. What passes here has only signs that the parser knows, closed strings and brackets, and
//! a tree that is never too deep.

use std::{iter::Peekable, str::Chars};

use super::bounds::{MAX_BRACKETS, MAX_DEPTH, MAX_NESTING, MAX_TEXT, MAX_TOKENS};

/// What is wrong with the text as such.
pub(super) fn scan(text: &str) -> Result<(), String> {
    if text.chars().count() > MAX_TEXT {
        return Err(format!("it may have at most {MAX_TEXT} characters"));
    }
    if text.trim().is_empty() {
        return Err("it must not be empty".to_owned());
    }
    let mut scanner = Scanner {
        rest: text.chars().peekable(),
        line: 1,
        column: 0,
        tokens: 0,
        groups: vec![Group { open: ' ', base: 0, ternaries: 0, chain: 0 }],
    };
    while let Some(c) = scanner.next() {
        scanner.token(c)?;
        scanner.check_size()?;
    }
    match scanner.groups.last() {
        Some(group) if scanner.groups.len() > 1 => {
            Err(format!("a `{}` is never closed", group.open))
        }
        Some(_) | None => Ok(()),
    }
}

/// What stands between two brackets.
struct Group {
    open: char,
    /// The deepest tree that what stands before it can make.
    base: usize,
    /// `?` since the last comma: each holds all that follows.
    ternaries: usize,
    /// Signs that nest since the last `&&`, `||`, `?`, `:` or comma. Only an upper bound: `a + b`
    /// and `a.b` count alike.
    chain: usize,
}

struct Scanner<'t> {
    rest: Peekable<Chars<'t>>,
    line: usize,
    column: usize,
    tokens: usize,
    groups: Vec<Group>,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 0;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    /// Takes the next character if it is this one.
    fn take(&mut self, c: char) -> bool {
        let is_next = self.rest.peek() == Some(&c);
        if is_next {
            self.next();
        }
        is_next
    }

    fn fault(&self, message: impl AsRef<str>) -> String {
        format!("at line {}, column {}: {}", self.line, self.column, message.as_ref())
    }

    fn nests(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.chain += 1;
        }
    }

    fn begins_anew(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.chain = 0;
        }
    }

    fn check_size(&self) -> Result<(), String> {
        if self.tokens > MAX_TOKENS {
            return Err(format!(
                "it has more than {MAX_TOKENS} words and signs; split it into several conditions"
            ));
        }
        let depth = self.groups.last().map_or(0, |at| at.base + at.ternaries + at.chain);
        if depth > MAX_NESTING || self.groups.len() > MAX_BRACKETS {
            return Err(self.fault(too_deep()));
        }
        Ok(())
    }

    fn token(&mut self, c: char) -> Result<(), String> {
        if matches!(c, ' ' | '\t' | '\n') {
            return Ok(());
        }
        self.tokens += 1;
        match c {
            'a'..='z' | 'A'..='Z' | '_' | '0'..='9' => self.word(c),
            '"' | '\'' => self.string(c),
            '(' | '[' | '{' => {
                self.nests();
                let base = self.groups.last().map_or(0, |at| at.base + at.ternaries + at.chain);
                self.groups.push(Group { open: c, base, ternaries: 0, chain: 0 });
                Ok(())
            }
            ')' => self.close('(', c),
            ']' => self.close('[', c),
            '}' => self.close('{', c),
            _ => self.sign(c),
        }
    }

    fn close(&mut self, open: char, close: char) -> Result<(), String> {
        match self.groups.last() {
            Some(group) if group.open == open => {
                self.groups.pop();
                Ok(())
            }
            Some(_) | None => Err(self.fault(format!("this `{close}` closes nothing"))),
        }
    }

    fn sign(&mut self, c: char) -> Result<(), String> {
        match c {
            '/' if self.take('/') => {
                while self.rest.peek().is_some_and(|c| *c != '\n') {
                    self.next();
                }
            }
            '.' | '+' | '-' | '*' | '/' | '%' => self.nests(),
            '<' | '>' | '!' => {
                self.take('=');
                self.nests();
            }
            '=' if self.take('=') => self.nests(),
            '=' => return Err(self.fault("`=` is no operator; compare with `==`")),
            '&' | '|' if self.take(c) => self.begins_anew(),
            '&' | '|' => return Err(self.fault(format!("`{c}` is no operator; write `{c}{c}`"))),
            ',' => {
                self.begins_anew();
                if let Some(group) = self.groups.last_mut() {
                    group.ternaries = 0;
                }
            }
            ':' => self.begins_anew(),
            '?' => {
                self.begins_anew();
                if let Some(group) = self.groups.last_mut() {
                    group.ternaries += 1;
                }
            }
            _ => {
                let sign = c.escape_default();
                return Err(self.fault(format!("`{sign}` means nothing here; remove it")));
            }
        }
        Ok(())
    }

    fn word(&mut self, first: char) -> Result<(), String> {
        let mut word = String::from(first);
        while let Some(c) = self.rest.peek().copied().filter(|c| is_of_word(*c)) {
            self.next();
            word.push(c);
        }
        if word == "in" {
            self.nests();
        }
        // `r"…"` and `b"…"` are read by other rules than plain strings.
        if matches!(self.rest.peek(), Some('"' | '\'')) {
            return Err(self.fault("a string has nothing before its quote; write \"…\" alone"));
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), String> {
        let mut is_empty = true;
        loop {
            match self.next() {
                Some('\\') => self.escape()?,
                Some('\n') | None => {
                    return Err(self.fault(format!("a string is not closed; add a `{quote}`")));
                }
                Some(c) if c == quote => break,
                Some(c) if c.is_control() => {
                    return Err(self.fault("write control characters as \\n, \\t or \\u0000"));
                }
                Some(_) => {}
            }
            is_empty = false;
        }
        if matches!(self.rest.peek(), Some('"' | '\'')) && is_empty {
            return Err(self.fault("a string stands between one quote each; write \"…\""));
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let is_known = match self.next() {
            Some('\\' | '"' | '\'' | 'n' | 'r' | 't') => true,
            Some('u') => (0..4).all(|_| self.next().is_some_and(|c| c.is_ascii_hexdigit())),
            Some(_) | None => false,
        };
        if is_known {
            Ok(())
        } else {
            Err(self.fault("after a backslash come \\ \" ' n r t or u and four digits"))
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What is said about a text that is nested too deep.
pub(super) fn too_deep() -> String {
    format!(
        "it is nested too deep: at most {MAX_BRACKETS} brackets and {MAX_DEPTH} operations stand \
         within each other; split it into several conditions"
    )
}
