//! OP_QUERY and OP_REPLY: what is left of the old protocol, used for a connection's first `isMaster` only.

use std::io;

use bson::RawDocument;

use super::{ReplyKind, Request, header, malformed, take_cstring, take_document, take_i32};

const OP_REPLY: i32 = 1;
const AWAIT_CAPABLE: i32 = 8;

pub(super) fn parse(request_id: i32, mut payload: &[u8]) -> io::Result<Request> {
    let _flags = take_i32(&mut payload)?;
    let namespace = take_cstring(&mut payload)?;
    let db = namespace
        .strip_suffix(".$cmd")
        .ok_or_else(|| malformed(format!("OP_QUERY on {namespace}: only commands are spoken here")))?;
    let db = db.to_owned();
    let (_skip, _return) = (take_i32(&mut payload)?, take_i32(&mut payload)?);
    let body = take_document(&mut payload)?.to_owned();
    Ok(Request {
        request_id,
        reply: ReplyKind::OpReply,
        body,
        sequences: Vec::new(),
        legacy_db: Some(db),
    })
}

pub(super) fn encode(id: i32, response_to: i32, reply: &RawDocument) -> Vec<u8> {
    let bytes = reply.as_bytes();
    let mut frame = header(20 + bytes.len(), id, response_to, OP_REPLY);
    frame.extend_from_slice(&AWAIT_CAPABLE.to_le_bytes());
    frame.extend_from_slice(&0_i64.to_le_bytes()); // no cursor
    frame.extend_from_slice(&0_i32.to_le_bytes()); // starting from
    frame.extend_from_slice(&1_i32.to_le_bytes()); // one document
    frame.extend_from_slice(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn the_handshake_names_its_database_in_the_namespace() {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(b"admin.$cmd\0");
        bytes.extend_from_slice(&[0, 0, 0, 0, 255, 255, 255, 255]);
        bytes.extend_from_slice(rawdoc! { "isMaster": 1, "helloOk": true }.as_bytes());
        let request = parse(3, &bytes).unwrap();
        assert_eq!((request.name(), request.db()), ("isMaster", "admin"));
        assert!(request.is_legacy());
    }
}
