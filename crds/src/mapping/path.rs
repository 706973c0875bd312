//! Paths into a document: `a.b.c`, `a[0].b`, `a["odd.name"]`.

use std::fmt;
use std::str::FromStr;

/// Most segments of a path. MongoDB nests at most 100 levels deep.
pub const SEGMENTS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// Never empty; the first is a field.
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    Field(String),
    /// Zero-based.
    Index(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path cannot be empty")]
    Empty,
    #[error("{found} is not expected at position {at} of path {path:?}: {hint}")]
    Unexpected {
        path: String,
        at: usize,
        found: String,
        hint: &'static str,
    },
    #[error("path {0:?} is nested more than {SEGMENTS_MAX} deep")]
    TooDeep(String),
}

impl Path {
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The first field: always there.
    pub fn root(&self) -> &str {
        match self.segments.first() {
            Some(Segment::Field(name)) => name,
            _ => "",
        }
    }

    /// The path of one top-level field of any name.
    pub fn field(name: impl Into<String>) -> Self {
        Self {
            segments: vec![Segment::Field(name.into())],
        }
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let mut parser = Parser { text, at: 0 };
        let mut segments = vec![match parser.peek() {
            Some('[') => match parser.bracket()? {
                field @ Segment::Field(_) => field,
                Segment::Index(_) => {
                    return Err(parser.unexpected_at(0, "a path starts with a field name"));
                }
            },
            _ => parser.name()?,
        }];
        while let Some(next) = parser.peek() {
            segments.push(match next {
                '.' => {
                    parser.advance();
                    parser.name()?
                }
                '[' => parser.bracket()?,
                _ => return Err(parser.unexpected("expected '.' or '['")),
            });
            if segments.len() > SEGMENTS_MAX {
                return Err(PathError::TooDeep(text.to_owned()));
            }
        }
        Ok(Self { segments })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// What a field name may hold without quotes.
fn is_bare(c: char) -> bool {
    !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '.' | '[' | ']' | '"' | '\'' | '\\' | '$' | '{' | '}')
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn name(&mut self) -> Result<Segment, PathError> {
        let start = self.at;
        while self.peek().is_some_and(is_bare) {
            self.advance();
        }
        match self.text.get(start..self.at) {
            Some(name) if !name.is_empty() => Ok(Segment::Field(name.to_owned())),
            _ => Err(self.unexpected("expected a field name; write odd names as [\"odd.name\"]")),
        }
    }

    /// `[0]` or `["odd.name"]`; `\"` and `\\` inside quotes.
    fn bracket(&mut self) -> Result<Segment, PathError> {
        self.advance();
        let segment = match self.peek() {
            Some('"') => self.quoted()?,
            _ => self.index()?,
        };
        match self.peek() {
            Some(']') => {
                self.advance();
                Ok(segment)
            }
            _ => Err(self.unexpected("expected ']'")),
        }
    }

    fn index(&mut self) -> Result<Segment, PathError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.advance();
        }
        self.text
            .get(start..self.at)
            .and_then(|digits| digits.parse().ok())
            .map(Segment::Index)
            .ok_or_else(|| self.unexpected_at(start, "expected an array index or a quoted name"))
    }

    fn quoted(&mut self) -> Result<Segment, PathError> {
        self.advance();
        let mut name = String::new();
        loop {
            match self.advance() {
                Some('"') => return Ok(Segment::Field(name)),
                Some('\\') => match self.advance() {
                    Some(c @ ('"' | '\\')) => name.push(c),
                    _ => return Err(self.unexpected("after '\\' only '\"' or '\\'")),
                },
                Some(c) => name.push(c),
                None => return Err(self.unexpected("the quote is not closed")),
            }
        }
    }

    fn unexpected(&self, hint: &'static str) -> PathError {
        self.unexpected_at(self.at, hint)
    }

    fn unexpected_at(&self, at: usize, hint: &'static str) -> PathError {
        let found = match self.text.get(at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("{c:?}"),
            None => "the end".to_owned(),
        };
        PathError::Unexpected {
            path: self.text.to_owned(),
            at,
            found,
            hint,
        }
    }
}

impl fmt::Display for Path {
    /// The canonical text: it parses back to the same path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Field(name) if !name.is_empty() && name.chars().all(is_bare) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(name)?;
                }
                Segment::Field(name) => {
                    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
                    write!(f, "[\"{escaped}\"]")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(text: &str) -> Vec<Segment> {
        text.parse::<Path>().expect(text).segments
    }

    fn field(name: &str) -> Segment {
        Segment::Field(name.to_owned())
    }

    #[test]
    fn the_three_forms_of_the_grammar() {
        assert_eq!(segments("a.b.c"), [field("a"), field("b"), field("c")]);
        assert_eq!(segments("a[0].b"), [field("a"), Segment::Index(0), field("b")]);
        assert_eq!(segments(r#"a["odd.name"]"#), [field("a"), field("odd.name")]);
        assert_eq!(segments(r#"["$ref"].x"#), [field("$ref"), field("x")]);
        assert_eq!(segments("_id"), [field("_id")]);
        assert_eq!(segments("straße.größe-1"), [field("straße"), field("größe-1")]);
    }

    #[test]
    fn errors_say_where_and_what_instead() {
        for (bad, says) in [
            ("", "cannot be empty"),
            ("a..b", "position 2"),
            (".a", "position 0"),
            ("a.", "the end is not expected at position 2"),
            ("[0]", "a path starts with a field name"),
            ("a[x]", "expected an array index or a quoted name"),
            ("a[99999999999]", "expected an array index"),
            (r#"a["b"#, "the quote is not closed"),
            ("a[0", "expected ']'"),
            ("a[0]b", "expected '.' or '['"),
            ("$nope", "expected a field name"),
            ("a b", "expected '.' or '['"),
            ("${file:x}", "expected a field name"),
        ] {
            let error = bad.parse::<Path>().expect_err(bad).to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
        let deep = vec!["a"; 101].join(".");
        assert!(matches!(deep.parse::<Path>(), Err(PathError::TooDeep(_))));
    }

    proptest! {
        #[test]
        fn any_path_prints_and_parses_back(
            root in ".{0,8}",
            rest in prop::collection::vec(prop_oneof![".{0,8}".prop_map(Segment::Field), any::<u32>().prop_map(Segment::Index)], 0..6)
        ) {
            let mut segments = vec![Segment::Field(root)];
            segments.extend(rest);
            let path = Path { segments };
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<Path>();
        }
    }
}
