//! The one question librdkafka's safe interface cannot ask: the ids of topics. A topic that was deleted and made again has the same name,
//! offsets from zero, and another id. Metadata v12 (Kafka 2.8 and later) by hand, over whatever stream reaches a broker.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const METADATA: i16 = 3;
const VERSION: i16 = 12;
const CLIENT_ID: &str = "tributary-operator";
/// A cluster's answer about a few topics is small; anything larger is not an answer.
const ANSWER_MAX: usize = 16 << 20;

/// Asks for the ids of `topics`; what does not exist is absent from the answer. Nothing is created by asking.
pub(super) async fn topic_ids<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    topics: &[String],
) -> std::io::Result<BTreeMap<String, String>> {
    let request = request(topics);
    stream.write_all(&request).await?;
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_MAX {
        return Err(malformed("an answer of an absurd length"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Reader(&answer).metadata()
}

fn request(topics: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    // Correlation id: one question at a time on a stream.
    body.extend(0_i32.to_be_bytes());
    body.extend(i16::try_from(CLIENT_ID.len()).unwrap_or_default().to_be_bytes());
    body.extend(CLIENT_ID.as_bytes());
    body.push(0);
    varint(&mut body, topics.len() + 1);
    for topic in topics {
        body.extend([0; 16]);
        varint(&mut body, topic.len() + 1);
        body.extend(topic.as_bytes());
        body.push(0);
    }
    // allow_auto_topic_creation, include_topic_authorized_operations, no tags.
    body.extend([0, 0, 0]);
    let mut framed = i32::try_from(body.len())
        .unwrap_or_default()
        .to_be_bytes()
        .to_vec();
    framed.extend(body);
    framed
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not a metadata answer: {what}"))
}

/// What is left of an answer. Every read is checked: the bytes are somebody else's.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn metadata(mut self) -> std::io::Result<BTreeMap<String, String>> {
        self.take(4)?; // correlation id
        self.tags()?;
        self.take(4)?; // throttle time
        for _ in 0..self.length()? {
            self.take(4)?; // node id
            self.text()?; // host
            self.take(4)?; // port
            self.text()?; // rack
            self.tags()?;
        }
        self.text()?; // cluster id
        self.take(4)?; // controller
        let mut ids = BTreeMap::new();
        for _ in 0..self.length()? {
            let (name, id) = self.topic()?;
            if let (Some(name), Some(id)) = (name, id) {
                ids.insert(name, id);
            }
        }
        Ok(ids)
    }

    /// Name, and id when the broker knows the topic.
    fn topic(&mut self) -> std::io::Result<(Option<String>, Option<String>)> {
        let error = i16::from_be_bytes(self.array()?);
        let name = self.text()?;
        let id: [u8; 16] = self.array()?;
        self.take(1)?; // internal
        for _ in 0..self.length()? {
            self.take(14)?; // error, index, leader, leader epoch
            for _ in 0..3 {
                let replicas = self.length()?;
                self.take(replicas.saturating_mul(4))?;
            }
            self.tags()?;
        }
        self.take(4)?; // authorized operations
        self.tags()?;
        let known = error == 0 && id != [0; 16];
        Ok((name, known.then(|| URL_SAFE_NO_PAD.encode(id))))
    }

    fn take(&mut self, count: usize) -> std::io::Result<&[u8]> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| malformed("it ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> std::io::Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| malformed("it ends early"))
    }

    fn varint(&mut self) -> std::io::Result<usize> {
        let mut value = 0_usize;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number without end"))
    }

    /// Of a compact array: stored plus one, zero for null.
    fn length(&mut self) -> std::io::Result<usize> {
        Ok(self.varint()?.saturating_sub(1))
    }

    fn text(&mut self) -> std::io::Result<Option<String>> {
        match self.varint()? {
            0 => Ok(None),
            n => {
                let bytes = self.take(n - 1)?;
                Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
    }

    fn tags(&mut self) -> std::io::Result<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()?;
            self.take(size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let mut a = vec![0, 0, 0, 0, 0, 0, 0, 0, 0];
        a.extend([2, 0, 0, 0, 1, 2, b'h', 0, 0, 0x23, 0x84, 0, 0]); // one broker
        a.extend([2, b'c', 0, 0, 0, 1, 3]); // cluster, controller, two topics
        for (error, name, id) in [(0_i16, b'a', 7_u8), (3, b'b', 0)] {
            a.extend(error.to_be_bytes());
            a.extend([2, name]);
            a.extend([id; 16]);
            a.extend([0, 2]); // not internal, one partition
            a.extend([0; 14]);
            a.extend([2, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1, 0]);
            a.extend([0, 0, 0, 0, 0]);
        }
        a.push(0);
        a
    }

    #[test]
    fn ids_of_topics_that_exist_are_read() {
        let ids = Reader(&answer()).metadata().unwrap();
        assert_eq!(ids.len(), 1);
        assert_eq!(ids["a"], URL_SAFE_NO_PAD.encode([7; 16]));
    }

    #[test]
    fn nothing_a_stranger_sends_is_more_than_an_error() {
        let whole = answer();
        for cut in 0..whole.len() - 1 {
            assert!(Reader(&whole[..cut]).metadata().is_err(), "cut at {cut}");
        }
        let mut bent = whole.clone();
        for i in 0..bent.len() {
            bent[i] ^= 0xFF;
            let _ = Reader(&bent).metadata();
            bent[i] ^= 0xFF;
        }
    }
}
