//! The MongoDB wire protocol: frames, and the two message kinds clients send.
//!
//! Drivers open with one OP_QUERY (the legacy handshake) and speak OP_MSG from then on. Compression is never
//! offered, so it never comes.

mod op_msg;
mod op_query;

use std::io;

use bson::{RawDocument, RawDocumentBuf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use op_msg::MAX_MESSAGE_BYTES;

const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
const HEADER_BYTES: usize = 16;

/// How the client wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    OpMsg,
    /// OP_REPLY, for the legacy handshake only.
    OpReply,
    /// `moreToCome`: a write with `w: 0`.
    None,
}

/// One command as it came off the wire. Documents that travelled as a kind-1 sequence (`documents`, `updates`,
/// `deletes`) stay beside the body, so that a batch of inserts is copied once.
#[derive(Debug)]
pub struct Request {
    pub request_id: i32,
    pub reply: ReplyKind,
    pub body: RawDocumentBuf,
    pub sequences: Vec<(String, Vec<RawDocumentBuf>)>,
    legacy_db: Option<String>,
}

impl Request {
    /// The command's name: the first key of its body.
    pub fn name(&self) -> &str {
        self.body
            .iter()
            .next()
            .and_then(std::result::Result::ok)
            .map_or("", |(key, _)| key.as_str())
    }

    pub fn db(&self) -> &str {
        self.legacy_db
            .as_deref()
            .or_else(|| self.body.get_str("$db").ok())
            .unwrap_or("admin")
    }

    pub fn is_legacy(&self) -> bool {
        self.reply == ReplyKind::OpReply
    }
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads the next command; `None` when the client hung up between two messages.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Request>> {
    let mut header = [0_u8; HEADER_BYTES];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).await?;
    let word = |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, request_id, opcode) = (word(0), word(4), word(12));
    let length = usize::try_from(length).map_err(|_| malformed("negative message length"))?;
    if !(HEADER_BYTES..=MAX_MESSAGE_BYTES).contains(&length) {
        return Err(malformed(format!(
            "message of {length} bytes is outside {HEADER_BYTES}..={MAX_MESSAGE_BYTES}"
        )));
    }
    let mut payload = vec![0_u8; length - HEADER_BYTES];
    stream.read_exact(&mut payload).await?;
    match opcode {
        OP_MSG => op_msg::parse(request_id, &payload).map(Some),
        OP_QUERY => op_query::parse(request_id, &payload).map(Some),
        other => Err(malformed(format!(
            "opcode {other} is not spoken here (OP_QUERY for the handshake, then OP_MSG)"
        ))),
    }
}

/// Writes the reply in the shape the request asked for.
pub async fn write_reply(
    stream: &mut (impl AsyncWrite + Unpin),
    request: &Request,
    id: i32,
    reply: &RawDocument,
) -> io::Result<()> {
    let frame = match request.reply {
        ReplyKind::OpMsg => op_msg::encode(id, request.request_id, reply),
        ReplyKind::OpReply => op_query::encode(id, request.request_id, reply),
        ReplyKind::None => return Ok(()),
    };
    stream.write_all(&frame).await?;
    stream.flush().await
}

fn header(length: usize, id: i32, response_to: i32, opcode: i32) -> Vec<u8> {
    let total = HEADER_BYTES + length;
    let mut frame = Vec::with_capacity(total);
    // A reply is bounded by the 16 MB batch limit, far below i32.
    for word in [i32::try_from(total).unwrap_or(i32::MAX), id, response_to, opcode] {
        frame.extend_from_slice(&word.to_le_bytes());
    }
    frame
}

/// Splits one BSON document off the front of `bytes`.
fn take_document<'a>(bytes: &mut &'a [u8]) -> io::Result<&'a RawDocument> {
    let length = bytes
        .first_chunk::<4>()
        .map(|b| i32::from_le_bytes(*b))
        .and_then(|n| usize::try_from(n).ok());
    let length = length
        .filter(|n| *n >= 5 && *n <= bytes.len())
        .ok_or_else(|| malformed("document length runs past the message"))?;
    let (document, rest) = bytes.split_at(length);
    *bytes = rest;
    RawDocument::from_bytes(document).map_err(|e| malformed(e.to_string()))
}

fn take_cstring<'a>(bytes: &mut &'a [u8]) -> io::Result<&'a str> {
    let end = bytes
        .iter()
        .position(|b| *b == 0)
        .ok_or_else(|| malformed("unterminated string"))?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|e| malformed(e.to_string()))?;
    *bytes = &bytes[end + 1..];
    Ok(text)
}

fn take_i32(bytes: &mut &[u8]) -> io::Result<i32> {
    let (head, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("message is too short"))?;
    *bytes = rest;
    Ok(i32::from_le_bytes(*head))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[tokio::test]
    async fn a_hang_up_between_messages_is_not_an_error() {
        assert!(read_request(&mut &[][..]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_it_is_allocated() {
        let mut bytes = header(0, 1, 0, OP_MSG);
        bytes[..4].copy_from_slice(&i32::MAX.to_le_bytes());
        let error = read_request(&mut &bytes[..]).await.unwrap_err();
        assert!(error.to_string().contains("outside"), "{error}");
    }

    #[tokio::test]
    async fn what_is_encoded_is_read_back() {
        let frame = op_msg::encode(7, 0, &rawdoc! { "ping": 1, "$db": "t_acme" });
        let request = read_request(&mut &frame[..]).await.unwrap().unwrap();
        assert_eq!(
            (request.name(), request.db(), request.request_id),
            ("ping", "t_acme", 7)
        );
        assert_eq!(request.reply, ReplyKind::OpMsg);
    }
}
