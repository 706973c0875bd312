//! Tokens of StarRocks' SQL dialect. Knows quoting and comments, not meaning.

use std::fmt;

/// One token. Keywords are words: whether a word is reserved depends on where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Bare identifier or keyword. May start with a digit, as StarRocks allows (`1st`).
    Word(String),
    /// Backquoted identifier, unescaped.
    Quoted(String),
    /// String literal of either quote, unescaped.
    Str(String),
    /// Digits only.
    Integer(String),
    /// Number with a point or an exponent.
    Decimal(String),
    /// Punctuation; `[*]`, `->`, `<=` and friends are one symbol each.
    Sym(&'static str),
}

impl Token {
    /// The text when it can be an identifier.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Quoted(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is this keyword (in upper case).
    pub fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(w) if w.eq_ignore_ascii_case(keyword))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(t) | Self::Integer(t) | Self::Decimal(t) => f.write_str(t),
            Self::Quoted(t) => write!(f, "`{t}`"),
            Self::Str(t) => write!(f, "\"{t}\""),
            Self::Sym(s) => f.write_str(s),
        }
    }
}

/// A token and where it starts: bytes from the start of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lexeme {
    pub token: Token,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct LexError {
    pub what: &'static str,
    pub at: usize,
}

/// Longest first, so that `->` is not `-` and `>`.
const SYMBOLS: [&str; 31] = [
    "[*]", "<=>", "...", "->", "<=", ">=", "<>", "!=", "||", "&&", ":=", "::", "(", ")", ",", ".", ";", "=",
    "<", ">", "+", "-", "*", "/", "%", "@", "[", "]", "{", "}", ":",
];
const MORE_SYMBOLS: [&str; 6] = ["!", "&", "|", "^", "~", "?"];

/// All tokens of a text.
pub fn tokens(sql: &str) -> Result<Vec<Lexeme>, LexError> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut all = Vec::new();
    while let Some(lexeme) = lexer.next()? {
        all.push(lexeme);
    }
    Ok(all)
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Option<Lexeme>, LexError> {
        self.skip_blanks()?;
        let at = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok(None);
        };
        let token = match first {
            '`' => Token::Quoted(self.quoted('`')?),
            '"' | '\'' => Token::Str(self.quoted(first)?),
            c if c.is_ascii_digit() => self.number(),
            c if is_word_char(c) => Token::Word(self.take_while(is_word_char)),
            _ => Token::Sym(self.symbol()?),
        };
        Ok(Some(Lexeme { token, at }))
    }

    fn skip_blanks(&mut self) -> Result<(), LexError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") || trimmed.starts_with('#') {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(body) = trimmed.strip_prefix("/*") {
                let end = body.find("*/").ok_or(LexError {
                    what: "comment without end",
                    at: self.at,
                })?;
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    /// Quoted text. A doubled quote is one; a backslash escapes in strings, not in identifiers.
    fn quoted(&mut self, quote: char) -> Result<String, LexError> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((i, c)) = chars.next() {
            if c == '\\' && quote != '`' {
                match chars.next() {
                    Some((_, escaped)) => text.push(unescape(escaped)),
                    None => break,
                }
            } else if c != quote {
                text.push(c);
            } else if chars.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.at += i + quote.len_utf8();
                return Ok(text);
            }
        }
        let what = match quote {
            '`' => "quoted identifier without end",
            _ => "string without end",
        };
        Err(LexError { what, at: start })
    }

    fn number(&mut self) -> Token {
        let digits = self.take_while(|c| c.is_ascii_digit());
        let mut rest = self.rest().chars();
        match (rest.next(), rest.next()) {
            (Some('.'), Some(d)) if d.is_ascii_digit() => {
                self.at += 1;
                let fraction = self.take_while(is_word_char);
                Token::Decimal(format!("{digits}.{fraction}"))
            }
            (Some(c), _) if is_word_char(c) => {
                let tail = self.take_while(is_word_char);
                Token::Word(format!("{digits}{tail}"))
            }
            _ => Token::Integer(digits),
        }
    }

    fn symbol(&mut self) -> Result<&'static str, LexError> {
        let rest = self.rest();
        let found = SYMBOLS
            .iter()
            .chain(&MORE_SYMBOLS)
            .find(|s| rest.starts_with(**s))
            .ok_or(LexError {
                what: "unexpected character",
                at: self.at,
            })?;
        self.at += found.len();
        Ok(found)
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default().to_owned()
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn unescape(c: char) -> char {
    match c {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        'b' => '\u{8}',
        'Z' => '\u{1a}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<Token> {
        let all = tokens(sql).expect(sql);
        all.into_iter().map(|l| l.token).collect()
    }

    #[test]
    fn quoting_comments_and_symbols_are_understood() {
        assert_eq!(
            kinds("a.`b``c` -- x\n /* y */ 'it''s' \"q\\\"\\n\" [*] -> 12 1.5 1st"),
            [
                Token::Word("a".into()),
                Token::Sym("."),
                Token::Quoted("b`c".into()),
                Token::Str("it's".into()),
                Token::Str("q\"\n".into()),
                Token::Sym("[*]"),
                Token::Sym("->"),
                Token::Integer("12".into()),
                Token::Decimal("1.5".into()),
                Token::Word("1st".into()),
            ]
        );
    }

    #[test]
    fn an_open_end_is_an_error_with_its_place() {
        for (sql, at) in [("x 'abc", 2), ("`a", 0), ("1 /* x", 2), ("a \u{1}", 2)] {
            assert_eq!(tokens(sql).expect_err(sql).at, at, "{sql}");
        }
    }
}
