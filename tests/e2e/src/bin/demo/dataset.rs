//! The documents of the demo: `@mdn/browser-compat-data` from the npm registry (CC0-1.0), what each browser supports of the
//! web platform. Nested, with missing fields, and honestly mixed: `version_added` is a string or `false`, `spec_url` a
//! string or a list, `support.<browser>` an object or a list.

use std::path::Path;

use anyhow::{Context as _, Result};
use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use serde_json::Value;

pub const PACKAGE: &str = "@mdn/browser-compat-data@8.1.9";

/// What one tenant has in its database at the beginning.
pub struct Tenant {
    pub name: &'static str,
    pub database: &'static str,
    pub features: Vec<Document>,
    pub releases: Vec<Document>,
}

/// Reads the package and deals its features and browser releases to two tenants.
pub fn load(node_modules: &Path) -> Result<Vec<Tenant>> {
    let path = node_modules.join("@mdn/browser-compat-data/data.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let data: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(vec![
        Tenant {
            name: "acme",
            database: "compat_acme",
            features: features(&data, &["api", "css"])?,
            releases: releases(&data, "desktop", |release, engine| {
                release.insert("engine", engine);
            })?,
        },
        Tenant {
            name: "globex",
            database: "compat_globex",
            features: features(&data, &["javascript", "html", "svg", "http", "webassembly", "mathml"])?,
            releases: releases(&data, "mobile", |release, engine| {
                release.insert("meta", doc! {"engineName": engine});
            })?,
        },
    ])
}

fn features(data: &Value, areas: &[&str]) -> Result<Vec<Document>> {
    let mut found = Vec::new();
    for area in areas {
        let tree = data.get(*area).with_context(|| format!("{PACKAGE} has no {area}"))?;
        collect_features(tree, (*area).to_owned(), &mut found)?;
    }
    Ok(found)
}

/// A feature is every object with `__compat`, at any depth; its path is its identity.
fn collect_features(node: &Value, path: String, found: &mut Vec<Document>) -> Result<()> {
    let Value::Object(fields) = node else {
        return Ok(());
    };
    if let Some(compat) = fields.get("__compat") {
        let mut document = doc! {"_id": &path};
        let Bson::Document(body) = Bson::try_from(compat.clone())? else {
            anyhow::bail!("{PACKAGE}: {path}.__compat is not an object");
        };
        document.extend(body);
        found.push(document);
    }
    for (name, child) in fields.iter().filter(|(name, _)| !name.starts_with("__")) {
        collect_features(child, format!("{path}.{name}"), found)?;
    }
    Ok(())
}

fn releases(data: &Value, kind: &str, with_engine: impl Fn(&mut Document, &str)) -> Result<Vec<Document>> {
    let browsers = data["browsers"].as_object().context("browsers is not an object")?;
    let mut found = Vec::new();
    for (browser, about) in browsers.iter().filter(|(_, about)| about["type"] == kind) {
        let releases = about["releases"].as_object().context("releases is not an object")?;
        for (version, release) in releases {
            let mut document = doc! {"_id": ObjectId::new(), "browser": browser, "version": version};
            if let Some(status) = release["status"].as_str() {
                document.insert("status", status);
            }
            if let Some(date) = release["release_date"].as_str() {
                document.insert("releasedAt", DateTime::parse_rfc3339_str(format!("{date}T00:00:00Z"))?);
            }
            if let Some(engine) = release["engine"].as_str() {
                with_engine(&mut document, engine);
            }
            if let Some(version) = release["engine_version"].as_str() {
                document.insert("engineVersion", version);
            }
            found.push(document);
        }
    }
    Ok(found)
}
