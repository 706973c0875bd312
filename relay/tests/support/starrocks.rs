//! The StarRocks stand-in's admin API, beside what every test of it has.

use std::ops::Deref;

pub struct StarRocks(tributary_stage::starrocks::StarRocks);

impl Deref for StarRocks {
    type Target = tributary_stage::starrocks::StarRocks;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl StarRocks {
    /// For the user in a relay's folder.
    pub fn start() -> Self {
        Self(tributary_stage::starrocks::StarRocks::start("relay", "secret").expect("stand-in"))
    }

    fn admin(&self) -> &str {
        self.admin.trim_start_matches("http://")
    }

    /// Orders a fault of the stand-in's admin API.
    pub fn fault(&self, order: &serde_json::Value) -> u64 {
        let (code, reply) = super::http(self.admin(), "POST", "/faults", &order.to_string());
        assert_eq!(code, 201, "{reply}");
        let reply: serde_json::Value = serde_json::from_str(&reply).expect(&reply);
        reply["id"].as_u64().expect("an id")
    }

    /// Whether a fault has struck: a load that is held has all of its body by then.
    pub fn struck(&self, fault: u64) -> Result<(), String> {
        let (_, reply) = super::http(self.admin(), "GET", "/faults", "");
        let faults: serde_json::Value = serde_json::from_str(&reply).expect(&reply);
        let mine = |entry: &&serde_json::Value| entry["id"] == fault;
        let entry = faults["faults"].as_array().expect("faults").iter().find(mine);
        match entry.and_then(|entry| entry["hits"].as_u64()) {
            Some(1..) => Ok(()),
            _ => Err(reply),
        }
    }

    /// Takes a fault back; what it holds goes on.
    pub fn release(&self, fault: u64) {
        let (code, reply) = super::http(self.admin(), "DELETE", &format!("/faults/{fault}"), "");
        assert!(code < 300, "{code} {reply}");
    }

    /// Label → state of every load the database remembers.
    pub fn labels(&self, database: &str) -> Vec<(String, String)> {
        let (code, reply) = super::http(self.admin(), "GET", &format!("/labels/{database}"), "");
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
