//! JSON bodies: one object, objects one after the other, or an array with strip_outer_array.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One object with its values unparsed. Of a repeated key the first counts.
#[derive(Debug, Default)]
pub struct Object<'a> {
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.get())
    }

    pub fn entries(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.entries.iter().map(|(k, v)| (k.as_ref(), v.get()))
    }
}

/// A key borrowed from the body when it holds no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    if entries.iter().any(|(k, _)| *k == key) {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((key, map.next_value()?));
                    }
                }
                Ok(Object { entries })
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Splits a body into its row objects. `Err` rows are what the BE counts as filtered; after a syntax error the rest of
/// the body is unreadable.
pub fn rows<'a>(
    body: &'a str,
    strip_outer_array: bool,
    root: Option<&str>,
) -> Vec<Result<Object<'a>, String>> {
    let mut rows = Vec::new();
    for document in serde_json::Deserializer::from_str(body).into_iter::<&'a RawValue>() {
        let document = match document {
            Ok(document) => document.get(),
            Err(e) => {
                rows.push(Err(format!("Failed to parse json, error: {e}")));
                break;
            }
        };
        let document = match root {
            None => document,
            Some(root) => match at_path(document, root) {
                Some(inside) => inside,
                None => {
                    rows.push(Err(format!("No such field. json root: {root}")));
                    continue;
                }
            },
        };
        push_document(document, strip_outer_array, &mut rows);
    }
    rows
}

fn push_document<'a>(document: &'a str, strip_outer_array: bool, rows: &mut Vec<Result<Object<'a>, String>>) {
    let is_array = document.starts_with('[');
    if strip_outer_array != is_array {
        rows.push(Err(if is_array {
            "The value is array type in json document stream, you can set strip_outer_array=true to parse each element \
             of the array as individual rows"
                .into()
        } else {
            "The value should be array type with strip_outer_array=true".into()
        }));
        return;
    }
    if !is_array {
        rows.push(serde_json::from_str(document).map_err(|_| "The value should be object type".into()));
        return;
    }
    match serde_json::from_str::<Vec<&'a RawValue>>(document) {
        Ok(items) => rows.extend(items.into_iter().map(|item| {
            serde_json::from_str(item.get()).map_err(|_| "The value should be object type".into())
        })),
        Err(e) => rows.push(Err(format!("Failed to parse json, error: {e}"))),
    }
}

/// Follows `$.a.b[0]` inside a document; the raw text found there.
pub fn at_path<'a>(document: &'a str, path: &str) -> Option<&'a str> {
    let mut here = document.trim();
    for step in steps(path)? {
        here = match step {
            Step::Key(key) => serde_json::from_str::<Object<'a>>(here).ok()?.get(&key)?,
            Step::Index(at) => serde_json::from_str::<Vec<&'a RawValue>>(here)
                .ok()?
                .get(at)?
                .get(),
        };
    }
    Some(here)
}

enum Step {
    Key(String),
    Index(usize),
}

/// `$.a."b.c"[0]`; the `$` may be missing.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.trim().strip_prefix('$').unwrap_or(path.trim());
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, after) = inside.split_once(']')?;
            steps.push(Step::Index(index.trim().parse().ok()?));
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(quoted) = rest.strip_prefix('"') {
            let (key, after) = quoted.split_once('"')?;
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_key_wins() {
        let rows = rows(r#"{"a":1,"a":2,"b":{"x":[]}}"#, false, None);
        let row = rows[0].as_ref().unwrap();
        assert_eq!(row.get("a"), Some("1"));
        assert_eq!(row.get("b"), Some(r#"{"x":[]}"#));
        assert_eq!(row.get("c"), None);
    }

    #[test]
    fn arrays_need_strip_outer_array() {
        assert_eq!(rows("[{\"a\":1},{\"a\":2}]", true, None).len(), 2);
        assert!(
            rows("[{\"a\":1}]", false, None)[0]
                .as_ref()
                .unwrap_err()
                .contains("strip_outer_array=true")
        );
        assert!(rows("{\"a\":1}", true, None)[0].is_err());
        assert_eq!(rows("{\"a\":1}\n{\"a\":2} {\"a\":3}", false, None).len(), 3);
    }

    #[test]
    fn paths_go_inside() {
        assert_eq!(
            at_path(r#"{"a":{"b":[1,{"c":"x"}]}}"#, "$.a.b[1].c"),
            Some("\"x\"")
        );
        assert_eq!(at_path(r#"{"a.b":1}"#, r#"$."a.b""#), Some("1"));
        assert_eq!(at_path(r#"{"a":1}"#, "$.z"), None);
        assert_eq!(rows(r#"{"d":[{"a":1}]}"#, true, Some("$.d")).len(), 1);
    }
}
