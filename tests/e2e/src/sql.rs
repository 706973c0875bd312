//! SQL by a stock client, as any user of StarRocks would.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tributary_stage::{StageInfo, setup};

use crate::process::run;

const CALL: Duration = Duration::from_secs(60);
const CLIENT: (&str, &str) = ("mariadb-client", "mariadb");

/// The `mariadb` command line, aimed at the stage's StarRocks.
#[derive(Debug, Clone)]
pub struct Sql {
    host: String,
    port: String,
    user: String,
    password: String,
}

impl Sql {
    pub fn new(info: &StageInfo) -> Result<Self> {
        setup::debian(&[CLIENT])?;
        let starrocks = info.starrocks.as_ref().context("this stage has no StarRocks")?;
        let (host, port) = starrocks.mysql.rsplit_once(':').context("host:port")?;
        Ok(Self {
            host: host.to_owned(),
            port: port.to_owned(),
            user: starrocks.user.clone(),
            password: starrocks.password.clone(),
        })
    }

    /// Rows as text, `NULL` for null.
    pub fn query(&self, statement: &str) -> Result<Vec<Vec<String>>> {
        let text = self.client(&["--batch", "--raw", "--skip-column-names"], statement)?;
        Ok(text
            .lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect())
    }

    /// The table that a person would see.
    pub fn show(&self, statement: &str) -> Result<String> {
        self.client(&["--table"], statement)
    }

    fn client(&self, format: &[&str], statement: &str) -> Result<String> {
        let mut command = Command::new(CLIENT.1);
        command
            .args([
                "--no-defaults",
                "--protocol=tcp",
                "--connect-timeout=10",
                "--default-character-set=utf8mb4",
            ])
            .args(["-h", &self.host, "-P", &self.port, "-u", &self.user])
            .args(format)
            .args(["-e", statement])
            // Not an argument: those are for everyone to read.
            .env("MYSQL_PWD", &self.password);
        run(&mut command, "", CALL)?.ok(statement)
    }
}
