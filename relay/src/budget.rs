//! How much memory the relay may use, and for what: derived from the limit of its cgroup, so that a backlog of any size fits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MIB: u64 = 1 << 20;
/// Without any limit the relay behaves as in a pod of this size.
const UNLIMITED: u64 = 1024 * MIB;
/// Code, threads, librdkafka's own, one large record on its way.
const RESERVE: u64 = 24 * MIB;
/// The least that makes progress.
const FLOOR: u64 = 8 * MIB;

/// Bounds that together stay below the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rows waiting and being loaded, over all tables. Growing buffers may take half as much again.
    pub buffered: u64,
    /// Records fetched ahead, over all partitions.
    pub fetched: u64,
    /// Keys remembered of tables that are their own index, over all of them.
    pub index: u64,
}

impl Budget {
    /// For a process that may use `limit` bytes.
    pub fn of_limit(limit: u64) -> Self {
        let free = limit.saturating_sub(RESERVE.max(limit / 8)).max(FLOOR);
        Self {
            buffered: free * 2 / 5,
            // More does not make reading faster: it only waits here instead of at the broker.
            fetched: (free / 6).clamp(MIB, 8 * MIB),
            index: (free / 8).clamp(MIB, 64 * MIB),
        }
    }

    /// For this process.
    pub fn of_process() -> Self {
        static BUDGET: OnceLock<Budget> = OnceLock::new();
        *BUDGET.get_or_init(|| {
            let limit = std::env::var(LIMIT_ENV).ok().and_then(|text| text.parse().ok());
            let limit =
                limit.or_else(|| memory_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")));
            let budget = Self::of_limit(limit.unwrap_or(UNLIMITED).min(4 * UNLIMITED));
            tracing::info!(limit, ?budget, "memory");
            budget
        })
    }
}

/// Bytes to stay below instead of the cgroup's limit.
pub const LIMIT_ENV: &str = "TRIBUTARY_RELAY_MEMORY_LIMIT";

/// The smallest limit on the way from the process's cgroup to the root; version 2, else version 1. `None`: there is none.
fn memory_limit(membership: &Path, root: &Path) -> Option<u64> {
    let membership = fs::read_to_string(membership).ok()?;
    let mut found = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a namespace of its own the path may lead to nothing; the root is then the container's.
        let mut dir: PathBuf = base.join(path.trim_start_matches('/'));
        loop {
            let limit = fs::read_to_string(dir.join(file)).ok();
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
            // Version 1 says "no limit" with a number near 2^63.
            if let Some(limit) = limit.filter(|limit| *limit < 1 << 60) {
                found = Some(found.map_or(limit, |least: u64| least.min(limit)));
            }
            if dir == base || !dir.pop() {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(membership: &str, files: &[(&str, &str)]) -> Option<u64> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("membership"), membership).unwrap();
        for (path, text) in files {
            let path = dir.path().join("root").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_limit(&dir.path().join("membership"), &dir.path().join("root"))
    }

    #[test]
    fn the_smallest_limit_of_either_version_counts() {
        let v2 = "0::/kubepods/pod1/relay\n";
        assert_eq!(
            limit(v2, &[("kubepods/pod1/relay/memory.max", "268435456\n")]),
            Some(256 * MIB)
        );
        assert_eq!(
            limit(
                v2,
                &[
                    ("kubepods/pod1/relay/memory.max", "max\n"),
                    ("kubepods/pod1/memory.max", "67108864\n"),
                ]
            ),
            Some(64 * MIB)
        );
        assert_eq!(limit("0::/\n", &[("memory.max", "1048576")]), Some(MIB));
        assert_eq!(limit(v2, &[("memory.max", "max")]), None);
        let v1 = "12:cpu,cpuacct:/x\n5:memory:/pod1\n";
        assert_eq!(
            limit(
                v1,
                &[
                    ("memory/pod1/memory.limit_in_bytes", "134217728\n"),
                    ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ]
            ),
            Some(128 * MIB)
        );
        assert_eq!(limit("", &[]), None);
    }

    #[test]
    fn the_parts_stay_below_the_whole() {
        for mib in [48, 64, 128, 256, 1024, 4096] {
            let limit = mib * MIB;
            let Budget {
                buffered,
                fetched,
                index,
            } = Budget::of_limit(limit);
            let most = RESERVE + buffered * 3 / 2 + fetched + index;
            assert!(most <= limit, "{mib} MiB: {most}");
        }
    }
}
