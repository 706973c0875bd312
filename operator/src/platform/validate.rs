//! What the CRD's rules cannot say about a platform.

use serde_json::json;
use tributary_crds::DataPlatform;

use crate::pipeline::plan::deployment;

/// The first thing that cannot be, in one sentence.
pub fn validate(platform: &DataPlatform) -> Result<(), String> {
    let overrides = platform
        .spec
        .relay
        .as_ref()
        .and_then(|r| r.pod_overrides.as_ref());
    let Some(overrides) = overrides else {
        return Ok(());
    };
    let unknown: Vec<&String> = overrides
        .as_object()
        .map(|o| o.keys().filter(|k| *k != "metadata" && *k != "spec").collect())
        .unwrap_or_default();
    if let Some(field) = unknown.first() {
        return Err(format!(
            "relay.podOverrides.{field}: a pod template has only metadata and spec"
        ));
    }
    deployment::render(&deployment::RelayDeployment {
        namespace: "example".to_owned(),
        name: "example".to_owned(),
        labels: Default::default(),
        selector: Default::default(),
        image: "example".to_owned(),
        resources: json!({}),
        relay_config_map: "example".to_owned(),
        dataset_config_maps: Default::default(),
        load_credentials_secret: "example".to_owned(),
        ordinal: 0,
        pod_overrides: Some(overrides.clone()),
        host_port: None,
    })
    .map(drop)
    .map_err(|error| format!("relay.podOverrides do not give a pod template: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_crds::platform::{DataPlatformSpec, PlatformRelay};

    fn platform(overrides: serde_json::Value) -> DataPlatform {
        let relay = PlatformRelay {
            pod_overrides: Some(overrides),
            ..PlatformRelay::default()
        };
        DataPlatform::new(
            "main",
            DataPlatformSpec {
                relay: Some(relay),
                ..DataPlatformSpec::default()
            },
        )
    }

    #[test]
    fn overrides_that_are_no_pod_template_are_named() {
        assert_eq!(
            validate(&platform(json!({"spec": {"hostNetwork": true}}))),
            Ok(())
        );
        let misplaced = validate(&platform(json!({"hostNetwork": true}))).unwrap_err();
        assert!(misplaced.contains("podOverrides.hostNetwork"), "{misplaced}");
        let wrong = validate(&platform(json!({"spec": {"hostNetwork": "yes"}}))).unwrap_err();
        assert!(wrong.contains("pod template"), "{wrong}");
    }
}
