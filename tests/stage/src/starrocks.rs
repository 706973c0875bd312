//! The StarRocks stand-in for tests of one program: as a process of its own, without a stage around it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{binary, setup};

/// Names a built stand-in; without it cargo builds one.
pub const PROGRAM_ENV: &str = "TRIBUTARY_TEST_STANDIN_STARROCKS";

/// A running stand-in; it ends with this, and with this process.
pub struct StarRocks {
    child: Child,
    /// `http://host:port` of the frontend.
    pub frontend: String,
    /// `host:port` of the MySQL protocol.
    pub mysql: String,
    /// `http://host:port` of its admin API: faults, labels, alter jobs.
    pub admin: String,
    login: Login,
}

/// Who asks by SQL.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// What the ready line says.
#[derive(Deserialize)]
struct Ready {
    fe_http: String,
    mysql: String,
    admin: String,
}

impl StarRocks {
    /// With one user, who may do everything.
    pub fn start(user: &str, password: &str) -> Result<Self> {
        let program = match std::env::var_os(PROGRAM_ENV) {
            Some(path) => PathBuf::from(path),
            None => binary::build(binary::Selection::AsCargoTest, &["standin-starrocks"])?
                .pop()
                .context("cargo built nothing")?,
        };
        let mut child = Command::new(&program)
            .args(["--user", user, "--password", password, "--exit-on-stdin-eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its stdout was asked for")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Ready =
            serde_json::from_str(&line).with_context(|| format!("no ready line but {line:?}"))?;
        Ok(Self {
            child,
            frontend: ready.fe_http,
            mysql: ready.mysql,
            admin: ready.admin,
            login: Login {
                user: user.to_owned(),
                password: password.to_owned(),
            },
        })
    }

    /// Runs a statement as its user; rows as lines, cells between tabs.
    pub fn sql(&self, statement: &str) -> Result<String, String> {
        sql(&self.mysql, &self.login, statement)
    }
}

impl Drop for StarRocks {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a statement by MariaDB's client, as a person would; rows as lines, cells between tabs.
pub fn sql(mysql: &str, login: &Login, statement: &str) -> Result<String, String> {
    setup::debian(&[("mariadb-client", "mariadb")]).map_err(|error| format!("{error:#}"))?;
    let (host, port) = mysql.rsplit_once(':').ok_or("not host:port")?;
    let output = Command::new("mariadb")
        .args(["--protocol=tcp", "-h", host, "-P", port, "--skip-ssl", "-N", "-B"])
        .args([
            format!("-u{}", login.user),
            format!("-p{}", login.password),
            format!("-e{statement}"),
        ])
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}
