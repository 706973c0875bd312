//! A running stand-in and the clients the tests use.

use std::time::Duration;

use serde_json::Value as Json;
use standin_starrocks::sql::session::{Outcome, Session};
use standin_starrocks::{Config, Standin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Exhibit {
    pub(crate) standin: Standin,
    pub(crate) http: reqwest::Client,
}

/// `root:` in Basic.
pub(crate) const ROOT: &str = "Basic cm9vdDo=";

impl Exhibit {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.settings.publish_delay = Duration::from_millis(5);
        config.settings.txn_status_interval = Duration::from_millis(50);
        change(&mut config);
        let standin = Standin::start(config).await.expect("doors open");
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("client");
        Self { standin, http }
    }

    /// A cluster with database `d` and the given statements run in it.
    pub(crate) async fn prepared(statements: &[&str]) -> Self {
        let exhibit = Self::new().await;
        exhibit.sql("CREATE DATABASE d").await;
        for statement in statements {
            exhibit.sql(statement).await;
        }
        exhibit
    }

    /// `t (id BIGINT, name VARCHAR(20), v BIGINT)` in `d`.
    pub(crate) async fn with_table() -> Self {
        Self::prepared(&[
            "CREATE TABLE t (id BIGINT NOT NULL, name VARCHAR(20) NULL, v BIGINT NULL) PRIMARY KEY(id) DISTRIBUTED BY HASH(id)",
        ])
        .await
    }

    pub(crate) fn session(&self) -> Session {
        let mut session = Session::new(self.standin.cluster.clone());
        let _ = session.use_database("d");
        session
    }

    pub(crate) async fn try_sql(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        run(&mut self.session(), sql).await
    }

    pub(crate) async fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The rows as text, `a|b;c|d`.
    pub(crate) async fn select(&self, sql: &str) -> String {
        self.sql(sql)
            .await
            .iter()
            .map(|row| row.join("|"))
            .collect::<Vec<_>>()
            .join(";")
    }

    /// A Stream Load straight to the BE.
    pub(crate) async fn load_with(
        &self,
        table: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Json {
        let url = format!("{}/api/d/{table}/_stream_load", self.standin.addresses.be_http);
        let mut request = self
            .http
            .put(url)
            .header("authorization", ROOT)
            .header("format", "json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().await.expect("BE answers");
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }

    pub(crate) async fn load(&self, body: &str) -> Json {
        self.load_with("t", &[], body.to_owned()).await
    }

    pub(crate) async fn fault(&self, order: Json) -> u64 {
        let url = format!("{}/faults", self.standin.addresses.admin);
        let response = self
            .http
            .post(url)
            .json(&order)
            .send()
            .await
            .expect("admin answers");
        assert_eq!(response.status(), 201, "{order}");
        response.json::<Json>().await.expect("JSON")["id"]
            .as_u64()
            .expect("id")
    }

    /// ALTER jobs run to their end.
    pub(crate) fn finish_jobs(&self) {
        let cluster = &self.standin.cluster;
        while cluster.jobs.list().iter().any(|job| !job.state.is_final()) {
            cluster.jobs.tick(cluster);
        }
    }

    /// A knob of the admin API.
    pub(crate) async fn put(&self, path: &str, body: Json) {
        let url = format!("{}/{path}", self.standin.addresses.admin);
        let response = self
            .http
            .put(url)
            .json(&body)
            .send()
            .await
            .expect("admin answers");
        assert_eq!(response.status(), 204, "{path} {body}");
    }

    /// A Stream Load straight to the BE whose connection may break.
    pub(crate) async fn load_with_result(&self, label: &str, body: &str) -> Result<Json, reqwest::Error> {
        let url = format!("{}/api/d/t/_stream_load", self.standin.addresses.be_http);
        let request = self
            .http
            .put(url)
            .header("authorization", ROOT)
            .header("format", "json")
            .header("label", label);
        request.body(body.to_owned()).send().await?.json().await
    }

    pub(crate) async fn state_of(&self, label: &str) -> String {
        let url = format!(
            "{}/api/d/get_load_state?label={label}",
            self.standin.addresses.fe_http
        );
        let response = self
            .http
            .get(url)
            .header("authorization", ROOT)
            .send()
            .await
            .expect("FE answers");
        response.json::<Json>().await.expect("JSON")["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Polls until the label is in this state.
    pub(crate) async fn until(&self, label: &str, state: &str) {
        let poll = async {
            while self.state_of(label).await != state {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll)
            .await
            .unwrap_or_else(|_| panic!("{label} never became {state}"));
    }
}

pub(crate) async fn run(session: &mut Session, sql: &str) -> Result<Vec<Vec<String>>, String> {
    match session.execute(sql).await {
        Ok(Outcome::Rows(answer)) => Ok(answer
            .rows()
            .into_iter()
            .map(|row| row.into_iter().map(|c| c.unwrap_or("NULL".into())).collect())
            .collect()),
        Ok(Outcome::Done { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// A connection that sees every byte.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub(crate) async fn to(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap_or(url);
        Self {
            stream: TcpStream::connect(address).await.expect("connect"),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("write");
    }

    /// Reads one head (up to the empty line).
    pub(crate) async fn head(&mut self) -> String {
        let mut out = Vec::new();
        while !out.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut byte)).await;
            match read.expect("head in time") {
                Ok(1) => out.push(byte[0]),
                _ => break,
            }
        }
        String::from_utf8(out).expect("UTF-8")
    }

    /// Reads to the end of the connection, or to the announced length.
    pub(crate) async fn body(&mut self, head: &str) -> String {
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|l| l.split("\r\n").next()?.parse().ok());
        let mut out = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut out).await.expect("body");
        String::from_utf8(out).expect("UTF-8")
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}
