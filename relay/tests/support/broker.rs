//! A real Kafka broker for this test binary: `TRIBUTARY_TEST_KAFKA` (host:port), or one of its own from Maven's jars.
//!
//! librdkafka's mock cluster is no substitute: it has no static membership, and that is what the relay lives by.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub fn bootstrap() -> String {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start).bootstrap.clone()
}

struct Broker {
    bootstrap: String,
    /// The shell that watches the broker: it ends it when its own stdin closes, however this process ended.
    _watcher: Option<Child>,
    _dir: Option<tempfile::TempDir>,
}

impl Broker {
    fn start() -> Self {
        if let Some(bootstrap) = std::env::var("TRIBUTARY_TEST_KAFKA")
            .ok()
            .filter(|v| !v.is_empty())
        {
            return Self {
                bootstrap,
                _watcher: None,
                _dir: None,
            };
        }
        let jars = tributary_stage::setup::maven_jars(&[
            "org.apache.kafka:kafka_2.13:4.3.1",
            "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
        ])
        .expect("Kafka from Maven");
        let class_path = format!("{}/*", jars[0].parent().unwrap().display());
        let dir = tempfile::tempdir().unwrap();
        let (broker, controller) = (free_port(), free_port());
        let config = dir.path().join("server.properties");
        let logs = dir.path().join("logs");
        std::fs::write(
            &config,
            properties(broker, controller, &logs.display().to_string()),
        )
        .unwrap();
        let format = Command::new("java")
            .args([
                "-cp",
                &class_path,
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                "-t",
                "cmVsYXktdGVzdC1icm9rZQ",
                "-c",
            ])
            .arg(&config)
            .output()
            .expect("java");
        assert!(
            format.status.success(),
            "{}",
            String::from_utf8_lossy(&format.stderr)
        );
        let mut watcher = Command::new("sh")
            .args(["-c", r#"java -Xmx384m -XX:+UseSerialGC -cp "$1" kafka.Kafka "$2" >"$3" 2>&1 & pid=$!; read _; kill -9 $pid"#, "sh", &class_path])
            .arg(&config)
            .arg(dir.path().join("broker.log"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh");
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", broker)).is_err() {
            let log = std::fs::read_to_string(dir.path().join("broker.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "no broker: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = watcher.stdin.as_mut().unwrap().flush();
        Self {
            bootstrap: format!("127.0.0.1:{broker}"),
            _watcher: Some(watcher),
            _dir: Some(dir),
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn properties(broker: u16, controller: u16, logs: &str) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={logs}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         offsets.topic.num.partitions=4\noffsets.topic.replication.factor=1\ntransaction.state.log.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\nauto.create.topics.enable=false\n\
         group.initial.rebalance.delay.ms=0\nlog.cleaner.enable=false\n"
    )
}
