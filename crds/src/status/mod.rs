//! Conditions: their words, their order, and how `Ready`, `reason` and `message` follow from them.
//!
//! Each kind has one enum of condition types (in the order they are printed, `Ready` first) and one enum of reasons.
//! A controller observes; [`compose`] turns observations into the list that is stored.

mod compose;
mod lag;
mod pipeline;
mod platform;
mod table;

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use compose::{Composed, Held, Observation, Verdict, compose};
pub use lag::{LagBucket, LagGauge};
pub use pipeline::{PipelineCondition, PipelineReason};
pub use platform::{PlatformCondition, PlatformReason};
pub use table::{TableCondition, TableReason};

/// Longest message kept in a status.
pub const MESSAGE_MAX: usize = 512;
/// kstatus: a new generation is being applied. Present only while true.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: no retry can help without a change by somebody. Present only while true.
pub const STALLED: &str = "Stalled";

/// One condition as stored. True is good, `Reconciling` and `Stalled` aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Condition {
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub kind: String,
    pub status: ConditionStatus,
    #[schemars(length(max = 64))]
    pub reason: String,
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub message: String,
    #[serde(default)]
    pub observed_generation: i64,
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        })
    }
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time", "maxLength": 64})
}

/// The condition types of one kind.
pub trait ConditionType: Copy + Eq + fmt::Debug + 'static {
    /// The reasons of the same kind.
    type Reason: ConditionReason;
    /// Every type in the order it is stored; the first is `Ready`.
    const ALL: &'static [Self];
    fn as_str(self) -> &'static str;
    /// Whether `Ready` waits for it.
    fn gates_ready(self) -> bool;
    /// Types that do not gate `Ready` but show as the object's `reason` while False, most severe first.
    const SHOWN: &'static [Self];
}

/// The reasons of one kind: the words of conditions, events and metric labels.
pub trait ConditionReason: Copy + Eq + fmt::Debug + 'static {
    /// Before the first look.
    const NOT_YET_CHECKED: Self;
    const ALL: &'static [Self];
    fn as_str(self) -> &'static str;
}

/// An enum whose text is its variants' names.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order of declaration.
            pub const EVERY: &'static [Self] = &[$(Self::$variant,)+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
use words;

/// A kind's reasons: words, of which one says "not looked at yet".
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($body:tt)+ }) => {
        $crate::status::words! { $(#[$meta])* $name { NotYetChecked, $($body)+ } }

        impl $crate::status::ConditionReason for $name {
            const NOT_YET_CHECKED: Self = Self::NotYetChecked;
            const ALL: &'static [Self] = Self::EVERY;
            fn as_str(self) -> &'static str {
                self.as_str()
            }
        }
    };
}
use reasons;

/// The condition of this type, if present.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// `text` cut to [`MESSAGE_MAX`] bytes at a character boundary, with an ellipsis when cut.
pub fn clip(text: &str) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= MESSAGE_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MESSAGE_MAX - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..end])
}
