//! A place in the token list and the small questions every rule asks.

use super::super::lex::{LexError, Lexeme, Token};
use super::super::version::{Feature, Version};

pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// What stood where something else was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error at byte {at}: unexpected {found}, expected {expected}")]
pub(in crate::table::ddl) struct SyntaxError {
    pub(in crate::table::ddl) at: usize,
    pub(in crate::table::ddl) found: String,
    pub(in crate::table::ddl) expected: String,
}

impl From<LexError> for SyntaxError {
    fn from(e: LexError) -> Self {
        Self {
            at: e.at,
            found: e.what.to_owned(),
            expected: "a token".to_owned(),
        }
    }
}

/// Words that cannot be a bare identifier in any version from 3.2 on: all keywords less the grammar's `nonReserved`.
const RESERVED: &[&str] = &[
    "ADD",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "ARRAY",
    "AS",
    "ASC",
    "BETWEEN",
    "BIGINT",
    "BITMAP",
    "BOTH",
    "BY",
    "CASE",
    "CHAR",
    "CHARACTER",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "CONVERT",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT_DATE",
    "CURRENT_ROLE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "DATABASE",
    "DATABASES",
    "DECIMAL",
    "DECIMAL32",
    "DECIMAL64",
    "DECIMAL128",
    "DECIMALV2",
    "DEFAULT",
    "DELETE",
    "DENSE_RANK",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DOUBLE",
    "DROP",
    "DUAL",
    "ELSE",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FIRST_VALUE",
    "FLOAT",
    "FOR",
    "FORCE",
    "FROM",
    "FULL",
    "FUNCTION",
    "GRANT",
    "GROUP",
    "GROUPING",
    "GROUPING_ID",
    "GROUPS",
    "HAVING",
    "HLL",
    "IF",
    "IGNORE",
    "IN",
    "INDEX",
    "INFILE",
    "INNER",
    "INSERT",
    "INT",
    "INTEGER",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "JSON",
    "KEY",
    "KEYS",
    "KILL",
    "LAG",
    "LARGEINT",
    "LAST_VALUE",
    "LATERAL",
    "LEAD",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOAD",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "MAXVALUE",
    "MOD",
    "NOT",
    "NTILE",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OUTFILE",
    "OVER",
    "PARTITION",
    "PERCENTILE",
    "PRIMARY",
    "PROCEDURE",
    "RANGE",
    "READ",
    "REGEXP",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "REVOKE",
    "RIGHT",
    "RLIKE",
    "ROWS",
    "ROW_NUMBER",
    "SCHEMA",
    "SCHEMAS",
    "SELECT",
    "SET",
    "SET_VAR",
    "SHOW",
    "SMALLINT",
    "SYSTEM",
    "TABLE",
    "TERMINATED",
    "THEN",
    "TINYINT",
    "TO",
    "TRUE",
    "UNION",
    "UNIQUE",
    "UNSIGNED",
    "UPDATE",
    "USE",
    "USING",
    "VALUES",
    "VARCHAR",
    "WHEN",
    "WHERE",
    "WITH",
];

pub(super) struct Cursor<'a> {
    tokens: &'a [Lexeme],
    at: usize,
    length: usize,
    version: Version,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [Lexeme], length: usize, version: Version) -> Self {
        Self {
            tokens,
            at: 0,
            length,
            version,
        }
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.version.has(feature)
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + ahead).map(|l| &l.token)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// An error at the present place.
    pub(super) fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let lexeme = self.tokens.get(self.at);
        Err(SyntaxError {
            at: lexeme.map_or(self.length, |l| l.at),
            found: lexeme.map_or_else(|| "<EOF>".to_owned(), |l| format!("'{}'", l.token)),
            expected: expected.to_owned(),
        })
    }

    pub(super) fn end(&self) -> Parsed<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.unexpected("<EOF>"),
        }
    }

    /// Where we are, for [`Self::go_back`].
    pub(super) fn place(&self) -> usize {
        self.at
    }

    pub(super) fn go_back(&mut self, place: usize) {
        self.at = place;
    }

    /// Takes all of these words or none.
    pub(super) fn accept_words(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(i, w)| self.peek_at(i).is_some_and(|t| t.is_word(w)));
        if all {
            self.at += words.len();
        }
        all
    }

    pub(super) fn accept_word(&mut self, word: &str) -> bool {
        self.accept_words(&[word])
    }

    pub(super) fn expect_words(&mut self, words: &[&str]) -> Parsed<()> {
        for word in words {
            if !self.accept_word(word) {
                return self.unexpected(&format!("'{word}'"));
            }
        }
        Ok(())
    }

    /// Takes one of these words.
    pub(super) fn accept_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|w| self.accept_word(w))
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Sym(s)) if *s == symbol)
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.accept(symbol) {
            return Ok(());
        }
        self.unexpected(&format!("'{symbol}'"))
    }

    /// An identifier: quoted, or a word that is not reserved.
    pub(super) fn ident(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Quoted(name)) => {
                self.at += 1;
                Ok(name.clone())
            }
            Some(Token::Word(name)) if !is_reserved(name) => {
                self.at += 1;
                Ok(name.clone())
            }
            _ => self.unexpected("an identifier"),
        }
    }

    /// `a`, `a.b`, `a.b.c`.
    pub(super) fn qualified(&mut self) -> Parsed<()> {
        self.ident()?;
        while self.accept(".") {
            self.ident()?;
        }
        Ok(())
    }

    /// Identifier or string, as role and user names may be.
    pub(super) fn ident_or_string(&mut self) -> Parsed<()> {
        if matches!(self.peek(), Some(Token::Str(_))) {
            self.at += 1;
            return Ok(());
        }
        self.ident().map(drop)
    }

    pub(super) fn string(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Str(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => self.unexpected("a string"),
        }
    }

    pub(super) fn integer(&mut self) -> Parsed<u64> {
        match self.peek() {
            Some(Token::Integer(text)) => {
                self.at += 1;
                // Larger than any bound is as wrong as the largest.
                Ok(text.parse().unwrap_or(u64::MAX))
            }
            _ => self.unexpected("INTEGER_VALUE"),
        }
    }

    /// `(item, item, …)` with at least one item.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect("(")?;
        let mut items = vec![item(self)?];
        while self.accept(",") {
            items.push(item(self)?);
        }
        self.expect(")")?;
        Ok(items)
    }

    pub(super) fn ident_list(&mut self) -> Parsed<Vec<String>> {
        self.list(Self::ident)
    }

    /// `("key" = "value", …)`.
    pub(super) fn property_list(&mut self) -> Parsed<Vec<(String, String)>> {
        self.list(|c| {
            let key = c.string()?;
            c.expect("=")?;
            Ok((key, c.string()?))
        })
    }

    /// `[PROPERTIES (…)]`.
    pub(super) fn properties(&mut self) -> Parsed<Vec<(String, String)>> {
        if self.accept_word("PROPERTIES") {
            return self.property_list();
        }
        Ok(Vec::new())
    }

    /// `[COMMENT "…"]`.
    pub(super) fn comment(&mut self) -> Parsed<()> {
        if self.accept_word("COMMENT") {
            self.string()?;
        }
        Ok(())
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.accept_words(&["IF", "NOT", "EXISTS"])
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.accept_words(&["IF", "EXISTS"])
    }

    /// Takes `(…)` whatever is inside, as long as it balances.
    pub(super) fn parenthesised(&mut self) -> Parsed<()> {
        self.expect("(")?;
        self.until(&[], &[")"])?;
        self.expect(")")
    }

    /// `()` or `(…)`.
    pub(super) fn parenthesised_or_empty(&mut self) -> Parsed<()> {
        self.expect("(")?;
        if self.accept(")") {
            return Ok(());
        }
        self.until(&[], &[")"])?;
        self.expect(")")
    }

    /// An expression or a query: everything up to one of these words or symbols on the outer level, or the end.
    /// At least one token; returns the bare identifiers that are not called as functions.
    pub(super) fn until(&mut self, words: &[&str], symbols: &[&str]) -> Parsed<Vec<String>> {
        let mut depth = 0usize;
        let mut taken = 0usize;
        let mut names = Vec::new();
        while let Some(token) = self.peek() {
            if depth == 0 {
                let stop_word = words.iter().any(|w| token.is_word(w));
                let stop_symbol = matches!(token, Token::Sym(s) if symbols.contains(s) || *s == ";");
                if stop_word || stop_symbol {
                    break;
                }
            }
            match token {
                Token::Sym("(") => depth += 1,
                Token::Sym(")") if depth == 0 => return self.unexpected("no ')'"),
                Token::Sym(")") => depth -= 1,
                _ => {}
            }
            let called = matches!(self.peek_at(1), Some(Token::Sym("(")));
            if let (Some(name), false) = (token.name(), called) {
                names.push(name.to_owned());
            }
            self.next();
            taken += 1;
        }
        if depth > 0 {
            return self.unexpected("')'");
        }
        if taken == 0 {
            return self.unexpected("an expression");
        }
        Ok(names)
    }

    /// A query: SELECT or WITH, then anything that balances, to the end.
    pub(super) fn query(&mut self) -> Parsed<()> {
        if !self.accept_any(&["SELECT", "WITH"]) && !self.is("(") {
            return self.unexpected("a query");
        }
        self.until(&[], &[]).map(drop)
    }
}

fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|r| r.eq_ignore_ascii_case(word))
}
