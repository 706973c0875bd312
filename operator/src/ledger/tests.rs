//! The fold, the claims and the generations, by property.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tributary_crds::relay::{DatasetConfig, FORMAT_VERSION, TopicConfig};

use super::record::{decode, encode};
use super::*;

fn claim() -> impl Strategy<Value = Claim> {
    let id = "[a-c]";
    prop_oneof![
        id.prop_map(Claim::Tenant),
        id.prop_map(Claim::Topic),
        id.prop_map(Claim::Collection),
        id.prop_map(|t| Claim::Table(format!("db.{t}"))),
        id.prop_map(|t| Claim::Rows(format!("db.{t}/acme/orders"))),
    ]
}

fn pipeline() -> impl Strategy<Value = String> {
    ("[m-n]", "[p-q]").prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn dataset() -> impl Strategy<Value = DatasetRecord> {
    ("[t-u]", prop::option::of("[x-z]"), 1i32..4, 1u16..9, 0u16..9).prop_map(
        |(topic, topic_id, partitions, generation, mapping)| DatasetRecord {
            topic,
            topic_id,
            partitions,
            generation,
            mapping,
            digest: "d".into(),
        },
    )
}

prop_compose! {
    fn entry()(
        tenant in "[a-c]",
        retained in any::<bool>(),
        created in prop::collection::btree_set("[a-c]", 0..3),
        datasets in prop::collection::btree_map("[d-e]", dataset(), 0..3),
        claims in prop::collection::btree_set(claim(), 0..4),
        offsets in prop::collection::btree_map(("[t-u]", 0i32..3), 0i64..99, 0..3),
    ) -> Entry {
        let mut claims: BTreeSet<Claim> = claims
            .into_iter()
            .filter(|c| !matches!(c, Claim::Tenant(_) | Claim::Table(_)))
            .collect();
        claims.insert(Claim::Tenant(tenant.clone()));
        let position = |offset| PositionRecord { topic_id: None, offset, metadata: "m".into() };
        Entry {
            record: Some(PipelineRecord {
                tenant,
                connector: "c".into(),
                topic_prefix: "p".into(),
                created_topics: created,
                retained,
                left_behind: vec![],
            }),
            datasets,
            claims,
            positions: offsets.into_iter().map(|(key, offset)| (key, position(offset))).collect(),
        }
    }
}

/// What Kafka keeps of a log: the last record of every key.
fn compacted(log: &[(u64, Change)]) -> Vec<(u64, Change)> {
    let mut last = BTreeMap::new();
    for (at, (_, change)) in log.iter().enumerate() {
        last.insert(change.key.to_string(), at);
    }
    let kept: BTreeSet<usize> = last.into_values().collect();
    let all = log.iter().enumerate();
    all.filter(|(at, _)| kept.contains(at))
        .map(|(_, r)| r.clone())
        .collect()
}

fn folded(log: &[(u64, Change)]) -> State {
    let mut state = State::default();
    log.iter()
        .for_each(|(term, change)| state.fold(*term, change.clone()));
    state
}

/// Runs what pipelines want to record, and answers the log that came of it.
fn history(wants: &[(String, Entry)]) -> (State, Vec<(u64, Change)>) {
    let (mut state, mut log) = (State::default(), Vec::new());
    for (n, (pipeline, entry)) in wants.iter().enumerate() {
        if let Ok(changes) = state.record(pipeline, entry, false) {
            for change in changes {
                // Terms grow as leaders change.
                let term = n as u64 / 3;
                state.fold(term, change.clone());
                log.push((term, change));
            }
        }
    }
    (state, log)
}

proptest! {
    #[test]
    fn keys_and_values_read_back(entry in entry(), pipeline in pipeline()) {
        for change in State::default().record(&pipeline, &entry, false).unwrap() {
            prop_assert_eq!(Key::parse(&change.key.to_string()), Some(change.key.clone()));
            let value = change.value.unwrap();
            prop_assert_eq!(decode(&change.key, &encode(&value).unwrap()), Ok(value));
        }
    }

    #[test]
    fn what_was_recorded_is_what_is_said(entry in entry(), pipeline in pipeline()) {
        let (state, _) = history(&[(pipeline.clone(), entry.clone())]);
        prop_assert_eq!(state.entry(&pipeline), entry.clone());
        prop_assert_eq!(state.record(&pipeline, &entry, false), Ok(vec![]), "nothing is written twice");
    }

    #[test]
    fn compaction_changes_nothing(wants in prop::collection::vec((pipeline(), entry()), 0..9)) {
        let (state, log) = history(&wants);
        let again = folded(&compacted(&log));
        prop_assert_eq!(again.changes(), state.changes());
    }

    #[test]
    fn a_claim_has_one_holder_and_the_first_keeps_it(wants in prop::collection::vec((pipeline(), entry()), 0..9)) {
        let mut state = State::default();
        for (pipeline, entry) in &wants {
            let before = state.clone();
            match state.record(pipeline, entry, false) {
                Err(conflict) => {
                    let by = super::state::holder_of(&conflict.claim, pipeline);
                    prop_assert_ne!(conflict.held.by.as_str(), by, "nobody is in his own way");
                    prop_assert_eq!(before.holder(&conflict.claim), Some(&conflict.held));
                }
                Ok(changes) => {
                    for change in changes {
                        if let Key::Claim(claim) = &change.key
                            && let Some(held) = before.holder(claim)
                        {
                            let by = super::state::holder_of(claim, pipeline);
                            prop_assert_eq!(held.by.as_str(), by, "{} was taken away", claim);
                        }
                        state.fold(1, change);
                    }
                }
            }
        }
    }

    #[test]
    fn a_stale_leaders_record_loses(wants in prop::collection::vec((pipeline(), entry()), 1..6), late in entry()) {
        let (mut state, _) = history(&wants);
        state.fold(99, Change::put(Key::Term, Value::Term));
        let before = state.clone();
        for change in State::default().record("m/p", &late, false).unwrap() {
            state.fold(98, change);
        }
        prop_assert_eq!(state, before);
    }

    #[test]
    fn forgetting_frees_everything_but_a_tenant_that_is_still_worked_for(
        wants in prop::collection::vec((pipeline(), entry()), 1..6),
    ) {
        let (mut state, _) = history(&wants);
        for (pipeline, _) in &wants {
            for change in state.record(pipeline, &Entry::default(), false).unwrap() {
                state.fold(9, change);
            }
            prop_assert_eq!(state.entry(pipeline), Entry::default());
        }
        prop_assert!(state.is_empty(), "{:?}", state);
    }

    #[test]
    fn generations_never_go_back(
        start in entry(),
        steps in prop::collection::vec((any::<bool>(), "[t-u]", prop::option::of("[x-z]"), 1i32..4, "[a-c]"), 1..12),
    ) {
        let mut entry = start;
        for (comes_back, topic, id, partitions, content) in steps {
            let live = LiveTopic { id, partitions };
            let before = entry.datasets.clone();
            if comes_back {
                let topics = BTreeMap::from([(topic.clone(), live.clone())]);
                entry.readopt(&topics).unwrap();
            }
            // The lane stops on another topic; only a drained cut goes on.
            if matches!(entry.identity("d", &topic, Some(&live)), Identity::Same | Identity::New) {
                let file = entry.assign(file(&topic, &content), &live, Traces::default()).unwrap();
                let record = &entry.datasets["d"];
                prop_assert_eq!((file.topic.generation, file.mapping_generation), (record.generation, record.mapping));
                prop_assert!(record.generation >= 1 && record.mapping >= 1);
            }
            for (name, old) in before {
                let new = &entry.datasets[&name];
                prop_assert!((new.generation, new.mapping) >= (old.generation, old.mapping), "{old:?} {new:?}");
                let moved = new.topic_id != old.topic_id && old.topic_id.is_some() && new.topic == old.topic;
                prop_assert!(!moved || new.generation > old.generation, "{old:?} {new:?}");
            }
        }
    }
}

fn file(topic: &str, content: &str) -> DatasetConfig {
    serde_json::from_value(serde_json::json!({
        "formatVersion": FORMAT_VERSION, "digest": "", "name": "d", "tenant": "acme",
        "topic": TopicConfig { name: topic.into(), partitions: 1, generation: 1 },
        "mappingGeneration": 0,
        "tables": [{"entry": "e", "database": "db", "table": content, "primaryKey": [], "columns": []}],
    }))
    .expect("a dataset file")
}

fn live() -> LiveTopic {
    LiveTopic {
        id: Some("id".into()),
        partitions: 1,
    }
}

#[test]
fn mappings_grow_with_content_also_when_old_content_comes_back() {
    let mut entry = Entry::default();
    let mut mapping = |content| {
        let file = entry.assign(file("t", content), &live(), Traces::default());
        file.unwrap().mapping_generation
    };
    assert_eq!(
        [mapping("a"), mapping("a"), mapping("b"), mapping("a")],
        [1, 1, 2, 3]
    );
}

#[test]
fn an_unknown_dataset_takes_the_highest_trace_of_itself() {
    let first = |running, in_tables| {
        let mut entry = Entry::default();
        let file = entry
            .assign(file("t", "a"), &live(), Traces { running, in_tables })
            .unwrap();
        (file.topic.generation, file.mapping_generation)
    };
    assert_eq!(first(None, None), (1, 1));
    assert_eq!(
        first(Some((3, 5)), Some(3)),
        (3, 6),
        "the relay's own file is the newest"
    );
    assert_eq!(first(Some((3, 5)), Some(4)), (5, 1), "rows are newer: above them");
    assert_eq!(first(None, Some(7)), (8, 1));
    assert_eq!(generation_in(tributary_crds::relay::pack_ver(7, 123, 9)), 7);
}

#[test]
fn the_last_generation_is_an_error_not_an_overflow() {
    let mut entry = Entry::default();
    entry.assign(file("t", "a"), &live(), Traces::default()).unwrap();
    entry.datasets.get_mut("d").unwrap().mapping = super::entry::MAPPING_GENERATION_MAX;
    assert!(entry.assign(file("t", "b"), &live(), Traces::default()).is_err());
    assert!(entry.assign(file("t", "a"), &live(), Traces::default()).is_ok());
    let top = Traces {
        running: None,
        in_tables: Some(super::entry::TOPIC_GENERATION_MAX),
    };
    assert!(Entry::default().assign(file("t", "a"), &live(), top).is_err());
}

#[test]
fn records_of_a_newer_operator_and_of_strangers_are_told_apart() {
    use super::record::Unreadable;
    let key = Key::Pipeline("a/b".into());
    let newer = br#"{"formatVersion": 2, "kind": "somethingNew"}"#;
    assert_eq!(decode(&key, newer), Err(Unreadable::Newer("pipeline/a/b".into())));
    assert_eq!(
        decode(&key, b"hello"),
        Err(Unreadable::NotOurs("pipeline/a/b".into()))
    );
}

#[test]
fn a_tenant_is_passed_on_only_where_the_platform_says_who_may_have_it() {
    let mut state = State::default();
    let mut entry = Entry {
        record: Some(PipelineRecord {
            tenant: "acme".into(),
            ..PipelineRecord::default()
        }),
        claims: BTreeSet::from([Claim::Tenant("acme".into())]),
        ..Entry::default()
    };
    let write = |state: &mut State, pipeline: &str, entry: &Entry, takes: bool| {
        let changes = state.record(pipeline, entry, takes)?;
        changes.into_iter().for_each(|c| state.fold(1, c));
        Ok::<(), Conflict>(())
    };
    write(&mut state, "one/p", &entry, false).unwrap();
    assert!(write(&mut state, "two/p", &entry, true).is_err(), "it is alive");
    entry.record.as_mut().unwrap().retained = true;
    write(&mut state, "one/p", &entry, false).unwrap();
    entry.record.as_mut().unwrap().retained = false;
    assert!(
        write(&mut state, "two/p", &entry, false).is_err(),
        "first claim wins"
    );
    write(&mut state, "two/p", &entry, true).unwrap();
    assert_eq!(state.holder(&Claim::Tenant("acme".into())).unwrap().by, "two");
}
