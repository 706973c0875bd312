//! Plan, do, look again: a pipeline comes up in the right order and then nothing is left to do.

use std::sync::Arc;

use super::fixtures::*;
use super::memory::PipelineMemory;
use super::observe::{Observed, RelayAnswer};
use super::plan::{Action, ConnectorView, RelayView, TablesView, plan};
use super::validate::Accepted;
use crate::backend::{Backend, BackendError, ErrorClass};
use tributary_crds::relay::DatasetConfig;

fn no_relay(world: &mut Observed) {
    world.deployments.clear();
    world.pods.clear();
    world
        .relays
        .values_mut()
        .for_each(|answer| *answer = RelayAnswer::NoPod);
    world.relay = RelayAnswer::NoPod;
}

/// Runs until nothing is left to do; answers what was done, pass by pass.
fn converge(world: &mut Observed, accepted: &Accepted) -> Vec<Vec<String>> {
    let mut memory = PipelineMemory::default();
    let mut passes = Vec::new();
    for _ in 0..10 {
        let next = plan(accepted, world, &mut memory);
        if next.actions.is_empty() {
            return passes;
        }
        next.actions.iter().for_each(|a| perform(world, a));
        passes.push(next.actions.iter().map(ToString::to_string).collect());
    }
    panic!("it never settles: {passes:?}");
}

#[test]
fn a_pipeline_comes_up_from_topics_to_the_started_connector() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    let passes = converge(&mut world, &accepted);
    let all: Vec<&String> = passes.iter().flatten().collect();
    let at = |text: &str| {
        all.iter()
            .position(|a| a.contains(text))
            .unwrap_or_else(|| panic!("{text} in {all:?}"))
    };
    assert_eq!(
        at("record generations"),
        0,
        "claims are recorded before topics are made"
    );
    assert!(at("create topic acme.shop_acme.orders") < at("apply Deployment"));
    assert!(at("apply StarRocksTable acme.orders.orders") < at("apply Deployment"));
    assert!(at("apply ConfigMap") < at("apply Deployment"));
    assert!(at("mirror the source's connection string") < at("create the connector"));
    assert!(at("apply Deployment") < at("start the connector"));
    assert_eq!(at("start the connector"), all.len() - 1, "started last");
}

#[test]
fn the_connector_waits_for_tables() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    let mut memory = PipelineMemory::default();
    for _ in 0..6 {
        let next = plan(&accepted, &world, &mut memory);
        for action in next
            .actions
            .iter()
            .filter(|a| !matches!(a, Action::ApplyTable(_)))
        {
            assert!(
                !matches!(action, Action::StartConnector | Action::ApplyRelay(_)),
                "{action}"
            );
            perform(&mut world, action);
        }
        assert!(matches!(next.tables, TablesView::NotReady(_)));
    }
}

#[test]
fn a_changed_mapping_is_a_new_generation_and_reaches_the_relay_where_it_runs() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let mut changed = pipeline();
    let table = changed.spec.datasets[0].hot.as_mut().unwrap().tables[0]
        .template
        .as_mut()
        .unwrap();
    table.table.columns[1].from = Some("state".into());
    let changed = accepted_of(changed);
    let passes = converge(&mut world, &changed);
    let all: Vec<&String> = passes.iter().flatten().collect();
    assert!(!all.iter().any(|a| a.contains("apply Deployment")), "{all:?}");
    let at = |text: &str| all.iter().position(|a| a.contains(text));
    assert!(
        at("apply ConfigMap").is_some() && at("apply ConfigMap") < at("tell pod"),
        "{all:?}"
    );
    assert!(
        !all.iter().any(|a| a.contains("connector")),
        "the connector is left alone: {all:?}"
    );
    assert_eq!(world.ledger.as_ref().unwrap().datasets["orders"].mapping, 2);
}

#[test]
fn a_dataset_that_goes_is_taken_away_after_the_relay_left_it() {
    let accepted = accepted();
    let mut two = pipeline();
    let mut second = two.spec.datasets[0].clone();
    second.name = "customers".into();
    second.hot.as_mut().unwrap().tables[0].name = "customers".into();
    two.spec.datasets.push(second);
    let two = accepted_of(two);
    let mut world = empty_world(&two);
    converge(&mut world, &two);
    assert_eq!(world.children.len(), 2);
    let passes = converge(&mut world, &accepted);
    let all: Vec<&String> = passes.iter().flatten().collect();
    let at = |text: &str| {
        all.iter()
            .position(|a| a.contains(text))
            .unwrap_or_else(|| panic!("{text} in {all:?}"))
    };
    assert!(at("apply Deployment") < at("delete StarRocksTable acme.customers.customers"));
    assert!(all.iter().any(|a| a.contains("delete ConfigMap")));
    assert!(
        world
            .topics
            .as_ref()
            .unwrap()
            .contains_key("acme.shop_acme.customers"),
        "topics stay"
    );
}

#[test]
fn connect_away_changes_nothing_and_is_no_reason_to_act() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    world.connector = Err(BackendError::new(
        Backend::Connect,
        ErrorClass::Unreachable,
        "x",
        "refused",
    ));
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert_eq!(next.actions, vec![]);
    assert!(matches!(next.connector, ConnectorView::Unavailable(_)));
    assert!(next.relay.is_current());
}

#[test]
fn starrocks_away_leaves_the_running_relay_alone() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let mut table = world.children["acme.orders.orders"].as_ref().clone();
    let ready = &mut table.status.as_mut().unwrap().conditions[0];
    ready.status = tributary_crds::status::ConditionStatus::Unknown;
    world
        .children
        .insert("acme.orders.orders".into(), Arc::new(table));
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert_eq!(next.actions, vec![]);
    assert!(matches!(next.tables, TablesView::Unknown(_)));
    assert_eq!(next.relay, RelayView::Current);
}

#[test]
fn somebody_elses_connector_is_never_touched() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let seen = world.connector.as_mut().unwrap();
    seen.config.as_mut().unwrap().remove("tributary.owner");
    seen.status = Some(status("STOPPED", &[]));
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert_eq!(next.actions, vec![]);
    assert!(matches!(next.connector, ConnectorView::Foreign(_)));
}

#[test]
fn a_compacted_topic_and_moved_partitions_stop_everything() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let topics = world.topics.as_mut().unwrap();
    topics.get_mut("acme.shop_acme.orders").unwrap().partitions = 12;
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert!(
        matches!(next.actions[..], [Action::StopRelay(_), Action::StopConnector]),
        "{:?}",
        next.actions
    );
    assert!(matches!(
        next.topics,
        super::plan::TopicsView::PartitionsChanged(_)
    ));
    let topics = world.topics.as_mut().unwrap();
    let config = &mut topics.get_mut("acme.shop_acme.orders").unwrap().config;
    config.insert("cleanup.policy".into(), "compact".into());
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert!(matches!(next.topics, super::plan::TopicsView::Conflict(_)));
}

#[test]
fn a_failed_task_is_restarted_with_pauses() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    world.connector.as_mut().unwrap().status = Some(status("RUNNING", &["FAILED"]));
    let mut memory = PipelineMemory::default();
    assert_eq!(
        plan(&accepted, &world, &mut memory).actions,
        vec![Action::RestartFailedTasks]
    );
    assert_eq!(
        plan(&accepted, &world, &mut memory).actions,
        vec![],
        "not again at once"
    );
}

#[test]
fn a_relay_that_runs_with_an_old_mapping_is_not_current() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let Some(RelayAnswer::Status(status)) = world.relays.get_mut(&0) else {
        panic!("no relay");
    };
    status.config_digests.insert("orders".into(), "sha256:old".into());
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert!(matches!(next.relay, RelayView::RollingOut(_)));
}

const TOPIC: &str = "acme.shop_acme.orders";

/// Rule 2: a topic that was deleted and made again must not be loaded over the rows of the old one.
fn a_topic_made_again_stops_the_lane() -> Result<(), String> {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let topics = world.topics.as_mut().unwrap();
    topics.get_mut(TOPIC).unwrap().id = Some("another".into());
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    if !matches!(next.topics, super::plan::TopicsView::Recreated(_)) {
        return Err(format!("{:?}", next.topics));
    }
    next.actions.iter().for_each(|a| perform(&mut world, a));
    let still = plan(&accepted, &world, &mut PipelineMemory::default());
    match (world.deployments.len(), still.actions.as_slice()) {
        (0, []) => Ok(()),
        (_, actions) => Err(format!("something goes on: {actions:?}")),
    }
}

#[test]
fn rule_2() {
    a_topic_made_again_stops_the_lane().unwrap();
}

#[test]
fn rule_2_is_broken_without_its_guard() {
    crate::guard::Guard::TopicIdentity.assert_red("pipeline::convergence_tests::rule_2");
}

#[test]
fn a_topic_that_is_gone_is_not_silently_made_again() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    world.topics.as_mut().unwrap().remove(TOPIC);
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert!(matches!(next.topics, super::plan::TopicsView::Recreated(_)));
    assert!(!next.actions.iter().any(|a| matches!(a, Action::CreateTopic(_))));
}

#[test]
fn without_its_ledger_a_running_pipeline_is_left_alone_and_a_new_one_makes_nothing() {
    let accepted = accepted();
    let away = || {
        Err(BackendError::new(
            Backend::Kafka,
            ErrorClass::Unreachable,
            "x",
            "refused",
        ))
    };
    let mut world = empty_world(&accepted);
    world.ledger = away();
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    assert_eq!(next.actions, vec![]);
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    world.ledger = away();
    assert_eq!(
        plan(&accepted, &world, &mut PipelineMemory::default()).actions,
        vec![]
    );
}

#[test]
fn status_and_config_maps_are_nothing_but_caches() {
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let before = world.ledger.clone().unwrap();
    world.config_maps.clear();
    no_relay(&mut world);
    let passes = converge(&mut world, &accepted);
    assert_eq!(world.ledger.as_ref().unwrap(), &before, "the same generations");
    let all: Vec<&String> = passes.iter().flatten().collect();
    assert!(
        !all.iter().any(|a| a.contains("topic") || a.contains("connector")),
        "{all:?}"
    );
}

/// Rule 2: a lost ledger begins above what the rows carry; else every later change would lose against them.
fn a_lost_ledger_begins_above_the_rows() -> Result<(), String> {
    use crate::ledger::{Entry, Traces};
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    world.ledger = Ok(Entry::default());
    world.config_maps.clear();
    no_relay(&mut world);
    let rows = Traces {
        running: None,
        in_tables: Some(7),
    };
    world.traces.insert("orders".into(), Ok(rows));
    converge(&mut world, &accepted);
    match world.ledger.as_ref().unwrap().datasets["orders"].generation {
        8 => Ok(()),
        other => Err(format!("generation {other} beside rows of generation 7")),
    }
}

#[test]
fn rule_2_a_lost_ledger() {
    a_lost_ledger_begins_above_the_rows().unwrap();
}

#[test]
fn rule_2_a_lost_ledger_is_broken_without_its_guard() {
    crate::guard::Guard::GenerationsAboveRows.assert_red("pipeline::convergence_tests::rule_2_a_lost_ledger");
}

#[test]
fn rows_that_cannot_be_asked_are_not_taken_for_none() {
    use crate::ledger::Entry;
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    // Rows that cannot be asked are not taken for none.
    let away = BackendError::new(Backend::StarRocks, ErrorClass::Unreachable, "x", "refused");
    world.ledger = Ok(Entry::default());
    world.config_maps.clear();
    no_relay(&mut world);
    world.traces.insert("orders".into(), Err(away));
    converge(&mut world, &accepted);
    assert!(
        world.deployments.is_empty(),
        "no relay runs under a guessed generation"
    );
}

#[test]
fn a_pipeline_that_comes_back_resumes_where_it_stood() {
    use crate::ledger::PositionRecord;
    let accepted = accepted();
    let mut world = empty_world(&accepted);
    converge(&mut world, &accepted);
    let mut entry = world.ledger.clone().unwrap();
    entry.record.as_mut().unwrap().retained = true;
    let position = |id: &str| PositionRecord {
        topic_id: Some(id.into()),
        offset: 41,
        metadata: "{}".into(),
    };
    entry
        .positions
        .insert((TOPIC.into(), 0), position("id-of-acme.shop_acme.orders"));
    entry
        .positions
        .insert((TOPIC.into(), 1), position("an-older-topic"));
    world.ledger = Ok(entry);
    no_relay(&mut world);
    world.config_maps.clear();
    world.connector = Ok(Default::default());
    let next = plan(&accepted, &world, &mut PipelineMemory::default());
    let seeded = next.actions.iter().find_map(|a| match a {
        Action::SeedPositions(offsets, _) => Some(offsets.clone()),
        _ => None,
    });
    let seeded = seeded.expect("positions are set before anything runs");
    assert_eq!(seeded.len(), 1, "positions in a topic that is gone mean nothing");
    assert_eq!((seeded[0].offset, seeded[0].metadata.as_str()), (41, "{}"));
    assert!(!next.actions.iter().any(|a| matches!(a, Action::ApplyRelay(_))));
    converge(&mut world, &accepted);
    let entry = world.ledger.as_ref().unwrap();
    assert!(entry.positions.is_empty() && !entry.is_retained());
    assert_eq!(entry.datasets["orders"].generation, 1);
}

#[test]
fn desired_state_stops_what_it_says_and_nothing_else() {
    use super::plan::RelayView;
    use tributary_crds::pipeline::DesiredState;
    let running = accepted();
    let mut world = empty_world(&running);
    converge(&mut world, &running);
    let state = |state| {
        let mut pipeline = pipeline();
        pipeline.spec.desired_state = Some(state);
        accepted_of(pipeline)
    };
    let paused = state(DesiredState::SinksPaused);
    let passes = converge(&mut world, &paused);
    let all: Vec<&String> = passes.iter().flatten().collect();
    assert!(
        matches!(all[..], [stop] if stop.starts_with("stop the relay")),
        "{all:?}"
    );

    let stopped = state(DesiredState::Stopped);
    let passes = converge(&mut world, &stopped);
    assert_eq!(passes, vec![vec!["stop the connector".to_owned()]]);
    let next = plan(&stopped, &world, &mut PipelineMemory::default());
    assert_eq!(next.relay, RelayView::Paused);

    let before = world.ledger.clone().unwrap();
    let passes = converge(&mut world, &running);
    let last = passes.iter().flatten().last().cloned();
    assert_eq!(last.as_deref(), Some("start the connector"));
    assert_eq!(world.ledger.as_ref().unwrap(), &before, "no new generation");
}

#[test]
fn a_paused_pipeline_starts_its_connector_without_a_relay() {
    let mut paused = pipeline();
    paused.spec.desired_state = Some(tributary_crds::pipeline::DesiredState::SinksPaused);
    let paused = accepted_of(paused);
    let mut world = empty_world(&paused);
    let passes = converge(&mut world, &paused);
    let all: Vec<&String> = passes.iter().flatten().collect();
    assert_eq!(
        all.last().map(|a| a.as_str()),
        Some("start the connector"),
        "{all:?}"
    );
    assert!(world.deployments.is_empty());
}

/// What the relay of the only dataset is told to write.
fn mapped_columns(world: &Observed, accepted: &Accepted) -> Vec<String> {
    let name = accepted.effective.owner.dataset_config_map("orders");
    let data = world.config_maps[&name].data.as_ref().expect("data");
    let file: DatasetConfig = serde_json::from_str(&data["dataset.json"]).expect("a file");
    let columns = file.tables[0].columns.iter();
    columns.map(|c| c.name.clone()).collect()
}

/// Rule 18: StarRocks ignores names it does not know without a word, so a mapping that runs ahead of its ALTER TABLE loses
/// values. The column is asked for, is not there yet, and joins when it is.
fn a_mapping_waits_for_its_columns() -> Result<(), String> {
    let mut wider = pipeline();
    let template = wider.spec.datasets[0].hot.as_mut().expect("hot").tables[0]
        .template
        .as_mut()
        .expect("a template");
    template.table.columns.push(tributary_crds::template::Column {
        name: "city".into(),
        column_type: Some("VARCHAR(64)".into()),
        ..Default::default()
    });
    let accepted = accepted_of(wider);
    let mut world = empty_world(&accepted);
    let has = |world: &mut Observed, columns: &[&str]| {
        let table = world.children.get_mut("acme.orders.orders").expect("a child");
        let status = Arc::make_mut(table).status.as_mut().expect("a status");
        status.live.as_mut().expect("live").columns = columns.iter().map(|c| (*c).to_owned()).collect();
    };
    let mut memory = PipelineMemory::default();
    for _ in 0..10 {
        let next = plan(&accepted, &world, &mut memory);
        for action in &next.actions {
            perform(&mut world, action);
            if matches!(action, Action::ApplyTable(_)) {
                has(&mut world, &["order_id", "status"]);
            }
        }
    }
    let before = mapped_columns(&world, &accepted);
    if before != ["order_id", "status"] {
        return Err(format!("mapped before they were there: {before:?}"));
    }
    let generation = |world: &Observed| world.ledger.as_ref().expect("a ledger").datasets["orders"].mapping;
    assert_eq!(generation(&world), 1);
    has(&mut world, &["order_id", "status", "city"]);
    converge(&mut world, &accepted);
    assert_eq!(mapped_columns(&world, &accepted), ["order_id", "status", "city"]);
    assert_eq!(generation(&world), 2);
    Ok(())
}

#[test]
fn rule_18() {
    a_mapping_waits_for_its_columns().unwrap();
}

#[test]
fn rule_18_is_broken_without_its_guard() {
    crate::guard::Guard::VerifiedColumns.assert_red("pipeline::convergence_tests::rule_18");
}
