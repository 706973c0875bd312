//! Dotted paths: reading them out of raw documents the way filters do, and out of trees the way updates do.

use bson::{Bson, Document, RawBsonRef, raw::RawDocument};

pub type Path = Vec<String>;

pub fn split(path: &str) -> Path {
    path.split('.').map(str::to_owned).collect()
}

/// Every value a filter on `path` looks at; `None` stands for "missing here". Arrays on the way are walked element by
/// element (and by position when the path names one); an array at the end is given whole.
pub fn candidates<'a>(doc: &'a RawDocument, path: &[String], found: &mut Vec<Option<RawBsonRef<'a>>>) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    match doc.get(first).ok().flatten() {
        None => found.push(None),
        Some(value) => descend(value, rest, found),
    }
}

fn descend<'a>(value: RawBsonRef<'a>, rest: &[String], found: &mut Vec<Option<RawBsonRef<'a>>>) {
    let Some(next) = rest.first() else {
        found.push(Some(value));
        return;
    };
    match value {
        RawBsonRef::Document(doc) => candidates(doc, rest, found),
        RawBsonRef::Array(array) => {
            if let Ok(index) = next.parse::<usize>()
                && let Ok(Some(element)) = array.get(index)
            {
                descend(element, &rest[1..], found);
            }
            for element in array.into_iter().map_while(Result::ok) {
                if let RawBsonRef::Document(doc) = element {
                    candidates(doc, rest, found);
                }
            }
        }
        _ => found.push(None),
    }
}

/// The value at a path in a tree; numbers name positions of arrays.
pub fn get<'a>(doc: &'a Document, path: &[String]) -> Option<&'a Bson> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(doc.get(first)?, |value, part| match value {
        Bson::Document(inner) => inner.get(part),
        Bson::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Why a path cannot be created: the field in the way.
#[derive(Debug, PartialEq)]
pub struct NotViable {
    pub field: String,
    pub blocked_by: String,
}

/// MongoDB refuses to pad an array by more than this many nulls.
const MAX_PADDING: usize = 1_500_000;

/// Puts `value` at `path`, creating documents on the way.
pub fn set(doc: &mut Document, path: &[String], value: Bson) -> Result<(), NotViable> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        doc.insert(first.clone(), value);
        return Ok(());
    }
    let slot = doc
        .entry(first.clone())
        .or_insert_with(|| Bson::Document(Document::new()));
    set_in(slot, first, rest, value)
}

fn set_in(slot: &mut Bson, name: &str, path: &[String], value: Bson) -> Result<(), NotViable> {
    let blocked = |by: &Bson| NotViable {
        field: path[0].clone(),
        blocked_by: format!("{{{name}: {by}}}"),
    };
    match slot {
        Bson::Document(inner) => set(inner, path, value),
        Bson::Array(items) => {
            let index = match path[0].parse::<usize>() {
                Ok(index) if index <= items.len() + MAX_PADDING => index,
                _ => return Err(blocked(&Bson::Array(items.clone()))),
            };
            if items.len() <= index {
                items.resize(index, Bson::Null);
                items.push(if path.len() == 1 {
                    Bson::Null
                } else {
                    Bson::Document(Document::new())
                });
            }
            if path.len() == 1 {
                items[index] = value;
                return Ok(());
            }
            set_in(&mut items[index], &path[0], &path[1..], value)
        }
        other => Err(blocked(other)),
    }
}

/// Removes what is at `path`; a position of an array becomes null, as in MongoDB. Tells whether something was there.
pub fn unset(doc: &mut Document, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    if parents.is_empty() {
        return doc.remove(last).is_some();
    }
    match get_mut(doc, parents) {
        Some(Bson::Document(inner)) => inner.remove(last).is_some(),
        Some(Bson::Array(items)) => match last.parse::<usize>().ok().and_then(|i| items.get_mut(i)) {
            Some(element) => {
                *element = Bson::Null;
                true
            }
            None => false,
        },
        _ => false,
    }
}

pub fn get_mut<'a>(doc: &'a mut Document, path: &[String]) -> Option<&'a mut Bson> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(doc.get_mut(first)?, |value, part| match value {
            Bson::Document(inner) => inner.get_mut(part),
            Bson::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    #[test]
    fn setting_creates_documents_and_pads_arrays() {
        let mut tree = doc! { "a": [1] };
        set(&mut tree, &split("b.c"), bson!(1)).unwrap();
        set(&mut tree, &split("a.3"), bson!(4)).unwrap();
        assert_eq!(tree, doc! { "a": [1, null, null, 4], "b": { "c": 1 } });
    }

    #[test]
    fn a_scalar_on_the_way_is_named() {
        let error = set(&mut doc! { "a": 5 }, &split("a.b"), bson!(1)).unwrap_err();
        assert_eq!(
            error,
            NotViable {
                field: "b".into(),
                blocked_by: "{a: 5}".into()
            }
        );
    }

    #[test]
    fn unsetting_a_position_leaves_a_null() {
        let mut tree = doc! { "a": [1, 2], "b": { "c": 1 } };
        assert!(
            unset(&mut tree, &split("a.0"))
                && unset(&mut tree, &split("b.c"))
                && !unset(&mut tree, &split("b.x"))
        );
        assert_eq!(tree, doc! { "a": [null, 2], "b": {} });
    }
}
