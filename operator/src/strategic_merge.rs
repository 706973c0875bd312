//! Strategic merge of a pod template: how `podOverrides` meets the template the operator makes.
//!
//! Objects merge by field and null removes one; the lists below merge by their key, `$patch: delete` removes an element;
//! every other list is replaced. It is what `kubectl patch --type strategic` does, for the lists a pod has.

use serde_json::{Map, Value};

/// Lists of a pod that merge by key, and that key. Source: the `patchMergeKey` tags of core/v1.
const KEYED: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("schedulingGates", "name"),
];

/// Members of which exactly one is set; naming another one replaces it (a volume's source, a probe's handler).
const UNIONS: &[&[&str]] = &[&["httpGet", "exec", "tcpSocket", "grpc"], &["value", "valueFrom"]];

/// `patch` merged onto `base`.
pub fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => merge_object(base, patch),
        (base, patch) => *base = patch.clone(),
    }
}

fn merge_object(base: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for members in UNIONS {
        if members.iter().any(|m| patch.contains_key(*m)) {
            base.retain(|key, _| !members.contains(&key.as_str()) || patch.contains_key(key));
        }
    }
    for (name, value) in patch {
        if value.is_null() {
            base.remove(name);
            continue;
        }
        let key = KEYED.iter().find(|(list, _)| list == name).map(|(_, key)| *key);
        match (base.get_mut(name), key, value) {
            (Some(Value::Array(into)), Some(key), Value::Array(from)) => merge_list(into, from, key),
            (Some(into), _, Value::Object(_)) if into.is_object() => merge(into, value),
            _ => {
                base.insert(name.clone(), value.clone());
            }
        }
    }
}

fn merge_list(into: &mut Vec<Value>, from: &[Value], key: &str) {
    for element in from {
        let identity = element.get(key);
        let position = identity.and_then(|id| into.iter().position(|e| e.get(key) == Some(id)));
        let deleted = element.get("$patch").and_then(Value::as_str) == Some("delete");
        match (position, deleted) {
            (Some(at), true) => {
                into.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => merge(&mut into[at], element),
            (None, false) => into.push(element.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(mut base: Value, patch: Value) -> Value {
        merge(&mut base, &patch);
        base
    }

    #[test]
    fn containers_merge_by_name_and_scalars_replace() {
        let base = json!({"spec": {"containers": [{"name": "relay", "image": "a", "env": [{"name": "X", "value": "1"}]}], "hostNetwork": false}});
        let patch = json!({"spec": {"hostNetwork": true, "containers": [
            {"name": "relay", "imagePullPolicy": "Never", "env": [{"name": "Y", "value": "2"}]},
            {"name": "sidecar", "image": "s"}]}});
        assert_eq!(
            merged(base, patch),
            json!({"spec": {"hostNetwork": true, "containers": [
                {"name": "relay", "image": "a", "imagePullPolicy": "Never",
                 "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
                {"name": "sidecar", "image": "s"}]}})
        );
    }

    #[test]
    fn null_and_patch_delete_remove() {
        let base = json!({"spec": {"priority": 1, "volumes": [{"name": "a"}, {"name": "b"}], "tolerations": [{"key": "x"}]}});
        let patch = json!({"spec": {"priority": null, "volumes": [{"name": "a", "$patch": "delete"}], "tolerations": [{"key": "y"}]}});
        assert_eq!(
            merged(base, patch),
            json!({"spec": {"volumes": [{"name": "b"}], "tolerations": [{"key": "y"}]}})
        );
    }

    #[test]
    fn another_handler_replaces_the_first() {
        let base = json!({"livenessProbe": {"periodSeconds": 5, "httpGet": {"path": "/livez"}}});
        let patch = json!({"livenessProbe": {"tcpSocket": {"port": 1}}});
        assert_eq!(
            merged(base, patch),
            json!({"livenessProbe": {"periodSeconds": 5, "tcpSocket": {"port": 1}}})
        );
    }
}
