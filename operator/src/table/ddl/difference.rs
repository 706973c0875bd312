//! How a live table differs from the wanted one, and what follows from it.

use std::fmt;

use tributary_crds::column::ColumnType;

use crate::backend::starrocks::types::column_type;

/// One way in which the live table is not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not a primary-key table.
    Model {
        live: String,
    },
    PrimaryKey {
        wanted: Vec<String>,
        live: Vec<String>,
    },
    Distribution {
        wanted: Vec<String>,
        live: Vec<String>,
    },
    Buckets {
        wanted: u32,
        live: u32,
    },
    Partition {
        wanted: Vec<String>,
        live: Vec<String>,
    },
    SortKey {
        wanted: Vec<String>,
        live: Vec<String>,
    },
    /// Missing, and ADD COLUMN cannot give it: NOT NULL, or a key column.
    MissingColumn {
        name: String,
        why: &'static str,
    },
    /// Was there before and is gone; `drift: Observe` leaves that to a person.
    TakenAway {
        names: Vec<String>,
    },
    /// Not declared. Never dropped.
    ExtraColumn {
        name: String,
        blocks_loads: bool,
    },
    Type {
        name: String,
        wanted: ColumnType,
        live: String,
    },
    Nullability {
        name: String,
        wanted_nullable: bool,
    },
    /// The server computes it.
    Generated {
        name: String,
    },
    /// Same name in another case; StarRocks takes them for the same column.
    Spelling {
        wanted: String,
        live: String,
    },
}

impl Difference {
    /// Whether rows still load and mean the same; what [`Adoption::IfCompatible`] lets pass.
    pub(super) fn is_harmless(&self) -> bool {
        match self {
            Self::ExtraColumn { blocks_loads, .. } => !blocks_loads,
            Self::Type { wanted, live, .. } => is_held(wanted, live),
            Self::Buckets { .. } | Self::SortKey { .. } => true,
            // More is allowed than asked for.
            Self::Nullability { wanted_nullable, .. } => !wanted_nullable,
            _ => false,
        }
    }

    /// Whether rows of the wanted shape would not land, or would lose values: the mapping that makes them must wait.
    /// A column that is merely missing is left out of the mapping instead.
    pub fn blocks_loads(&self) -> bool {
        match self {
            Self::Model { .. }
            | Self::PrimaryKey { .. }
            | Self::MissingColumn { .. }
            | Self::Generated { .. } => true,
            Self::ExtraColumn { blocks_loads, .. } => *blocks_loads,
            Self::Type { wanted, live, .. } => !is_held(wanted, live),
            Self::Nullability { wanted_nullable, .. } => *wanted_nullable,
            Self::TakenAway { .. }
            | Self::Distribution { .. }
            | Self::Buckets { .. }
            | Self::Partition { .. }
            | Self::SortKey { .. }
            | Self::Spelling { .. } => false,
        }
    }

    /// What it would take to follow an edit of the spec.
    pub fn class(&self) -> ChangeClass {
        match self {
            Self::Model { .. }
            | Self::PrimaryKey { .. }
            | Self::Distribution { .. }
            | Self::Buckets { .. }
            | Self::Partition { .. }
            | Self::SortKey { .. }
            | Self::MissingColumn { .. }
            | Self::Nullability {
                wanted_nullable: false,
                ..
            } => ChangeClass::Rebuild,
            Self::Type { wanted, live, .. } => {
                let wider = column_type(live).is_some_and(|live| holds(wanted, &live));
                if wider {
                    ChangeClass::Widening
                } else {
                    ChangeClass::Conflicting
                }
            }
            Self::Nullability {
                wanted_nullable: true,
                ..
            } => ChangeClass::Widening,
            Self::ExtraColumn { .. } => ChangeClass::Subtractive,
            Self::TakenAway { .. } => ChangeClass::Additive,
            Self::Generated { .. } | Self::Spelling { .. } => ChangeClass::Refused,
        }
    }
}

/// What kind of change of a table a difference asks for, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeClass {
    Additive,
    /// A column goes.
    Subtractive,
    /// A column holds more than before.
    Widening,
    /// A column's values become others.
    Conflicting,
    /// Another key, distribution, partitioning or sort key: a new table.
    Rebuild,
    /// StarRocks has no statement for it.
    Refused,
}

/// Whether a live type holds every value of the wanted one.
fn is_held(wanted: &ColumnType, live: &str) -> bool {
    column_type(live).is_some_and(|live| holds(&live, wanted))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| format!("({})", names.join(", "));
        match self {
            Self::Model { live } => write!(f, "the table's model is {live}, not PRIMARY KEY"),
            Self::PrimaryKey { wanted, live } => {
                write!(f, "primary key is {}, not {}", list(live), list(wanted))
            }
            Self::Distribution { wanted, live } => {
                write!(f, "distributed by {}, not {}", list(live), list(wanted))
            }
            Self::Buckets { wanted, live } => write!(f, "{live} buckets instead of {wanted}"),
            Self::Partition { wanted, live } => {
                write!(f, "partitioned by {}, not {}", list(live), list(wanted))
            }
            Self::SortKey { wanted, live } => {
                write!(f, "sort key is {}, not {}", list(live), list(wanted))
            }
            Self::MissingColumn { name, why } => write!(f, "column {name} is missing; {why}"),
            Self::TakenAway { names } => write!(
                f,
                "columns {} were there and are gone (drift is Observe; Enforce would add them again, empty)",
                list(names)
            ),
            Self::ExtraColumn {
                name,
                blocks_loads: false,
            } => {
                write!(f, "column {name} is not declared")
            }
            Self::ExtraColumn {
                name,
                blocks_loads: true,
            } => write!(
                f,
                "column {name} is not declared, is NOT NULL and has no default: loads fail"
            ),
            Self::Type { name, wanted, live } => {
                write!(f, "column {name} is {live}, not {wanted}")
            }
            Self::Nullability {
                name,
                wanted_nullable: true,
            } => {
                write!(f, "column {name} is NOT NULL, not nullable")
            }
            Self::Nullability {
                name,
                wanted_nullable: false,
            } => {
                write!(f, "column {name} is nullable, not NOT NULL")
            }
            Self::Generated { name } => write!(f, "column {name} is computed by the server"),
            Self::Spelling { wanted, live } => write!(f, "column {wanted} is spelled {live}"),
        }
    }
}

/// Whether every value of `wanted` fits into a column of type `live` unchanged.
fn holds(live: &ColumnType, wanted: &ColumnType) -> bool {
    use ColumnType as T;
    let width = |t: &T| match t {
        T::TinyInt => Some(1),
        T::SmallInt => Some(2),
        T::Int => Some(4),
        T::BigInt => Some(8),
        T::LargeInt => Some(16),
        _ => None,
    };
    match (live, wanted) {
        (a, b) if a == b => true,
        (T::Varchar(have), T::Varchar(want)) => have >= want,
        (T::Double, T::Float) => true,
        (
            T::Decimal {
                precision: p,
                scale: s,
            },
            T::Decimal {
                precision: wp,
                scale: ws,
            },
        ) => s >= ws && p - s >= wp - ws,
        (a, b) => matches!((width(a), width(b)), (Some(a), Some(b)) if a >= b),
    }
}
