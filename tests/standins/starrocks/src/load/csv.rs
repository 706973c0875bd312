//! CSV bodies, the default format of Stream Load. `\N` is NULL.

use super::headers::LoadHeaders;

/// Splits a body into rows of fields.
pub fn rows<'a>(body: &'a str, headers: &LoadHeaders) -> Vec<Vec<Option<&'a str>>> {
    let delimiter = headers.row_delimiter.as_str();
    let body = body.strip_suffix(delimiter).unwrap_or(body);
    if body.is_empty() {
        return Vec::new();
    }
    body.split(delimiter)
        .skip(headers.skip_header)
        .map(|line| fields(line, headers))
        .collect()
}

fn fields<'a>(line: &'a str, headers: &LoadHeaders) -> Vec<Option<&'a str>> {
    let separator = headers.column_separator.as_str();
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match headers.enclose.and_then(|quote| enclosed(rest, quote)) {
            Some((field, after)) => (field, after.strip_prefix(separator)),
            None => match rest.split_once(separator) {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            },
        };
        let field = if headers.trim_space { field.trim() } else { field };
        out.push((field != "\\N").then_some(field));
        match after {
            Some(after) => rest = after,
            None => return out,
        }
    }
}

fn enclosed(text: &str, quote: char) -> Option<(&str, &str)> {
    text.strip_prefix(quote)?.split_once(quote)
}
