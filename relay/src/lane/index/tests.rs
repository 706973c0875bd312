use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tributary_crds::relay::{
    BsonType, ColumnConfig, ColumnSource, DatasetConfig, Explode, MetaSource, OnError, TableConfig,
    TopicConfig,
};

use super::*;
use crate::envelope::{Change, Op};
use crate::json::Text;
use crate::lane::batch::{BatchBuilder, RowTimes};
use crate::lane::ranges::Slot;
use crate::shape::{Event, Mapping, Scratch};

fn column(name: &str, ty: &str, source: ColumnSource) -> ColumnConfig {
    ColumnConfig {
        name: name.into(),
        column_type: ty.parse().unwrap(),
        bson: matches!(&source, ColumnSource::Path(path) if path == "_id").then_some(BsonType::Int),
        source,
        default: None,
        on_error: OnError::Overflow,
        nullable: true,
    }
}

fn mapping() -> Mapping {
    let table = TableConfig {
        entry: "lines".into(),
        database: "shop".into(),
        table: "lines".into(),
        primary_key: vec!["id".into(), "sku".into()],
        columns: vec![
            column("id", "BIGINT", ColumnSource::Path("_id".into())),
            column("sku", "VARCHAR(8)", ColumnSource::Element("sku".into())),
            column("n", "INT", ColumnSource::Meta(MetaSource::Ordinal)),
        ],
        explode: Some(Explode { path: "items".into() }),
        filter: Some("doc.hidden != true".into()),
        deletes: Default::default(),
        on_reject: Default::default(),
    };
    let dataset = DatasetConfig {
        format_version: 1,
        digest: String::new(),
        name: "orders".into(),
        tenant: "acme".into(),
        topic: TopicConfig {
            name: "t".into(),
            partitions: 1,
            generation: 1,
        },
        mapping_generation: 1,
        tables: vec![table.clone()],
    };
    Mapping::compile(&dataset, &table).unwrap()
}

/// One change of one document: its elements, and whether it matches `where`. `None`: deleted, or `u` with a null `after`.
type Step = (u8, Option<(Vec<u8>, bool)>);

fn document(id: u8, (elements, hidden): &(Vec<u8>, bool)) -> String {
    let items: Vec<_> = elements
        .iter()
        .map(|e| format!("{{\"sku\": \"s{e}\"}}"))
        .collect();
    format!(
        "{{\"_id\": {id},\"hidden\": {hidden},\"items\": [{}]}}",
        items.join(",")
    )
}

fn push(builder: &mut BatchBuilder, mapping: &Mapping, offset: i64, (id, state): &Step) {
    let text = state
        .as_ref()
        .map(|state| document(*id, state))
        .unwrap_or_default();
    let key = id.to_string();
    let event = Event {
        tenant: "acme",
        dataset: "orders",
        key: key.as_bytes(),
        op: Op::Update,
        change: if state.is_some() {
            Change::Upsert
        } else {
            Change::Delete
        },
        document: Text::plain(text.as_bytes()),
        source_ts_ms: None,
        topic: "t",
        partition: 0,
        offset,
        ver: offset,
    };
    let origin = Origin {
        slot: Slot(0),
        offset,
    };
    builder
        .push_document(origin, RowTimes::default(), (0, offset), |out, rows| {
            mapping.rows(&event, &mut Scratch::default(), out, rows)
        })
        .unwrap();
}

/// A table that takes loads as StarRocks would, each key once.
#[derive(Default)]
struct Table(BTreeSet<(u64, String)>);

impl Table {
    fn load(&mut self, batch: &Batch) -> Result<(), String> {
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(&batch.body).map_err(|error| error.to_string())?;
        let mut seen = BTreeSet::new();
        for row in &rows {
            let key = (
                row["id"].as_u64().unwrap_or_default(),
                row["sku"].as_str().unwrap_or_default().to_owned(),
            );
            if !seen.insert(key.clone()) {
                return Err(format!("{key:?} twice in one load"));
            }
            if row["__op"] == 1 {
                self.0.remove(&key);
            } else {
                self.0.insert(key);
            }
        }
        if rows.len() as u64 != batch.rows || batch.spans.len() != rows.len() {
            return Err("rows and spans disagree".into());
        }
        Ok(())
    }

    /// What a SELECT answers, as cells.
    fn held(&self, plan: &IndexPlan, batch: &Batch, known: &Held) -> Held {
        let mut held = known.clone();
        for document in &batch.documents {
            if held.contains_key(&(0, document.id.clone())) {
                continue;
            }
            let id: u64 = String::from_utf8_lossy(&document.id).parse().unwrap();
            let keys = self.0.iter().filter(|(d, _)| *d == id).map(|(d, sku)| {
                let cells = [Some(d.to_string().into_bytes()), Some(sku.clone().into_bytes())];
                let (found, key) = plan.key(&cells).unwrap();
                assert_eq!(&found[..], &*document.id);
                key.into()
            });
            held.insert((0, document.id.clone()), keys.collect());
        }
        held
    }
}

/// Loads batches of changes; the table must hold what the documents have at the end.
fn scenario(batches: &[Vec<Step>], cache_bytes: usize) -> Result<(), String> {
    let mapping = mapping();
    let plan = mapping.index().unwrap().clone();
    let mut index = Index::new(vec![plan.clone()], cache_bytes);
    let mut table = Table::default();
    let mut last: BTreeMap<u8, Option<(Vec<u8>, bool)>> = BTreeMap::new();
    let mut offset = 0;
    for steps in batches {
        let mut builder = BatchBuilder::default();
        for step in steps {
            push(&mut builder, &mapping, offset, step);
            last.insert(step.0, step.1.clone());
            offset += 1;
        }
        let mut batch = builder.close();
        let held = table.held(&plan, &batch, &index.known(&batch));
        index.complete(&mut batch, &held);
        table.load(&batch)?;
        index.remember(&mut batch, &HashSet::new());
    }
    let expected: BTreeSet<(u64, String)> = last
        .into_iter()
        .filter_map(|(id, state)| Some((id, state.filter(|(_, hidden)| !hidden)?.0)))
        .flat_map(|(id, elements)| {
            elements
                .into_iter()
                .map(move |e| (u64::from(id), format!("s{e}")))
        })
        .collect();
    if table.0 == expected {
        Ok(())
    } else {
        Err(format!("the table holds {:?} instead of {expected:?}", table.0))
    }
}

fn shrinking() -> Vec<Vec<Step>> {
    let has = |elements: &[u8]| Some((elements.to_vec(), false));
    vec![
        vec![(1, has(&[1, 2, 3])), (2, has(&[1])), (3, has(&[7]))],
        // An array shrinks, a document stops matching, one is gone without a pre-image.
        vec![(1, has(&[2])), (2, Some((vec![1], true))), (3, None)],
    ]
}

#[test]
fn what_is_gone_is_taken_away() {
    scenario(&shrinking(), 1 << 20).unwrap();
    scenario(&shrinking(), 0).unwrap();
}

#[test]
fn red_without_the_index() {
    crate::guard::goes_red_without(
        crate::guard::Guard::TableIsIndex,
        "lane::index::tests::what_is_gone_is_taken_away",
    );
}

proptest! {
    #[test]
    fn the_table_follows_the_documents(
        batches in proptest::collection::vec(
            proptest::collection::vec(
                (0u8..4, proptest::option::of((proptest::collection::vec(0u8..5, 0..4), proptest::bool::weighted(0.2)))),
                0..8,
            ),
            1..8,
        ),
        cache in prop_oneof![Just(0usize), Just(400), Just(1 << 20)],
    ) {
        prop_assert_eq!(scenario(&batches, cache), Ok(()));
    }
}
