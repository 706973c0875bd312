//! The words of a TenantPipeline.

use super::{ConditionType, reasons, words};

words! {
    /// Conditions of a TenantPipeline, in the order they are stored.
    PipelineCondition {
        Ready,
        Accepted,
        TopicsReady,
        TablesReady,
        RelayReady,
        ConnectorReady,
        SnapshotComplete,
        Fresh,
        Lossless,
        SourceExactlyOnce,
    }
}

impl ConditionType for PipelineCondition {
    type Reason = PipelineReason;
    const ALL: &'static [Self] = Self::EVERY;
    const SHOWN: &'static [Self] = &[
        Self::Lossless,
        Self::SourceExactlyOnce,
        Self::Fresh,
        Self::SnapshotComplete,
    ];

    fn as_str(self) -> &'static str {
        self.as_str()
    }

    fn gates_ready(self) -> bool {
        match self {
            Self::Accepted
            | Self::TopicsReady
            | Self::TablesReady
            | Self::RelayReady
            | Self::ConnectorReady => true,
            Self::Ready | Self::SnapshotComplete | Self::Fresh | Self::Lossless | Self::SourceExactlyOnce => {
                false
            }
        }
    }
}

reasons! {
    /// Reasons of a TenantPipeline's conditions and events.
    PipelineReason {
        // Ready
        Flowing,
        /// As asked: nothing is loaded.
        Paused,
        // Accepted
        Accepted,
        InvalidSpec,
        MappingInvalid,
        /// The platform or a table does not exist, or does not permit this namespace: never told apart.
        RefNotPermitted,
        SecretNotFound,
        TenantClaimed,
        TopicClaimed,
        CollectionClaimed,
        CapacityExceeded,
        LimitExceeded,
        // any layer
        /// A control endpoint is down.
        BackendUnavailable,
        InSync,
        NotAuthorized,
        AuthenticationFailed,
        /// A server's certificate is not to be trusted, or TLS is spoken by one side only.
        TlsFailed,
        NoProgress,
        /// Being taken down.
        Deleting,
        // TopicsReady
        CreatingTopics,
        TopicConflict,
        /// Gone, or another topic of the same name.
        TopicRecreated,
        PartitionsChanged,
        // TablesReady
        ChildNotReady,
        TableConflict,
        DDLRefused,
        // RelayReady
        Running,
        RollingOut,
        LoadsRejected,
        PositionLost,
        CrashLooping,
        RelayUnreachable,
        // ConnectorReady
        Streaming,
        Snapshotting,
        /// As asked.
        Stopped,
        Creating,
        ConfigInvalid,
        ConnectorConflict,
        NoTaskAssigned,
        TaskFailed,
        SourceUnreachable,
        ResumeTokenLost,
        OversizeEvent,
        // SnapshotComplete
        Complete,
        Skipped,
        Interrupted,
        // Fresh
        WithinObjective,
        NoObjective,
        LagExceedsObjective,
        InitialSnapshot,
        NotMeasured,
        // Lossless
        NothingParked,
        /// Documents that no table took wait in the dead-letter topic.
        RowsDeadLettered,
        OverflowTruncated,
        HistoryGap,
        // SourceExactlyOnce
        ExactlyOnce,
        /// The workers cannot: after a crash of Connect up to a minute of changes is read again.
        AtLeastOnce,
    }
}
