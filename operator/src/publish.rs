//! Writing a status: only when something in it changed, with one event when the headline changed.

use kube::runtime::events::EventType;
use serde::Serialize;
use tributary_crds::status::{Condition, ConditionStatus, STALLED, find};

use crate::context::Context;
use crate::error::Error;
use crate::kubernetes::Namespaced;
use crate::telemetry::Kind;

/// The parts every status has.
pub trait Headline {
    fn conditions(&self) -> &[Condition];
    fn reason(&self) -> Option<&str>;
    fn message(&self) -> Option<&str>;
}

macro_rules! headline {
    ($($status:ty),+) => {
        $(impl Headline for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn reason(&self) -> Option<&str> {
                self.reason.as_deref()
            }
            fn message(&self) -> Option<&str> {
                self.message.as_deref()
            }
        })+
    };
}
headline!(
    tributary_crds::platform::DataPlatformStatus,
    tributary_crds::pipeline::TenantPipelineStatus,
    tributary_crds::table::StarRocksTableStatus
);

/// Writes `next` unless it is what is there, and tells about a changed headline.
pub async fn publish<K, S>(
    context: &Context,
    kind: Kind,
    object: &K,
    previous: Option<&S>,
    next: &S,
) -> Result<(), Error>
where
    K: Namespaced,
    S: Headline + PartialEq + Serialize,
{
    if previous == Some(next) {
        return Ok(());
    }
    let body = serde_json::to_value(next).map_err(|e| Error::serialise("status".to_owned(), e))?;
    context.kubernetes.apply_status(object, &body).await?;
    if let (Some(severity), Some(reason)) = (transition(previous, next), next.reason()) {
        let message = next.message().unwrap_or_default();
        tracing::info!(reason, message, "status changed");
        context.tell(kind, object, severity, reason, message).await;
    }
    Ok(())
}

/// Whether the headline changed, and how bad that is: on the way up nothing is a warning.
fn transition<S: Headline>(previous: Option<&S>, next: &S) -> Option<EventType> {
    if previous.and_then(Headline::reason) == next.reason() {
        return None;
    }
    let ready =
        |status: &S| find(status.conditions(), "Ready").is_some_and(|c| c.status == ConditionStatus::True);
    let good = ready(next) && find(next.conditions(), "Ready").map(|c| c.reason.as_str()) == next.reason();
    let was_ready = previous.is_some_and(ready);
    let stalled = find(next.conditions(), STALLED).is_some();
    // Going is what was asked for.
    let going = next.reason() == Some("Deleting");
    Some(if !good && !going && (was_ready || stalled) {
        EventType::Warning
    } else {
        EventType::Normal
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use tributary_crds::pipeline::TenantPipelineStatus;

    fn status(ready: ConditionStatus, reason: &str) -> TenantPipelineStatus {
        let condition = Condition {
            kind: "Ready".into(),
            status: ready,
            reason: reason.into(),
            message: String::new(),
            observed_generation: 1,
            last_transition_time: Timestamp::UNIX_EPOCH,
        };
        TenantPipelineStatus {
            reason: Some(reason.into()),
            conditions: vec![condition],
            ..TenantPipelineStatus::default()
        }
    }

    #[test]
    fn events_come_with_changes_of_the_headline_only() {
        let up = status(ConditionStatus::True, "Flowing");
        let creating = status(ConditionStatus::False, "CreatingTopics");
        let failed = status(ConditionStatus::False, "TaskFailed");
        assert!(transition(Some(&up), &up).is_none());
        assert!(matches!(transition(None, &creating), Some(EventType::Normal)));
        assert!(matches!(
            transition(Some(&creating), &up),
            Some(EventType::Normal)
        ));
        assert!(matches!(transition(Some(&up), &failed), Some(EventType::Warning)));
    }
}
