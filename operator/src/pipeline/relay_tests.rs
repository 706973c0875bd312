//! What rolls a relay and what does not; several relays of one pipeline.

use serde_json::json;
use tributary_crds::relay::{LaneState, RelayPhase, RetryCause};
use tributary_crds::{DataPlatform, TenantPipeline};

use super::conditions;
use super::fixtures::*;
use super::memory::PipelineMemory;
use super::observe::{Observed, RelayAnswer, together};
use super::plan::{Action, RelayView, plan};
use super::validate::{Accepted, Refused, validate};
use std::sync::Arc;
use tributary_crds::status::PipelineReason as R;

fn merged<T: serde::Serialize + serde::de::DeserializeOwned>(object: &T, changes: serde_json::Value) -> T {
    let mut value = serde_json::to_value(object).unwrap();
    crate::strategic_merge::merge(&mut value, &changes);
    serde_json::from_value(value).unwrap()
}

fn judge(pipeline: TenantPipeline, platform: DataPlatform) -> Result<Accepted, Refused> {
    let refs = super::dereference::Referenced {
        platform: Some(Arc::new(platform)),
        ..refs()
    };
    validate(&Arc::new(pipeline), &refs)
}

fn with(spec: serde_json::Value, platform_spec: serde_json::Value) -> Accepted {
    let pipeline = merged(&pipeline(), json!({"spec": spec}));
    let accepted = judge(pipeline, merged(&platform(), json!({"spec": platform_spec})));
    accepted.unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn replicas(n: i32) -> Accepted {
    with(json!({"relay": {"replicas": n}}), json!({}))
}

/// Runs until nothing is left to do; answers what was done.
fn converge(world: &mut Observed, accepted: &Accepted) -> Vec<Action> {
    let mut memory = PipelineMemory::default();
    let mut done = Vec::new();
    for _ in 0..12 {
        let next = plan(accepted, world, &mut memory);
        if next.actions.is_empty() {
            return done;
        }
        next.actions.iter().for_each(|a| perform(world, a));
        done.extend(next.actions);
    }
    panic!("it never settles: {done:?}");
}

fn settled(accepted: &Accepted) -> Observed {
    let mut world = empty_world(accepted);
    converge(&mut world, accepted);
    world
}

fn pods(world: &Observed) -> Vec<String> {
    let names = world.pods.iter().map(|pod| pod.metadata.name.clone().unwrap());
    names.collect()
}

#[test]
fn what_the_relay_reads_again_by_itself_never_rolls_it() {
    let settings = [
        (json!({"relay": {"batch": {"linger": "700ms"}}}), json!({})),
        (
            json!({}),
            json!({"kafka": {"bootstrapServers": ["k:9092", "k2:9092"]}}),
        ),
        (
            json!({}),
            json!({"starrocks": {"hot": {"httpEndpoints": ["http://f:8030", "http://g:8030"]}}}),
        ),
    ];
    for (spec, platform) in settings {
        let mut world = settled(&accepted());
        let before = pods(&world);
        let done = converge(&mut world, &with(spec.clone(), platform.clone()));
        assert_eq!(pods(&world), before, "{spec} {platform}");
        let touched = done
            .iter()
            .filter(|a| matches!(a, Action::TouchPod { .. }))
            .count();
        assert_eq!(touched, 1, "{done:?}");
    }
}

#[test]
fn what_a_process_cannot_change_in_itself_rolls_it() {
    let settings = [
        (
            json!({"relay": {"resources": {"limits": {"memory": "300Mi"}}}}),
            json!({}),
        ),
        (json!({}), json!({"relay": {"image": "relay:2"}})),
        (
            json!({}),
            json!({"relay": {"podOverrides": {"spec": {"priorityClassName": "x"}}}}),
        ),
        (
            json!({}),
            json!({"starrocks": {"hot": {"loadCredentialsSecretRef": {"name": "other"}}}}),
        ),
    ];
    for (spec, platform) in settings {
        let mut world = settled(&accepted());
        let before = pods(&world);
        let done = converge(&mut world, &with(spec.clone(), platform.clone()));
        assert_ne!(pods(&world), before, "{spec} {platform}");
        assert!(
            !done.iter().any(|a| matches!(a, Action::TouchPod { .. })),
            "{done:?}"
        );
    }
}

/// The kubelet is told once; the condition stays until the relay itself says that it uses the file.
#[test]
fn a_mapping_counts_as_rolled_out_when_the_relay_says_so() {
    let mut world = settled(&accepted());
    let slower = with(json!({"relay": {"batch": {"linger": "700ms"}}}), json!({}));
    let mut memory = PipelineMemory::default();
    let kept = world.relays.clone();
    for _ in 0..4 {
        let next = plan(&slower, &world, &mut memory);
        next.actions.iter().for_each(|a| perform(&mut world, a));
        world.relays = kept.clone();
    }
    let next = plan(&slower, &world, &mut memory);
    assert_eq!(next.actions, vec![], "not told again and again");
    let RelayView::RollingOut(why) = &next.relay else {
        panic!("{:?}", next.relay);
    };
    assert!(why.contains("newest settings"), "{why}");

    let Some(RelayAnswer::Status(status)) = world.relays.get_mut(&0) else {
        panic!("no relay");
    };
    status.config_refused = Some("formatVersion 2, this relay speaks 1".into());
    let next = plan(&slower, &world, &mut memory);
    let verdicts = conditions::layers(&slower, &world, &next, &[], 0, 0);
    let of_relay = verdicts.iter().find(|(c, _)| c.as_str() == "RelayReady");
    let (_, verdict) = of_relay.unwrap();
    assert_eq!(verdict.reason, R::RollingOut);
    assert!(verdict.message.contains("this relay speaks 1"), "{verdict:?}");

    answer(&mut world, 0);
    assert_eq!(plan(&slower, &world, &mut memory).relay, RelayView::Current);
}

#[test]
fn several_relays_are_deployments_of_one_pod_each_with_an_id_of_its_own() {
    let two = replicas(2);
    let world = settled(&two);
    let owner = &two.effective.owner;
    assert_eq!(world.deployments.len(), 2);
    for (ordinal, deployment) in &world.deployments {
        let spec = deployment.spec.as_ref().unwrap();
        assert_eq!(spec.replicas, Some(1));
        let file = world.config_maps[&owner.relay_config_map(*ordinal)]
            .data
            .as_ref()
            .unwrap();
        let file: tributary_crds::relay::RelayConfig = serde_json::from_str(&file["relay.json"]).unwrap();
        assert_eq!(file.kafka.group_instance_id, owner.relay_deployment(*ordinal));
        assert_eq!(file.kafka.group_id, owner.consumer_group());
    }
    let selector = |ordinal: u32| {
        world.deployments[&ordinal]
            .spec
            .as_ref()
            .unwrap()
            .selector
            .clone()
    };
    assert_ne!(selector(0), selector(1), "neither counts the other's pods");
    let budget = world.budget.as_ref().unwrap().spec.as_ref().unwrap();
    assert_eq!(serde_json::to_value(&budget.max_unavailable).unwrap(), json!(1));
    assert!(matches!(&world.relay, RelayAnswer::Status(s) if s.datasets[0].partitions.len() == 2));
}

#[test]
fn one_relay_alone_has_no_disruption_budget() {
    assert!(settled(&accepted()).budget.is_none());
}

#[test]
fn relays_come_and_go_without_touching_the_others() {
    let (one, three) = (accepted(), replicas(3));
    let mut world = settled(&one);
    let first = pods(&world);
    converge(&mut world, &three);
    assert_eq!(world.deployments.len(), 3);
    assert_eq!(pods(&world)[0], first[0]);
    let done = converge(&mut world, &one);
    assert_eq!(pods(&world), first);
    assert!(world.budget.is_none());
    assert_eq!(world.config_maps.len(), 2, "its file and one dataset's");
    let stop = done.iter().position(|a| matches!(a, Action::StopRelay(_)));
    let budget = done.iter().position(|a| matches!(a, Action::DeleteBudget(_)));
    assert!(
        budget.is_some() && budget < stop,
        "nothing shows it once its relays are gone"
    );
}

#[test]
fn a_deployment_with_another_selector_is_made_anew() {
    let one = accepted();
    let mut world = settled(&one);
    let spec = world.deployments.get_mut(&0).unwrap().spec.as_mut().unwrap();
    spec.selector
        .match_labels
        .as_mut()
        .unwrap()
        .remove("tributary.dev/ordinal");
    let done = converge(&mut world, &one);
    assert!(
        matches!(done[..], [Action::StopRelay(_), Action::ApplyRelay(_)]),
        "{done:?}"
    );
}

#[test]
fn relays_that_share_a_machine_take_ports_of_their_own() {
    let shared = with(
        json!({"relay": {"replicas": 3}}),
        json!({"relay": {"podOverrides": {"spec": {"hostNetwork": true}}}}),
    );
    let world = settled(&shared);
    let ports: std::collections::BTreeSet<_> = world
        .deployments
        .values()
        .map(|d| super::observe::held_port(d).unwrap())
        .collect();
    assert_eq!(ports.len(), 3);
}

#[test]
fn replicas_have_bounds_of_the_platform_and_of_the_partitions() {
    let ask = |replicas: i32, platform_spec: serde_json::Value| {
        let pipeline = merged(&pipeline(), json!({"spec": {"relay": {"replicas": replicas}}}));
        let judged = judge(pipeline, merged(&platform(), json!({"spec": platform_spec})));
        judged
            .map(|a| a.effective.relay.replicas)
            .map_err(|r| (r.reason, r.message))
    };
    let limit = || json!({"limits": {"relayReplicas": 2}});
    assert_eq!(ask(2, limit()), Ok(2));
    let (reason, message) = ask(3, limit()).unwrap_err();
    assert_eq!(reason, R::LimitExceeded);
    assert!(
        message.contains("relay.replicas: 3") && message.contains("(2)"),
        "{message}"
    );
    assert_eq!(ask(3, json!({})), Ok(3));
    let (reason, message) = ask(4, json!({})).unwrap_err();
    assert_eq!(reason, R::InvalidSpec);
    assert!(message.contains("partitions (3)"), "{message}");
}

#[test]
fn relays_together_are_as_late_as_the_latest_and_stand_still_where_one_does() {
    let two = replicas(2);
    let mut world = settled(&two);
    let say =
        |world: &mut Observed, ordinal: u32, change: &dyn Fn(&mut tributary_crds::relay::RelayStatus)| {
            let Some(RelayAnswer::Status(status)) = world.relays.get_mut(&ordinal) else {
                panic!("no relay {ordinal}");
            };
            change(status);
            together(&world.relays)
        };
    let lag = |answer: &RelayAnswer| match answer {
        RelayAnswer::Status(status) => status.datasets[0].lag_ms,
        _ => panic!("{answer:?}"),
    };
    let both = say(&mut world, 1, &|s| s.datasets[0].lag_ms = Some(9_000));
    assert_eq!(lag(&both), Some(9_000));
    let both = say(&mut world, 1, &|s| s.datasets[0].lag_ms = None);
    assert_eq!(lag(&both), None, "somebody's partitions are not measured");
    let both = say(&mut world, 1, &|s| s.datasets[0].partitions.clear());
    assert_eq!(lag(&both), Some(40), "it has none to measure");

    let both = say(&mut world, 1, &|s| {
        s.datasets[0].tables[0].parked = 2;
        s.datasets[0].tables[0].lane = LaneState::Retrying {
            label: "l".into(),
            cause: RetryCause::Timeout,
            message: "no answer".into(),
            attempts: 1,
            since_ms: 5,
        };
    });
    let RelayAnswer::Status(status) = &both else {
        panic!("{both:?}")
    };
    assert!(matches!(
        status.datasets[0].tables[0].lane,
        LaneState::Retrying { .. }
    ));
    assert_eq!(status.datasets[0].tables[0].parked, 2);

    world.relays.insert(1, RelayAnswer::NoPod);
    let RelayAnswer::Status(status) = together(&world.relays) else {
        panic!("one answers")
    };
    assert_eq!(
        (status.phase, status.datasets[0].lag_ms),
        (RelayPhase::Starting, None)
    );
    world.relays.insert(1, RelayAnswer::Unreachable("refused".into()));
    assert!(matches!(together(&world.relays), RelayAnswer::Unreachable(why) if why.starts_with("relay 1")));
    let next = plan(&two, &world, &mut PipelineMemory::default());
    assert!(matches!(next.relay, RelayView::RollingOut(why) if why.starts_with("Relay 1")));
}
