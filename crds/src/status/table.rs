//! The words of a StarRocksTable.

use super::{ConditionType, reasons, words};

words! {
    /// Conditions of a StarRocksTable, in the order they are stored.
    TableCondition {
        Ready,
        Accepted,
        Exists,
        InSync,
        GrantsApplied,
    }
}

impl ConditionType for TableCondition {
    type Reason = TableReason;
    const ALL: &'static [Self] = Self::EVERY;
    const SHOWN: &'static [Self] = &[Self::InSync, Self::GrantsApplied];

    fn as_str(self) -> &'static str {
        self.as_str()
    }

    fn gates_ready(self) -> bool {
        match self {
            Self::Accepted | Self::Exists => true,
            Self::Ready | Self::InSync | Self::GrantsApplied => false,
        }
    }
}

reasons! {
    /// Reasons of a StarRocksTable's conditions and events.
    TableReason {
        Accepted,
        MappingInvalid,
        /// The platform does not exist, or does not permit this namespace: never told apart.
        RefNotPermitted,
        BackendUnavailable,
        AuthenticationFailed,
        NotAuthorized,
        Creating,
        Exists,
        /// The table exists and belongs to somebody else.
        TableConflict,
        DDLRefused,
        /// An ALTER TABLE rewrites the table; what it adds is not mapped yet.
        SchemaJobRunning,
        /// The ALTER TABLE waits for somebody, or was cancelled.
        SchemaJobBlocked,
        /// The spec asks for what cannot be altered in place.
        AwaitingApproval,
        InSync,
        /// No grants are asked for.
        NotConfigured,
        /// The live table differs from the spec.
        LiveDrift,
        /// Deletion waits for the pipelines that refer to the table.
        InUse,
    }
}
