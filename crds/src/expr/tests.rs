use std::rc::Rc;

use super::*;

/// Documents made of values: the text ones are the relay's, and tested there.
struct NoText;

impl Documents for NoText {
    fn member<'a>(&self, _: &'a [u8], _: &str) -> Result<Option<Value<'a>>, EvalError> {
        Err(EvalError("no text".into()))
    }
    fn members<'a>(&self, _: &'a [u8]) -> Result<Vec<(String, Value<'a>)>, EvalError> {
        Err(EvalError("no text".into()))
    }
    fn elements<'a>(&self, _: &'a [u8]) -> Result<Vec<Value<'a>>, EvalError> {
        Err(EvalError("no text".into()))
    }
}

fn value(json: &serde_json::Value) -> Value<'static> {
    use serde_json::Value as J;
    match json {
        J::Null => Value::Null,
        J::Bool(b) => Value::Bool(*b),
        J::Number(n) => n
            .as_i64()
            .map_or_else(|| Value::Double(n.as_f64().unwrap()), Value::Int),
        J::String(s) => Value::Str(s.clone().into()),
        J::Array(items) => Value::list(items.iter().map(value).collect()),
        J::Object(members) => {
            if let Some(J::String(digits)) = members.get("$numberDecimal") {
                return Value::Opaque {
                    kind: "decimal",
                    text: digits.clone().leak(),
                    raw: b"",
                };
            }
            Value::Map(Rc::new(
                members.iter().map(|(n, v)| (n.clone(), value(v))).collect(),
            ))
        }
    }
}

fn eval(text: &str) -> String {
    let doc = value(&serde_json::json!({
        "n": 3, "d": 2.5, "s": "Äpfel", "yes": true, "nothing": null, "big": 9_007_199_254_740_993i64,
        "price": {"$numberDecimal": "19.90"},
        "items": [{"qty": 2}, {"qty": 5, "gift": true}], "tags": ["a", "b"],
        "nested": {"here": {"deep": "x"}},
    }));
    let program = match Program::compile(text, false) {
        Ok(program) => program,
        Err(error) => return format!("compile: {error}"),
    };
    let variable = |variable| {
        Ok(match variable {
            Variable::Doc => doc.clone(),
            Variable::Key => Value::Str("k1".into()),
            Variable::Meta(Meta::Tenant) => Value::Str("acme".into()),
            _ => Value::Null,
        })
    };
    let env = Env {
        documents: &NoText,
        variable: &variable,
    };
    let shown = match program.eval(&env) {
        Err(error) => format!("error: {error}"),
        Ok(value) => show(&value),
    };
    drop(env);
    shown
}

fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Double(n) => format!("{n:?}"),
        Value::Decimal(n) => format!("decimal {n}"),
        Value::Str(s) => format!("{s:?}"),
        Value::Date(ms) => format!("date {ms}"),
        Value::Opaque { kind, .. } => (*kind).into(),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        other => other.type_name().into(),
    }
}

#[test]
fn the_promises_of_a_mapping() {
    let cases = [
        // An absent field is null, however deep, and comparing with null never errors.
        ("doc.gone", "null"),
        ("doc.gone.deeper[3].still", "null"),
        ("doc.gone == null", "true"),
        ("doc.nothing == null", "true"),
        ("doc.isTest != true", "true"),
        ("doc.gone < 5", "false"),
        ("doc.gone > 5 || doc.gone <= 5", "false"),
        ("has(doc.nothing)", "true"),
        ("has(doc.gone)", "false"),
        ("has(doc.gone.deeper)", "false"),
        ("doc.gone + 1", "null"),
        ("doc.gone && doc.yes", "null"),
        ("doc.gone || doc.yes", "true"),
        ("doc.gone ? 1 : 2", "2"),
        // Numbers promote and compare by value.
        ("doc.n + doc.d", "5.5"),
        ("doc.n == 3.0", "true"),
        ("doc.n > doc.d", "true"),
        ("doc.big == 9007199254740992.0", "false"),
        ("doc.n / 2", "1"),
        ("9223372036854775807 + 1", "error: the number is too large"),
        ("doc.n / 0", "error: division by zero"),
        // Decimal128 only through decimal().
        (
            "doc.price * 2",
            "error: a Decimal128 is computed with only through decimal()",
        ),
        (
            "doc.price == 19.9",
            "error: a Decimal128 is computed with only through decimal()",
        ),
        ("doc.price != null", "true"),
        ("decimal(doc.price) * 2", "decimal 39.8"),
        (
            "decimal(doc.price) * decimal(\"0.10\") == decimal(\"1.99\")",
            "true",
        ),
        ("decimal(doc.d) + decimal(1)", "decimal 3.5"),
        ("string(doc.price)", "\"19.90\""),
        // Text, macros, containers.
        ("doc.s.lowerAscii() + \"-\" + string(doc.n)", "\"Äpfel-3\""),
        ("doc.s.size()", "5"),
        ("doc.s.substring(0, 2)", "\"Äp\""),
        ("\"a,b\".split(\",\")", "[\"a\", \"b\"]"),
        ("doc.tags.join(\"+\")", "\"a+b\""),
        ("\"b\" in doc.tags", "true"),
        ("\"deep\" in doc.nested.here", "true"),
        ("doc.items.map(i, i.qty)", "[2, 5]"),
        ("doc.items.filter(i, i.gift).size()", "1"),
        ("doc.items.exists(i, i.qty > 4)", "true"),
        ("doc.items.all(i, i.qty > 4)", "false"),
        ("doc.gone.map(i, i.qty)", "[]"),
        ("doc[\"nested\"][\"here\"].deep", "\"x\""),
        ("doc.items[1].qty", "5"),
        ("doc.items[7].qty", "null"),
        ("key + meta.tenant", "\"k1acme\""),
        ("timestamp(\"1970-01-01T00:00:01Z\")", "date 1000"),
        ("doc.s < 3", "error: a string and a int have no order"),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .map(|(text, wanted)| (text, eval(text), wanted))
        .filter(|(_, got, wanted)| got != **wanted)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_cannot_be_an_expression_is_said_with_what_can() {
    for (text, part) in [
        ("doc.a ==", "not a CEL expression at line 1"),
        (
            "order.a",
            "unknown name \"order\": an expression starts from doc, key or meta",
        ),
        ("meta.region", "unknown meta.region: use meta.tenant"),
        ("meta", "meta is used by its members"),
        ("element.qty", "rows.explode"),
        (
            "doc.a.frobnicate()",
            "unknown function frobnicate: use size, contains",
        ),
        ("doc.a.contains()", "contains takes 2 to 2"),
        ("b\"x\" == doc.a", "bytes"),
    ] {
        let error = check(text, false).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(check("element.qty * meta.ordinal", true).is_ok());
    assert!(check("meta.ordinal", false).is_err());
    assert!(check(&format!("doc.{}", "a".repeat(TEXT_MAX)), false).is_err());
}

#[test]
fn evaluation_is_bounded() {
    let nested = "[1,2,3,4,5,6,7,8,9,10]";
    let text = format!(
        "{nested}.all(a, {nested}.all(b, {nested}.all(c, {nested}.all(d, {nested}.all(e, {nested}.all(f, true))))))"
    );
    assert_eq!(eval(&text), "error: more than 1000000 steps");
}
