//! Paths of a mapping: `a.b.c`, `a[0].b`, `a["odd.name"]`.

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Name(String),
    Index(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?}: {what}")]
pub struct PathError {
    path: String,
    what: &'static str,
}

pub fn parse(path: &str) -> Result<Vec<Step>, PathError> {
    let fail = |what| PathError {
        path: path.to_owned(),
        what,
    };
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        if !name.is_empty() {
            steps.push(Step::Name(name.to_owned()));
        } else if !(steps.is_empty() && tail.starts_with('[')) {
            return Err(fail("empty step"));
        }
        rest = tail;
        while let Some(tail) = rest.strip_prefix('[') {
            let (step, tail) = bracket(tail).ok_or_else(|| fail("expected [index] or [\"name\"]"))?;
            steps.push(step);
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(steps);
        }
        rest = rest
            .strip_prefix('.')
            .ok_or_else(|| fail("expected '.' or '['"))?;
    }
}

/// The inside of one bracket and what follows it.
fn bracket(text: &str) -> Option<(Step, &str)> {
    if text.starts_with('"') {
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = stream.next()?.ok()?;
        let tail = text.get(stream.byte_offset()..)?.strip_prefix(']')?;
        return Some((Step::Name(name), tail));
    }
    let (index, tail) = text.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), tail))
}

/// Appends a name to a path's text as [`parse`] reads it back.
pub fn push_name(path: &mut String, name: &str) {
    let special = |byte: u8| matches!(byte, b'.' | b'[' | b']' | b'"' | b'\\');
    let plain = !name.is_empty() && !name.bytes().any(special) && !name.starts_with('$');
    if plain {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    } else {
        path.push('[');
        let mut quoted = Vec::new();
        crate::json::write_string(name, &mut quoted);
        path.push_str(&String::from_utf8_lossy(&quoted));
        path.push(']');
    }
}

pub fn push_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Step {
        Step::Name(text.to_owned())
    }

    #[test]
    fn the_documented_forms() {
        assert_eq!(parse("a.b.c").unwrap(), [name("a"), name("b"), name("c")]);
        assert_eq!(parse("a[0].b").unwrap(), [name("a"), Step::Index(0), name("b")]);
        assert_eq!(parse(r#"a["odd.name"]"#).unwrap(), [name("a"), name("odd.name")]);
        assert_eq!(
            parse(r#"["x y"][2][3]"#).unwrap(),
            [name("x y"), Step::Index(2), Step::Index(3)]
        );
        for wrong in ["", ".", "a.", "a..b", "a[", "a[x]", "a[\"b]", "a[0]b", ".a"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(steps in proptest::collection::vec(
            prop_oneof![".{0,6}".prop_map(Step::Name), (0usize..99).prop_map(Step::Index)], 1..6)) {
            let mut text = String::new();
            for step in &steps {
                match step {
                    Step::Name(name) => push_name(&mut text, name),
                    Step::Index(index) => push_index(&mut text, *index),
                }
            }
            prop_assert_eq!(parse(&text).unwrap(), steps);
        }
    }
}
