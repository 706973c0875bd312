//! How a pipeline update's result differs from what was there, in the terms of `updateDescription`.

use bson::{Bson, Document};

use super::Description;

pub(super) fn describe(old: &Document, new: &Document) -> Description {
    let mut description = Description::default();
    documents(old, new, "", &mut description);
    description
}

fn documents(old: &Document, new: &Document, prefix: &str, out: &mut Description) {
    for key in old.keys().filter(|k| !new.contains_key(k)) {
        out.removed.push(format!("{prefix}{key}"));
    }
    for (key, value) in new {
        let path = format!("{prefix}{key}");
        match old.get(key) {
            Some(before) => values(before, value, path, out),
            None => drop(out.updated.insert(path, value.clone())),
        }
    }
}

fn values(old: &Bson, new: &Bson, path: String, out: &mut Description) {
    match (old, new) {
        (Bson::Document(x), Bson::Document(y)) => documents(x, y, &format!("{path}."), out),
        (Bson::Array(x), Bson::Array(y)) => {
            if y.len() < x.len() {
                out.truncated
                    .push((path.clone(), i32::try_from(y.len()).unwrap_or(i32::MAX)));
            }
            for (index, value) in y.iter().enumerate() {
                let path = format!("{path}.{index}");
                match x.get(index) {
                    Some(before) => values(before, value, path, out),
                    None => drop(out.updated.insert(path, value.clone())),
                }
            }
        }
        _ if same(old, new) => {}
        _ => drop(out.updated.insert(path, new.clone())),
    }
}

/// Equal to the bit: NaN is itself, and an int that became a long has changed.
fn same(old: &Bson, new: &Bson) -> bool {
    match (old, new) {
        (Bson::Double(x), Bson::Double(y)) => x.to_bits() == y.to_bits(),
        _ => old == new,
    }
}
