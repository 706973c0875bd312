use jiff::Timestamp;
use tributary_crds::TenantPipeline;
use tributary_crds::pipeline::TenantPipelineStatus;
use tributary_crds::relay::{BlockedCause, KafkaCause, KafkaTrouble, LaneState, RetryCause};
use tributary_crds::status::find;

use super::apply::{Cause, Failure, Layer};
use super::fixtures::*;
use super::memory::PipelineMemory;
use super::observe::{Observed, RelayAnswer};
use super::plan::plan;
use super::status;
use super::validate::Accepted;
use crate::backend::{Backend, BackendError, ErrorClass};

fn settled(accepted: &Accepted) -> Observed {
    let mut world = empty_world(accepted);
    let mut memory = PipelineMemory::default();
    for _ in 0..8 {
        let next = plan(accepted, &world, &mut memory);
        next.actions.iter().for_each(|a| perform(&mut world, a));
    }
    world
}

fn seen_at(
    pipeline: &TenantPipeline,
    accepted: &Accepted,
    world: &Observed,
    memory: &mut PipelineMemory,
    now: Timestamp,
) -> TenantPipelineStatus {
    let plan = plan(accepted, world, memory);
    status::status(pipeline, accepted, world, &plan, &[], memory, now)
}

fn word(status: &TenantPipelineStatus, kind: &str) -> String {
    find(&status.conditions, kind)
        .map(|c| format!("{}/{}", c.status, c.reason))
        .unwrap_or_default()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

#[test]
fn a_settled_pipeline_flows_and_is_not_written_again() {
    let accepted = accepted();
    let world = settled(&accepted);
    let mut memory = PipelineMemory::default();
    let first = seen_at(&pipeline(), &accepted, &world, &mut memory, at(0));
    assert_eq!(word(&first, "Ready"), "True/Flowing", "{first:#?}");
    assert_eq!(word(&first, "Fresh"), "True/WithinObjective");
    assert_eq!(word(&first, "SnapshotComplete"), "True/Complete");
    assert_eq!(word(&first, "Lossless"), "True/NothingParked");
    assert_eq!(first.lag.as_ref().and_then(|l| l.hot.as_deref()), Some("<1s"));
    assert_eq!(first.datasets_fresh.as_deref(), Some("1/1"));
    assert_eq!(first.datasets[0].mapping_generation, Some(1));
    let mut again = pipeline();
    again.status = Some(first.clone());
    for second in [15, 30, 600] {
        assert_eq!(seen_at(&again, &accepted, &world, &mut memory, at(second)), first);
    }
    // Also not by a process that has just started.
    assert_eq!(
        seen_at(&again, &accepted, &world, &mut PipelineMemory::default(), at(700)),
        first
    );
}

#[test]
fn connect_away_is_unknown_while_rows_land_and_ready_stays() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    let mut memory = PipelineMemory::default();
    let mut up = pipeline();
    up.status = Some(seen_at(&up, &accepted, &world, &mut memory, at(0)));
    world.connector = Err(BackendError::new(
        Backend::Connect,
        ErrorClass::Unreachable,
        "x",
        "refused",
    ));
    let down = seen_at(&up, &accepted, &world, &mut memory, at(15));
    assert_eq!(word(&down, "ConnectorReady"), "Unknown/BackendUnavailable");
    assert_eq!(word(&down, "Ready"), "True/Flowing");
    // Another call meets the same outage: nothing is written.
    up.status = Some(down.clone());
    world.connector = Err(BackendError::new(
        Backend::Connect,
        ErrorClass::CircuitOpen,
        "y",
        "not tried",
    ));
    assert_eq!(seen_at(&up, &accepted, &world, &mut memory, at(30)), down);
}

#[test]
fn lag_shows_in_fresh_after_a_window_and_never_clears_ready() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    let mut memory = PipelineMemory::default();
    let mut pipeline = pipeline();
    pipeline.status = Some(seen_at(&pipeline, &accepted, &world, &mut memory, at(0)));
    if let RelayAnswer::Status(status) = &mut world.relay {
        status.datasets[0].lag_ms = Some(90_000);
    }
    for second in [15, 30, 45, 60, 80] {
        pipeline.status = Some(seen_at(&pipeline, &accepted, &world, &mut memory, at(second)));
    }
    let status = pipeline.status.as_ref().unwrap();
    assert_eq!(word(status, "Fresh"), "False/LagExceedsObjective");
    assert_eq!(word(status, "Ready"), "True/Flowing");
    assert_eq!(status.reason.as_deref(), Some("LagExceedsObjective"));
    assert_eq!(status.lag.as_ref().and_then(|l| l.hot.as_deref()), Some("<5m"));
}

#[test]
fn a_blocked_lane_names_its_place_and_waits_for_a_person() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    if let RelayAnswer::Status(status) = &mut world.relay {
        status.datasets[0].tables[0].lane = LaneState::Blocked {
            cause: BlockedCause::LoadsRejected,
            message: "status does not fit".into(),
            at: Some(tributary_crds::relay::RecordPosition {
                topic: "t".into(),
                partition: 2,
                offset: 7,
            }),
            since_ms: 0,
        };
    }
    let status = seen_at(
        &pipeline(),
        &accepted,
        &world,
        &mut PipelineMemory::default(),
        at(0),
    );
    assert_eq!(word(&status, "RelayReady"), "False/LoadsRejected");
    assert_eq!(word(&status, "Stalled"), "True/LoadsRejected");
    assert!(
        status
            .message
            .as_deref()
            .unwrap_or_default()
            .contains("partition 2, offset 7")
    );
}

#[test]
fn a_relay_that_kafka_keeps_out_says_why() {
    let accepted = accepted();
    let relay_ready = |cause, age_ms: u64| {
        let mut world = settled(&accepted);
        if let RelayAnswer::Status(status) = &mut world.relay {
            status.kafka = Some(KafkaTrouble {
                cause,
                message: "k:9093 refuses the password".into(),
                since_ms: 1_800_000_000_000 - age_ms,
            });
        }
        let mut memory = PipelineMemory::default();
        word(
            &seen_at(&pipeline(), &accepted, &world, &mut memory, at(0)),
            "RelayReady",
        )
    };
    assert_eq!(
        relay_ready(KafkaCause::AuthenticationFailed, 0),
        "False/AuthenticationFailed"
    );
    assert_eq!(relay_ready(KafkaCause::TlsFailed, 0), "False/TlsFailed");
    assert_eq!(relay_ready(KafkaCause::Unreachable, 5_000), "True/Running");
    assert_eq!(
        relay_ready(KafkaCause::Unreachable, 90_000),
        "False/BackendUnavailable"
    );
}

#[test]
fn short_retries_are_no_news_and_long_ones_are_no_progress() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    let mut retrying = |age_ms: u64| {
        if let RelayAnswer::Status(status) = &mut world.relay {
            status.datasets[0].tables[0].lane = LaneState::Retrying {
                label: "l".into(),
                cause: RetryCause::TooManyVersions,
                message: "too many versions".into(),
                attempts: 3,
                since_ms: 1_800_000_000_000 - age_ms,
            };
        }
        word(
            &seen_at(
                &pipeline(),
                &accepted,
                &world,
                &mut PipelineMemory::default(),
                at(0),
            ),
            "RelayReady",
        )
    };
    assert_eq!(retrying(5_000), "True/Running");
    assert_eq!(retrying(120_000), "False/NoProgress");
}

#[test]
fn what_could_not_be_done_shows_at_its_layer() {
    let accepted = accepted();
    let world = empty_world(&accepted);
    let mut memory = PipelineMemory::default();
    let plan = plan(&accepted, &world, &mut memory);
    let error = BackendError::new(
        Backend::Kafka,
        ErrorClass::NotAuthorized,
        "create topic",
        "denied",
    );
    let failures = [Failure {
        layer: Layer::Topics,
        cause: Cause::Backend(error),
    }];
    let status = status::status(
        &pipeline(),
        &accepted,
        &world,
        &plan,
        &failures,
        &mut memory,
        at(0),
    );
    assert_eq!(word(&status, "TopicsReady"), "False/NotAuthorized");
    assert_eq!(word(&status, "Reconciling"), "True/NotAuthorized");
}

#[test]
fn cut_values_are_remembered() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    if let RelayAnswer::Status(status) = &mut world.relay {
        status.datasets[0].tables[0].overflow_truncated = 1;
    }
    let mut memory = PipelineMemory::default();
    let mut pipeline = pipeline();
    pipeline.status = Some(seen_at(&pipeline, &accepted, &world, &mut memory, at(0)));
    assert_eq!(
        word(pipeline.status.as_ref().unwrap(), "Lossless"),
        "False/OverflowTruncated"
    );
    // The relay restarted and counts from zero.
    let restarted = settled(&accepted);
    let later = seen_at(&pipeline, &accepted, &restarted, &mut memory, at(60));
    assert_eq!(word(&later, "Lossless"), "False/OverflowTruncated");
}

#[test]
fn paused_is_ready_as_asked_and_measures_nothing() {
    use tributary_crds::pipeline::DesiredState;
    for (state, connector) in [
        (DesiredState::SinksPaused, "True/Streaming"),
        (DesiredState::Stopped, "True/Stopped"),
    ] {
        let mut pipeline = pipeline();
        pipeline.spec.desired_state = Some(state);
        let accepted = accepted_of(pipeline.clone());
        let world = settled(&accepted);
        let status = match state {
            // Never started: there is none.
            DesiredState::Stopped => {
                let running = super::fixtures::accepted();
                let mut world = settled(&running);
                for _ in 0..3 {
                    let next = plan(&accepted, &world, &mut PipelineMemory::default());
                    next.actions.iter().for_each(|a| perform(&mut world, a));
                }
                seen_at(
                    &pipeline,
                    &accepted,
                    &world,
                    &mut PipelineMemory::default(),
                    at(0),
                )
            }
            _ => seen_at(
                &pipeline,
                &accepted,
                &world,
                &mut PipelineMemory::default(),
                at(0),
            ),
        };
        assert_eq!(word(&status, "Ready"), "True/Paused", "{status:#?}");
        assert_eq!(word(&status, "RelayReady"), "True/Paused");
        assert_eq!(word(&status, "ConnectorReady"), connector);
        assert_eq!(word(&status, "Fresh"), "Unknown/Paused");
    }
}

#[test]
fn a_topic_made_again_is_said_and_stalls() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    let topics = world.topics.as_mut().unwrap();
    topics.get_mut("acme.shop_acme.orders").unwrap().id = Some("another".into());
    let status = seen_at(
        &pipeline(),
        &accepted,
        &world,
        &mut PipelineMemory::default(),
        at(0),
    );
    assert_eq!(word(&status, "TopicsReady"), "False/TopicRecreated");
    assert_eq!(word(&status, "Ready"), "False/TopicRecreated");
    assert_eq!(word(&status, "Stalled"), "True/TopicRecreated");
}

#[test]
fn dead_letters_are_seen_in_their_topic_and_only_there() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    let mut memory = PipelineMemory::default();
    let mut pipeline = pipeline();
    let mut look = |world: &Observed, second: i64| {
        let status = seen_at(&pipeline, &accepted, world, &mut memory, at(second));
        pipeline.status = Some(status.clone());
        status
    };
    assert_eq!(word(&look(&world, 0), "Lossless"), "True/NothingParked");
    world.dead_letters = Some(3);
    let parked = look(&world, 15);
    assert_eq!(word(&parked, "Lossless"), "False/RowsDeadLettered");
    assert_eq!(word(&parked, "Ready"), "True/Flowing", "rows still flow");
    let told = &find(&parked.conditions, "Lossless").unwrap().message;
    assert!(
        told.starts_with("<10 document") && told.contains("tributary-dead-letters.acme"),
        "{told}"
    );
    world.dead_letters = Some(4);
    assert_eq!(look(&world, 30), parked, "no live figures");
    // The relay starts anew and counts from zero; Kafka does not answer: the letters are still there.
    world.dead_letters = None;
    assert_eq!(word(&look(&world, 45), "Lossless"), "False/RowsDeadLettered");
    world.dead_letters = Some(0);
    assert_eq!(word(&look(&world, 60), "Lossless"), "True/NothingParked");
    world.dead_letters = None;
    assert_eq!(word(&look(&world, 75), "Lossless"), "True/NothingParked");
}

#[test]
fn what_was_cut_is_remembered_until_the_spec_is_changed() {
    let accepted = accepted();
    let mut world = settled(&accepted);
    if let RelayAnswer::Status(status) = &mut world.relay {
        status.datasets[0].tables[0].overflow_truncated = 1;
    }
    let mut memory = PipelineMemory::default();
    let mut edited = pipeline();
    edited.status = Some(seen_at(&edited, &accepted, &world, &mut memory, at(0)));
    edited.metadata.generation = Some(5);
    let accepted = accepted_of(edited.clone());
    let restarted = settled(&accepted);
    let after = seen_at(&edited, &accepted, &restarted, &mut memory, at(60));
    assert_eq!(word(&after, "Lossless"), "True/NothingParked");
}
