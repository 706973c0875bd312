//! Arrow results as the MySQL protocol prints them.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::util::display::array_value_to_string;

use crate::table::value::{render_date, render_datetime, render_decimal, render_float};

/// One printed cell; NULL is None.
pub type Cell = Option<String>;

pub fn rows(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let columns = batch.columns();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| cell(column.as_ref(), row)).collect())
        .collect()
}

pub fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Null => return None,
        DataType::Boolean => if array.as_boolean().value(row) { "1" } else { "0" }.into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float32 => {
            let v = array.as_primitive::<Float32Type>().value(row);
            // Shortest text of the 32-bit number, not of its 64-bit image.
            v.to_string().parse().map_or_else(|_| v.to_string(), render_float)
        }
        DataType::Float64 => render_float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => render_decimal(
            array.as_primitive::<Decimal128Type>().value(row),
            u8::try_from(*scale).unwrap_or(0),
        ),
        DataType::Date32 => render_date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(unit, _) => render_datetime(match unit {
            TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row) * 1_000_000,
            TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row) * 1000,
            TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
            TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row) / 1000,
        }),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Binary => String::from_utf8_lossy(array.as_binary::<i32>().value(row)).into_owned(),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len()).map(|i| nested(items.as_ref(), i)).collect();
            format!("[{}]", items.join(","))
        }
        _ => array_value_to_string(array, row).unwrap_or_default(),
    })
}

/// Inside an array strings and dates are quoted and NULL is `null`.
fn nested(array: &dyn Array, row: usize) -> String {
    let quoted = matches!(
        array.data_type(),
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Date32
            | DataType::Timestamp(..)
    );
    match cell(array, row) {
        None => "null".into(),
        Some(text) if quoted => format!("\"{text}\""),
        Some(text) => text,
    }
}
