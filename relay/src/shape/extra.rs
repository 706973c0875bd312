//! `_extra`: what no column took, so that nothing of a document is lost.
//!
//! One JSON object, `{"<path>":{"v":<value>,"t":"<BSON type>"}}`; values are Extended JSON v2 relaxed. A value that would
//! take the text beyond its bound stays out and the row says where its document is: in `$truncated`.

use super::bson::{self, Bson};
use crate::json::{Cursor, JsonError, write_escaped, write_int, write_string};

#[derive(Debug)]
pub(super) struct Extra {
    text: Vec<u8>,
    truncated: bool,
    max: usize,
}

impl Extra {
    pub(super) fn new(max: usize) -> Self {
        Self {
            text: Vec::new(),
            truncated: false,
            max,
        }
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.truncated = false;
    }

    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    /// Takes the value the cursor stands at, as the value of `path`.
    pub(super) fn take(&mut self, path: &str, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let before = self.text.len();
        self.text.push(if before == 0 { b'{' } else { b',' });
        self.text.push(b'"');
        write_escaped(path.as_bytes(), &mut self.text);
        self.text.extend_from_slice(b"\":{\"v\":");
        let value = bson::read(cursor)?;
        let type_name = value.type_name();
        match value {
            // The cursor still stands in front of it.
            Bson::Object | Bson::Array => bson::write_relaxed(cursor, &mut self.text)?,
            scalar => bson::write_scalar(&scalar, &mut self.text)?,
        }
        self.text.extend_from_slice(b",\"t\":\"");
        self.text.extend_from_slice(type_name.as_bytes());
        self.text.extend_from_slice(b"\"}");
        if self.text.len() > self.max {
            self.text.truncate(before);
            self.truncated = true;
        }
        Ok(())
    }

    /// What has been taken so far: the part that the rows of one document share.
    pub(super) fn mark(&self) -> (usize, bool) {
        (self.text.len(), self.truncated)
    }

    pub(super) fn back_to(&mut self, (len, truncated): (usize, bool)) {
        self.text.truncate(len);
        self.truncated = truncated;
    }

    /// Appends the object to a row; nothing when nothing was kept.
    pub(super) fn append(&self, at: (&str, i32, i64), out: &mut Vec<u8>) {
        if self.text.is_empty() && !self.truncated {
            return;
        }
        out.extend_from_slice(b",\"_extra\":");
        out.extend_from_slice(&self.text);
        if self.truncated {
            let (topic, partition, offset) = at;
            out.push(if self.text.is_empty() { b'{' } else { b',' });
            out.extend_from_slice(b"\"$truncated\":{\"topic\":");
            write_string(topic, out);
            out.extend_from_slice(b",\"partition\":");
            write_int(i64::from(partition), out);
            out.extend_from_slice(b",\"offset\":");
            write_int(offset, out);
            out.push(b'}');
        }
        out.push(b'}');
    }
}
