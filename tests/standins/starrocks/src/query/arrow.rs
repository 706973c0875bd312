//! Stored values as Arrow arrays.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, ListArray, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;

use crate::table::types::ColumnType;
use crate::table::value::Value;

/// JSON, STRUCT and MAP travel as text.
pub fn data_type(ty: &ColumnType) -> DataType {
    match ty {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::TinyInt => DataType::Int8,
        ColumnType::SmallInt => DataType::Int16,
        ColumnType::Int => DataType::Int32,
        ColumnType::BigInt => DataType::Int64,
        ColumnType::LargeInt => DataType::Decimal128(38, 0),
        ColumnType::Float => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
        ColumnType::Date => DataType::Date32,
        ColumnType::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Varbinary => DataType::Binary,
        ColumnType::Char(_)
        | ColumnType::Varchar(_)
        | ColumnType::Json
        | ColumnType::Struct(_)
        | ColumnType::Map(..) => DataType::Utf8,
        ColumnType::Array(of) => DataType::List(item_field(of)),
    }
}

fn item_field(of: &ColumnType) -> Arc<Field> {
    Arc::new(Field::new_list_field(data_type(of), true))
}

pub fn schema<'a>(columns: impl IntoIterator<Item = (&'a str, &'a ColumnType)>) -> SchemaRef {
    let fields: Fields = columns
        .into_iter()
        .map(|(name, ty)| Field::new(name, data_type(ty), true))
        .collect();
    Arc::new(Schema::new(fields))
}

macro_rules! build {
    ($builder:expr, $cells:expr, $($pattern:pat => $value:expr),+) => {{
        let mut builder = $builder;
        for cell in $cells {
            match cell {
                $($pattern => builder.append_value($value),)+
                _ => builder.append_null(),
            }
        }
        Arc::new(builder.finish()) as ArrayRef
    }};
}

/// Cells of one column. A cell that does not fit its type (there is none after conversion) reads as NULL.
pub fn array(ty: &ColumnType, cells: &[&Value]) -> Result<ArrayRef, ArrowError> {
    Ok(match ty {
        ColumnType::Boolean => build!(BooleanBuilder::new(), cells, Value::Bool(v) => *v),
        ColumnType::TinyInt => build!(Int8Builder::new(), cells, Value::Int(v) => *v as i8),
        ColumnType::SmallInt => build!(Int16Builder::new(), cells, Value::Int(v) => *v as i16),
        ColumnType::Int => build!(Int32Builder::new(), cells, Value::Int(v) => *v as i32),
        ColumnType::BigInt => build!(Int64Builder::new(), cells, Value::Int(v) => *v),
        ColumnType::Float => build!(Float32Builder::new(), cells, Value::Float(v) => *v as f32),
        ColumnType::Double => build!(Float64Builder::new(), cells, Value::Float(v) => *v),
        ColumnType::Date => build!(Date32Builder::new(), cells, Value::Date(v) => *v),
        ColumnType::DateTime => build!(TimestampMicrosecondBuilder::new(), cells, Value::DateTime(v) => *v),
        ColumnType::Varbinary => build!(BinaryBuilder::new(), cells, Value::Bytes(v) => v),
        ColumnType::LargeInt | ColumnType::Decimal { .. } => {
            let builder = Decimal128Builder::new().with_data_type(data_type(ty));
            build!(builder, cells, Value::Big(v) => *v)
        }
        ColumnType::Char(_)
        | ColumnType::Varchar(_)
        | ColumnType::Json
        | ColumnType::Struct(_)
        | ColumnType::Map(..) => {
            build!(StringBuilder::new(), cells, Value::Str(v) | Value::Json(v) => v, pairs @ Value::Pairs(_) => pairs.render(0))
        }
        ColumnType::Array(of) => list(of, cells)?,
    })
}

fn list(of: &ColumnType, cells: &[&Value]) -> Result<ArrayRef, ArrowError> {
    let mut items: Vec<&Value> = Vec::new();
    let mut lengths = Vec::with_capacity(cells.len());
    let mut valid = Vec::with_capacity(cells.len());
    for cell in cells {
        let inside: &[Value] = if let Value::Array(inside) = cell {
            inside
        } else {
            &[]
        };
        items.extend(inside);
        lengths.push(inside.len());
        valid.push(!cell.is_null());
    }
    let list = ListArray::try_new(
        item_field(of),
        OffsetBuffer::from_lengths(lengths),
        array(of, &items)?,
        Some(NullBuffer::from(valid)),
    )?;
    Ok(Arc::new(list))
}
