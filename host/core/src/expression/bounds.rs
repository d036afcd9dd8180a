//! Bounds on the text of an expression, checked before it is parsed.
//!
//! The parser is recursive, and so is every walk over its tree. A stack overflow ends the process
//! and cannot be caught, so the text is bounded first. The scanner below follows the lexer's rules
//! for texts and comments and refuses what the lexer would not accept. So no operator can hide in a
//! part that only one of the two reads as a text.

/// The longest expression accepted, in bytes.
pub const MAX_BYTES: usize = 8 * 1024;
/// The deepest nesting of brackets and conditionals (`? :`).
pub const MAX_NESTING: usize = 32;
/// The most operators of an expression, selections with `.` included.
pub const MAX_OPERATORS: usize = 512;

/// Checks the length, the nesting and the number of operators of an expression.
///
/// # Errors
/// The exceeded bound and where, or a character that is invalid there.
pub fn check(source: &str) -> Result<(), String> {
    if source.len() > MAX_BYTES {
        return Err(format!("has {} bytes; at most {MAX_BYTES}", source.len()));
    }
    let mut scanner = Scanner { source, bytes: source.as_bytes(), at: 0, open: vec![0], nesting: 0, operators: 0 };
    while scanner.at < scanner.bytes.len() {
        scanner.token()?;
    }
    Ok(())
}

struct Scanner<'s> {
    source: &'s str,
    bytes: &'s [u8],
    at: usize,
    /// The open conditionals inside each open bracket, and outside all brackets.
    open: Vec<usize>,
    /// Open brackets and conditionals in all.
    nesting: usize,
    operators: usize,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// A position, for messages.
    fn place(&self, at: usize) -> String {
        format!("at character {}", self.source.get(..at).map_or(at, |before| before.chars().count()) + 1)
    }

    fn token(&mut self) -> Result<(), String> {
        let start = self.at;
        match self.peek(0) {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0c => self.at += 1,
            b'/' if self.peek(1) == b'/' => self.skip_while(|byte| byte != b'\n'),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word()?,
            b'0'..=b'9' => {
                self.skip_while(is_word);
                // `1in [1]` is a number and an operator.
                if self.bytes[start..self.at].ends_with(b"in") {
                    self.operator()?;
                }
                if matches!(self.peek(0), b'"' | b'\'') {
                    return Err(format!("has a text right after a number, {}", self.place(start)));
                }
            }
            b'"' | b'\'' => self.text(false)?,
            b'(' | b'[' | b'{' => {
                self.at += 1;
                self.open.push(0);
                self.nest()?;
            }
            b')' | b']' | b'}' => {
                self.at += 1;
                // The parser reports a bracket that closes nothing.
                if self.open.len() > 1 {
                    self.nesting -= 1 + self.open.pop().unwrap_or(0);
                }
            }
            b',' | b':' => self.at += 1,
            b'?' => {
                self.at += 1;
                self.operator()?;
                if let Some(conditionals) = self.open.last_mut() {
                    *conditionals += 1;
                }
                self.nest()?;
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'.' => self.operators_of(1)?,
            b'!' | b'<' | b'>' => self.operators_of(if self.peek(1) == b'=' { 2 } else { 1 })?,
            b'=' | b'&' | b'|' if self.peek(1) == self.peek(0) => self.operators_of(2)?,
            _ => {
                let character = self.source.get(start..).and_then(|rest| rest.chars().next()).unwrap_or_default();
                return Err(format!("has {character:?} {}, where no expression can have it", self.place(start)));
            }
        }
        Ok(())
    }

    fn skip_while(&mut self, fits: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && fits(self.bytes[self.at]) {
            self.at += 1;
        }
    }

    fn operators_of(&mut self, bytes: usize) -> Result<(), String> {
        self.at += bytes;
        self.operator()
    }

    fn operator(&mut self) -> Result<(), String> {
        self.operators += 1;
        match self.operators > MAX_OPERATORS {
            true => Err(format!("has more than {MAX_OPERATORS} operators")),
            false => Ok(()),
        }
    }

    fn nest(&mut self) -> Result<(), String> {
        self.nesting += 1;
        match self.nesting > MAX_NESTING {
            true => Err(format!("is nested deeper than {MAX_NESTING} brackets and conditionals")),
            false => Ok(()),
        }
    }

    /// A name, the operator `in`, or the prefix of a raw text or bytes.
    fn word(&mut self) -> Result<(), String> {
        let start = self.at;
        self.skip_while(is_word);
        let word = &self.bytes[start..self.at];
        if word == b"in" {
            return self.operator();
        }
        if !matches!(self.peek(0), b'"' | b'\'') {
            return Ok(());
        }
        let word = word.to_ascii_lowercase();
        match word.as_slice() {
            b"r" | b"br" => self.text(true),
            b"b" => self.text(false),
            _ => Err(format!("has a text right after a name, {}", self.place(self.at))),
        }
    }

    /// A text, from its opening to its closing quote.
    fn text(&mut self, is_raw: bool) -> Result<(), String> {
        let (start, quote) = (self.at, self.peek(0));
        let is_triple = self.peek(1) == quote && self.peek(2) == quote;
        self.at += if is_triple { 3 } else { 1 };
        while self.at < self.bytes.len() {
            match self.bytes[self.at] {
                byte if byte == quote && !is_triple => {
                    self.at += 1;
                    return Ok(());
                }
                byte if byte == quote && self.peek(1) == quote && self.peek(2) == quote => {
                    self.at += 3;
                    return Ok(());
                }
                b'\n' | b'\r' if !is_triple => break,
                b'\\' if !is_raw => {
                    let length = escape(&self.bytes[self.at..]).ok_or_else(|| {
                        format!(
                            "has an unknown escape {}; valid: \\\\ \\\" \\' \\n \\t \\r and the like, \\xHH, \\uHHHH, \\UHHHHHHHH, \\OOO",
                            self.place(self.at)
                        )
                    })?;
                    self.at += length;
                }
                _ => self.at += 1,
            }
        }
        Err(format!("has a text that is not closed, {}", self.place(start)))
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the escape at the start of `bytes`; none if it is not one.
fn escape(bytes: &[u8]) -> Option<usize> {
    let all = |from: usize, to: usize, fits: fn(&u8) -> bool| bytes.get(from..to).is_some_and(|d| d.iter().all(fits));
    let hexadecimal = |digits: usize| all(2, 2 + digits, u8::is_ascii_hexdigit).then_some(2 + digits);
    match bytes.get(1)? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(2),
        b'x' | b'X' => hexadecimal(2),
        b'u' => hexadecimal(4),
        b'U' => hexadecimal(8),
        b'0'..=b'3' => all(2, 4, |digit| (b'0'..=b'7').contains(digit)).then_some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_within_the_bounds() {
        let states = (0..120).map(|i| format!("'S{i}'")).collect::<Vec<_>>().join(", ");
        for source in [
            "context.days >= 5 && !(features[\"a-view\"].b in ['x', \"y\"]) // who is late\n || has(context.c)",
            "context.a == 'it\\'s' ? 1e-5 < 0x1F : r'\\d+' == b\"\\x00\" || '''a\n'b''' == \"\\u00e9é\"",
            &format!("features.v.state in [{states}]"),
            &vec!["features.view.column == 1"; 85].join(" || "),
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn each_bound_is_named() {
        for (source, needle) in [
            ("1 +".repeat(5_000), "15000 bytes; at most 8192"),
            ("1+".repeat(600), "more than 512 operators"),
            ("!".repeat(600), "more than 512 operators"),
            ("- ".repeat(600), "more than 512 operators"),
            ("a.".repeat(600), "more than 512 operators"),
            ("1in 1in ".repeat(300), "more than 512 operators"),
            ("(".repeat(33), "nested deeper than 32"),
            ("[{(".repeat(11), "nested deeper than 32"),
            ("true ? 1 : ".repeat(33), "nested deeper than 32"),
            ("[1].map(x, ".repeat(33), "nested deeper than 32"),
        ] {
            let error = check(&source).expect_err(&source);
            assert!(error.contains(needle), "{error}");
        }
        // Closed brackets no longer count as nesting.
        assert_eq!(check(&"(true ? 1 : 2) + [1][0] + ".repeat(40)), Ok(()));
    }

    #[test]
    fn nothing_hides_in_what_is_no_text() {
        for (source, needle) in [
            ("\"\\q !!!!\"", "unknown escape at character 2"),
            ("'a\n' + 1", "not closed, at character 1"),
            ("1r\"a\\\" + \"", "right after a number"),
            ("rb\"a\\\" + \"", "right after a name"),
            ("\"\"\"a\"\" + 1", "not closed"),
            ("a & b", "has '&' at character 3"),
            ("a = b", "has '=' at character 3"),
            ("`a`", "has '`' at character 1"),
            ("é == 1", "has 'é' at character 1"),
            ("'é' @ 1", "has '@' at character 5"),
            ("a\0", "where no expression can have it"),
        ] {
            let error = check(source).expect_err(source);
            assert!(error.contains(needle), "{source}: {error}");
        }
    }
}
