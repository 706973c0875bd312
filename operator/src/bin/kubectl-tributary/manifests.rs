//! Objects from files, as somebody would apply them, and what is wrong with each alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};
use tributary_crds::{DataPlatform, GROUP, StarRocksTable, TenantPipeline, VERSION, validate};

/// Bytes of one file: beyond what the API server takes of one object many times over.
const FILE_MAX: u64 = 32 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("reading {file}: {why}")]
    Unreadable { file: String, why: String },
    #[error("{file}: there is no .yaml, .yml or .json file in this folder")]
    Empty { file: String },
    #[error("{file}, document {document}: {why}")]
    NotYaml {
        file: String,
        document: usize,
        why: String,
    },
}

/// One object and where it was written.
pub(crate) struct Manifest {
    pub(crate) file: String,
    pub(crate) value: Value,
}

/// What is wrong with an object, by field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) file: String,
    /// `Kind namespace/name`.
    pub(crate) object: String,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Manifest {
    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    fn is_ours(&self) -> bool {
        let version = self.value["apiVersion"].as_str().unwrap_or_default();
        version.split('/').next() == Some(GROUP)
    }

    pub(crate) fn title(&self) -> String {
        let metadata = &self.value["metadata"];
        let name = metadata["name"].as_str().unwrap_or("(without a name)");
        match metadata["namespace"].as_str() {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind()),
            None => format!("{} {name}", self.kind()),
        }
    }

    /// What the API server and the operator would say about this object alone.
    fn problems(&self) -> Vec<Problem> {
        if !self.is_ours() {
            return vec![];
        }
        let version = format!("{GROUP}/{VERSION}");
        let found = match self.value["apiVersion"].as_str() {
            Some(v) if v == version => validate::object(&self.value),
            _ => vec![tributary_crds::mapping::FieldError::new(
                "apiVersion",
                format!("only {version} is known"),
            )],
        };
        let problem = |error: tributary_crds::mapping::FieldError| Problem {
            file: self.file.clone(),
            object: self.title(),
            field: error.field,
            message: error.message,
        };
        found.into_iter().map(problem).collect()
    }
}

pub(crate) struct Manifests(Vec<Manifest>);

impl Manifests {
    /// Reads files, folders (not what is below them, as kubectl does) and `-`, the standard input.
    pub(crate) fn read(paths: &[PathBuf], namespace: &str) -> Result<Self, ManifestError> {
        let mut found = Vec::new();
        for path in paths {
            for file in files(path)? {
                let name = file.display().to_string();
                parse(&name, &text(&file)?, namespace, &mut found)?;
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.0.iter().flat_map(Manifest::problems).collect()
    }

    fn of<K: DeserializeOwned>(&self, kind: &str) -> Vec<Arc<K>> {
        let typed = |m: &Manifest| serde_json::from_value(m.value.clone()).ok().map(Arc::new);
        self.0
            .iter()
            .filter(|m| m.kind() == kind)
            .filter_map(typed)
            .collect()
    }

    pub(crate) fn platforms(&self) -> Vec<Arc<DataPlatform>> {
        self.of("DataPlatform")
    }

    pub(crate) fn pipelines(&self) -> Vec<Arc<TenantPipeline>> {
        self.of("TenantPipeline")
    }

    pub(crate) fn tables(&self) -> Vec<Arc<StarRocksTable>> {
        self.of("StarRocksTable")
    }

    pub(crate) fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.of("Namespace")
    }

    pub(crate) fn secrets(&self) -> Vec<Arc<Secret>> {
        self.of("Secret")
    }
}

fn unreadable(file: &Path, why: impl ToString) -> ManifestError {
    ManifestError::Unreadable {
        file: file.display().to_string(),
        why: why.to_string(),
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|e| unreadable(path, e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            file.is_file()
                && file
                    .extension()
                    .is_some_and(|e| ["yaml", "yml", "json"].iter().any(|k| e == *k))
        })
        .collect();
    files.sort();
    match files.is_empty() {
        true => Err(ManifestError::Empty {
            file: path.display().to_string(),
        }),
        false => Ok(files),
    }
}

fn text(file: &Path) -> Result<String, ManifestError> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(FILE_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(FILE_MAX).read_to_string(&mut text))
    };
    read.map(|_| text).map_err(|e| unreadable(file, e))
}

fn parse(file: &str, text: &str, namespace: &str, found: &mut Vec<Manifest>) -> Result<(), ManifestError> {
    for (i, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).map_err(|e| ManifestError::NotYaml {
            file: file.to_owned(),
            document: i + 1,
            why: e.to_string(),
        })?;
        add(file, value, namespace, found);
    }
    Ok(())
}

fn add(file: &str, mut value: Value, namespace: &str, found: &mut Vec<Manifest>) {
    if value["kind"] == "List" {
        let items = value["items"].as_array().cloned().unwrap_or_default();
        items
            .into_iter()
            .for_each(|item| add(file, item, namespace, found));
        return;
    }
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else {
        if value.is_object() {
            found.push(Manifest {
                file: file.to_owned(),
                value,
            });
        }
        return;
    };
    metadata.entry("namespace").or_insert_with(|| json!(namespace));
    if value["kind"] == "Namespace" {
        value["metadata"].as_object_mut().map(|m| m.remove("namespace"));
    }
    found.push(Manifest {
        file: file.to_owned(),
        value,
    });
}
