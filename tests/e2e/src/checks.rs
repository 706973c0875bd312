//! One line per check, a count at the end.

use std::time::Instant;

use anyhow::Result;

/// Runs checks and keeps count.
#[derive(Debug, Default)]
pub struct Checks {
    passed: u32,
    failed: u32,
}

impl Checks {
    /// Runs one check. `Ok` carries what was seen, in a few words.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<String>) -> bool {
        let begun = Instant::now();
        let outcome = check();
        let seconds = begun.elapsed().as_secs_f32();
        match &outcome {
            Ok(seen) => {
                self.passed += 1;
                println!("ok      {name} ({seconds:.1}s) {}", shortened(seen));
            }
            Err(error) => {
                self.failed += 1;
                println!(
                    "FAILED  {name} ({seconds:.1}s)\n        {}",
                    format!("{error:#}").replace('\n', "\n        ")
                );
            }
        }
        outcome.is_ok()
    }

    /// Prints the count; whether all passed.
    pub fn finish(&self) -> bool {
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }
}

/// One line's worth of what was seen.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
