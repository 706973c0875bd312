//! The structural half of a CRD's schema, checked without a server and said in the API server's words: types, patterns, lengths, bounds,
//! enums, required and unknown fields, keys of lists. Structural schemas use a small part of JSON Schema, and only that part is here.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Value, json};

use crate::mapping::FieldError;

/// One place of a schema, with its pattern compiled.
#[derive(Default)]
pub(crate) struct Shape {
    node: Value,
    pattern: Option<Regex>,
    properties: BTreeMap<String, Shape>,
    items: Option<Box<Shape>>,
    /// Schema of the values of a map.
    values: Option<Box<Shape>>,
    /// Nothing is said about fields that are not named.
    open: bool,
}

impl Shape {
    /// Reads a kind's schema as the CRD holds it: what every object has goes without saying there.
    pub(crate) fn of_kind(schema: &Value) -> Self {
        let mut shape = Self::of(schema);
        for (name, kind) in [
            ("apiVersion", "string"),
            ("kind", "string"),
            ("metadata", "object"),
        ] {
            let common = || Self::of(&json!({"type": kind}));
            shape.properties.entry(name.to_owned()).or_insert_with(common);
        }
        shape
    }

    fn of(schema: &Value) -> Self {
        let below = |key: &str| {
            schema
                .get(key)
                .filter(|s| s.is_object())
                .map(|s| Box::new(Self::of(s)))
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self {
            // A pattern that Rust cannot read is the API server's to judge.
            pattern: schema["pattern"].as_str().and_then(|p| Regex::new(p).ok()),
            properties: properties.map(|(name, s)| (name.clone(), Self::of(s))).collect(),
            items: below("items"),
            values: below("additionalProperties"),
            open: schema["x-kubernetes-preserve-unknown-fields"] == true
                || (schema.get("properties").is_none() && schema.get("additionalProperties").is_none()),
            node: schema.clone(),
        }
    }

    pub(crate) fn check(&self, object: &Value) -> Vec<FieldError> {
        let mut found = Vec::new();
        self.walk("", object, &mut found);
        found
    }

    fn walk(&self, path: &str, value: &Value, found: &mut Vec<FieldError>) {
        if let Some(message) = self.wrong_type(value) {
            found.push(FieldError::new(path, message));
            return;
        }
        let complaints = self.enumeration(value).into_iter().chain(self.bounds(value));
        found.extend(complaints.map(|message| FieldError::new(path, message)));
        match value {
            Value::Object(fields) => self.fields(path, fields, found),
            Value::Array(items) => self.list(path, items, found),
            _ => {}
        }
    }

    fn wrong_type(&self, value: &Value) -> Option<String> {
        if self.node["x-kubernetes-int-or-string"] == true {
            return (!value.is_i64() && !value.is_string())
                .then(|| "must be of type integer or string".to_owned());
        }
        let wanted = self.node["type"].as_str()?;
        let fits = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        (!fits).then(|| format!("must be of type {wanted}"))
    }

    fn enumeration(&self, value: &Value) -> Option<String> {
        let allowed = self.node["enum"].as_array()?;
        if allowed.contains(value) {
            return None;
        }
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        Some(format!("supported values: {}", allowed.join(", ")))
    }

    fn bounds(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |key: &str, actual: f64, above: bool, text: &str| {
            let Some(bound) = self.node[key].as_f64() else {
                return;
            };
            if (above && actual > bound) || (!above && actual < bound) {
                found.push(text.replace("{}", &bound.to_string()));
            }
        };
        match value {
            Value::String(text) => {
                let length = text.chars().count() as f64;
                check(
                    "minLength",
                    length,
                    false,
                    "should be at least {} characters long",
                );
                check("maxLength", length, true, "may not be longer than {} characters");
                if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.is_match(text)) {
                    found.push(format!("should match '{pattern}'"));
                }
            }
            Value::Array(items) => {
                check(
                    "minItems",
                    items.len() as f64,
                    false,
                    "should have at least {} items",
                );
                check("maxItems", items.len() as f64, true, "must have at most {} items");
            }
            Value::Object(fields) => {
                check(
                    "maxProperties",
                    fields.len() as f64,
                    true,
                    "must have at most {} entries",
                );
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                check("minimum", number, false, "should be greater than or equal to {}");
                check("maximum", number, true, "should be less than or equal to {}");
            }
            Value::Null | Value::Bool(_) => {}
        }
        found
    }

    fn fields(&self, path: &str, fields: &serde_json::Map<String, Value>, found: &mut Vec<FieldError>) {
        let below = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let required = self.node["required"].as_array().into_iter().flatten();
        for name in required
            .filter_map(Value::as_str)
            .filter(|name| !fields.contains_key(*name))
        {
            found.push(FieldError::new(below(name), "Required value"));
        }
        for (name, value) in fields {
            match self.properties.get(name).or(self.values.as_deref()) {
                Some(shape) => shape.walk(&below(name), value, found),
                None if self.open => {}
                None => found.push(FieldError::new(below(name), "unknown field")),
            }
        }
    }

    fn list(&self, path: &str, items: &[Value], found: &mut Vec<FieldError>) {
        if let Some(shape) = &self.items {
            for (i, item) in items.iter().enumerate() {
                shape.walk(&format!("{path}[{i}]"), item, found);
            }
        }
        let keys = self.node["x-kubernetes-list-map-keys"].as_array();
        let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
        if keys.is_empty() {
            return;
        }
        let key = |item: &Value| -> Vec<Value> { keys.iter().map(|k| item[*k].clone()).collect() };
        for (i, item) in items.iter().enumerate() {
            if items[..i].iter().any(|earlier| key(earlier) == key(item)) {
                found.push(FieldError::new(format!("{path}[{i}]"), "Duplicate value"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(schema: Value, object: Value) -> Vec<String> {
        let found = Shape::of(&schema).check(&object);
        let mut said: Vec<String> = found.iter().map(ToString::to_string).collect();
        said.sort();
        said
    }

    #[test]
    fn each_complaint_names_its_field() {
        let schema = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            "mode": {"type": "string", "enum": ["A", "B"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "amount": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}},
            "items": {"type": "array", "maxItems": 2, "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }});
        let good = json!({"name": "abc", "mode": "A", "count": 9, "amount": "1Gi", "free": {"x": [1]},
            "labels": {"a": "b"}, "items": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(said(schema.clone(), good), Vec::<String>::new());
        let bad = json!({"mode": "C", "count": 10, "amount": true, "labels": {"a": 1, "b": "c"}, "other": 1,
            "items": [{"name": "a"}, {"name": "a"}, {"nam": "c"}]});
        assert_eq!(
            said(schema.clone(), bad),
            [
                "amount: must be of type integer or string",
                "count: should be less than or equal to 9",
                "items: must have at most 2 items",
                "items[1]: Duplicate value",
                "items[2].nam: unknown field",
                "labels.a: must be of type string",
                "labels: must have at most 1 entries",
                "mode: supported values: \"A\", \"B\"",
                "name: Required value",
                "other: unknown field",
            ]
        );
        assert_eq!(
            said(schema, json!({"name": "ABCD", "free": null})),
            [
                "free: must be of type object",
                "name: may not be longer than 3 characters",
                "name: should match '^[a-z]+$'"
            ]
        );
    }
}
