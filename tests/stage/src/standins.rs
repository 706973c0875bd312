//! MongoDB and StarRocks: the stand-ins of this repository, or the real ones that `TRIBUTARY_TEST_*` names.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::binary;
use crate::info::{MongodbInfo, SecureInfo, StarrocksInfo};
use crate::mysql_tls;
use crate::parts::{Part, Parts};
use crate::progress::say;
use crate::serve::Context;
use crate::tls_proxy::{self, Rules};

const READY: Duration = Duration::from_secs(60);

/// Not empty, so that whoever forgets credentials fails here as at a customer's.
const MONGODB_USER: &str = "stage";

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
    // Built ones, for who works on something else: DataFusion takes long to compile.
    let ready_made = |name| variable(name).map(PathBuf::from);
    let mut programs = Programs {
        mongodb: ready_made("TRIBUTARY_TEST_STANDIN_MONGODB"),
        starrocks: ready_made("TRIBUTARY_TEST_STANDIN_STARROCKS"),
    };
    let mongodb = parts.has(Part::Mongodb) && external_mongodb().is_none() && programs.mongodb.is_none();
    let starrocks = parts.has(Part::Starrocks)
        && variable("TRIBUTARY_TEST_STARROCKS_FE").is_none()
        && programs.starrocks.is_none();
    let wanted: Vec<&str> = [(mongodb, "standin-mongodb"), (starrocks, "standin-starrocks")]
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    if wanted.is_empty() {
        return Ok(programs);
    }
    say(format!("building {} (cargo)", wanted.join(" and ")));
    let mut built = binary::build(binary::Selection::AsCargoTest, &wanted)?.into_iter();
    if mongodb {
        programs.mongodb = built.next();
    }
    if starrocks {
        programs.starrocks = built.next();
    }
    Ok(programs)
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
        secure: None,
        secure_mysql: None,
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
    // Each stage its own, so that it can be searched for where it must not be.
    let password = format!("{}-mongodb", context.id);
    let launch = {
        let (program, data) = (program.clone(), context.dir("mongodb")?);
        let user = format!("{MONGODB_USER}:{password}");
        move |context: &Context, listen: &str, admin: &str| {
            let mut command = Command::new(&program);
            command
                .args(["--listen", listen, "--admin", admin, "--user", &user, "--data"])
                .arg(&data);
            context.spawn_announcing::<MongodbReady>("standin-mongodb", &mut command, READY)
        }
    };
    let (server, ready) = launch(context, "127.0.0.1:0", "127.0.0.1:0")?;
    let (listen, admin) = (authority(&ready.uri)?, authority(&ready.admin)?);
    context.keep_restartable(server, move |context| {
        launch(context, &listen, &admin).map(|(server, _)| server)
    });
    Ok(MongodbInfo {
        uri: ready
            .uri
            .replacen("mongodb://", &format!("mongodb://{MONGODB_USER}:{password}@"), 1),
        admin_url: Some(ready.admin),
        stand_in: true,
    })
}

/// `host:port` of an address.
fn authority(url: &str) -> Result<String> {
    let rest = url
        .split_once("://")
        .with_context(|| format!("{url} is no address"))?
        .1;
    Ok(rest.split('/').next().unwrap_or(rest).to_owned())
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
    let password = format!("{}-starrocks", context.id);
    let (server, ready) = context.spawn_announcing::<StarrocksReady>(
        "standin-starrocks",
        Command::new(program).args(["--password", &password]),
        READY,
    )?;
    context.keep(server);
    let tls = context.tls()?;
    let backend = tls_proxy::start(
        Arc::clone(&tls.server),
        authority(&ready.be_http)?.parse()?,
        Rules::default(),
    )?;
    let rules = Rules {
        rewrite: Some((ready.be_http.clone(), format!("https://{backend}"))),
        authorization: None,
    };
    let frontend = tls_proxy::start(
        Arc::clone(&tls.server),
        authority(&ready.fe_http)?.parse()?,
        rules,
    )?;
    let mysql = mysql_tls::start(Arc::clone(&tls.server), ready.mysql.parse()?)?;
    Ok(StarrocksInfo {
        secure: Some(SecureInfo {
            address: format!("https://{frontend}"),
            user: "root".to_owned(),
            password: password.clone(),
            ca: tls.ca.clone(),
        }),
        secure_mysql: Some(mysql.to_string()),
        fe_http: ready.fe_http,
        be_http: Some(ready.be_http),
        mysql: ready.mysql,
        user: "root".to_owned(),
        password,
        admin_url: Some(ready.admin),
        stand_in: true,
    })
}
