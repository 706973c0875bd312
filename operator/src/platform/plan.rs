//! Which questions to ask whom.

use tributary_crds::DataPlatform;
use tributary_crds::status::PlatformReason;

use super::dereference::Referenced;
use crate::backends::Credentials;

/// One probe. Each answers one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    Kafka,
    Connect,
    /// Server-side apply as a dry run: may the operator write the mirrored Secret?
    SourceSecrets {
        namespace: String,
        name: String,
    },
    Hot(Credentials),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub probes: Vec<Probe>,
    /// Why nothing is probed at all.
    pub invalid: Option<String>,
    /// What the hot cluster's condition says without a probe.
    pub hot_missing: Option<(PlatformReason, String)>,
}

pub fn plan(platform: &DataPlatform, invalid: Option<&str>, seen: &Referenced) -> Plan {
    if let Some(message) = invalid {
        return Plan {
            probes: vec![],
            invalid: Some(message.to_owned()),
            hot_missing: None,
        };
    }
    let mut probes = vec![Probe::Kafka, Probe::Connect];
    if let Some(mirrored) = &platform.spec.connect.source_secrets.mirrored {
        probes.push(Probe::SourceSecrets {
            namespace: mirrored.namespace.clone(),
            name: mirrored.secret_ref.name.clone(),
        });
    }
    let hot = &platform.spec.starrocks.hot;
    let missing = |secret: &str| {
        let text = format!(
            "Secret {secret} (kubernetes.io/basic-auth with username and password) is not in the platform's namespace."
        );
        Some((PlatformReason::SecretNotFound, text))
    };
    let hot_missing = match (&seen.admin, &seen.load) {
        (None, _) => missing(&hot.admin_credentials_secret_ref.name),
        (_, None) => missing(&hot.load_credentials_secret_ref.name),
        (Some(admin), Some(_)) => {
            probes.push(Probe::Hot(admin.clone()));
            None
        }
    };
    Plan {
        probes,
        invalid: None,
        hot_missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_starrocks_is_not_asked() {
        let seen = Referenced {
            admin: None,
            load: None,
            pipelines: 0,
        };
        let platform = DataPlatform::new("main", Default::default());
        let plan = plan(&platform, None, &seen);
        assert_eq!(plan.probes, [Probe::Kafka, Probe::Connect]);
        assert_eq!(
            plan.hot_missing.map(|(r, _)| r),
            Some(PlatformReason::SecretNotFound)
        );
    }
}
