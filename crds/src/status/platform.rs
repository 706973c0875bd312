//! The words of a DataPlatform.

use super::{ConditionType, reasons, words};

words! {
    /// Conditions of a DataPlatform, in the order they are stored.
    PlatformCondition {
        Ready,
        KafkaReachable,
        ConnectReachable,
        SourceSecretsReady,
        HotReachable,
        CapacityAvailable,
    }
}

impl ConditionType for PlatformCondition {
    type Reason = PlatformReason;
    const ALL: &'static [Self] = Self::EVERY;
    const SHOWN: &'static [Self] = &[Self::CapacityAvailable];

    fn as_str(self) -> &'static str {
        self.as_str()
    }

    fn gates_ready(self) -> bool {
        match self {
            Self::KafkaReachable | Self::ConnectReachable | Self::SourceSecretsReady | Self::HotReachable => {
                true
            }
            Self::Ready | Self::CapacityAvailable => false,
        }
    }
}

reasons! {
    /// Reasons of a DataPlatform's conditions and events.
    PlatformReason {
        Reachable,
        Unreachable,
        AuthenticationFailed,
        NotAuthorized,
        UnsupportedVersion,
        /// Too many failures in a row: probed from time to time, not called.
        CircuitOpen,
        InvalidSpec,
        SecretNotFound,
        Mirrored,
        Available,
        CapacityExceeded,
        /// Deletion waits for the pipelines and tables that name this platform.
        InUse,
    }
}
