//! Reading from the servers of the stage.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use ureq::RequestBuilder;
use ureq::typestate::WithBody;

const CALL: Duration = Duration::from_secs(10);

/// Status and body; a body that is no JSON is `null`.
pub fn get(url: &str) -> Result<(u16, Value)> {
    let (status, text) = fetch(url)?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// The body of an answer that says 200.
pub fn text(url: &str) -> Result<String> {
    let (status, text) = fetch(url)?;
    ensure!(status == 200, "GET {url} answered {status}: {text}");
    Ok(text)
}

/// Sends JSON; any answer of 200 to 299 is success, and its body is returned.
pub fn post(url: &str, body: &Value) -> Result<Value> {
    send(agent().post(url), "POST", url, body)
}

/// As [`post`], to change what is there.
pub fn put(url: &str, body: &Value) -> Result<Value> {
    send(agent().put(url), "PUT", url, body)
}

fn send(request: RequestBuilder<WithBody>, method: &str, url: &str, body: &Value) -> Result<Value> {
    let mut response = request
        .header("content-type", "application/json")
        .send(body.to_string())
        .with_context(|| format!("{method} {url}"))?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("{method} {url}"))?;
    ensure!(
        (200..300).contains(&status),
        "{method} {url} answered {status}: {text}"
    );
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Deletes what is there, or was.
pub fn delete(url: &str) -> Result<()> {
    let response = agent()
        .delete(url)
        .call()
        .with_context(|| format!("DELETE {url}"))?;
    let status = response.status().as_u16();
    ensure!(
        (200..300).contains(&status) || status == 404,
        "DELETE {url} answered {status}"
    );
    Ok(())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(CALL))
        .http_status_as_error(false)
        .build()
        .into()
}

fn fetch(url: &str) -> Result<(u16, String)> {
    let mut response = agent().get(url).call().with_context(|| format!("GET {url}"))?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("GET {url}"))?;
    Ok((status, text))
}
