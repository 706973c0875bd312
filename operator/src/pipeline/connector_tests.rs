//! The connector over time: lost history, rotated credentials, collections that join, workers without exactly-once.

use super::fixtures::*;
use super::memory::PipelineMemory;
use super::observe::{ConnectorSeen, Observed, OffsetSeen};
use super::plan::collections::Step;
use super::plan::{Action, ConnectorView, Plan, plan};
use super::validate::Accepted;
use crate::backend::connect::connector::{COLLECTIONS_KEY, EXACTLY_ONCE_KEY, HELD_KEY};
use crate::guard::Guard;
use tributary_crds::status::{PipelineCondition as C, PipelineReason as R};

/// Plans and performs `passes` times; answers everything that was done.
fn run(world: &mut Observed, accepted: &Accepted, memory: &mut PipelineMemory, passes: usize) -> Vec<Action> {
    let mut done = Vec::new();
    for _ in 0..passes {
        let next = plan(accepted, world, memory);
        next.actions.iter().for_each(|a| perform(world, a));
        done.extend(next.actions);
    }
    done
}

fn settled(accepted: &Accepted) -> (Observed, PipelineMemory) {
    let mut world = empty_world(accepted);
    let mut memory = PipelineMemory::default();
    run(&mut world, accepted, &mut memory, 8);
    assert_eq!(plan(accepted, &world, &mut memory).actions, vec![]);
    (world, memory)
}

fn seen(world: &mut Observed) -> &mut ConnectorSeen {
    world.connector.as_mut().expect("Connect is up")
}

fn fail(world: &mut Observed, trace: &str) {
    let mut failed = status("RUNNING", &["FAILED"]);
    failed.tasks[0].trace = Some(trace.to_owned());
    seen(world).status = Some(failed);
}

fn verdict(accepted: &Accepted, world: &Observed, plan: &Plan, condition: C) -> Option<(R, String)> {
    let verdicts = super::conditions::layers(accepted, world, plan, &[], 0, 0);
    let (_, found) = verdicts.into_iter().rev().find(|(c, _)| *c == condition)?;
    Some((found.reason, found.message))
}

const LOST: &str = "com.mongodb.MongoCommandException: Command execution failed on MongoDB server with error 286 (ChangeStreamHistoryLost)";

#[test]
fn lost_history_stops_the_connector_for_good() {
    let accepted = accepted();
    let (mut world, mut memory) = settled(&accepted);
    fail(&mut world, LOST);
    let done = run(&mut world, &accepted, &mut memory, 3);
    assert_eq!(done[0], Action::StopConnector, "{done:?}");
    assert!(matches!(done[1..], [Action::HoldConnector(_)]), "{done:?}");
    // Neither another operator, nor a lost status, nor a change of the spec starts it again.
    let mut other = PipelineMemory::default();
    let after = run(&mut world, &accepted, &mut other, 5);
    assert_eq!(after, vec![]);
    let plan = plan(&accepted, &world, &mut other);
    let (reason, message) = verdict(&accepted, &world, &plan, C::ConnectorReady).expect("said");
    assert_eq!(reason, R::ResumeTokenLost);
    assert!(
        message.contains("delete the connector's offsets") && message.len() <= 512,
        "{message}"
    );
}

#[test]
fn lost_history_is_restarted_without_its_guard() {
    Guard::HistoryHold.assert_red("pipeline::connector_tests::lost_history_stops_the_connector_for_good");
}

#[test]
fn deleting_its_offsets_lets_a_held_connector_start_over() {
    let accepted = accepted();
    let (mut world, mut memory) = settled(&accepted);
    fail(&mut world, LOST);
    run(&mut world, &accepted, &mut memory, 3);
    seen(&mut world).offset = OffsetSeen::Absent;
    let done = run(&mut world, &accepted, &mut memory, 3);
    assert!(
        matches!(done[..], [Action::ConfigureConnector(_), Action::StartConnector]),
        "{done:?}"
    );
    let config = seen(&mut world).config.clone().expect("a configuration");
    assert!(!config.contains_key(HELD_KEY));
}

#[test]
fn a_rotated_credential_reconfigures_the_connector_when_its_keys_are_there() {
    let accepted = accepted();
    let (mut world, mut memory) = settled(&accepted);
    let mut rotated = accepted.clone();
    rotated.credential = credential("mongodb://u:rotated@mongo.mongodb.svc:27017/?replicaSet=rs0");
    let first = plan(&rotated, &world, &mut memory);
    let [Action::MirrorCredential(keys)] = &first.actions[..] else {
        panic!("{:?}", first.actions);
    };
    assert_eq!(keys.0.len(), 2, "the running task keeps its own: {keys:?}");
    let done = run(&mut world, &rotated, &mut memory, 5);
    assert!(
        matches!(
            done[..],
            [
                Action::MirrorCredential(_),
                Action::ConfigureConnector(_),
                Action::MirrorCredential(_)
            ]
        ),
        "{done:?}"
    );
    let config = seen(&mut world).config.clone().expect("a configuration");
    let reference = &config["mongodb.connection.string"];
    assert!(reference.ends_with("tenant-acme.acme.uri.2}"), "{reference}");
    assert_eq!(world.mirrored.as_ref().expect("readable").0.len(), 1);
    assert!(!format!("{done:?}").contains("rotated@"), "{done:?}");
}

fn with_customers() -> Accepted {
    let mut two = pipeline();
    let mut second = two.spec.datasets[0].clone();
    second.name = "customers".into();
    second.hot.as_mut().unwrap().tables[0].name = "customers".into();
    two.spec.datasets.push(second);
    accepted_of(two)
}

#[test]
fn a_collection_that_joins_is_read_while_the_stream_waits_at_its_place() {
    let (mut world, mut memory) = settled(&accepted());
    let two = with_customers();
    let done = run(&mut world, &two, &mut memory, 8);
    let on_connectors: Vec<String> = done
        .iter()
        .map(ToString::to_string)
        .filter(|a| a.contains("connector"))
        .collect();
    assert_eq!(
        on_connectors,
        [
            "stop the connector",
            "create the connector that reads added collections"
        ]
    );
    let reader = seen(&mut world)
        .snapshot
        .as_ref()
        .expect("the second connector")
        .config
        .clone();
    assert_eq!(reader[COLLECTIONS_KEY], "shop_acme.customers");
    assert_eq!(reader["snapshot.mode"], "initial");
    assert_eq!(reader["topic.heartbeat.prefix"], "__debezium-heartbeat-snapshot");
    let next = plan(&two, &world, &mut memory);
    let (reason, message) = verdict(&two, &world, &next, C::SnapshotComplete).expect("said");
    assert_eq!(reason, R::Running);
    assert!(message.contains("shop_acme.customers"), "{message}");

    // Not read to its end: it goes on. A crash of the operator changes nothing.
    let second = seen(&mut world).snapshot.as_mut().expect("it is there");
    second.offset = Some(crate::backend::connect::SourceOffset {
        initial_snapshot: true,
        position: None,
    });
    assert_eq!(run(&mut world, &two, &mut PipelineMemory::default(), 3), vec![]);
    seen(&mut world).snapshot.as_mut().expect("it is there").offset = Some(offset());
    let done = run(&mut world, &two, &mut PipelineMemory::default(), 5);
    let names: Vec<String> = done.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "reconfigure the connector",
            "stop the connector that read added collections",
            "delete the connector that read added collections",
            "start the connector",
        ]
    );
    let next = plan(&two, &world, &mut memory);
    assert!(next.added.is_none() && next.actions.is_empty());
    let (reason, _) = verdict(&two, &world, &next, C::SnapshotComplete).expect("said");
    assert_eq!(reason, R::Complete);
}

#[test]
fn a_collection_that_joins_during_the_first_snapshot_waits_for_its_end() {
    let (mut world, mut memory) = settled(&accepted());
    let two = with_customers();
    seen(&mut world).offset = OffsetSeen::Found(crate::backend::connect::SourceOffset {
        initial_snapshot: true,
        position: None,
    });
    let done = run(&mut world, &two, &mut memory, 8);
    assert!(
        !done.iter().any(|a| a.to_string().contains("connector")),
        "{done:?}"
    );
    let next = plan(&two, &world, &mut memory);
    assert_eq!(next.added.map(|a| a.step), Some(Step::Waiting));
}

#[test]
fn a_reader_that_cannot_reach_the_source_says_so() {
    let (mut world, mut memory) = settled(&accepted());
    let two = with_customers();
    run(&mut world, &two, &mut memory, 8);
    let second = seen(&mut world).snapshot.as_mut().expect("it is there");
    let mut failed = status("RUNNING", &["FAILED"]);
    failed.tasks[0].trace = Some("com.mongodb.MongoTimeoutException: Timed out".to_owned());
    second.status = Some(failed);
    let next = plan(&two, &world, &mut memory);
    assert_eq!(next.actions, vec![Action::RestartSnapshotConnector]);
    let (reason, _) = verdict(&two, &world, &next, C::ConnectorReady).expect("said");
    assert_eq!(reason, R::SourceUnreachable);
}

#[test]
fn workers_without_exactly_once_are_said_to_be() {
    let accepted = accepted();
    let (mut world, mut memory) = settled(&accepted);
    let said = |world: &Observed, memory: &mut PipelineMemory| {
        let next = plan(&accepted, world, memory);
        verdict(&accepted, world, &next, C::SourceExactlyOnce)
            .expect("said")
            .0
    };
    assert_eq!(said(&world, &mut memory), R::ExactlyOnce);
    // Connect's validation refuses it: less is asked for.
    memory.connector.without_exactly_once(std::time::Instant::now());
    let done = run(&mut world, &accepted, &mut memory, 3);
    assert!(matches!(done[..], [Action::ConfigureConnector(_)]), "{done:?}");
    assert_eq!(
        seen(&mut world).config.as_ref().expect("a configuration")[EXACTLY_ONCE_KEY],
        "requested"
    );
    assert_eq!(said(&world, &mut memory), R::AtLeastOnce);
}

#[test]
fn at_least_once_passes_for_exactly_once_without_its_guard() {
    Guard::SourceExactlyOnce
        .assert_red("pipeline::connector_tests::workers_without_exactly_once_are_said_to_be");
}

#[test]
fn restarts_are_counted_where_people_look() {
    let accepted = accepted();
    let (mut world, mut memory) = settled(&accepted);
    fail(&mut world, "com.mongodb.MongoTimeoutException: Timed out");
    let next = plan(&accepted, &world, &mut memory);
    assert_eq!(next.actions, vec![Action::RestartFailedTasks]);
    let now = jiff::Timestamp::now();
    let status = super::status::status(&pipeline(), &accepted, &world, &next, &[], &mut memory, now);
    assert_eq!(status.connector.as_ref().and_then(|c| c.restarts), Some(1));
    let ready = tributary_crds::status::find(&status.conditions, "ConnectorReady").expect("there");
    assert!(ready.message.ends_with("Restarted once."), "{}", ready.message);
    assert!(matches!(next.connector, ConnectorView::Present));
}
