use super::*;
use proptest::prelude::*;

#[test]
fn skips_what_debezium_writes() {
    let text = br#"{"a": NaN,"b": [-Infinity, {"c": "x\"}"}],"d": Infinity} ,"#;
    let mut cursor = Cursor::new(text);
    cursor.skip().unwrap();
    assert_eq!(cursor.peek().unwrap(), b',');
}

#[test]
fn surrogate_pairs_become_characters_and_lone_ones_an_error() {
    let mut out = Vec::new();
    unescape(br"h\u00e9 \ud83d\ude00", &mut out).unwrap();
    assert_eq!(out, "hé 😀".as_bytes());
    assert!(unescape(br"\ud83d", &mut out).is_err());
    assert!(unescape(br"\u12", &mut out).is_err());
}

#[test]
fn a_document_with_other_escapes_is_not_read_in_place() {
    for document in [r#"{"a":"x\"y"}"#, r#"{"a":"tab\t"}"#, r#"{"a":"\\"}"#] {
        let literal = serde_json::to_string(document).unwrap();
        assert_eq!(Cursor::new(literal.as_bytes()).string_of_json(), Ok(None));
    }
    assert_eq!(Cursor::new(br#""{\"a\":1}"#).string_of_json(), Ok(None), "no end");
}

#[test]
fn depth_is_bounded() {
    let text = "[".repeat(MAX_DEPTH + 1);
    assert_eq!(
        Cursor::new(text.as_bytes()).skip().unwrap_err().what,
        "nested too deeply"
    );
}

proptest! {
    #[test]
    fn strings_survive_a_round_trip(text in "\\PC*|[\"\\\\\n\t\u{1}]{0,20}") {
        let mut literal = Vec::new();
        write_string(&text, &mut literal);
        prop_assert_eq!(&serde_json::from_slice::<String>(&literal).unwrap(), &text);
        let mut out = Vec::new();
        Cursor::new(&literal).string_into(&mut out).unwrap();
        prop_assert_eq!(out, text.as_bytes());
        let raw = Cursor::new(&literal).string().unwrap();
        prop_assert_eq!(raw.value().unwrap().into_owned(), text.as_bytes());
    }

    /// What a quoted text says is what its plain form says, token by token.
    #[test]
    fn a_document_reads_the_same_in_place(names in proptest::collection::vec("[^\"\\\\\u{0}-\u{1f}]{0,40}", 1..6), number in any::<i64>()) {
        let fields: Vec<String> = names.iter().map(|n| format!("\"{n}\": {{\"{n}\":[\"{n}\",{number}]}}")).collect();
        let document = format!("{{{}}}", fields.join(","));
        let literal = serde_json::to_string(&document).unwrap();
        let mut outer = Cursor::new(literal.as_bytes());
        let text = outer.string_of_json().unwrap().expect("no escapes but quotes");
        prop_assert!(outer.end().is_ok());
        prop_assert_eq!(&text.to_plain()[..], document.as_bytes());
        let (mut here, mut plain) = (Cursor::over(text), Cursor::new(document.as_bytes()));
        prop_assert!(here.open_object().unwrap() && plain.open_object().unwrap());
        loop {
            prop_assert_eq!(here.name().unwrap(), plain.name().unwrap());
            here.skip().unwrap();
            plain.skip().unwrap();
            let more = here.next_member().unwrap();
            prop_assert_eq!(more, plain.next_member().unwrap());
            if !more { break; }
        }
        prop_assert!(here.end().is_ok());
    }

    #[test]
    fn searches_find_what_a_loop_finds(text in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>(), Just(b'a')], 0..80)) {
        let naive = |wanted: &[u8]| text.iter().position(|b| wanted.contains(b)).unwrap_or(text.len());
        prop_assert_eq!(find(&text, b'"'), naive(b"\""));
        prop_assert_eq!(find2(&text, b'"', b'\\'), naive(b"\"\\"));
    }

    /// Against the naive reading, byte by byte.
    #[test]
    fn the_end_of_a_quoted_text_is_found(text in proptest::collection::vec(prop_oneof![Just(b"\\\"".to_vec()), Just(b"a".to_vec()), Just(b"\\".to_vec()), Just(b"\"".to_vec()), Just(vec![0x80]), Just(vec![b'b'; 33])], 0..40)) {
        let text = text.concat();
        let mut naive = None;
        let mut i = 0;
        while i < text.len() {
            match (text[i], text.get(i + 1)) {
                (b'\\', Some(b'"')) => i += 2,
                (b'\\', _) => break,
                (b'"', _) => { naive = Some(i); break; }
                _ => i += 1,
            }
        }
        prop_assert_eq!(end_of_quoted(&text), naive);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Cursor::new(&bytes).skip();
        let _ = Cursor::new(&bytes).string();
        let _ = Cursor::new(&bytes).string_into(&mut Vec::new());
        let _ = Cursor::new(&bytes).string_of_json();
        let _ = Cursor::over(Text::quoted(&bytes)).skip();
    }
}
