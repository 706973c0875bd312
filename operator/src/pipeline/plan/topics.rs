//! Topics: created here, never by Connect, and never changed once they exist.

use super::Action;
use crate::backend::BackendError;
use crate::backend::kafka::{TopicSpec, TopicState};
use crate::pipeline::ledger::Ledger;
use crate::pipeline::observe::Observed;
use crate::pipeline::validate::Accepted;

use super::relay::recorded_partitions;

#[derive(Clone, Debug)]
pub enum TopicsView {
    Ready,
    /// These are being created.
    Creating(Vec<String>),
    /// A topic that exists cannot serve: which and why.
    Conflict(String),
    /// A topic has another number of partitions than when the relay was configured.
    PartitionsChanged(String),
    Unavailable(BackendError),
}

impl PartialEq for TopicsView {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Ready, Self::Ready))
    }
}

pub(super) fn plan(
    accepted: &Accepted,
    observed: &Observed,
    ledger: &mut Ledger,
    actions: &mut Vec<Action>,
) -> TopicsView {
    let live = match &observed.topics {
        Ok(live) => live,
        Err(error) => return TopicsView::Unavailable(error.clone()),
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
        let recorded = recorded_partitions(accepted, observed, &dataset.name);
        let now = live.get(&dataset.topic.name).map(|t| t.partitions);
        if let (Some(recorded), Some(now)) = (recorded, now)
            && recorded != now
        {
            return TopicsView::PartitionsChanged(format!(
                "Topic {} has {now} partitions and had {recorded}: keys have moved, so their order is lost.",
                dataset.topic.name
            ));
        }
    }
    if missing.is_empty() {
        return TopicsView::Ready;
    }
    // Without a readable ledger nothing is created: nobody would know whose it is.
    if observed.ledger.is_ok() {
        for topic in &missing {
            ledger.created_topics.insert(topic.name.clone());
            actions.push(Action::CreateTopic((*topic).clone()));
        }
    }
    TopicsView::Creating(missing.iter().map(|t| t.name.clone()).collect())
}

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
