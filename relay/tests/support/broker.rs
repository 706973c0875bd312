//! A real Kafka broker for this test binary: `TRIBUTARY_TEST_KAFKA` (host:port), or one of its own from Maven's jars.
//!
//! librdkafka's mock cluster is no substitute: it has no static membership, and that is what the relay lives by.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

pub fn bootstrap() -> String {
    broker().bootstrap.clone()
}

fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

/// Starts the broker, ends and starts it again as told, and ends it with this process.
const WATCHER: &str = r#"up() { java -Xmx384m -XX:+UseSerialGC -cp "$1" kafka.Kafka "$2" >>"$3" 2>&1 & pid=$!; }
up "$@"
while read -r command; do
  case $command in
    down) kill -9 $pid; wait $pid ;;
    up) up "$@" ;;
  esac
done
kill -9 $pid"#;

/// Kills this binary's broker and starts it again; `meanwhile` runs while it is down. `false`: it is somebody else's.
pub fn restart(meanwhile: impl FnOnce()) -> bool {
    let broker = broker();
    let Some(watcher) = &broker.watcher else {
        return false;
    };
    let address = broker.bootstrap.as_str();
    let tell = |command: &str| {
        let mut watcher = watcher.lock().unwrap();
        let stdin = watcher.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}")
            .and_then(|()| stdin.flush())
            .expect("the watcher listens");
    };
    tell("down");
    wait("broker gone", || TcpStream::connect(address).is_err());
    meanwhile();
    tell("up");
    wait("broker back", || TcpStream::connect(address).is_ok());
    true
}

fn wait(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !met() {
        assert!(Instant::now() < deadline, "not {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Broker {
    bootstrap: String,
    /// The shell that watches the broker: it ends it when its own stdin closes, however this process ended.
    watcher: Option<Mutex<Child>>,
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
                watcher: None,
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
        let watcher = Command::new("sh")
            .args(["-c", WATCHER, "sh", &class_path])
            .arg(&config)
            .arg(dir.path().join("broker.log"))
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", broker)).is_err() {
            let log = std::fs::read_to_string(dir.path().join("broker.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "no broker: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Self {
            bootstrap: format!("127.0.0.1:{broker}"),
            watcher: Some(Mutex::new(watcher)),
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
