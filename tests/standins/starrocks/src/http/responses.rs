//! Replies as the servers write them: key order, indentation and texts are what clients were built against.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

pub type HttpResponse = Response<Full<Bytes>>;

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> HttpResponse {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub fn json(body: String) -> HttpResponse {
    with_type(StatusCode::OK, "application/json", body)
}

pub fn text(status: StatusCode, body: String) -> HttpResponse {
    with_type(status, "text/plain", body)
}

fn closing(mut response: HttpResponse) -> HttpResponse {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// FE: pretty Gson with two spaces, HashMap order, connection closed, status 200.
pub fn fe_failed(exception: &str, message: &str) -> HttpResponse {
    let message = quoted(&format!("class com.starrocks.common.{exception}: {message}"));
    closing(json(format!(
        "{{\n  \"Status\": \"FAILED\",\n  \"Message\": {message}\n}}"
    )))
}

/// FE: to the node that takes the load. Empty body, connection closed.
pub fn fe_redirect(location: &str) -> HttpResponse {
    let mut response = with_type(StatusCode::TEMPORARY_REDIRECT, "text/html", String::new());
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, value);
    }
    closing(response)
}

/// FE: credentials or grants.
pub fn fe_unauthorized(message: &str) -> HttpResponse {
    let mut response = with_type(
        StatusCode::UNAUTHORIZED,
        "application/json",
        rest_result(Err(message)),
    );
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"\""));
    closing(response)
}

pub fn fe_error(status: StatusCode, message: &str) -> HttpResponse {
    closing(with_type(status, "application/json", rest_result(Err(message))))
}

/// `RestBaseResult`, one line.
pub fn rest_result(result: Result<(), &str>) -> String {
    match result {
        Ok(()) => r#"{"status":"OK","code":"0","msg":"Success","message":"OK"}"#.into(),
        Err(message) => {
            let message = quoted(message);
            format!(r#"{{"status":"FAILED","code":"1","msg":{message},"message":{message}}}"#)
        }
    }
}

/// `get_load_state`.
pub fn load_state(state: &str, reason: &str) -> String {
    let reason = if reason.is_empty() {
        String::new()
    } else {
        format!(r#""reason":{},"#, quoted(reason))
    };
    format!(r#"{{"state":"{state}",{reason}"status":"OK","code":"0","msg":"Success","message":"OK"}}"#)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The result of a Stream Load as `StreamLoadContext::to_json` writes it.
#[derive(Debug, Clone, Default)]
pub struct LoadReply {
    pub txn_id: i64,
    pub label: String,
    pub status: &'static str,
    pub existing_job_status: Option<&'static str>,
    pub message: String,
    pub total_rows: u64,
    pub loaded_rows: u64,
    pub filtered_rows: u64,
    pub load_bytes: u64,
    pub load_ms: u64,
    pub begin_txn_ms: u64,
    pub plan_ms: u64,
    pub read_ms: u64,
    pub write_ms: u64,
    pub commit_publish_ms: u64,
    pub error_url: Option<String>,
}

impl LoadReply {
    pub fn fail(label: &str, message: impl Into<String>) -> Self {
        Self {
            txn_id: -1,
            label: label.to_owned(),
            status: "Fail",
            message: message.into(),
            ..Self::default()
        }
    }

    /// Four spaces, the server's key order.
    pub fn to_json(&self) -> String {
        let mut out = Pretty::default();
        out.number("TxnId", self.txn_id);
        out.text("Label", &self.label);
        out.text("Status", self.status);
        if let Some(status) = self.existing_job_status {
            out.text("ExistingJobStatus", status);
        }
        out.text("Message", &self.message);
        for (key, value) in [
            ("NumberTotalRows", self.total_rows),
            ("NumberLoadedRows", self.loaded_rows),
            ("NumberFilteredRows", self.filtered_rows),
            ("NumberUnselectedRows", 0),
            ("LoadBytes", self.load_bytes),
            ("LoadTimeMs", self.load_ms),
            ("BeginTxnTimeMs", self.begin_txn_ms),
            ("StreamLoadPlanTimeMs", self.plan_ms),
            ("ReadDataTimeMs", self.read_ms),
            ("WriteDataTimeMs", self.write_ms),
            ("CommitAndPublishTimeMs", self.commit_publish_ms),
        ] {
            out.number(key, value);
        }
        if let Some(url) = &self.error_url {
            out.text("ErrorURL", url);
        }
        out.finish()
    }
}

/// rapidjson's PrettyWriter for a flat object.
#[derive(Debug, Default)]
pub struct Pretty {
    body: String,
}

impl Pretty {
    fn key(&mut self, key: &str) {
        let _ = write!(
            self.body,
            "{}\n    \"{key}\": ",
            if self.body.is_empty() { "" } else { "," }
        );
    }

    pub fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        let _ = write!(self.body, "{value}");
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.body.push_str(&quoted(value));
    }

    pub fn finish(self) -> String {
        format!("{{{}\n}}", self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_reply_has_the_servers_layout() {
        let reply = LoadReply {
            txn_id: 7,
            label: "l".into(),
            status: "Success",
            message: "OK".into(),
            ..LoadReply::default()
        };
        let json = reply.to_json();
        assert!(json.starts_with("{\n    \"TxnId\": 7,\n    \"Label\": \"l\",\n    \"Status\": \"Success\",\n    \"Message\": \"OK\",\n"));
        assert!(json.ends_with("\"CommitAndPublishTimeMs\": 0\n}"));
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }

    #[test]
    fn fe_failures_name_the_exception_class() {
        use http_body_util::BodyExt as _;
        let response = fe_failed("DdlException", "No backend alive.");
        assert_eq!(response.status(), 200);
        let body = futures::executor::block_on(response.into_body().collect())
            .unwrap()
            .to_bytes();
        assert_eq!(
            body,
            "{\n  \"Status\": \"FAILED\",\n  \"Message\": \"class com.starrocks.common.DdlException: No backend alive.\"\n}"
        );
    }
}
