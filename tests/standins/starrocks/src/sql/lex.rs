//! Tokens of the StarRocks dialect.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// `` `quoted` ``
    Quoted,
    /// `'…'` or `"…"`
    Text,
    Number,
    Symbol,
    End,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub kind: Kind,
    /// Unquoted and unescaped.
    pub text: String,
    /// Bytes of the source.
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Getting syntax error at line {line}, column {column}. Detail message: {detail}.")]
pub struct SyntaxError {
    pub line: usize,
    pub column: usize,
    pub detail: String,
}

impl SyntaxError {
    pub fn at(source: &str, offset: usize, detail: impl Into<String>) -> Self {
        let before = &source[..offset.min(source.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len);
        Self {
            line,
            column,
            detail: detail.into(),
        }
    }
}

/// Splits `source` into tokens; comments and hints are dropped. The last token is always `End`.
pub fn tokens(source: &str) -> Result<Vec<Token>, SyntaxError> {
    let bytes = source.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let rest = &source[at..];
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("--") || first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            let end = rest
                .find("*/")
                .ok_or_else(|| SyntaxError::at(source, start, "Unterminated comment"))?;
            at += end + 2;
        } else if matches!(first, '`' | '\'' | '"') {
            let (text, length) =
                quoted(rest, first).ok_or_else(|| SyntaxError::at(source, start, "Unterminated quote"))?;
            at += length;
            let kind = if first == '`' { Kind::Quoted } else { Kind::Text };
            out.push(Token {
                kind,
                text,
                start,
                end: at,
            });
        } else if first.is_ascii_digit() {
            at += number_length(rest);
            out.push(Token {
                kind: Kind::Number,
                text: source[start..at].to_owned(),
                start,
                end: at,
            });
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(rest.len());
            at += length;
            out.push(Token {
                kind: Kind::Word,
                text: source[start..at].to_owned(),
                start,
                end: at,
            });
        } else {
            let length = ["->", "!=", "<>", ">=", "<=", "||", "&&", "@@"]
                .iter()
                .find(|s| rest.starts_with(**s))
                .map_or(first.len_utf8(), |s| s.len());
            at += length;
            out.push(Token {
                kind: Kind::Symbol,
                text: source[start..at].to_owned(),
                start,
                end: at,
            });
        }
    }
    out.push(Token {
        kind: Kind::End,
        text: "<EOF>".into(),
        start: source.len(),
        end: source.len(),
    });
    Ok(out)
}

fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let exponent_sign =
            matches!(bytes[at], b'+' | b'-') && at > 0 && matches!(bytes[at - 1], b'e' | b'E');
        if !(bytes[at].is_ascii_digit() || matches!(bytes[at], b'.' | b'e' | b'E') || exponent_sign) {
            break;
        }
        at += 1;
    }
    at
}

/// The content and the length of a quoted token. Backslash escapes hold in strings, doubled quotes everywhere.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            let (_, escaped) = chars.next()?;
            match escaped {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                // LIKE patterns keep their escapes.
                '%' | '_' => text.extend(['\\', escaped]),
                other => text.push(other),
            }
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
                text.push(quote);
            } else {
                return Some((text, at + quote.len_utf8()));
            }
        } else {
            text.push(c);
        }
    }
    None
}

/// A cursor over tokens with the usual helpers.
#[derive(Debug)]
pub struct Cursor<'a> {
    pub source: &'a str,
    tokens: Vec<Token>,
    at: usize,
}

/// Words the grammar never takes as a bare name.
const RESERVED: &[&str] = &[
    "ADD", "ALL", "ALTER", "AND", "AS", "BETWEEN", "BY", "CASE", "COLUMN", "CREATE", "CROSS", "DEFAULT",
    "DELETE", "DISTINCT", "DROP", "ELSE", "EXISTS", "FOR", "FROM", "GROUP", "HAVING", "IF", "IN", "INDEX",
    "INSERT", "INTO", "IS", "JOIN", "KEY", "KEYS", "LEFT", "LIKE", "LIMIT", "NOT", "NULL", "ON", "OR",
    "ORDER", "PRIMARY", "RANGE", "SELECT", "SET", "SHOW", "TABLE", "TO", "UNION", "UPDATE", "USING",
    "VALUES", "WHERE", "WITH",
];

impl<'a> Cursor<'a> {
    pub fn new(source: &'a str) -> Result<Self, SyntaxError> {
        Ok(Self {
            source,
            tokens: tokens(source)?,
            at: 0,
        })
    }

    pub fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub fn peek_at(&self, ahead: usize) -> &Token {
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    pub fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn rewind(&mut self, to: usize) {
        self.at = to;
    }

    fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        let token = self.peek_at(ahead);
        token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word)
    }

    /// Do the next tokens spell these words?
    pub fn at_words(&self, words: &str) -> bool {
        words
            .split(' ')
            .enumerate()
            .all(|(i, word)| self.is_word_at(i, word))
    }

    /// Takes the words when they are next.
    pub fn take(&mut self, words: &str) -> bool {
        let found = self.at_words(words);
        if found {
            self.at += words.split(' ').count();
        }
        found
    }

    pub fn expect(&mut self, words: &str) -> Result<(), SyntaxError> {
        for word in words.split(' ') {
            if !self.take(word) {
                return Err(self.unexpected(&format!("'{word}'")));
            }
        }
        Ok(())
    }

    pub fn at_symbol(&self, symbol: &str) -> bool {
        self.peek().kind == Kind::Symbol && self.peek().text == symbol
    }

    pub fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub fn expect_symbol(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("'{symbol}'")))
        }
    }

    pub fn unexpected(&self, expected: &str) -> SyntaxError {
        let token = self.peek();
        SyntaxError::at(
            self.source,
            token.start,
            format!(
                "Unexpected input '{}', the most similar input is {{{expected}}}",
                token.text
            ),
        )
    }

    pub fn identifier(&mut self) -> Result<String, SyntaxError> {
        let token = self.peek();
        let legal = match token.kind {
            Kind::Quoted => true,
            Kind::Word => !RESERVED.iter().any(|r| r.eq_ignore_ascii_case(&token.text)),
            _ => false,
        };
        if legal {
            Ok(self.advance().text)
        } else {
            Err(self.unexpected("a legal identifier"))
        }
    }

    pub fn text(&mut self) -> Result<String, SyntaxError> {
        if self.peek().kind == Kind::Text {
            Ok(self.advance().text)
        } else {
            Err(self.unexpected("a string literal"))
        }
    }

    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, SyntaxError> {
        if self.peek().kind == Kind::Number
            && let Ok(value) = self.peek().text.parse()
        {
            self.at += 1;
            return Ok(value);
        }
        Err(self.unexpected("INTEGER_VALUE"))
    }

    pub fn at_end(&self) -> bool {
        self.peek().kind == Kind::End
    }

    /// Nothing but an optional `;` may follow.
    pub fn finish(&mut self) -> Result<(), SyntaxError> {
        self.take_symbol(";");
        if self.at_end() {
            Ok(())
        } else {
            Err(self.unexpected("<EOF>, ';'"))
        }
    }

    /// The source from the current token to the end, without a trailing `;`.
    pub fn rest(&self) -> &'a str {
        self.source[self.peek().start..].trim_end().trim_end_matches(';')
    }

    /// Skips a parenthesised group and returns its source, parentheses included.
    pub fn group(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.peek().start;
        self.expect_symbol("(")?;
        let mut depth = 1;
        while depth > 0 {
            if self.at_end() {
                return Err(self.unexpected("')'"));
            }
            let token = self.advance();
            if token.kind == Kind::Symbol {
                depth += match token.text.as_str() {
                    "(" => 1,
                    ")" => -1,
                    _ => 0,
                };
            }
        }
        Ok(&self.source[start..self.tokens[self.at - 1].end])
    }

    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        self.expect_symbol("(")?;
        let mut items = vec![item(self)?];
        while self.take_symbol(",") {
            items.push(item(self)?);
        }
        self.expect_symbol(")")?;
        Ok(items)
    }
}

/// Statements of a `;`-separated text.
pub fn split(source: &str) -> Result<Vec<&str>, SyntaxError> {
    let mut out = Vec::new();
    let mut start = 0;
    for token in tokens(source)? {
        if token.kind == Kind::End || (token.kind == Kind::Symbol && token.text == ";") {
            let statement = source[start..token.start].trim();
            if !statement.is_empty() {
                out.push(statement);
            }
            start = token.end;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments() {
        let texts: Vec<_> = tokens("a `b``c` 'it''s' \"x\\\"y\" -- z\n/*+ h */ 1.5e-3 ->")
            .unwrap()
            .into_iter()
            .map(|t| t.text)
            .collect();
        assert_eq!(texts, ["a", "b`c", "it's", "x\"y", "1.5e-3", "->", "<EOF>"]);
        assert!(tokens("'open").is_err());
    }

    #[test]
    fn statements_are_split_outside_strings() {
        assert_eq!(split("select ';'; set x=1 ;").unwrap(), ["select ';'", "set x=1"]);
    }

    #[test]
    fn errors_point_at_the_place() {
        let mut cursor = Cursor::new("CREATE\nTABLE 5").unwrap();
        cursor.expect("CREATE TABLE").unwrap();
        let error = cursor.identifier().unwrap_err();
        assert_eq!((error.line, error.column), (2, 6));
    }
}
