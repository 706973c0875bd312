//! The lane against a sink whose answers the test gives one by one.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::mpsc;
use tributary_crds::relay::{PipelineIdentity, RetryCause};

use super::*;
use crate::sink::{Durable, LabelState, LoadOutcome, LoadRequest, Sink};
use crate::telemetry::metrics::Metrics;

const P0: Slot = Slot(0);
const P1: Slot = Slot(1);

/// One question of the lane, waiting for its answer.
enum Asked {
    Load(LoadRequest, tokio::sync::oneshot::Sender<LoadOutcome>),
    State(String, tokio::sync::oneshot::Sender<LabelState>),
}

struct Scripted(mpsc::Sender<Asked>);

impl Sink for Scripted {
    async fn load(&self, request: &LoadRequest) -> LoadOutcome {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0
            .send(Asked::Load(request.clone(), answer))
            .await
            .expect("the test listens");
        answered.await.expect("the test answers")
    }

    async fn label_state(&self, _database: &str, label: &str) -> LabelState {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0
            .send(Asked::State(label.to_owned(), answer))
            .await
            .expect("the test listens");
        answered.await.expect("the test answers")
    }

    async fn cancel(&self, _database: &str, _table: &str, _label: &str) {}
}

fn lane(max_rows: u64) -> Arc<Lane> {
    let names = (0..2)
        .map(|partition| SlotName {
            topic: "acme.shop.orders".into(),
            generation: 1,
            partition,
        })
        .collect();
    let owner = PipelineIdentity {
        owner: "prod/shop/acme".into(),
        namespace: "shop".into(),
        name: "acme".into(),
        tenant: "acme".into(),
    };
    let spec = LaneSpec {
        database: "shop".into(),
        table: "orders".into(),
        slots: vec![P0, P1],
        labels: Labels::new(&owner, "shop", "orders", &[(1, "sha256:1")]),
        columns: "`k`".into(),
        batch: BatchConfig {
            linger_ms: 5,
            max_bytes: 1 << 20,
            max_rows,
        },
        names: Arc::new(names),
    };
    let metrics = Metrics::default().lane("shop", "orders");
    Arc::new(Lane::new(spec, metrics, Arc::default(), Arc::default()))
}

fn push(lane: &Lane, slot: Slot, offset: i64, key: &str) -> Pushed {
    lane.push::<Infallible>(slot, offset, RowTimes::default(), |out| {
        out.extend_from_slice(format!("{{\"k\":\"{key}\"}}").as_bytes());
        Ok(key.len() + 6)
    })
    .unwrap_or_else(|never| match never {})
}

struct Rig {
    lane: Arc<Lane>,
    asked: mpsc::Receiver<Asked>,
}

impl Rig {
    fn start(max_rows: u64) -> Self {
        let lane = lane(max_rows);
        let (send, asked) = mpsc::channel(1);
        tokio::spawn(run(Arc::clone(&lane), Arc::new(Scripted(send))));
        lane.reset(&[(P0, 10), (P1, 0)]);
        Self { lane, asked }
    }

    async fn load(&mut self) -> (LoadRequest, tokio::sync::oneshot::Sender<LoadOutcome>) {
        match self.asked.recv().await.expect("the lane asks") {
            Asked::Load(request, answer) => (request, answer),
            Asked::State(label, _) => panic!("asked for the state of {label}"),
        }
    }

    async fn state(&mut self) -> (String, tokio::sync::oneshot::Sender<LabelState>) {
        match self.asked.recv().await.expect("the lane asks") {
            Asked::State(label, answer) => (label, answer),
            Asked::Load(request, _) => panic!("asked for a load of {}", request.label),
        }
    }

    async fn done(&self, slot: Slot, position: i64) {
        while self.lane.done(slot) != position {
            tokio::task::yield_now().await;
        }
    }
}

const VISIBLE: LoadOutcome = LoadOutcome::Durable(Durable { visible: true });

fn retry(ambiguous: bool) -> LoadOutcome {
    LoadOutcome::Retry {
        cause: RetryCause::Unreachable,
        message: "gone".into(),
        ambiguous,
    }
}

#[tokio::test]
async fn positions_move_only_when_a_load_is_durable() {
    let mut rig = Rig::start(100);
    assert_eq!(
        push(&rig.lane, P0, 9, "before"),
        Pushed::Skipped,
        "the table has it already"
    );
    assert_eq!(
        push(&rig.lane, P0, 12, "a"),
        Pushed::Taken,
        "10 and 11 were transaction markers"
    );
    rig.lane.advance(P1, 5);
    let (request, answer) = rig.load().await;
    assert_eq!((&request.body[..], request.rows), (&b"[{\"k\":\"a\"}]"[..], 1));
    assert_eq!((rig.lane.done(P0), rig.lane.done(P1)), (10, 0));
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 13).await;
    rig.done(P1, 5).await;
}

#[tokio::test]
async fn one_load_at_a_time_and_the_next_batch_fills_meanwhile() {
    let mut rig = Rig::start(2);
    push(&rig.lane, P0, 10, "a");
    let (_, first) = rig.load().await;
    assert_eq!(push(&rig.lane, P0, 11, "b"), Pushed::Taken);
    assert_eq!(push(&rig.lane, P0, 12, "c"), Pushed::Full);
    assert!(!rig.lane.wait_for_room(Duration::from_millis(20)));
    assert!(rig.asked.try_recv().is_err(), "one in flight");
    first.send(VISIBLE).unwrap();
    let (second, answer) = rig.load().await;
    assert_eq!(second.rows, 2);
    assert!(rig.lane.wait_for_room(Duration::ZERO));
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 13).await;
}

#[tokio::test]
async fn an_ambiguous_attempt_is_asked_about_before_the_bytes_go_again() {
    let mut rig = Rig::start(100);
    push(&rig.lane, P0, 10, "a");
    let (first, answer) = rig.load().await;
    answer.send(retry(true)).unwrap();
    let (label, answer) = rig.state().await;
    assert_eq!(label, first.label);
    answer.send(LabelState::Running).unwrap();
    let (_, answer) = rig.state().await;
    answer.send(LabelState::Free).unwrap();
    let (second, answer) = rig.load().await;
    assert_eq!((&second.label, &second.body), (&first.label, &first.body));
    answer.send(retry(false)).unwrap();
    let (third, answer) = rig.load().await;
    assert_eq!((&third.label, &third.body), (&first.label, &first.body));
    answer.send(retry(true)).unwrap();
    let (_, answer) = rig.state().await;
    answer
        .send(LabelState::Durable(Durable { visible: false }))
        .unwrap();
    rig.done(P0, 11).await;
}

#[tokio::test]
async fn a_reset_abandons_the_load_and_its_late_answer_moves_nothing() {
    let mut rig = Rig::start(100);
    push(&rig.lane, P0, 10, "a");
    let (_, answer) = rig.load().await;
    rig.lane.reset(&[(P0, 10)]);
    // Whether the lane still listens is a race it must win either way.
    let _ = answer.send(VISIBLE);
    push(&rig.lane, P0, 10, "again");
    let (request, answer) = rig.load().await;
    assert_eq!(request.body, Bytes::from_static(b"[{\"k\":\"again\"}]"));
    assert_eq!((rig.lane.done(P0), rig.lane.done(P1)), (10, UNASSIGNED));
    assert_eq!(push(&rig.lane, P1, 0, "not ours"), Pushed::Skipped);
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 11).await;
}

#[tokio::test]
async fn a_refused_event_stops_the_lane_after_what_came_before_it() {
    let mut rig = Rig::start(100);
    push(&rig.lane, P0, 10, "a");
    rig.lane.refuse(BlockedCause::LoadsRejected, "no".into(), None);
    assert_eq!(push(&rig.lane, P0, 12, "c"), Pushed::Skipped);
    let (request, answer) = rig.load().await;
    assert_eq!(request.rows, 1);
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 11).await;
    assert!(matches!(
        rig.lane.state(),
        LaneState::Blocked {
            cause: BlockedCause::LoadsRejected,
            ..
        }
    ));
    assert_eq!(rig.lane.take_rewind(), None, "only another configuration helps");
}
