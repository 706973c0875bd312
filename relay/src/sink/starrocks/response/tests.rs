//! Texts as FE and BE write them (stream-load reference §1.1, §1.2, §1.6).

use super::*;

fn outcome(body: &str) -> LoadOutcome {
    load_outcome(200, body.as_bytes(), true, 3).0
}

#[test]
fn success_and_publish_timeout_are_durable() {
    let body = |status: &str| {
        format!(
            r#"{{"TxnId": 7, "Label": "l", "Status": "{status}", "Message": "OK", "NumberTotalRows": 3, "NumberLoadedRows": 3, "NumberFilteredRows": 0, "NumberUnselectedRows": 0, "LoadBytes": 5}}"#
        )
    };
    assert_eq!(
        outcome(&body("Success")),
        LoadOutcome::Durable(Durable { visible: true })
    );
    assert_eq!(
        outcome(&body("Publish Timeout")),
        LoadOutcome::Durable(Durable { visible: false })
    );
}

#[test]
fn a_success_that_lost_rows_is_none() {
    for counts in [
        r#""NumberTotalRows": 3, "NumberLoadedRows": 2, "NumberFilteredRows": 1"#,
        r#""NumberTotalRows": 2, "NumberLoadedRows": 2"#,
        r#""NumberLoadedRows": 3, "NumberUnselectedRows": 1"#,
    ] {
        let body = format!(r#"{{"Status": "Success", "Message": "OK", {counts}}}"#);
        assert!(
            matches!(
                outcome(&body),
                LoadOutcome::Blocked {
                    cause: BlockedCause::LoadsRejected,
                    ..
                }
            ),
            "{counts}"
        );
    }
}

#[test]
fn a_used_label_is_success_only_when_finished() {
    let body = |state: &str| {
        format!(
            r#"{{"TxnId": -1, "Label": "l", "Status": "Label Already Exists", "ExistingJobStatus": "{state}", "Message": "Label [l] has already been used."}}"#
        )
    };
    assert!(matches!(outcome(&body("FINISHED")), LoadOutcome::Durable(_)));
    assert!(matches!(
        outcome(&body("RUNNING")),
        LoadOutcome::Retry {
            cause: RetryCause::LabelRunning,
            ambiguous: true,
            ..
        }
    ));
}

#[test]
fn every_documented_text_has_its_class() {
    use BlockedCause as B;
    use RetryCause as R;
    let table: &[(&str, Class)] = &[
        (
            "Failed to load data into tablet 10, because of too many versions, current/limit: 1001/1000. You can reduce the loading job concurrency, or increase loading data batch size.",
            Class::Retry(R::TooManyVersions),
        ),
        (
            "close index channel failed, load_id=1",
            Class::Retry(R::TooManyVersions),
        ),
        (
            "current running txns on db 10005 is 1000, larger than limit 1000",
            Class::Retry(R::TooManyTransactions),
        ),
        (
            "Stream Load exceed http cuncurrent limit 47, please try again later",
            Class::Retry(R::TooManyTransactions),
        ),
        (
            "class com.starrocks.common.DdlException: No backend alive.",
            Class::Retry(R::NoBackendAlive),
        ),
        (
            "Service is shutting down, please retry later!",
            Class::Retry(R::ShuttingDown),
        ),
        (
            "Access denied for u@127.0.0.1",
            Class::Blocked(B::AuthenticationFailed),
        ),
        (
            "no valid Basic authorization",
            Class::Blocked(B::AuthenticationFailed),
        ),
        ("unknown table \"t\"", Class::Blocked(B::UnknownTable)),
        ("unknown database \"d\"", Class::Blocked(B::UnknownTable)),
        (
            "Column has no default value, column=c",
            Class::Blocked(B::UnknownColumn),
        ),
        ("too many filtered rows", Class::Rejected),
        ("primary key size exceed the limit.", Class::Rejected),
        (
            "The size of this batch exceed the max size [104857600]  of json type data  data [ 2 ]. Set ignore_json_size to skip the check",
            Class::Rejected,
        ),
        (
            "Only primary key table support partial update",
            Class::Blocked(B::LoadsRejected),
        ),
        ("something nobody has seen", Class::Retry(R::ServerError)),
    ];
    for (text, class) in table {
        assert_eq!(classify(text), *class, "{text}");
    }
}

#[test]
fn a_fail_is_ambiguous_exactly_when_the_body_went_out() {
    let fail = br#"{"Status": "Fail", "Message": "something nobody has seen"}"#;
    for sent in [true, false] {
        let (outcome, _) = load_outcome(200, fail, sent, 3);
        assert!(matches!(outcome, LoadOutcome::Retry { ambiguous, .. } if ambiguous == sent));
    }
}

#[test]
fn frontends_own_answers() {
    let failed = "{\n  \"Status\": \"FAILED\",\n  \"Message\": \"class com.starrocks.common.DdlException: There is no 100-continue header\"\n}";
    assert!(matches!(
        outcome(failed),
        LoadOutcome::Retry {
            cause: RetryCause::ServerError,
            ..
        }
    ));
    let denied = br#"{"status":"FAILED","code":"1","msg":"Access denied for u@ip","message":"Access denied for u@ip"}"#;
    let (outcome, _) = load_outcome(401, denied, false, 3);
    let LoadOutcome::Blocked {
        cause: BlockedCause::AuthenticationFailed,
        message,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(message, "HTTP 401: Access denied for u@ip");
    let (outcome, _) = load_outcome(502, b"<html>bad gateway</html>", true, 3);
    assert!(matches!(
        outcome,
        LoadOutcome::Retry {
            cause: RetryCause::ServerError,
            ambiguous: true,
            ..
        }
    ));
}

#[test]
fn label_states() {
    let state = |s: &str| {
        label_state(
            200,
            format!(
                r#"{{"state":"{s}","reason":"","status":"OK","code":"0","msg":"Success","message":"OK"}}"#
            )
            .as_bytes(),
        )
    };
    assert_eq!(state("VISIBLE"), LabelState::Durable(Durable { visible: true }));
    assert_eq!(
        state("COMMITTED"),
        LabelState::Durable(Durable { visible: false })
    );
    assert_eq!(state("PREPARE"), LabelState::Running);
    assert_eq!(state("PREPARED"), LabelState::Running);
    assert_eq!(state("ABORTED"), LabelState::Aborted);
    assert_eq!(state("UNKNOWN"), LabelState::Unknown);
    assert!(matches!(state("NEW"), LabelState::Unanswered { .. }));
    assert!(matches!(label_state(500, b"oops"), LabelState::Unanswered { .. }));
}
