//! What the demo prints: on the terminal, and remembered for the README's transcript.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const BEGIN: &str = "<!-- transcript: `cargo demo -- --transcript` writes what is between these marks -->";
const END: &str = "<!-- end of transcript -->";

/// Longest line of the transcript: the README stays readable.
const WIDTH: usize = 180;

#[derive(Debug, Default)]
pub(crate) struct Console {
    lines: Vec<String>,
}

impl Console {
    /// A heading of the demo's story.
    pub(crate) fn chapter(&mut self, text: &str) {
        self.say("");
        self.say(format!("## {text}"));
    }

    /// A command as a user would type it.
    pub(crate) fn command(&mut self, text: &str) {
        self.say(format!("$ {text}"));
    }

    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        for line in text.as_ref().split('\n') {
            println!("{line}");
            self.lines.push(line.trim_end().to_owned());
        }
    }

    /// Replaces the transcript in the README.
    pub(crate) fn write_transcript(&self, readme: &Path) -> Result<()> {
        let text = fs::read_to_string(readme).with_context(|| format!("cannot read {}", readme.display()))?;
        let (before, rest) = text
            .split_once(BEGIN)
            .with_context(|| format!("no mark {BEGIN:?} in the README"))?;
        let (_, after) = rest
            .split_once(END)
            .with_context(|| format!("no mark {END:?} in the README"))?;
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| line.chars().take(WIDTH).collect())
            .collect();
        let transcript = lines.join("\n");
        let text = format!(
            "{before}{BEGIN}\n```text\n{}\n```\n{END}{after}",
            transcript.trim()
        );
        fs::write(readme, text).with_context(|| format!("cannot write {}", readme.display()))
    }
}
