//! What to take down next, decided from what is seen alone: no status, no event, no memory is needed, so a teardown can start
//! anywhere and ends from everywhere. Order: stop the connector → stop the relay → remove what ran → data by policy → let go.

use std::time::Duration;

use tributary_crds::template::DeletionPolicy;

use crate::guard::Guard;

/// Something in an external system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    Absent,
    /// It carries our owner mark.
    Ours(T),
    /// It carries somebody else's, or none: never touched.
    Foreign,
    /// The system did not answer; the text says why.
    Unreachable(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorRun {
    Running,
    Stopped,
}

/// How the ledger has the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerEntry {
    Live,
    /// Closed: the same identity applied again takes it up.
    Retained,
}

/// A child StarRocksTable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub name: String,
    pub deleting: bool,
}

/// Everything that may be left of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    pub connector: Seen<ConnectorRun>,
    pub deployments: Vec<String>,
    /// Pods of those Deployments, terminating ones included.
    pub pods: usize,
    pub mirrored_key: Seen<()>,
    pub consumer_group: Seen<()>,
    pub children: Vec<Child>,
    /// Topics this pipeline created; looked for only when the policy deletes them.
    pub topics: Seen<Vec<String>>,
    pub config_maps: Vec<String>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<String>,
    /// The pipeline's entry in the ledger: claims, generations, what it created.
    pub ledger: Seen<LedgerEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    StopConnector,
    DeleteDeployment(String),
    DeleteConnectorOffsets,
    DeleteConnector,
    RemoveMirroredKey,
    /// Where the consumer group stands, into the ledger.
    KeepPositions,
    DeleteConsumerGroup,
    DeleteChild(String),
    DeleteTopics(Vec<String>),
    DeleteConfigMap(String),
    DeleteBudget(String),
    /// Notes in the ledger that the pipeline is gone and what it had is kept.
    RetainEntry,
    /// Takes the pipeline out of the ledger: its claims are free.
    ForgetEntry,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Do these, in order, then look again.
    Act(Vec<Action>),
    /// Nothing can be done but wait for this.
    Wait(String),
    /// Nothing is left but what is listed: release the object.
    Release { left_behind: Vec<String> },
}

/// How long to insist on systems that do not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Wait, and say for what.
    Wait,
    /// Their owner has declared them gone, or the namespace goes: list what is left and let go.
    Yield,
    /// Nor are pods waited for any more, which may sit on a node that is gone.
    Abandon,
}

/// From the bound on, how long relays may still finish: longer than their grace period.
const PODS_GRACE: Duration = Duration::from_secs(90);

/// How long to insist, after having waited so long. `asked` is the bound of `onUnreachable: Orphan`, `namespace` the one of a
/// namespace that goes (rule 25), where nobody may come back to fix a backend.
pub fn patience(waited: Duration, asked: Option<Duration>, namespace: Option<Duration>) -> Patience {
    let namespace = namespace.filter(|_| Guard::NamespaceYields.holds());
    let bound = match (asked, namespace) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    match bound {
        Some(bound) if waited >= bound + PODS_GRACE => Patience::Abandon,
        Some(bound) if waited >= bound => Patience::Yield,
        _ => Patience::Wait,
    }
}

impl Remains {
    /// What an action was about counts as out of reach, because the action fails. `false`: it is in Kubernetes, without which
    /// nothing can be released either.
    pub fn give_up(&mut self, action: &Action, why: &str) -> bool {
        let why = why.to_owned();
        match action {
            Action::StopConnector | Action::DeleteConnectorOffsets | Action::DeleteConnector => {
                self.connector = Seen::Unreachable(why);
            }
            Action::RemoveMirroredKey => self.mirrored_key = Seen::Unreachable(why),
            Action::KeepPositions | Action::DeleteConsumerGroup => {
                self.consumer_group = Seen::Unreachable(why);
            }
            Action::DeleteTopics(_) => self.topics = Seen::Unreachable(why),
            Action::RetainEntry | Action::ForgetEntry => self.ledger = Seen::Unreachable(why),
            Action::DeleteDeployment(_)
            | Action::DeleteChild(_)
            | Action::DeleteConfigMap(_)
            | Action::DeleteBudget(_) => return false,
        }
        true
    }
}

/// Decides the next step.
pub fn next(remains: &Remains, policy: DeletionPolicy, patience: Patience) -> Step {
    let mut remains = remains.clone();
    if patience == Patience::Abandon && remains.pods > 0 && remains.consumer_group == Seen::Ours(()) {
        // Where it stands is not known while somebody may still move it.
        remains.give_up(&Action::KeepPositions, "relay pods do not end");
    }
    let mut left_behind = Vec::new();
    let stages = [
        stop_connector,
        stop_relay,
        remove_connector,
        remove_runtime,
        remove_children,
        remove_data,
    ];
    for stage in stages {
        match (stage(&remains, policy), patience) {
            (Stage::Done, _) => {}
            (Stage::Act(actions), _) => return Step::Act(actions),
            (Stage::Pods(_, what), Patience::Abandon) => left_behind.push(what),
            (Stage::Wait(text) | Stage::Pods(text, _), _) => return Step::Wait(text),
            (Stage::Unreachable(why, _), Patience::Wait) => return Step::Wait(why),
            (Stage::Unreachable(_, what), Patience::Yield | Patience::Abandon) => left_behind.extend(what),
        }
    }
    left_behind.dedup();
    Step::Release { left_behind }
}

enum Stage {
    Done,
    Act(Vec<Action>),
    Wait(String),
    /// Pods end by themselves, unless their node is gone.
    Pods(String, String),
    /// Why, and what stays behind if nobody waits for it.
    Unreachable(String, Vec<String>),
}

fn stop_connector(remains: &Remains, _: DeletionPolicy) -> Stage {
    match &remains.connector {
        Seen::Ours(ConnectorRun::Running) => Stage::Act(vec![Action::StopConnector]),
        Seen::Unreachable(why) => Stage::Unreachable(why.clone(), vec!["the connector".to_owned()]),
        Seen::Ours(ConnectorRun::Stopped) | Seen::Absent | Seen::Foreign => Stage::Done,
    }
}

fn stop_relay(remains: &Remains, _: DeletionPolicy) -> Stage {
    if !remains.deployments.is_empty() {
        return act_on(&remains.deployments, Action::DeleteDeployment);
    }
    match remains.pods {
        0 => Stage::Done,
        n => Stage::Pods(
            format!("{n} relay pod(s) are finishing the load in flight."),
            format!("{n} relay pod(s) that do not end"),
        ),
    }
}

fn remove_connector(remains: &Remains, policy: DeletionPolicy) -> Stage {
    match (&remains.connector, policy) {
        (Seen::Ours(_), DeletionPolicy::Delete) => {
            Stage::Act(vec![Action::DeleteConnectorOffsets, Action::DeleteConnector])
        }
        (Seen::Ours(_), DeletionPolicy::Retain) => Stage::Act(vec![Action::DeleteConnector]),
        (Seen::Absent | Seen::Foreign | Seen::Unreachable(_), _) => Stage::Done,
    }
}

fn remove_runtime(remains: &Remains, policy: DeletionPolicy) -> Stage {
    let mut actions = Vec::new();
    let mut unreachable = Vec::new();
    match &remains.mirrored_key {
        Seen::Ours(()) => actions.push(Action::RemoveMirroredKey),
        Seen::Unreachable(why) => unreachable.push((why, "the mirrored connection string")),
        Seen::Absent | Seen::Foreign => {}
    }
    match &remains.consumer_group {
        Seen::Ours(()) => {
            match (policy, &remains.ledger) {
                (DeletionPolicy::Retain, Seen::Ours(_)) => actions.push(Action::KeepPositions),
                (DeletionPolicy::Retain, Seen::Unreachable(why)) => {
                    return Stage::Unreachable(why.clone(), vec!["the consumer group".to_owned()]);
                }
                // Never accepted, or nothing is to be kept.
                _ => {}
            }
            actions.push(Action::DeleteConsumerGroup);
        }
        Seen::Unreachable(why) => unreachable.push((why, "the consumer group")),
        Seen::Absent | Seen::Foreign => {}
    }
    actions.extend(remains.config_maps.iter().cloned().map(Action::DeleteConfigMap));
    actions.extend(remains.budgets.iter().cloned().map(Action::DeleteBudget));
    match (actions.is_empty(), unreachable.last()) {
        (false, _) => Stage::Act(actions),
        (true, Some((why, _))) => Stage::Unreachable(
            (*why).clone(),
            unreachable.iter().map(|(_, what)| (*what).to_owned()).collect(),
        ),
        (true, None) => Stage::Done,
    }
}

fn remove_children(remains: &Remains, _: DeletionPolicy) -> Stage {
    let doomed: Vec<String> = remains
        .children
        .iter()
        .filter(|c| !c.deleting)
        .map(|c| c.name.clone())
        .collect();
    if !doomed.is_empty() {
        return act_on(&doomed, Action::DeleteChild);
    }
    match remains.children.as_slice() {
        [] => Stage::Done,
        [first, ..] => Stage::Wait(format!(
            "{} table object(s) are being deleted, {} among them; their own messages say what they wait for.",
            remains.children.len(),
            first.name
        )),
    }
}

fn remove_data(remains: &Remains, policy: DeletionPolicy) -> Stage {
    match (policy, &remains.topics) {
        (DeletionPolicy::Delete, Seen::Ours(topics)) if !topics.is_empty() => {
            return Stage::Act(vec![Action::DeleteTopics(topics.clone())]);
        }
        (DeletionPolicy::Delete, Seen::Unreachable(why)) => {
            return Stage::Unreachable(
                why.clone(),
                vec!["the topics".to_owned(), "the ledger entry".to_owned()],
            );
        }
        _ => {}
    }
    match (policy, &remains.ledger) {
        (DeletionPolicy::Retain, Seen::Ours(LedgerEntry::Live)) => Stage::Act(vec![Action::RetainEntry]),
        (DeletionPolicy::Delete, Seen::Ours(_)) => Stage::Act(vec![Action::ForgetEntry]),
        (_, Seen::Unreachable(why)) => Stage::Unreachable(why.clone(), vec!["the ledger entry".to_owned()]),
        (_, Seen::Ours(LedgerEntry::Retained) | Seen::Absent | Seen::Foreign) => Stage::Done,
    }
}

fn act_on(names: &[String], action: impl Fn(String) -> Action) -> Stage {
    Stage::Act(names.iter().cloned().map(action).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nothing() -> Remains {
        Remains {
            connector: Seen::Absent,
            deployments: vec![],
            pods: 0,
            mirrored_key: Seen::Absent,
            consumer_group: Seen::Absent,
            children: vec![],
            topics: Seen::Absent,
            config_maps: vec![],
            budgets: vec![],
            ledger: Seen::Absent,
        }
    }

    fn everything() -> Remains {
        Remains {
            connector: Seen::Ours(ConnectorRun::Running),
            deployments: vec!["relay".into()],
            pods: 1,
            mirrored_key: Seen::Ours(()),
            consumer_group: Seen::Ours(()),
            children: vec![Child {
                name: "acme.orders.orders".into(),
                deleting: false,
            }],
            topics: Seen::Ours(vec!["acme.shop.orders".into()]),
            config_maps: vec!["relay".into()],
            budgets: vec!["relay".into()],
            ledger: Seen::Ours(LedgerEntry::Live),
        }
    }

    /// What the world does with an action.
    fn perform(remains: &mut Remains, action: &Action) {
        match action {
            Action::StopConnector => remains.connector = Seen::Ours(ConnectorRun::Stopped),
            Action::DeleteDeployment(name) => remains.deployments.retain(|d| d != name),
            Action::DeleteConnectorOffsets => {}
            Action::DeleteConnector => remains.connector = Seen::Absent,
            Action::RemoveMirroredKey => remains.mirrored_key = Seen::Absent,
            Action::DeleteConsumerGroup => remains.consumer_group = Seen::Absent,
            Action::DeleteChild(name) => {
                remains
                    .children
                    .iter_mut()
                    .filter(|c| c.name == *name)
                    .for_each(|c| c.deleting = true);
            }
            Action::DeleteTopics(_) => remains.topics = Seen::Absent,
            Action::DeleteConfigMap(name) => {
                remains.config_maps.retain(|c| c != name);
            }
            Action::DeleteBudget(name) => remains.budgets.retain(|b| b != name),
            Action::KeepPositions => assert!(
                remains.consumer_group == Seen::Ours(()) && remains.pods == 0,
                "positions are read once the relay is gone and before the group is"
            ),
            Action::RetainEntry => remains.ledger = Seen::Ours(LedgerEntry::Retained),
            Action::ForgetEntry => remains.ledger = Seen::Absent,
        }
    }

    /// While we wait, others finish what they were asked.
    fn time_passes(remains: &mut Remains) {
        remains.pods = 0;
        remains.children.retain(|c| !c.deleting);
    }

    fn run(mut remains: Remains, policy: DeletionPolicy, patience: Patience) -> (Vec<Action>, Step) {
        let mut done = Vec::new();
        for _ in 0..32 {
            match next(&remains, policy, patience) {
                Step::Act(actions) => {
                    actions.iter().for_each(|a| perform(&mut remains, a));
                    done.extend(actions);
                }
                Step::Wait(_) => {
                    let before = remains.clone();
                    time_passes(&mut remains);
                    if before == remains {
                        return (done, next(&remains, policy, patience));
                    }
                }
                step @ Step::Release { .. } => return (done, step),
            }
        }
        panic!("no end in sight: {remains:?}");
    }

    #[test]
    fn the_order_is_connector_relay_runtime_children_data() {
        let (done, end) = run(everything(), DeletionPolicy::Delete, Patience::Wait);
        assert_eq!(
            done,
            [
                Action::StopConnector,
                Action::DeleteDeployment("relay".into()),
                Action::DeleteConnectorOffsets,
                Action::DeleteConnector,
                Action::RemoveMirroredKey,
                Action::DeleteConsumerGroup,
                Action::DeleteConfigMap("relay".into()),
                Action::DeleteBudget("relay".into()),
                Action::DeleteChild("acme.orders.orders".into()),
                Action::DeleteTopics(vec!["acme.shop.orders".into()]),
                Action::ForgetEntry,
            ]
        );
        assert_eq!(end, Step::Release { left_behind: vec![] });
    }

    #[test]
    fn retain_keeps_offsets_topics_and_ledger() {
        let (done, end) = run(everything(), DeletionPolicy::Retain, Patience::Wait);
        assert!(!done.contains(&Action::DeleteConnectorOffsets));
        assert!(!done.iter().any(|a| matches!(a, Action::DeleteTopics(_))));
        assert!(!done.contains(&Action::ForgetEntry));
        assert_eq!(done.last(), Some(&Action::RetainEntry));
        let at = |action: &Action| done.iter().position(|a| a == action);
        assert!(at(&Action::KeepPositions).is_some());
        assert!(at(&Action::KeepPositions) < at(&Action::DeleteConsumerGroup));
        assert_eq!(end, Step::Release { left_behind: vec![] });
    }

    #[test]
    fn what_cannot_be_reached_is_waited_for_or_named() {
        let away = Remains {
            connector: Seen::Unreachable("Connect is away".into()),
            ..everything()
        };
        assert_eq!(
            next(&away, DeletionPolicy::Retain, Patience::Wait),
            Step::Wait("Connect is away".into())
        );
        let (_, end) = run(away, DeletionPolicy::Retain, Patience::Yield);
        assert_eq!(
            end,
            Step::Release {
                left_behind: vec!["the connector".into()]
            }
        );
    }

    /// Rule 25: Connect, Kafka and StarRocks are all down and the namespace goes: it ends, and says what is left.
    fn a_namespace_that_goes_is_not_held_up() -> Result<(), String> {
        let away = || "it is away".to_owned();
        let down = Remains {
            connector: Seen::Unreachable(away()),
            consumer_group: Seen::Unreachable(away()),
            ledger: Seen::Unreachable(away()),
            ..everything()
        };
        let bound = Some(Duration::from_secs(600));
        let soon = patience(Duration::from_secs(1), None, bound);
        let (_, end) = run(down.clone(), DeletionPolicy::Retain, soon);
        if !matches!(end, Step::Wait(_)) {
            return Err(format!("it did not even try: {end:?}"));
        }
        let (_, end) = run(
            down,
            DeletionPolicy::Retain,
            patience(Duration::from_secs(600), None, bound),
        );
        match end {
            Step::Release { left_behind } if left_behind.len() >= 3 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn rule_25() {
        a_namespace_that_goes_is_not_held_up().unwrap();
    }

    #[test]
    fn rule_25_is_broken_without_its_guard() {
        Guard::NamespaceYields.assert_red("pipeline::teardown::plan::tests::rule_25");
    }

    #[test]
    fn orphaning_begins_when_asked_and_not_before() {
        let hour = Duration::from_secs(3600);
        assert_eq!(patience(hour, None, None), Patience::Wait, "Wait waits");
        assert_eq!(
            patience(Duration::from_secs(3599), Some(hour), None),
            Patience::Wait
        );
        assert_eq!(patience(hour, Some(hour), None), Patience::Yield);
        assert_eq!(patience(hour + PODS_GRACE, Some(hour), None), Patience::Abandon);
    }

    #[test]
    fn pods_that_never_end_are_waited_for_and_then_named_with_the_group_they_may_move() {
        let mut stuck = everything();
        stuck.connector = Seen::Absent;
        stuck.deployments.clear();
        let policy = DeletionPolicy::Retain;
        for patience in [Patience::Wait, Patience::Yield] {
            assert!(
                matches!(next(&stuck, policy, patience), Step::Wait(_)),
                "{patience:?}"
            );
        }
        let mut left = Vec::new();
        for _ in 0..16 {
            match next(&stuck, policy, Patience::Abandon) {
                Step::Act(actions) => {
                    assert!(!actions.contains(&Action::KeepPositions), "{actions:?}");
                    actions.iter().for_each(|a| perform(&mut stuck, a));
                    stuck.children.clear();
                }
                Step::Release { left_behind } => {
                    left = left_behind;
                    break;
                }
                Step::Wait(why) => panic!("{why}"),
            }
        }
        assert_eq!(left, ["1 relay pod(s) that do not end", "the consumer group"]);
    }

    #[test]
    fn what_fails_again_and_again_is_let_go_of_where_it_is_not_kubernetes() {
        let mut remains = everything();
        let mut given_up = Vec::new();
        for _ in 0..32 {
            match next(&remains, DeletionPolicy::Delete, Patience::Yield) {
                Step::Act(actions) => {
                    for action in &actions {
                        if remains.give_up(action, "503") {
                            given_up.push(action.clone());
                        } else {
                            perform(&mut remains, action);
                        }
                    }
                }
                Step::Wait(_) => time_passes(&mut remains),
                Step::Release { left_behind } => {
                    let all = [
                        "the connector",
                        "the mirrored connection string",
                        "the consumer group",
                        "the topics",
                        "the ledger entry",
                    ];
                    assert_eq!(left_behind, all);
                    return;
                }
            }
        }
        panic!("no end in sight: {given_up:?}");
    }

    fn seen<T: Clone + std::fmt::Debug + 'static>(
        ours: impl Strategy<Value = T> + 'static,
    ) -> impl Strategy<Value = Seen<T>> {
        prop_oneof![
            Just(Seen::Absent),
            Just(Seen::Foreign),
            Just(Seen::Unreachable("away".to_owned())),
            ours.prop_map(Seen::Ours),
        ]
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::btree_set("[a-c]", 0..3).prop_map(|s| s.into_iter().collect())
    }

    prop_compose! {
        fn remains()(
            connector in seen(prop_oneof![Just(ConnectorRun::Running), Just(ConnectorRun::Stopped)]),
            deployments in names(),
            pods in 0usize..3,
            mirrored_key in seen(Just(())),
            consumer_group in seen(Just(())),
            children in names(),
            deleting in any::<bool>(),
            topics in seen(names()),
            config_maps in names(),
            budgets in names(),
            ledger in seen(prop_oneof![Just(LedgerEntry::Live), Just(LedgerEntry::Retained)]),
        ) -> Remains {
            let children = children.into_iter().map(|name| Child { name, deleting }).collect();
            Remains {
                connector, deployments, pods, mirrored_key, consumer_group, children, topics, config_maps, budgets, ledger,
            }
        }
    }

    proptest! {
        #[test]
        fn from_anything_seen_the_teardown_ends(remains in remains(), delete in any::<bool>()) {
            let policy = if delete { DeletionPolicy::Delete } else { DeletionPolicy::Retain };
            let (_, end) = run(remains.clone(), policy, Patience::Yield);
            prop_assert!(matches!(end, Step::Release { .. }), "{end:?}");
            let (_, end) = run(remains.clone(), policy, Patience::Abandon);
            prop_assert!(matches!(end, Step::Release { .. }), "{end:?}");
            let (_, end) = run(remains, policy, Patience::Wait);
            prop_assert!(matches!(end, Step::Release { .. } | Step::Wait(_)), "{end:?}");
        }

        #[test]
        fn what_is_not_ours_is_never_touched(remains in remains(), delete in any::<bool>()) {
            let policy = if delete { DeletionPolicy::Delete } else { DeletionPolicy::Retain };
            let (done, _) = run(remains.clone(), policy, Patience::Yield);
            if !matches!(remains.connector, Seen::Ours(_)) {
                prop_assert!(!done.iter().any(|a| matches!(a,
                    Action::StopConnector | Action::DeleteConnector | Action::DeleteConnectorOffsets)));
            }
            if !matches!(remains.topics, Seen::Ours(_)) || !delete {
                prop_assert!(!done.iter().any(|a| matches!(a, Action::DeleteTopics(_))));
            }
            if !matches!(remains.mirrored_key, Seen::Ours(())) {
                prop_assert!(!done.contains(&Action::RemoveMirroredKey));
            }
        }

        #[test]
        fn nothing_left_means_release(delete in any::<bool>()) {
            let policy = if delete { DeletionPolicy::Delete } else { DeletionPolicy::Retain };
            prop_assert_eq!(next(&nothing(), policy, Patience::Wait), Step::Release { left_behind: vec![] });
        }
    }
}
