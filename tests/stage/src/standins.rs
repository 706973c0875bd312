//! MongoDB and StarRocks: the stand-ins of this repository, or the real ones that `TRIBUTARY_TEST_*` names.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::binary;
use crate::info::{MongodbInfo, StarrocksInfo};
use crate::parts::{Part, Parts};
use crate::progress::say;
use crate::serve::Context;

const READY: Duration = Duration::from_secs(60);

/// Not empty, so that whoever forgets credentials fails here as at a customer's.
const STARROCKS_PASSWORD: &str = "stage";

/// What a stand-in's ready line says.
#[derive(Deserialize)]
struct MongodbReady {
    uri: String,
    admin: String,
}

#[derive(Deserialize)]
struct StarrocksReady {
    fe_http: String,
    be_http: String,
    mysql: String,
    admin: String,
}

/// The stand-ins that are needed, built by cargo in one go.
#[derive(Debug, Default)]
pub struct Programs {
    mongodb: Option<PathBuf>,
    starrocks: Option<PathBuf>,
}

/// The value of a variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Builds the stand-ins of what the parts want and no variable replaces.
pub fn prepare(parts: Parts) -> Result<Programs> {
    let mongodb = parts.has(Part::Mongodb) && external_mongodb().is_none();
    let starrocks = parts.has(Part::Starrocks) && variable("TRIBUTARY_TEST_STARROCKS_FE").is_none();
    let wanted: Vec<&str> = [(mongodb, "standin-mongodb"), (starrocks, "standin-starrocks")]
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    if wanted.is_empty() {
        return Ok(Programs::default());
    }
    say(format!("building {} (cargo)", wanted.join(" and ")));
    let mut built = binary::build(binary::Selection::AsCargoTest, &wanted)?.into_iter();
    Ok(Programs {
        mongodb: if mongodb { built.next() } else { None },
        starrocks: if starrocks { built.next() } else { None },
    })
}

fn external_mongodb() -> Option<MongodbInfo> {
    let uri = variable("TRIBUTARY_TEST_MONGODB_URI")?;
    Some(MongodbInfo {
        uri,
        admin_url: None,
        stand_in: false,
    })
}

fn external_starrocks() -> Result<Option<StarrocksInfo>> {
    let Some(fe_http) = variable("TRIBUTARY_TEST_STARROCKS_FE") else {
        return Ok(None);
    };
    let mysql = variable("TRIBUTARY_TEST_STARROCKS_MYSQL")
        .context("TRIBUTARY_TEST_STARROCKS_FE is set; name the MySQL protocol's host:port in TRIBUTARY_TEST_STARROCKS_MYSQL")?;
    Ok(Some(StarrocksInfo {
        fe_http,
        be_http: None,
        mysql,
        user: variable("TRIBUTARY_TEST_STARROCKS_USER").unwrap_or_else(|| "root".to_owned()),
        password: variable("TRIBUTARY_TEST_STARROCKS_PASSWORD").unwrap_or_default(),
        admin_url: None,
        stand_in: false,
    }))
}

/// Raises the MongoDB stand-in, unless a real one is named.
pub(crate) fn start_mongodb(context: &Context, programs: &Programs) -> Result<MongodbInfo> {
    if let Some(external) = external_mongodb() {
        return Ok(external);
    }
    let program = programs
        .mongodb
        .as_ref()
        .context("the MongoDB stand-in was built")?;
    let (server, ready) =
        context.spawn_announcing::<MongodbReady>("standin-mongodb", &mut Command::new(program), READY)?;
    context.keep(server);
    Ok(MongodbInfo {
        uri: ready.uri,
        admin_url: Some(ready.admin),
        stand_in: true,
    })
}

/// Raises the StarRocks stand-in, unless a real one is named.
pub(crate) fn start_starrocks(context: &Context, programs: &Programs) -> Result<StarrocksInfo> {
    if let Some(external) = external_starrocks()? {
        return Ok(external);
    }
    let program = programs
        .starrocks
        .as_ref()
        .context("the StarRocks stand-in was built")?;
    let (server, ready) = context.spawn_announcing::<StarrocksReady>(
        "standin-starrocks",
        Command::new(program).args(["--password", STARROCKS_PASSWORD]),
        READY,
    )?;
    context.keep(server);
    Ok(StarrocksInfo {
        fe_http: ready.fe_http,
        be_http: Some(ready.be_http),
        mysql: ready.mysql,
        user: "root".to_owned(),
        password: STARROCKS_PASSWORD.to_owned(),
        admin_url: Some(ready.admin),
        stand_in: true,
    })
}
