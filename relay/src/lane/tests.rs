//! The lane against a sink whose answers the test gives one by one.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::mpsc;
use tributary_crds::relay::{PipelineIdentity, RetryCause};

use super::*;
use crate::sink::starrocks::sql::SqlError;
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

    async fn columns(&self, _: &str, _: &str) -> Result<Option<Vec<String>>, SqlError> {
        Ok(None)
    }

    async fn keys(&self, _: &str, _: usize) -> Result<Vec<crate::sink::starrocks::sql::Cells>, SqlError> {
        Ok(Vec::new())
    }

    async fn cancel(&self, _database: &str, _table: &str, _label: &str) {}
}

fn lane(max_rows: u64, desk: Arc<CommitDesk>) -> Arc<Lane> {
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
        id: TableId::new("shop", "orders"),
        database: "shop".into(),
        table: "orders".into(),
        slots: vec![P0, P1],
        labels: Labels::new(&owner, "shop", "orders", &[(1, "sha256:1")]),
        columns: "`k`".into(),
        mapped: vec!["k".into()],
        batch: BatchConfig {
            linger_ms: 5,
            max_bytes: 1 << 20,
            max_rows,
        },
        index: Vec::new(),
        index_bytes: 0,
        removals: vec![None, None],
        soft: false,
        mapping_generation: 1,
        dead_letters: None,
        names: Arc::new(names),
    };
    let metrics = Metrics::default().lane("shop", "orders");
    Arc::new(Lane::new(spec, metrics, desk, Arc::default(), Arc::default()))
}

/// Commits whatever is asked for, as long as somebody can ask.
fn commit_all(desk: &Arc<CommitDesk>) {
    let desk = Arc::downgrade(desk);
    std::thread::spawn(move || {
        let mut served = desk::Ticket::NONE;
        while let Some(desk) = desk.upgrade() {
            served = desk.next(served, Duration::from_millis(50));
            desk.succeeded(served);
        }
    });
}

fn at(slot: Slot, done: i64) -> LaneStart {
    LaneStart {
        slot,
        done,
        intent: None,
    }
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
        let desk = Arc::default();
        commit_all(&desk);
        Self::with(lane(max_rows, desk), &[at(P0, 10), at(P1, 0)])
    }

    fn with(lane: Arc<Lane>, starts: &[LaneStart]) -> Self {
        let (send, asked) = mpsc::channel(1);
        tokio::spawn(run(Arc::clone(&lane), Arc::new(Scripted(send))));
        lane.reset(starts);
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
    answer.send(LabelState::Unknown).unwrap();
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
    rig.lane.reset(&[at(P0, 10)]);
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

fn intent(label: Label, end: i64, partitions: u16) -> Option<Intent> {
    Some(Intent {
        label,
        end,
        partitions,
        piece: None,
    })
}

const OLD: Label = Label {
    generation: 1,
    hash: [7; 12],
    part: None,
};

/// A lane that took over a load of `[10, 13)` of P0 and `[0, 2)` of P1.
fn successor() -> Rig {
    let desk = Arc::default();
    commit_all(&desk);
    let starts = [
        LaneStart {
            intent: intent(OLD, 13, 2),
            ..at(P0, 10)
        },
        LaneStart {
            intent: intent(OLD, 2, 2),
            ..at(P1, 0)
        },
    ];
    Rig::with(lane(100, desk), &starts)
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_announced() {
    let desk: Arc<CommitDesk> = Arc::default();
    let mut rig = Rig::with(lane(100, Arc::clone(&desk)), &[at(P0, 10), at(P1, 0)]);
    push(&rig.lane, P0, 10, "a");
    let waiting = tokio::task::spawn_blocking({
        let desk = Arc::clone(&desk);
        move || loop {
            let ticket = desk.next(desk::Ticket::NONE, Duration::from_secs(5));
            if ticket > desk::Ticket::NONE {
                return ticket;
            }
        }
    });
    let ticket = waiting.await.unwrap();
    assert!(rig.asked.try_recv().is_err(), "not committed yet");
    let (done, announced) = rig.lane.progress(P0);
    let announced = announced.expect("the intent is what gets committed");
    assert_eq!((done, announced.end, announced.partitions), (10, 11, 1));
    desk.failed("broker gone".into());
    while !matches!(
        rig.lane.state(),
        LaneState::Retrying {
            cause: RetryCause::CommitFailed,
            ..
        }
    ) {
        tokio::task::yield_now().await;
    }
    desk.succeeded(ticket);
    let (request, answer) = rig.load().await;
    assert_eq!(request.label, rig.lane.spec.labels.text(&announced.label));
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 11).await;
    assert_eq!(rig.lane.progress(P0), (11, None));
}

#[tokio::test]
async fn an_inherited_load_that_is_there_moves_the_positions() {
    let mut rig = successor();
    push(&rig.lane, P0, 10, "a");
    push(&rig.lane, P0, 14, "beyond");
    let (label, answer) = rig.state().await;
    assert_eq!(label, rig.lane.spec.labels.text(&OLD));
    answer
        .send(LabelState::Durable(Durable { visible: true }))
        .unwrap();
    rig.done(P0, 13).await;
    rig.done(P1, 2).await;
    while rig.lane.progress(P0).1.is_some() {
        tokio::task::yield_now().await;
    }
    let rewind = rig.lane.take_rewind();
    assert_eq!(rewind, Some(vec![(P0, 13), (P1, 2)]), "offset 14 passed by");
    push(&rig.lane, P0, 14, "beyond");
    let (request, answer) = rig.load().await;
    assert_eq!(&request.body[..], b"[{\"k\":\"beyond\"}]");
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 15).await;
}

#[tokio::test]
async fn an_inherited_load_that_is_not_there_goes_again_with_its_ranges_and_label() {
    let mut rig = successor();
    let (_, answer) = rig.state().await;
    answer.send(LabelState::Running).unwrap();
    let (_, answer) = rig.state().await;
    answer.send(LabelState::Aborted).unwrap();
    push(&rig.lane, P0, 10, "a");
    push(&rig.lane, P0, 11, "b");
    assert_eq!(
        push(&rig.lane, P0, 15, "newer"),
        Pushed::Skipped,
        "12 was a marker, 15 is another batch's"
    );
    push(&rig.lane, P1, 1, "c");
    let (request, answer) = rig.load().await;
    assert_eq!(request.label, rig.lane.spec.labels.text(&OLD));
    assert_eq!(request.rows, 3);
    assert_eq!(rig.lane.progress(P0), (10, intent(OLD, 13, 2)), "still announced");
    assert_eq!(
        push(&rig.lane, P0, 16, "newer"),
        Pushed::Skipped,
        "15 comes first"
    );
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 13).await;
    rig.done(P1, 2).await;
    while rig.lane.progress(P1).1.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.lane.take_rewind(), Some(vec![(P0, 13), (P1, 2)]));
}

#[tokio::test]
async fn a_load_not_begun_in_time_is_announced_anew() {
    let mut rig = Rig::start(100);
    push(&rig.lane, P0, 10, "a");
    let (first, answer) = rig.load().await;
    answer.send(LoadOutcome::Late).unwrap();
    let (second, answer) = rig.load().await;
    assert_eq!(first.label, second.label);
    assert!(first.start_by > Instant::now() + Duration::from_secs(20));
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 11).await;
}

#[tokio::test]
async fn a_task_that_hangs_with_work_is_noticed() {
    let mut rig = Rig::start(100);
    let later = now_ms() + 1_000_000;
    assert_eq!(rig.lane.idle_with_work_ms(later), 0, "no work, no step needed");
    push(&rig.lane, P0, 10, "a");
    let (_, answer) = rig.load().await;
    assert!(rig.lane.idle_with_work_ms(later) > 900_000);
    answer.send(VISIBLE).unwrap();
    rig.done(P0, 11).await;
    while rig.lane.idle_with_work_ms(later) != 0 {
        tokio::task::yield_now().await;
    }
}

/// `Publish Timeout` is durable and unreadable: who wants to read the table waits for it.
#[tokio::test]
async fn a_load_that_is_not_visible_yet_can_be_waited_for() {
    let mut rig = Rig::start(100);
    let (send, mut asked) = mpsc::channel(1);
    let reader = Scripted(send);
    rig.lane.visible(&reader).await;
    push(&rig.lane, P0, 10, "a");
    let (request, answer) = rig.load().await;
    answer
        .send(LoadOutcome::Durable(Durable { visible: false }))
        .unwrap();
    rig.done(P0, 11).await;
    let lane = Arc::clone(&rig.lane);
    let waiting = tokio::spawn(async move { lane.visible(&reader).await });
    for visible in [false, true] {
        let Some(Asked::State(label, answer)) = asked.recv().await else {
            panic!("asks for the state of its newest load");
        };
        assert_eq!(label, request.label);
        assert!(!waiting.is_finished());
        answer.send(LabelState::Durable(Durable { visible })).unwrap();
    }
    waiting.await.unwrap();
}
