//! Vectors are records of a real Debezium MongoDB connector 3.6.1 (JsonConverter, schemas.enable=false).

use super::*;
use proptest::prelude::*;

const SOURCE: &str = r#""source":{"version":"3.6.1.Final","connector":"mongodb","name":"acme","ts_ms":1795362420598,"snapshot":"false","db":"t_acme","sequence":null,"ts_us":1795362420598000,"ts_ns":1795362420598000000,"collection":"orders","ord":2,"lsid":null,"txnNumber":null,"wallTime":1795362420598}"#;

/// The envelope, less its document, and the document as plain JSON.
fn read(value: &str) -> (Result<Envelope<'static>, EnvelopeError>, String) {
    // Twice: the second time the reader knows how a source's block begins.
    let mut reader = Reader::default();
    let first = told(&mut reader, value);
    assert_eq!(told(&mut reader, value), first);
    first
}

fn told(reader: &mut Reader, value: &str) -> (Result<Envelope<'static>, EnvelopeError>, String) {
    match reader.read(value.as_bytes()) {
        Ok(envelope) => {
            let document = String::from_utf8(envelope.document.to_plain().into_owned()).unwrap();
            let document_less = Envelope {
                document: Text::default(),
                ..envelope
            };
            (Ok(document_less), document)
        }
        Err(error) => (Err(error), String::new()),
    }
}

#[test]
fn an_insert() {
    let value = format!(
        r#"{{"before":null,"after":"{{\"_id\": {{\"$oid\": \"64b7f0a1c2d3e4f5a6b7c8da\"}},\"x\": {{\"$numberLong\": \"1\"}},\"y\": \"a\"}}","updateDescription":null,{SOURCE},"op":"c","ts_ms":1795362420808,"transaction":null}}"#
    );
    let (envelope, document) = read(&value);
    assert_eq!(
        envelope.unwrap(),
        Envelope {
            op: Op::Create,
            change: Change::Upsert,
            document: Text::default(),
            source_ts_ms: Some(1795362420598)
        }
    );
    assert_eq!(
        document,
        r#"{"_id": {"$oid": "64b7f0a1c2d3e4f5a6b7c8da"},"x": {"$numberLong": "1"},"y": "a"}"#
    );
}

#[test]
fn an_update_with_pre_image_reads_after_only() {
    let value = format!(
        r#"{{"before":"{{\"_id\": 42,\"n\": 1}}","after":"{{\"_id\": 42,\"n\": {{\"$numberLong\": \"10\"}}}}","updateDescription":{{"removedFields":["gone"],"updatedFields":"{{\"n\": 10}}","truncatedArrays":null}},{SOURCE},"op":"u","ts_ms":1,"transaction":null}}"#
    );
    let (envelope, document) = read(&value);
    assert_eq!(envelope.unwrap().change, Change::Upsert);
    assert_eq!(document, r#"{"_id": 42,"n": {"$numberLong": "10"}}"#);
}

#[test]
fn a_delete_and_an_update_of_a_vanished_document_are_deletes() {
    for op in ["d", "u"] {
        let value = format!(
            r#"{{"before":"{{\"_id\": 4.5}}","after":null,"updateDescription":null,{SOURCE},"op":"{op}","ts_ms":1,"transaction":null}}"#
        );
        let (envelope, document) = read(&value);
        assert_eq!(envelope.unwrap().change, Change::Delete);
        assert_eq!(document, "");
    }
}

#[test]
fn the_schema_wrapper_is_taken_off() {
    let value = format!(
        r#"{{"schema":{{"type":"struct","fields":[{{"op":"x","payload":{{}}}}]}},"payload":{{"before":null,"after":"{{\"_id\": 1}}",{SOURCE},"op":"r","ts_ms":1}}}}"#
    );
    let (envelope, document) = read(&value);
    assert_eq!(envelope.unwrap().op, Op::Read);
    assert_eq!(document, r#"{"_id": 1}"#);
}

#[test]
fn nothing_that_could_hide_a_change_is_skipped() {
    assert_eq!(
        read(r#"{"after":null,"op":"t"}"#).0,
        Err(EnvelopeError::UnknownOp("t".into()))
    );
    assert_eq!(read(r#"{"_id":777,"__op":"c"}"#).0, Err(EnvelopeError::NoOp));
    assert_eq!(
        read(r#"{"after":null,"op":"c"}"#).0,
        Err(EnvelopeError::NoAfter("c"))
    );
    assert!(matches!(
        read(r#"{"after":{"id":1},"op":"c"}"#).0,
        Err(EnvelopeError::AfterIsNotText(_))
    ));
    assert!(matches!(read(r#"{"after":"#).0, Err(EnvelopeError::Json(_))));
    assert_eq!(
        Reader::default().read(b"{\"op\":\"\xff\"}"),
        Err(EnvelopeError::Utf8)
    );
}

#[test]
fn inner_escapes_lose_one_level_only() {
    let (_, document) =
        read(r#"{"after":"{\"s\": \"h\u00e9 \\\"q\\\" \\n \\u2028 \\ud83d\\ude00\"}","op":"r"}"#);
    assert_eq!(document, r#"{"s": "hé \"q\" \n \u2028 \ud83d\ude00"}"#);
}

#[test]
fn keys() {
    let read = |key: Option<&str>| {
        let mut id = b"left over".to_vec();
        document_key(key.map(str::as_bytes), &mut id).map(|()| String::from_utf8(id).unwrap())
    };
    for (key, id) in [
        (
            r#"{"id":"{\"$oid\": \"64b7f0a1c2d3e4f5a6b7c8d9\"}"}"#,
            r#"{"$oid": "64b7f0a1c2d3e4f5a6b7c8d9"}"#,
        ),
        (r#"{"id":"42"}"#, "42"),
        (r#"{"id":"\"str-id\""}"#, "\"str-id\""),
        (
            r#"{"id":"{\"tenant\": \"a\",\"k\": 1}"}"#,
            r#"{"tenant": "a","k": 1}"#,
        ),
        (r#"{"schema":{"type":"struct"},"payload":{"id":"7"}}"#, "7"),
    ] {
        assert_eq!(read(Some(key)).unwrap(), id);
    }
    assert_eq!(read(None), Err(KeyError::Missing));
    assert_eq!(read(Some(r#"{"id":7}"#)), Err(KeyError::IdIsNotText));
    assert_eq!(read(Some(r#"{"serverName":"acme"}"#)), Err(KeyError::NoId));
}

#[test]
fn heartbeats() {
    assert_eq!(
        heartbeat_ts_ms(br#"{"ts_ms":1795362369966}"#),
        Some(1795362369966)
    );
    assert_eq!(
        heartbeat_ts_ms(br#"{"schema":{},"payload":{"ts_ms":5}}"#),
        Some(5)
    );
    assert_eq!(heartbeat_ts_ms(b"{}"), None);
}

proptest! {
    /// A reader that knows the beginning of the source's block against one that does not: whatever follows it.
    #[test]
    fn what_is_read_fast_is_what_is_read_otherwise(
        before in prop_oneof![Just("null"), Just(r#""{\"a\": 1}""#), Just("{}")],
        after in prop_oneof![Just("null"), Just(r#""{\"a\": \"}\",\"b\": 1}""#), Just(r#""{\"a\": \"x\\n\"}""#), Just(r#""{"#), Just("1"), Just(r#""\\""#)],
        description in prop_oneof![Just("null"), Just(r#"{"removedFields":["x"],"updatedFields":"{\"a\": 1}"}"#), Just("[")],
        ts in prop_oneof![Just("1795362420598"), Just("-5"), Just("1.5"), Just("12345678901234567890"), Just("007"), Just("null"), Just("\"1\""), Just("1x")],
        rest in prop_oneof![Just(r#","ord":2,"lsid":null}"#), Just("}"), Just(r#","a":{"b":"}"}}"#), Just(r#","a":"\"}"}"#), Just(r#","a":"}"#)],
        op in prop_oneof![Just("c"), Just("u"), Just("d"), Just("r"), Just("x"), Just(""), Just("cc")],
        end in prop_oneof![Just(r#""ts_ms":1,"transaction":null}"#), Just(r#""ts_ms":1,"transaction":{"id":"7"}}"#), Just(r#""ts_ms":1,"transaction":null} "#), Just(r#""ts_ms":1,"transaction":null}}"#), Just(r#""op":"d"}"#)],
        space in prop_oneof![4 => Just(""), 1 => Just(" ")],
    ) {
        let block = r#"{"version":"3.6.1.Final","name":"acme","ts_ms":"#;
        let value = format!(r#"{{"before":{before},{space}"after":{after},"updateDescription":{description},"source":{block}{ts}{rest},"op":"{op}",{end}"#);
        let mut knows = Reader::default();
        let learnt = format!(r#"{{"op":"c","after":"{{}}","source":{block}1}}}}"#);
        prop_assert!(knows.read(learnt.as_bytes()).is_ok());
        prop_assert!(!knows.source.is_empty());
        prop_assert_eq!(told(&mut knows, &value), told(&mut Reader::default(), &value), "{}", value);
    }
}

/// The property above would hold for a reader that takes nothing.
#[test]
fn the_connector_s_own_form_is_read_fast() {
    let block = &SOURCE[r#""source":"#.len()..SOURCE.find("1795362420598").unwrap()];
    for (before, after, op) in [
        ("null", r#""{\"_id\": 1}""#, "c"),
        (r#""{\"_id\": 1}""#, "null", "d"),
    ] {
        let value = format!(
            r#"{{"before":{before},"after":{after},"updateDescription":null,{SOURCE},"op":"{op}","ts_ms":1,"transaction":null}}"#
        );
        let found = fast::read(value.as_bytes(), block.as_bytes()).unwrap();
        assert_eq!((found.op.code(), found.source_ts_ms), (op, 1_795_362_420_598));
    }
}
