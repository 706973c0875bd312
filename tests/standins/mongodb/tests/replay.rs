//! Every distinct command that Debezium 3.6.1 was recorded to send is sent again, byte for byte as BSON, and answered.
//!
//! `data/debezium-3.6.1-commands.jsonl` holds one line for each shape. What a recording cannot know is filled in:
//! cursor ids by namespace, resume tokens and times from the running stream.

mod common;

use std::collections::HashMap;

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use common::Target;
use standin_mongodb::Window;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[derive(serde::Deserialize)]
struct Line {
    op: String,
    cmd: Document,
}

struct Wire(TcpStream);

impl Wire {
    async fn call(&mut self, op: &str, command: &Document) -> Document {
        let message = if op == "OP_QUERY" {
            op_query(command)
        } else {
            op_msg(command)
        };
        self.0.write_all(&message).await.unwrap();
        let mut header = [0; 16];
        self.0.read_exact(&mut header).await.unwrap();
        let length = i32::from_le_bytes(header[..4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 16];
        self.0.read_exact(&mut body).await.unwrap();
        let skip = if op == "OP_QUERY" { 20 } else { 5 };
        let reply = RawDocumentBuf::from_bytes(body.split_off(skip)).unwrap();
        Document::try_from(&*reply).unwrap()
    }
}

fn framed(opcode: i32, payload: &[u8]) -> Vec<u8> {
    let length = i32::try_from(payload.len() + 16).unwrap();
    let mut message = Vec::new();
    [length, 7, 0, opcode]
        .iter()
        .for_each(|word| message.extend_from_slice(&word.to_le_bytes()));
    message.extend_from_slice(payload);
    message
}

fn op_query(command: &Document) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend_from_slice(b"admin.$cmd\0");
    payload.extend_from_slice(&[0, 0, 0, 0, 255, 255, 255, 255]);
    payload.extend_from_slice(RawDocumentBuf::try_from(command).unwrap().as_bytes());
    framed(2004, &payload)
}

/// Documents to insert travel as a kind-1 sequence, as the driver sends them.
fn op_msg(command: &Document) -> Vec<u8> {
    let mut body = command.clone();
    let documents = body.remove("documents");
    let mut payload = vec![0; 5];
    payload.extend_from_slice(RawDocumentBuf::try_from(&body).unwrap().as_bytes());
    if let Some(Bson::Array(documents)) = documents {
        let mut section = b"documents\0".to_vec();
        for document in documents {
            let raw = RawDocumentBuf::try_from(document.as_document().unwrap()).unwrap();
            section.extend_from_slice(raw.as_bytes());
        }
        payload.push(1);
        payload.extend_from_slice(&i32::try_from(section.len() + 4).unwrap().to_le_bytes());
        payload.extend_from_slice(&section);
    }
    framed(2013, &payload)
}

/// What the recording could not know.
struct Known {
    cursors: HashMap<String, i64>,
    token: Document,
    time: Timestamp,
}

impl Known {
    fn fill(&self, command: &mut Document) {
        let db = command.get_str("$db").unwrap_or("admin").to_owned();
        if let Ok(collection) = command.get_str("collection") {
            let id = self.cursors.get(&format!("{db}.{collection}"));
            command.insert(
                "getMore",
                *id.unwrap_or_else(|| panic!("an open cursor for {command}")),
            );
        }
        if let Ok(collection) = command.get_str("killCursors") {
            let id = self.cursors.get(&format!("{db}.{collection}"));
            command.insert("cursors", vec![Bson::Int64(*id.unwrap_or(&1))]);
        }
        let first = command
            .get_array_mut("pipeline")
            .ok()
            .and_then(|stages| stages[0].as_document_mut());
        if let Some(options) = first.and_then(|stage| stage.get_document_mut("$changeStream").ok()) {
            if options.contains_key("resumeAfter") {
                options.insert("resumeAfter", self.token.clone());
            }
            if options.contains_key("startAtOperationTime") {
                options.insert("startAtOperationTime", self.time);
            }
        }
    }

    fn learn(&mut self, reply: &Document) {
        let Ok(cursor) = reply.get_document("cursor") else {
            return;
        };
        let id = cursor.get_i64("id").unwrap();
        if id != 0 {
            self.cursors.insert(cursor.get_str("ns").unwrap().to_owned(), id);
        }
        if let Ok(token) = cursor.get_document("postBatchResumeToken") {
            self.token = token.clone();
            self.time = reply.get_timestamp("operationTime").unwrap();
        }
    }
}

async fn seed(wire: &mut Wire) {
    for (db, collection, count) in [
        ("t_acme", "orders", 10),
        ("t_acme", "customers", 10),
        ("t_other", "x", 1),
        ("t_load", "events", 5001),
    ] {
        let documents: Vec<Document> = (0..count).map(|n| doc! { "_id": n, "n": n }).collect();
        let reply = wire
            .call(
                "OP_MSG",
                &doc! { "insert": collection, "$db": db, "documents": documents },
            )
            .await;
        assert_eq!(reply.get_i32("n").ok(), Some(count));
    }
}

#[tokio::test]
async fn every_recorded_command_is_answered() {
    // The shapes are Debezium's, the cursor bookkeeping is ours: no use against a real server.
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let mut wire = Wire(TcpStream::connect(target.standin().address).await.unwrap());
    seed(&mut wire).await;
    let mut known = Known {
        cursors: HashMap::new(),
        token: doc! {},
        time: Timestamp {
            time: 0,
            increment: 0,
        },
    };
    let lines = include_str!("data/debezium-3.6.1-commands.jsonl");
    let mut answered = 0;
    for line in lines.lines() {
        let Line { op, mut cmd } = serde_json::from_str(line).expect("the trace is Extended JSON");
        known.fill(&mut cmd);
        let reply = wire.call(&op, &cmd).await;
        known.learn(&reply);
        let name = cmd.keys().next().unwrap();
        if name == "saslStart" {
            // Nobody is known here: the answer a server without users gives.
            assert_eq!(reply.get_str("codeName").ok(), Some("AuthenticationFailed"));
        } else {
            assert_eq!(reply.get_f64("ok").ok(), Some(1.0), "{cmd}\n{reply}");
        }
        assert!(
            reply.get_timestamp("operationTime").is_ok() && reply.contains_key("$clusterTime"),
            "{reply}"
        );
        answered += 1;
    }
    assert_eq!(answered, 54);
}
