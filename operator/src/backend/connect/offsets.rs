//! What a committed Debezium offset says: whether the initial snapshot runs, and where in the source's time it stands.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::model::OffsetEntry;

/// Position in the source's oplog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePosition {
    /// Seconds since 1970 of the cluster time.
    pub seconds: u32,
    /// Counter within the second.
    pub increment: u32,
}

impl SourcePosition {
    pub fn time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(self.seconds))
    }
}

/// The offset of one topic prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOffset {
    /// The initial snapshot has not ended.
    pub initial_snapshot: bool,
    /// From the resume token; works for tokens of idle streams too, unlike `sec`/`ord` (both -1 after a heartbeat).
    pub position: Option<SourcePosition>,
}

/// The offset stored under `prefix`. Others can linger: Connect accepts patches for any partition.
pub fn source_offset(entries: &[OffsetEntry], prefix: &str) -> Option<SourceOffset> {
    let entry = entries
        .iter()
        .find(|e| e.partition.get("server_id").and_then(Value::as_str) == Some(prefix))?;
    let offset = entry.offset.as_ref()?;
    let token = offset.get("resume_token").and_then(Value::as_str);
    Some(SourceOffset {
        initial_snapshot: offset.get("initsync").is_some_and(is_true),
        position: token
            .and_then(decode_resume_token)
            .or_else(|| cluster_time(offset)),
    })
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
}

fn cluster_time(offset: &serde_json::Map<String, Value>) -> Option<SourcePosition> {
    let field = |key: &str| u32::try_from(offset.get(key)?.as_i64()?).ok();
    Some(SourcePosition {
        seconds: field("sec").filter(|s| *s > 0)?,
        increment: field("ord")?,
    })
}

/// Time inside a resume token: base64 of the BSON document `{_data: "<hex>"}`, whose hex is a KeyString that starts with
/// `82` and the big-endian cluster time.
pub fn decode_resume_token(token: &str) -> Option<SourcePosition> {
    let bson = STANDARD.decode(token.trim()).ok()?;
    // int32 document length, element type 2 (string), name, int32 length with the final NUL, text, NUL.
    let rest = bson.get(4..)?.strip_prefix(b"\x02_data\0")?;
    let (length, text) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
    let hex = std::str::from_utf8(text.get(..length.checked_sub(1)?)?).ok()?;
    key_string_time(hex)
}

fn key_string_time(hex: &str) -> Option<SourcePosition> {
    let word = |from: usize| u32::from_str_radix(hex.get(from..from + 8)?, 16).ok();
    hex.strip_prefix("82")?;
    Some(SourcePosition {
        seconds: word(2)?,
        increment: word(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(hex: &str) -> String {
        let mut bson = Vec::new();
        let length = i32::try_from(hex.len() + 1).expect("short");
        bson.extend_from_slice(&(length + 16).to_le_bytes());
        bson.extend_from_slice(b"\x02_data\0");
        bson.extend_from_slice(&length.to_le_bytes());
        bson.extend_from_slice(hex.as_bytes());
        bson.extend_from_slice(b"\0\0");
        STANDARD.encode(bson)
    }

    fn entries(offset: Value) -> Vec<OffsetEntry> {
        serde_json::from_value(json!([
            {"partition": {"server_id": "other"}, "offset": {"sec": 1}},
            {"partition": {"server_id": "acme"}, "offset": offset},
        ]))
        .expect("offsets")
    }

    #[test]
    fn event_and_idle_tokens_give_their_cluster_time() {
        let expected = Some(SourcePosition {
            seconds: 0x6B01_2034,
            increment: 6,
        });
        assert_eq!(
            decode_resume_token(&token("826B012034000000062B0229296E04")),
            expected
        );
        assert_eq!(
            decode_resume_token(&token("826B012034000000062B042C0100296E5A1004")),
            expected
        );
    }

    #[test]
    fn the_token_counts_when_the_last_position_was_a_heartbeat() {
        let idle = token("826B012034000000062B0229296E04");
        let e = entries(json!({"sec": -1, "ord": -1, "resume_token": idle}));
        let offset = source_offset(&e, "acme").expect("offset");
        assert_eq!(offset.position.map(|p| p.seconds), Some(0x6B01_2034));
        assert!(!offset.initial_snapshot);
        assert_eq!(source_offset(&e, "nobody"), None);
    }

    #[test]
    fn a_running_snapshot_and_bare_times_are_read() {
        let offset = source_offset(
            &entries(json!({"sec": 1_795_362_420, "ord": 6, "initsync": true})),
            "acme",
        )
        .expect("offset");
        assert!(offset.initial_snapshot);
        assert_eq!(offset.position.map(|p| p.increment), Some(6));
        assert_eq!(
            source_offset(&entries(json!({"sec": -1, "ord": -1})), "acme"),
            Some(SourceOffset::default())
        );
    }

    #[test]
    fn garbage_is_no_position() {
        for text in [
            "",
            "!!",
            "AAAA",
            &token("83"),
            &token("82zz"),
            &STANDARD.encode([0xFF; 40]),
        ] {
            assert_eq!(decode_resume_token(text), None, "{text}");
        }
    }
}
