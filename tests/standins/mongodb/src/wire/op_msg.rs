//! OP_MSG: one body section, any number of document sequences, an optional checksum.

use std::io;

use bson::{RawDocument, RawDocumentBuf};

use super::{OP_MSG, ReplyKind, Request, header, malformed, take_cstring, take_document, take_i32};

pub const MAX_MESSAGE_BYTES: usize = 48_000_000;

const CHECKSUM_PRESENT: i32 = 1;
const MORE_TO_COME: i32 = 1 << 1;
/// Flag bits 0–15 must be understood by the receiver; 16 and above may be ignored (`exhaustAllowed` is 16).
const REQUIRED_BITS: i32 = 0xFFFF;

pub(super) fn parse(request_id: i32, mut payload: &[u8]) -> io::Result<Request> {
    let flags = take_i32(&mut payload)?;
    if flags & REQUIRED_BITS & !(CHECKSUM_PRESENT | MORE_TO_COME) != 0 {
        return Err(malformed(format!("unknown required flag bits in {flags:#x}")));
    }
    if flags & CHECKSUM_PRESENT != 0 {
        let length = payload
            .len()
            .checked_sub(4)
            .ok_or_else(|| malformed("checksum is missing"))?;
        payload = &payload[..length];
    }
    let mut body = None;
    let mut sequences = Vec::new();
    while let Some((kind, rest)) = payload.split_first() {
        payload = rest;
        match kind {
            0 if body.is_none() => body = Some(take_document(&mut payload)?.to_owned()),
            1 => sequences.push(take_sequence(&mut payload)?),
            other => return Err(malformed(format!("section kind {other} is unknown or repeated"))),
        }
    }
    let body = body.ok_or_else(|| malformed("a message without a body section"))?;
    let reply = if flags & MORE_TO_COME != 0 {
        ReplyKind::None
    } else {
        ReplyKind::OpMsg
    };
    Ok(Request {
        request_id,
        reply,
        body,
        sequences,
        legacy_db: None,
    })
}

fn take_sequence(payload: &mut &[u8]) -> io::Result<(String, Vec<RawDocumentBuf>)> {
    let size = usize::try_from(take_i32(payload)?)
        .ok()
        .and_then(|n| n.checked_sub(4));
    let size = size
        .filter(|n| *n <= payload.len())
        .ok_or_else(|| malformed("sequence runs past the message"))?;
    let (mut section, rest) = payload.split_at(size);
    *payload = rest;
    let name = take_cstring(&mut section)?.to_owned();
    let mut documents = Vec::new();
    while !section.is_empty() {
        documents.push(take_document(&mut section)?.to_owned());
    }
    Ok((name, documents))
}

pub(super) fn encode(id: i32, response_to: i32, reply: &RawDocument) -> Vec<u8> {
    let bytes = reply.as_bytes();
    let mut frame = header(5 + bytes.len(), id, response_to, OP_MSG);
    frame.extend_from_slice(&[0; 5]); // no flags, section kind 0
    frame.extend_from_slice(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn payload(flags: i32, sections: &[&[u8]]) -> Vec<u8> {
        let mut bytes = flags.to_le_bytes().to_vec();
        sections.iter().for_each(|s| bytes.extend_from_slice(s));
        bytes
    }

    fn body() -> Vec<u8> {
        let mut section = vec![0];
        section.extend_from_slice(rawdoc! { "insert": "orders", "$db": "t" }.as_bytes());
        section
    }

    fn documents(docs: &[RawDocumentBuf]) -> Vec<u8> {
        let mut inner = b"documents\0".to_vec();
        docs.iter().for_each(|d| inner.extend_from_slice(d.as_bytes()));
        let mut section = vec![1];
        section.extend_from_slice(&i32::try_from(inner.len() + 4).unwrap().to_le_bytes());
        section.extend_from_slice(&inner);
        section
    }

    #[test]
    fn a_document_sequence_is_kept_beside_the_body_whatever_the_order_of_sections() {
        let docs = [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }];
        let request = parse(1, &payload(0, &[&documents(&docs), &body()])).unwrap();
        assert_eq!(request.name(), "insert");
        assert_eq!(request.sequences, vec![("documents".to_owned(), docs.to_vec())]);
    }

    #[test]
    fn a_checksum_is_cut_off_and_more_to_come_asks_for_no_reply() {
        let request = parse(1, &payload(CHECKSUM_PRESENT | MORE_TO_COME, &[&body(), &[9; 4]])).unwrap();
        assert_eq!(request.reply, ReplyKind::None);
    }

    #[test]
    fn unknown_required_bits_and_overlong_sections_are_refused() {
        assert!(parse(1, &payload(1 << 5, &[&body()])).is_err());
        assert!(parse(1, &payload(0, &[&[1, 255, 0, 0, 0]])).is_err());
        assert!(parse(1, &payload(0, &[])).is_err());
    }
}
