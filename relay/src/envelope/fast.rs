//! The envelope as the MongoDB connector writes it: its members in their order, without white space.
//!
//! Anything else is left to the general reader, so this one only has to be right about what it takes.

use super::Op;
use crate::json::{Cursor, Text, end_of_quoted, natural};

pub(super) struct Found<'a> {
    pub op: Op,
    pub after: Option<Text<'a>>,
    pub source_ts_ms: i64,
}

/// `source` is the text of the source's block from its brace to the colon of `ts_ms`: of one connector always the same.
pub(super) fn read<'a>(value: &'a [u8], source: &[u8]) -> Option<Found<'a>> {
    if source.is_empty() {
        return None;
    }
    let rest = null_or_any(value.strip_prefix(b"{\"before\":")?)?;
    let (after, rest) = after(rest.strip_prefix(b",\"after\":")?)?;
    let rest = null_or_any(rest.strip_prefix(b",\"updateDescription\":")?)?;
    let rest = rest.strip_prefix(b",\"source\":")?.strip_prefix(source)?;
    let (source_ts_ms, digits) = natural(rest)?;
    let rest = &rest[digits..];
    if !matches!(rest.first(), Some(b',' | b'}')) {
        return None;
    }
    let mut cursor = Cursor::new(rest);
    cursor.skip_rest_of_object().ok()?;
    let (code, rest) = cursor.rest().strip_prefix(b",\"op\":\"")?.split_at_checked(1)?;
    let op = Op::parse(code)?;
    let rest = rest.strip_prefix(b"\",\"ts_ms\":")?;
    let (_, digits) = natural(rest)?;
    (&rest[digits..] == b",\"transaction\":null}").then_some(Found {
        op,
        after,
        source_ts_ms,
    })
}

fn null_or_any(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"null") {
        return Some(rest);
    }
    let mut cursor = Cursor::new(text);
    cursor.skip().ok()?;
    Some(cursor.rest())
}

fn after(text: &[u8]) -> Option<(Option<Text<'_>>, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"null") {
        return Some((None, rest));
    }
    let text = text.strip_prefix(b"\"")?;
    let end = end_of_quoted(text)?;
    Some((Some(Text::quoted(&text[..end])), &text[end + 1..]))
}
