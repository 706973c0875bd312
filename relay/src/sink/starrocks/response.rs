//! What StarRocks' answers mean. One table; the texts are in FE and BE sources (stream-load reference §1, §2.3-10).

use serde::Deserialize;
use tributary_crds::relay::{BlockedCause, RetryCause};

use crate::sink::{Durable, LabelState, LoadOutcome};

/// What a failure's text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Retry(RetryCause),
    Blocked(BlockedCause),
    /// The rows of this load are not taken; those of another may be.
    Rejected,
}

/// Text in a message (compared in lower case) → class. The first match decides, so the specific stand before the general.
const MESSAGES: &[(&str, Class)] = &[
    // Pressure: passes by itself.
    ("too many versions", Class::Retry(RetryCause::TooManyVersions)),
    (
        "too many tablet versions",
        Class::Retry(RetryCause::TooManyVersions),
    ),
    (
        "close index channel failed",
        Class::Retry(RetryCause::TooManyVersions),
    ),
    (
        "current running txns on db",
        Class::Retry(RetryCause::TooManyTransactions),
    ),
    (
        "exceed http cuncurrent limit",
        Class::Retry(RetryCause::TooManyTransactions),
    ), // sic
    (
        "exceed http concurrent limit",
        Class::Retry(RetryCause::TooManyTransactions),
    ),
    ("no backend alive", Class::Retry(RetryCause::NoBackendAlive)),
    ("no alive backend", Class::Retry(RetryCause::NoBackendAlive)),
    ("service is shutting down", Class::Retry(RetryCause::ShuttingDown)),
    ("txn_in_processing", Class::Retry(RetryCause::LabelRunning)),
    ("schema change", Class::Retry(RetryCause::SchemaChanging)),
    ("is not normal", Class::Retry(RetryCause::SchemaChanging)),
    ("timeout", Class::Retry(RetryCause::Timeout)),
    ("timed out", Class::Retry(RetryCause::Timeout)),
    // Credentials and grants.
    (
        "access denied",
        Class::Blocked(BlockedCause::AuthenticationFailed),
    ),
    (
        "need auth information",
        Class::Blocked(BlockedCause::AuthenticationFailed),
    ),
    (
        "no valid basic authorization",
        Class::Blocked(BlockedCause::AuthenticationFailed),
    ),
    // The table is not what the mapping was made for.
    ("unknown table", Class::Blocked(BlockedCause::UnknownTable)),
    ("unknown database", Class::Blocked(BlockedCause::UnknownTable)),
    ("table not found", Class::Blocked(BlockedCause::UnknownTable)),
    ("no database selected", Class::Blocked(BlockedCause::UnknownTable)),
    ("no table selected", Class::Blocked(BlockedCause::UnknownTable)),
    ("does not exist", Class::Blocked(BlockedCause::UnknownTable)),
    ("unknown column", Class::Blocked(BlockedCause::UnknownColumn)),
    (
        "column has no default value",
        Class::Blocked(BlockedCause::UnknownColumn),
    ),
    (
        "mapping column is not in table",
        Class::Blocked(BlockedCause::UnknownColumn),
    ),
    // Rows that will never be accepted as they are.
    ("too many filtered rows", Class::Rejected),
    ("primary key size exceed", Class::Rejected),
    ("exceed the max size", Class::Rejected),
    ("body size", Class::Rejected),
    ("parse json", Class::Rejected),
    ("invalid json", Class::Rejected),
    (
        "only support primary key",
        Class::Blocked(BlockedCause::LoadsRejected),
    ),
    (
        "only primary key table",
        Class::Blocked(BlockedCause::LoadsRejected),
    ),
    (
        "delete with condition column",
        Class::Blocked(BlockedCause::LoadsRejected),
    ),
    (
        "invalid timeout format",
        Class::Blocked(BlockedCause::LoadsRejected),
    ),
    ("invalid strict mode", Class::Blocked(BlockedCause::LoadsRejected)),
    ("unknown data format", Class::Blocked(BlockedCause::LoadsRejected)),
];

pub(super) fn classify(message: &str) -> Class {
    let lower = message.to_ascii_lowercase();
    MESSAGES
        .iter()
        .find(|(needle, _)| lower.contains(needle))
        // What nobody has named yet is retried, visibly: giving up would need a reason.
        .map_or(Class::Retry(RetryCause::ServerError), |(_, class)| *class)
}

/// The answers of Stream Load, FE's (`FAILED`) and BE's alike; every field may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(rename = "Status", alias = "status")]
    status: String,
    #[serde(rename = "Message", alias = "msg")]
    message: String,
    #[serde(rename = "ExistingJobStatus")]
    existing_job_status: String,
    #[serde(rename = "NumberTotalRows")]
    total: Option<i64>,
    #[serde(rename = "NumberLoadedRows")]
    loaded: Option<i64>,
    #[serde(rename = "NumberFilteredRows")]
    filtered: Option<i64>,
    #[serde(rename = "NumberUnselectedRows")]
    unselected: Option<i64>,
    #[serde(rename = "ErrorURL")]
    error_url: Option<String>,
}

/// The meaning of a load's final answer, and where its rejected rows are listed.
pub(super) fn load_outcome(
    status: u16,
    body: &[u8],
    body_sent: bool,
    rows: u64,
) -> (LoadOutcome, Option<String>) {
    let excerpt = excerpt(body);
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    match (status, answer) {
        (401 | 403, answer) => {
            let message = answer.map_or(excerpt, |a| a.message);
            let cause = BlockedCause::AuthenticationFailed;
            (
                LoadOutcome::Blocked {
                    cause,
                    message: format!("HTTP {status}: {message}"),
                },
                None,
            )
        }
        (200, Some(answer)) => {
            let outcome = verdict(&answer, body_sent, rows);
            (outcome, answer.error_url)
        }
        (status, _) => (
            LoadOutcome::Retry {
                cause: RetryCause::ServerError,
                message: format!("HTTP {status}: {excerpt}"),
                ambiguous: body_sent,
            },
            None,
        ),
    }
}

fn verdict(answer: &Answer, body_sent: bool, rows: u64) -> LoadOutcome {
    match answer.status.as_str() {
        "Success" | "OK" => complete(answer, rows, true),
        "Publish Timeout" => complete(answer, rows, false),
        "Label Already Exists" => match answer.existing_job_status.as_str() {
            // Range-exact by construction: equal labels have equal bytes.
            "FINISHED" => LoadOutcome::Durable(Durable { visible: false }),
            state => LoadOutcome::Retry {
                cause: RetryCause::LabelRunning,
                message: format!("{} (existing job: {state})", answer.message),
                ambiguous: true,
            },
        },
        status => match classify(&answer.message) {
            Class::Blocked(cause) => LoadOutcome::Blocked {
                cause,
                message: answer.message.clone(),
            },
            Class::Rejected => LoadOutcome::Rejected {
                message: answer.message.clone(),
            },
            Class::Retry(cause) => LoadOutcome::Retry {
                cause,
                message: format!("{status}: {}", answer.message),
                // A Fail after the body can hide a commit: BE ignores the result of its own rollback (§1.2).
                ambiguous: body_sent,
            },
        },
    }
}

/// A success that dropped rows is none: with `max_filter_ratio: 0` it means the load did not do what was asked.
fn complete(answer: &Answer, rows: u64, visible: bool) -> LoadOutcome {
    let lost = answer.filtered.unwrap_or(0) != 0
        || answer.unselected.unwrap_or(0) != 0
        || answer.loaded.is_some_and(|loaded| loaded != rows as i64);
    if lost {
        return LoadOutcome::Blocked {
            cause: BlockedCause::LoadsRejected,
            message: format!(
                "{}: sent {rows} rows, StarRocks counted {} total, {} loaded, {} filtered, {} unselected",
                answer.status,
                answer.total.unwrap_or(-1),
                answer.loaded.unwrap_or(-1),
                answer.filtered.unwrap_or(0),
                answer.unselected.unwrap_or(0)
            ),
        };
    }
    LoadOutcome::Durable(Durable { visible })
}

#[derive(Deserialize)]
struct StateAnswer {
    state: Option<String>,
    #[serde(default, alias = "Message")]
    msg: String,
}

/// The meaning of `get_load_state`'s answer.
pub(super) fn label_state(status: u16, body: &[u8]) -> LabelState {
    let unanswered = |cause, message| LabelState::Unanswered { cause, message };
    if matches!(status, 401 | 403) {
        return LabelState::Refused {
            cause: BlockedCause::AuthenticationFailed,
            message: format!("get_load_state: HTTP {status}: {}", excerpt(body)),
        };
    }
    let Ok(answer) = serde_json::from_slice::<StateAnswer>(body) else {
        let message = format!("get_load_state: HTTP {status}: {}", excerpt(body));
        return unanswered(RetryCause::ServerError, message);
    };
    match answer.state.as_deref() {
        Some("VISIBLE") => LabelState::Durable(Durable { visible: true }),
        Some("COMMITTED") => LabelState::Durable(Durable { visible: false }),
        Some("PREPARE" | "PREPARED") => LabelState::Running,
        Some("ABORTED") => LabelState::Aborted,
        Some("UNKNOWN") => LabelState::Unknown,
        other => {
            let message = format!("get_load_state: HTTP {status}: state {other:?}: {}", answer.msg);
            unanswered(RetryCause::ServerError, message)
        }
    }
}

/// The beginning of a body, for a message.
pub(super) fn excerpt(body: &[u8]) -> String {
    const MAX: usize = 500;
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX)]);
    let dots = if body.len() > MAX { "…" } else { "" };
    format!("{}{dots}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests;
