//! What the tests run against: a stand-in of their own, or the MongoDB in `TRIBUTARY_TEST_MONGODB_URI`.

#![allow(dead_code)] // each test program uses a part of it

use std::time::Duration;

use standin_mongodb::{Config, Standin, Window};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Target {
    pub(crate) uri: String,
    standin: Option<Standin>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        match std::env::var("TRIBUTARY_TEST_MONGODB_URI") {
            Ok(uri) => Self { uri, standin: None },
            Err(_) => {
                let standin = Standin::start(Config::default())
                    .await
                    .expect("the stand-in starts");
                Self {
                    uri: standin.uri(),
                    standin: Some(standin),
                }
            }
        }
    }

    /// A stand-in whose faults can be ordered; `None`, and said so, when a real MongoDB is under test.
    pub(crate) async fn with_faults(window: Window) -> Option<Self> {
        Self::configured(Config {
            window,
            ..Config::default()
        })
        .await
    }

    /// As above, with any configuration.
    pub(crate) async fn configured(config: Config) -> Option<Self> {
        if std::env::var_os("TRIBUTARY_TEST_MONGODB_URI").is_some() {
            eprintln!("skipped: faults cannot be ordered from the MongoDB in TRIBUTARY_TEST_MONGODB_URI");
            return None;
        }
        let standin = Standin::start(config).await.expect("the stand-in starts");
        Some(Self {
            uri: standin.uri(),
            standin: Some(standin),
        })
    }

    pub(crate) fn is_standin(&self) -> bool {
        self.standin.is_some()
    }

    pub(crate) fn standin(&self) -> &Standin {
        self.standin.as_ref().expect("a stand-in, not a real MongoDB")
    }

    /// Calls the admin API and returns the body of its answer.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let admin = self.standin().admin;
        let mut stream = TcpStream::connect(admin).await.expect("the admin API listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request is taken");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the answer is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {head} {body}");
        body.to_owned()
    }
}
