//! Projections (`{a: 1, "b.c": 1}` or `{a: 0}`) and sort orders.

use std::{cmp::Ordering, collections::BTreeMap};

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf, raw::RawDocument};

use super::{
    Doc,
    expr::as_i64,
    order,
    path::{self, Path},
};
use crate::error::{Result, bad_value};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Include,
    Exclude,
}

#[derive(Debug, Clone)]
pub struct Projection {
    mode: Mode,
    keep_id: bool,
    tree: Tree,
}

/// The named paths, one level of keys per step; a leaf has no children.
#[derive(Debug, Clone, Default)]
struct Tree(BTreeMap<String, Tree>);

impl Projection {
    /// `None` when the specification is empty: the whole document.
    pub fn parse(spec: &RawDocument) -> Result<Option<Self>> {
        let mut mode = None;
        let mut id = None;
        let mut tree = Tree::default();
        for element in spec {
            let (key, value) = element?;
            let wanted = match value {
                RawBsonRef::Boolean(b) => b,
                RawBsonRef::Document(_) | RawBsonRef::String(_) | RawBsonRef::Array(_) => {
                    return Err(bad_value(format!(
                        "projection of {}: expressions are not supported by this stand-in",
                        key.as_str()
                    )));
                }
                number => as_i64(number) != Some(0),
            };
            if key.as_str() == "_id" {
                id = Some(wanted);
                continue;
            }
            let this = if wanted { Mode::Include } else { Mode::Exclude };
            if mode.as_ref().is_some_and(|m| *m != this) {
                return Err(bad_value(format!(
                    "Cannot mix inclusion and exclusion in one projection (field {})",
                    key.as_str()
                )));
            }
            mode = Some(this);
            tree.insert(&path::split(key.as_str()));
        }
        let mode = match (mode, id) {
            (Some(mode), _) => mode,
            (None, Some(true)) => Mode::Include,
            (None, Some(false)) => Mode::Exclude,
            (None, None) => return Ok(None),
        };
        Ok(Some(Self {
            mode,
            keep_id: id.unwrap_or(true),
            tree,
        }))
    }

    pub fn apply(&self, doc: &RawDocument) -> RawDocumentBuf {
        let mut out = RawDocumentBuf::new();
        for (key, value) in doc.iter().map_while(std::result::Result::ok) {
            if key.as_str() == "_id" {
                if self.keep_id {
                    out.append(key, value);
                }
                continue;
            }
            if let Some(kept) = self.project(value, self.tree.0.get(key.as_str())) {
                out.append(key, kept);
            }
        }
        out
    }

    fn project(&self, value: RawBsonRef<'_>, named: Option<&Tree>) -> Option<RawBson> {
        match (&self.mode, named) {
            (Mode::Include, None) => None,
            (Mode::Exclude, None) => Some(value.into()),
            (Mode::Include, Some(tree)) if tree.0.is_empty() => Some(value.into()),
            (Mode::Exclude, Some(tree)) if tree.0.is_empty() => None,
            (_, Some(tree)) => match value {
                RawBsonRef::Document(inner) => {
                    let mut out = RawDocumentBuf::new();
                    for (key, value) in inner.iter().map_while(std::result::Result::ok) {
                        if let Some(kept) = self.project(value, tree.0.get(key.as_str())) {
                            out.append(key, kept);
                        }
                    }
                    Some(RawBson::Document(out))
                }
                RawBsonRef::Array(items) => {
                    let items = items.into_iter().map_while(std::result::Result::ok);
                    Some(RawBson::Array(
                        items
                            .filter_map(|v| self.project(v, named))
                            .collect::<RawArrayBuf>(),
                    ))
                }
                scalar => (self.mode == Mode::Exclude).then(|| scalar.into()),
            },
        }
    }
}

impl Tree {
    fn insert(&mut self, path: &[String]) {
        if let Some((first, rest)) = path.split_first() {
            self.0.entry(first.clone()).or_default().insert(rest);
        }
    }
}

#[derive(Debug, Clone)]
pub struct Sort(Vec<(Path, bool)>);

impl Sort {
    pub fn parse(spec: &RawDocument) -> Result<Option<Self>> {
        let mut keys = Vec::new();
        for element in spec {
            let (key, direction) = element?;
            match (key.as_str(), as_i64(direction)) {
                ("$natural", Some(1)) => {}
                (name, Some(1)) => keys.push((path::split(name), false)),
                (name, Some(-1)) if name != "$natural" => keys.push((path::split(name), true)),
                (name, _) => {
                    return Err(bad_value(format!(
                        "sort of {name}: the direction must be 1 or -1"
                    )));
                }
            }
        }
        Ok(if keys.is_empty() { None } else { Some(Self(keys)) })
    }

    /// `Some(descending)` when the order is that of `_id` alone, which the index already has.
    pub fn by_id(&self) -> Option<bool> {
        match &self.0[..] {
            [(path, descending)] if path.len() == 1 && path[0] == "_id" => Some(*descending),
            _ => None,
        }
    }

    pub fn sort(&self, docs: &mut Vec<Doc>) {
        let key = |doc: &Doc| {
            self.0
                .iter()
                .map(|(path, descending)| sort_key(doc, path, *descending))
                .collect()
        };
        let mut keyed: Vec<(Vec<order::Key>, Doc)> = std::mem::take(docs)
            .into_iter()
            .map(|doc| (key(&doc), doc))
            .collect();
        keyed.sort_by(|(a, _), (b, _)| self.compare(a, b));
        docs.extend(keyed.into_iter().map(|(_, d)| d));
    }

    fn compare(&self, a: &[order::Key], b: &[order::Key]) -> Ordering {
        let by_key = self
            .0
            .iter()
            .zip(a.iter().zip(b))
            .map(|((_, descending), (x, y))| if *descending { y.cmp(x) } else { x.cmp(y) });
        by_key.fold(Ordering::Equal, Ordering::then)
    }
}

/// An array sorts by its least element going up and its greatest going down; missing sorts as null.
fn sort_key(doc: &RawDocument, path: &[String], descending: bool) -> order::Key {
    let mut found = Vec::new();
    path::candidates(doc, path, &mut found);
    let values = found.into_iter().flat_map(|value| match value {
        Some(RawBsonRef::Array(items)) => items
            .into_iter()
            .map_while(std::result::Result::ok)
            .map(order::Key::of)
            .collect(),
        Some(value) => vec![order::Key::of(value)],
        None => vec![order::Key(RawBson::Null)],
    });
    let extreme = if descending { values.max() } else { values.min() };
    extreme.unwrap_or(order::Key(RawBson::Null))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn project(spec: RawDocumentBuf, doc: &RawDocumentBuf) -> RawDocumentBuf {
        Projection::parse(&spec).unwrap().unwrap().apply(doc)
    }

    #[test]
    fn inclusion_exclusion_and_the_id() {
        let doc = rawdoc! { "_id": 1, "a": 1, "b": { "c": 1, "d": 2 }, "e": [{ "f": 1, "g": 2 }, 7] };
        assert_eq!(project(rawdoc! { "_id": 1 }, &doc), rawdoc! { "_id": 1 });
        assert_eq!(
            project(rawdoc! { "b.c": 1, "_id": 0 }, &doc),
            rawdoc! { "b": { "c": 1 } }
        );
        assert_eq!(
            project(rawdoc! { "e.f": 1 }, &doc),
            rawdoc! { "_id": 1, "e": [{ "f": 1 }] }
        );
        assert_eq!(
            project(rawdoc! { "b.c": 0, "e": 0 }, &doc),
            rawdoc! { "_id": 1, "a": 1, "b": { "d": 2 } }
        );
        assert!(Projection::parse(&rawdoc! { "a": 1, "b": 0 }).is_err());
        assert!(Projection::parse(&rawdoc! {}).unwrap().is_none());
    }

    #[test]
    fn sorting_is_stable_and_by_bson_order() {
        let mut docs = [
            rawdoc! { "_id": 1, "x": "a" },
            rawdoc! { "_id": 2, "x": 5 },
            rawdoc! { "_id": 3 },
            rawdoc! { "_id": 4, "x": 5 },
        ]
        .map(Doc::new)
        .to_vec();
        Sort::parse(&rawdoc! { "x": -1 })
            .unwrap()
            .unwrap()
            .sort(&mut docs);
        let ids: Vec<i32> = docs.iter().map(|d| d.get_i32("_id").unwrap()).collect();
        assert_eq!(ids, [1, 2, 4, 3]);
    }
}
