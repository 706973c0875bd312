//! Vectors are records of a real Debezium MongoDB connector 3.6.1 (JsonConverter, schemas.enable=false).

use super::*;

const SOURCE: &str = r#""source":{"version":"3.6.1.Final","connector":"mongodb","name":"acme","ts_ms":1795362420598,"snapshot":"false","db":"t_acme","sequence":null,"ts_us":1795362420598000,"ts_ns":1795362420598000000,"collection":"orders","ord":2,"lsid":null,"txnNumber":null,"wallTime":1795362420598}"#;

/// The envelope, less its document, and the document as plain JSON.
fn read(value: &str) -> (Result<Envelope<'static>, EnvelopeError>, String) {
    let mut unescaped = b"left over".to_vec();
    match parse(value.as_bytes(), &mut unescaped) {
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
        parse(b"{\"op\":\"\xff\"}", &mut Vec::new()),
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
