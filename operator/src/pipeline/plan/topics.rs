//! Topics: created here, never by Connect, and never changed once they exist.

use tributary_crds::relay::DatasetConfig;

use super::Action;
use crate::backend::BackendError;
use crate::backend::kafka::{TopicSpec, TopicState};
use crate::ledger::{Entry, Identity};
use crate::pipeline::observe::Observed;
use crate::pipeline::validate::Accepted;

use super::{live_topic, relay::recorded_partitions};

#[derive(Clone, Debug)]
pub enum TopicsView {
    Ready,
    /// These are being created.
    Creating(Vec<String>),
    /// A topic that exists cannot serve: which and why.
    Conflict(String),
    /// A topic is gone, or another one of the same name is there.
    Recreated(String),
    /// A topic has another number of partitions than when its generation began.
    PartitionsChanged(String),
    Unavailable(BackendError),
}

impl TopicsView {
    /// Rule 2: offsets that cannot be compared with those in the tables must not be loaded.
    pub fn stops_the_lane(&self) -> bool {
        matches!(self, Self::Recreated(_) | Self::PartitionsChanged(_))
    }
}

impl PartialEq for TopicsView {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Ready, Self::Ready))
    }
}

pub(super) fn plan(
    accepted: &Accepted,
    observed: &Observed,
    entry: &mut Entry,
    actions: &mut Vec<Action>,
) -> TopicsView {
    let live = match (&observed.topics, &observed.ledger) {
        (Ok(live), Ok(_)) => live,
        (Err(error), _) | (_, Err(error)) => return TopicsView::Unavailable(error.clone()),
    };
    let missing: Vec<&TopicSpec> = accepted
        .topics
        .iter()
        .filter(|t| !live.contains_key(&t.name))
        .collect();
    for topic in accepted.topics.iter().filter_map(|wanted| live.get(&wanted.name)) {
        if let Some(why) = unusable(topic) {
            return TopicsView::Conflict(why);
        }
    }
    for dataset in &accepted.datasets {
        if let Some(view) = another_topic(accepted, observed, entry, dataset, live.get(&dataset.topic.name)) {
            return view;
        }
    }
    if missing.is_empty() {
        return TopicsView::Ready;
    }
    for topic in &missing {
        if let Some(record) = &mut entry.record {
            record.created_topics.insert(topic.name.clone());
        }
        actions.push(Action::CreateTopic((*topic).clone()));
    }
    TopicsView::Creating(missing.iter().map(|t| t.name.clone()).collect())
}

/// Whether a dataset's topic is no longer the one its generations count on.
fn another_topic(
    accepted: &Accepted,
    observed: &Observed,
    entry: &Entry,
    dataset: &DatasetConfig,
    live: Option<&TopicState>,
) -> Option<TopicsView> {
    let name = &dataset.topic.name;
    let moved = |recorded: i32, now: i32| {
        TopicsView::PartitionsChanged(format!(
            "Topic {name} has {now} partitions and had {recorded}: keys have moved, so their order is lost. The relay is stopped, its tables stay as they are. {AS_NEW}"
        ))
    };
    match entry.identity(&dataset.name, name, live.map(live_topic).as_ref()) {
        Identity::Same => None,
        // Before the ledger knew it, the relay's own file did.
        Identity::New => {
            let recorded = recorded_partitions(accepted, observed, &dataset.name)?;
            let now = live?.partitions;
            (recorded != now).then(|| moved(recorded, now))
        }
        Identity::PartitionsChanged { recorded, live } => Some(moved(recorded, live)),
        Identity::Gone => Some(TopicsView::Recreated(format!(
            "Topic {name} is gone: changes that were not loaded yet are lost, and a new one would count from zero. The connector and the relay are stopped. {AS_NEW}"
        ))),
        Identity::Recreated => Some(TopicsView::Recreated(format!(
            "Topic {name} was deleted and made again: its offsets count from zero, and loading them would put older rows over newer ones. The connector and the relay are stopped. {AS_NEW}"
        ))),
    }
}

/// What to do about it.
const AS_NEW: &str = "To go on with the topic as a new generation, delete this pipeline with deletionPolicy: Retain and apply it again.";

/// Retention and replication of an existing topic are its owner's; compaction would take history away.
fn unusable(topic: &TopicState) -> Option<String> {
    let policy = topic
        .config
        .get("cleanup.policy")
        .map_or("delete", String::as_str);
    let compacts = policy.split(',').any(|p| p.trim() == "compact");
    compacts.then(|| {
        format!(
            "Topic {} exists with cleanup.policy={policy}: compaction takes away the changes that replay needs. Set it to delete or choose another topicPrefix.",
            topic.name
        )
    })
}
