//! Every file of `examples/` is applied as it is, and passes the rules beyond CEL.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;
use tributary_crds::validate;

use crate::server::{repository, server};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
    found.sort();
}

fn examples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&repository().join("examples"), &mut found);
    assert!(found.len() >= 4, "{found:?}");
    found
}

#[test]
fn every_example_applies_and_applies_again_unchanged() {
    let server = server();
    for file in examples() {
        let args = ["apply", "-f", file.to_str().unwrap()];
        let first = server.kubectl(&args, None);
        assert!(first.ok, "{}: {}", file.display(), first.stderr);
        assert_eq!(first.stderr, "", "{}", file.display());
        let second = server.must(&args, None);
        let changed: Vec<_> = second
            .lines() // A Secret with `stringData` is always patched: it is stored as `data`.
            .filter(|l| !l.ends_with(" unchanged") && !l.starts_with("secret/"))
            .collect();
        assert_eq!(changed, Vec::<&str>::new(), "{}", file.display());
    }
}

#[test]
fn every_example_is_valid_without_a_server() {
    for file in examples() {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).unwrap();
            if object["apiVersion"] == "tributary.dev/v1alpha1" {
                let errors = validate::object(&object);
                assert!(errors.is_empty(), "{}: {errors:?}", file.display());
            }
        }
    }
}
