//! Progress lines with the elapsed time, on stderr: `[stage +12s] building kubernetes 1.36.3`.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Set for the process inside the stage's namespace, so that its lines count from the start of the command.
pub const STARTED: &str = "TRIBUTARY_STAGE_STARTED_MS";

fn started() -> SystemTime {
    static AT: OnceLock<SystemTime> = OnceLock::new();
    *AT.get_or_init(|| {
        std::env::var(STARTED)
            .ok()
            .and_then(|ms| ms.parse().ok())
            .map_or_else(SystemTime::now, |ms| UNIX_EPOCH + Duration::from_millis(ms))
    })
}

/// What to put into [`STARTED`] for a child.
pub fn started_ms() -> String {
    started()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
        .to_string()
}

/// Time since the first line of this command.
pub fn elapsed() -> Duration {
    started().elapsed().unwrap_or_default()
}

/// Says one thing. Lines are whole, so several threads may speak.
pub fn say(text: impl AsRef<str>) {
    eprintln!("[stage +{}s] {}", elapsed().as_secs(), text.as_ref());
}
