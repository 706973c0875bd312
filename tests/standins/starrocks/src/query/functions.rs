//! Functions StarRocks has and DataFusion lacks: JSON access.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

use crate::load::json::at_path;
use crate::table::value::render_json;

pub fn all() -> Vec<ScalarUDF> {
    vec![
        by_path("get_json_string", DataType::Utf8, |found| {
            Arc::new(
                found
                    .into_iter()
                    .map(|raw| raw.and_then(unquoted))
                    .collect::<StringArray>(),
            )
        }),
        by_path("get_json_int", DataType::Int64, |found| {
            Arc::new(
                found
                    .into_iter()
                    .map(|raw| number(raw).map(|v| v as i64))
                    .collect::<Int64Array>(),
            )
        }),
        by_path("get_json_double", DataType::Float64, |found| {
            Arc::new(found.into_iter().map(number).collect::<Float64Array>())
        }),
        by_path("json_query", DataType::Utf8, |found| {
            Arc::new(
                found
                    .into_iter()
                    .map(|raw| raw.and_then(normalised))
                    .collect::<StringArray>(),
            )
        }),
        create_udf(
            "parse_json",
            vec![DataType::Utf8],
            DataType::Utf8,
            Volatility::Immutable,
            Arc::new(|args| {
                let args = ColumnarValue::values_to_arrays(args)?;
                let texts = as_string_array(&args[0])?;
                Ok(ColumnarValue::Array(Arc::new(
                    texts
                        .iter()
                        .map(|t| t.and_then(normalised))
                        .collect::<StringArray>(),
                )))
            }),
        ),
    ]
}

/// A function of (document, path); missing paths are NULL.
fn by_path(name: &str, returns: DataType, finish: fn(Vec<Option<&str>>) -> ArrayRef) -> ScalarUDF {
    let body = move |args: &[ColumnarValue]| -> Result<ColumnarValue> {
        let args = ColumnarValue::values_to_arrays(args)?;
        let (documents, paths) = (as_string_array(&args[0])?, as_string_array(&args[1])?);
        let found = documents
            .iter()
            .zip(paths.iter())
            .map(|(document, path)| at_path(document?, path?))
            .collect();
        Ok(ColumnarValue::Array(finish(found)))
    };
    create_udf(
        name,
        vec![DataType::Utf8, DataType::Utf8],
        returns,
        Volatility::Immutable,
        Arc::new(body),
    )
}

/// A JSON string without its quotes, anything else as it stands; JSON null is NULL.
fn unquoted(raw: &str) -> Option<String> {
    match serde_json::from_str(raw).ok()? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(render_json(&other)),
    }
}

fn number(raw: Option<&str>) -> Option<f64> {
    unquoted(raw?)?.parse().ok()
}

fn normalised(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok().map(|value| render_json(&value))
}
