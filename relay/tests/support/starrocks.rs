//! The StarRocks stand-in as a process: SQL, and faults through its admin API.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub struct StarRocks {
    child: Child,
    pub frontend: String,
    admin: String,
    host: String,
    port: String,
}

impl StarRocks {
    pub fn start() -> Self {
        tributary_stage::setup::debian(&[("mariadb-client", "mariadb")]).expect("mariadb");
        let program = match std::env::var_os("TRIBUTARY_TEST_STANDIN_STARROCKS") {
            Some(path) => PathBuf::from(path),
            None => tributary_stage::binary::build(
                tributary_stage::binary::Selection::AsCargoTest,
                &["standin-starrocks"],
            )
            .expect("standin-starrocks")
            .remove(0),
        };
        let mut child = Command::new(program)
            .args(["--user", "relay", "--password", "secret", "--exit-on-stdin-eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("stand-in");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect(&line);
        let address = |name: &str| {
            ready[name]
                .as_str()
                .expect(name)
                .trim_start_matches("http://")
                .to_owned()
        };
        let (host, port) = address("mysql")
            .rsplit_once(':')
            .map(|(h, p)| (h.to_owned(), p.to_owned()))
            .unwrap();
        Self {
            child,
            frontend: format!("http://{}", address("fe_http")),
            admin: address("admin"),
            host,
            port,
        }
    }

    /// `host:port` of the SQL door.
    pub fn mysql(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn sql(&self, statement: &str) -> Result<String, String> {
        let output = Command::new("mariadb")
            .args([
                "--protocol=tcp",
                "-h",
                &self.host,
                "-P",
                &self.port,
                "-urelay",
                "-psecret",
                "--skip-ssl",
                "-N",
                "-B",
                "-e",
                statement,
            ])
            .output()
            .expect("mariadb");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Orders a fault of the stand-in's admin API.
    pub fn fault(&self, order: &serde_json::Value) {
        let (code, reply) = super::http(&self.admin, "POST", "/faults", &order.to_string());
        assert_eq!(code, 201, "{reply}");
    }

    /// Label → state of every load the database remembers.
    pub fn labels(&self, database: &str) -> Vec<(String, String)> {
        let (code, reply) = super::http(&self.admin, "GET", &format!("/labels/{database}"), "");
        assert_eq!(code, 200, "{reply}");
        let reply: serde_json::Value = serde_json::from_str(&reply).expect(&reply);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let labels = reply["labels"].as_array().expect("labels");
        labels
            .iter()
            .map(|label| (text(&label["label"]), text(&label["state"])))
            .collect()
    }
}

impl Drop for StarRocks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
