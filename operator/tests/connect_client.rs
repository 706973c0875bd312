//! The Connect client against a server that replies with bodies recorded from Kafka Connect 4.3.1 with Debezium 3.6.1.
//! A protocol test: which requests are sent, and what each reply means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use tributary_operator::backend::connect::{ConnectClient, ConnectorConfig, PutOutcome};
use tributary_operator::backend::{ErrorClass, Redactor};

/// Replies by `METHOD path`, and the requests seen.
#[derive(Default)]
struct Script {
    replies: BTreeMap<&'static str, (u16, &'static str, String)>,
    seen: Vec<(String, String)>,
}

type Shared = Arc<Mutex<Script>>;

async fn answer(State(script): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("body");
    let body = String::from_utf8_lossy(&body).into_owned();
    let line = match parts.uri.query() {
        Some(query) => format!("{} {}?{query}", parts.method, parts.uri.path()),
        None => format!("{} {}", parts.method, parts.uri.path()),
    };
    let mut script = script.lock().expect("script");
    script.seen.push((line.clone(), body));
    let html = (404, "text/html", "<html>Error 404 Not Found</html>".to_owned());
    let (status, kind, text) = script.replies.get(line.as_str()).cloned().unwrap_or(html);
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Body::from(text))
        .expect("response")
}

async fn server(replies: &[(&'static str, u16, &str)]) -> (ConnectClient, Shared) {
    let script = Shared::default();
    for (line, status, body) in replies {
        let reply = (*status, "application/json", (*body).to_owned());
        script.lock().expect("script").replies.insert(line, reply);
    }
    let app = Router::new().fallback(answer).with_state(script.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (ConnectClient::new(&url).expect("client"), script)
}

fn seen(script: &Shared) -> Vec<String> {
    let script = script.lock().expect("script");
    script.seen.iter().map(|(line, _)| line.clone()).collect()
}

fn config(pairs: &[(&str, &str)]) -> ConnectorConfig {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

const ROOT: &str = r#"{"version":"4.3.1","commit":"abc","kafka_cluster_id":"k1"}"#;

#[tokio::test]
async fn a_booting_worker_is_unreachable_and_nothing_is_absent() {
    let (client, _) = server(&[]).await;
    assert_eq!(
        client.health().await.expect_err("booting").class,
        ErrorClass::Unreachable
    );
    let status = client
        .status("acme")
        .await
        .expect_err("an HTML 404 says nothing about acme");
    assert_eq!(status.class, ErrorClass::Unreachable);
}

#[tokio::test]
async fn health_needs_healthy_json() {
    let healthy =
        r#"{"status":"healthy","message":"Worker has completed startup and is ready to handle requests."}"#;
    let (client, _) = server(&[("GET /health", 200, healthy), ("GET /", 200, ROOT)]).await;
    assert_eq!(client.health().await.expect("healthy").version, "4.3.1");

    let starting = r#"{"status":"starting","message":"Worker is still starting up."}"#;
    let (client, _) = server(&[("GET /health", 503, starting), ("GET /", 200, ROOT)]).await;
    assert_eq!(
        client.health().await.expect_err("starting").class,
        ErrorClass::Unreachable
    );

    let older = r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#;
    let (client, _) = server(&[("GET /health", 404, older), ("GET /", 200, ROOT)]).await;
    assert_eq!(client.health().await.expect("older worker").version, "4.3.1");
}

#[tokio::test]
async fn the_recorded_validation_is_read_with_its_null_value_and_one_error() {
    let recorded = include_str!("data/connect-validate-3.6.1.json");
    let class = "io.debezium.connector.mongodb.MongoDbConnector";
    let path = "PUT /connector-plugins/io.debezium.connector.mongodb.MongoDbConnector/config/validate";
    let (client, script) = server(&[(path, 200, recorded)]).await;
    let found = client
        .validate("acme", &config(&[("connector.class", class)]))
        .await
        .expect("reply");
    assert!(!found.is_valid());
    assert_eq!(found.errors.keys().collect::<Vec<_>>(), ["name"]);
    assert!(
        found
            .message()
            .expect("text")
            .contains("Missing required configuration")
    );
    let sent = script.lock().expect("script").seen[0].1.clone();
    assert!(
        sent.contains(r#""name":"acme""#),
        "without a name the reply has a spurious error: {sent}"
    );
}

#[tokio::test]
async fn validation_texts_are_redacted() {
    let reply = r#"{"name":"x","error_count":1,"configs":[{"definition":null,"value":null},
        {"definition":{},"value":{"name":"mongodb.connection.string","value":"mongodb://u:topsecret@h/","errors":["Unable to connect: mongodb://u:topsecret@h/ and hunter22"]}}]}"#;
    let (client, _) = server(&[("PUT /connector-plugins/X/config/validate", 200, reply)]).await;
    let client = client.redacting_with(&Redactor::new(["hunter22"]));
    let found = client
        .validate("a", &config(&[("connector.class", "X")]))
        .await
        .expect("reply");
    let text = found.message().expect("text");
    assert!(
        !text.contains("topsecret") && !text.contains("hunter22"),
        "{text}"
    );
    assert!(found.only_connection_failed());
}

#[tokio::test]
async fn an_identical_configuration_is_not_put() {
    let live = r#"{"name":"acme","a":"1","b":"2"}"#;
    let put = "PUT /connectors/acme/config";
    let (client, script) = server(&[("GET /connectors/acme/config", 200, live), (put, 200, "{}")]).await;
    let same = client
        .put_config("acme", &config(&[("b", "2"), ("a", "1")]))
        .await;
    assert_eq!(same.expect("same"), PutOutcome::Unchanged);
    assert_eq!(seen(&script), ["GET /connectors/acme/config"]);

    let other = client
        .put_config("acme", &config(&[("a", "1"), ("b", "3")]))
        .await;
    assert_eq!(other.expect("other"), PutOutcome::Updated);
    assert_eq!(seen(&script).last().expect("request"), put);
}

#[tokio::test]
async fn the_null_pointer_of_3_6_1_is_permanent_and_a_rebalance_is_not() {
    let npe = r#"{"error_code":500,"message":"Cannot invoke \"org.apache.kafka.connect.runtime.rest.entities.ConfigValueInfo.errors()\" because the return value of \"ConfigInfo.configValue()\" is null"}"#;
    let gone = r#"{"error_code":404,"message":"Connector acme not found"}"#;
    let (client, _) = server(&[
        ("GET /connectors/acme/config", 404, gone),
        ("PUT /connectors/acme/config", 500, npe),
        (
            "PUT /connectors/acme/stop",
            409,
            r#"{"error_code":409,"message":"Request cannot be completed because a rebalance is expected"}"#,
        ),
    ])
    .await;
    let refused = client
        .put_config("acme", &config(&[("a", "1")]))
        .await
        .expect_err("NPE");
    assert_eq!(
        (refused.class, refused.is_retryable()),
        (ErrorClass::Invalid, false)
    );
    let busy = client.stop("acme").await.expect_err("rebalance");
    assert_eq!((busy.class, busy.is_retryable()), (ErrorClass::Transient, true));
}

#[tokio::test]
async fn the_life_of_a_connector_is_the_documented_calls() {
    let exists = r#"{"error_code":409,"message":"Connector acme already exists"}"#;
    let (client, script) = server(&[
        ("POST /connectors", 409, exists),
        (
            "POST /connectors/acme/restart?includeTasks=true&onlyFailed=true",
            202,
            "{}",
        ),
        ("PUT /connectors/acme/resume", 202, ""),
        (
            "GET /connectors/acme/offsets",
            200,
            r#"{"offsets":[{"partition":{"server_id":"acme"},"offset":{"sec":1,"ord":2}}]}"#,
        ),
        ("DELETE /connectors/acme/offsets", 200, r#"{"message":"reset"}"#),
        (
            "DELETE /connectors/acme",
            404,
            r#"{"error_code":404,"message":"Connector acme not found"}"#,
        ),
    ])
    .await;
    let created = client.create_stopped("acme", &config(&[("a", "1")])).await;
    assert_eq!(created.expect_err("exists").class, ErrorClass::Conflict);
    let body = script.lock().expect("script").seen[0].1.clone();
    assert!(body.contains(r#""initial_state":"STOPPED""#), "{body}");
    client.restart_failed("acme").await.expect("restart");
    client.resume("acme").await.expect("resume");
    assert_eq!(
        client
            .offsets("acme")
            .await
            .expect("offsets")
            .expect("some")
            .len(),
        1
    );
    client.delete_offsets("acme").await.expect("offsets deleted");
    assert!(!client.delete("acme").await.expect("absent is fine"));
}

#[tokio::test]
async fn a_name_with_a_slash_stays_one_segment() {
    let (client, script) = server(&[]).await;
    let _ = client.status("a/../b").await;
    assert_eq!(seen(&script), ["GET /connectors/a%2F..%2Fb/status"]);
}

#[tokio::test]
async fn nobody_there_opens_the_breaker() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    drop(listener);
    let client = ConnectClient::new(&url).expect("client");
    for _ in 0..2 {
        assert_eq!(
            client.plugins().await.expect_err("down").class,
            ErrorClass::Unreachable
        );
    }
    // From the failure that opens it on, everybody is told the same: where, and since when.
    let opening = client.plugins().await.expect_err("open");
    let refused = client.plugins().await.expect_err("open");
    assert_eq!(refused.class, ErrorClass::CircuitOpen);
    assert_eq!(opening.message, refused.message);
    assert!(refused.message.contains(&url), "{}", refused.message);
}

#[tokio::test]
async fn hundreds_of_pipelines_ask_for_one_list_until_something_is_written() {
    let list = "GET /connectors?expand=status&expand=info";
    let (client, script) = server(&[(list, 200, "{}"), ("PUT /connectors/acme/stop", 204, "")]).await;
    let ask = || async {
        let asked = (0..200).map(|_| client.connectors());
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(Result::is_ok));
    };
    ask().await;
    ask().await;
    assert_eq!(seen(&script), [list]);
    client.stop("acme").await.expect("stopped");
    ask().await;
    assert_eq!(seen(&script).iter().filter(|line| *line == list).count(), 2);
}

#[tokio::test]
async fn hundreds_of_pipelines_meet_a_dead_connect_once() {
    // Nothing but HTML: a worker that boots, or none.
    let (client, script) = server(&[]).await;
    let asked = (0..200).map(|_| client.connectors());
    let answers = futures::future::join_all(asked).await;
    assert!(
        answers
            .iter()
            .all(|a| a.as_ref().is_err_and(|e| e.class == ErrorClass::Unreachable))
    );
    assert_eq!(seen(&script).len(), 1);
}
