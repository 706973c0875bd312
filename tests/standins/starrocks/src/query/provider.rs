//! A table as DataFusion sees it: arrays are built per scan, for the projected columns only.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use super::arrow;
use crate::sql::grid::Grid;
use crate::table::schema::Column;
use crate::table::store::Table;
use crate::table::value::Value;

/// Rows of a real table, or of a grid.
#[derive(Debug)]
enum Rows {
    Table { table: Arc<Table>, columns: Vec<Column> },
    Grid(Grid),
}

#[derive(Debug)]
pub struct Provider {
    schema: SchemaRef,
    rows: Rows,
}

impl Provider {
    pub fn table(table: Arc<Table>) -> Self {
        let columns = table.read().def.columns.clone();
        let schema = arrow::schema(columns.iter().map(|c| (c.name.as_str(), &c.ty)));
        Self {
            schema,
            rows: Rows::Table { table, columns },
        }
    }

    pub fn grid(grid: Grid) -> Self {
        let schema = arrow::schema(grid.columns.iter().map(|(name, ty)| (name.as_str(), ty)));
        Self {
            schema,
            rows: Rows::Grid(grid),
        }
    }

    fn batch(&self, wanted: &[usize]) -> Result<RecordBatch> {
        let schema = Arc::new(self.schema.project(wanted)?);
        let mut arrays = Vec::with_capacity(wanted.len());
        let count = match &self.rows {
            Rows::Grid(grid) => {
                for &i in wanted {
                    let cells: Vec<&Value> = grid.rows.iter().map(|row| &row[i]).collect();
                    arrays.push(arrow::array(&grid.columns[i].1, &cells)?);
                }
                grid.rows.len()
            }
            Rows::Table { table, columns } => {
                let state = table.read();
                for &i in wanted {
                    let column = &columns[i];
                    let cells: Vec<&Value> = state
                        .rows()
                        .map(|row| row.get(column.slot).unwrap_or(&column.backfill))
                        .collect();
                    arrays.push(arrow::array(&column.ty, &cells)?);
                }
                state.row_count()
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

#[async_trait]
impl TableProvider for Provider {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = projection
            .cloned()
            .unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let batch = self.batch(&wanted)?;
        let schema = batch.schema();
        let exec = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?;
        Ok(exec)
    }
}
