//! Plans as text.

use std::fmt::Write as _;

use crate::manifests::Problem;
use crate::report::{Report, Step, System, Verb};

pub(crate) fn problems(problems: &[Problem]) -> String {
    let mut out = String::new();
    for p in problems {
        let field = if p.field.is_empty() {
            String::new()
        } else {
            format!(" {}:", p.field)
        };
        let _ = writeln!(out, "{}: {}:{field} {}", p.file, p.object, p.message);
    }
    out
}

pub(crate) fn plans(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        plan(report, &mut out);
        out.push('\n');
    }
    let steps: usize = reports.iter().map(|r| r.steps.len()).sum();
    let refused = reports.iter().filter(|r| r.refused.is_some()).count();
    let unknown: usize = reports.iter().map(|r| r.unknown.len()).sum();
    let objects = reports.len();
    let mut end = match steps {
        0 => format!("No change to {objects} {}.", noun(objects, "object")),
        n => format!(
            "{n} {} for {objects} {}; nothing was done.",
            noun(n, "action"),
            noun(objects, "object")
        ),
    };
    if refused > 0 {
        let _ = write!(end, " {refused} refused.");
    }
    if unknown > 0 {
        let _ = write!(end, " {unknown} unknown: there may be more.");
    }
    out.push_str(&end);
    out.push('\n');
    out
}

fn noun(n: usize, word: &str) -> String {
    if n == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

fn plan(report: &Report, out: &mut String) {
    let _ = writeln!(out, "{}", report.object);
    for what in &report.assumed {
        let _ = writeln!(out, "  assumed: {what}");
    }
    for what in &report.unknown {
        let _ = writeln!(out, "  unknown: {what}");
    }
    if let Some(refused) = &report.refused {
        let _ = writeln!(out, "  refused: {}: {}", refused.reason, refused.message);
        return;
    }
    if report.steps.is_empty() {
        let _ = writeln!(out, "  no change");
    }
    for (i, step) in report.steps.iter().enumerate() {
        one(i + 1, step, out);
    }
}

fn one(number: usize, step: &Step, out: &mut String) {
    let system = match step.system {
        System::Ledger => "ledger",
        System::Kafka => "Kafka",
        System::KafkaConnect => "Kafka Connect",
        System::Kubernetes => "Kubernetes",
        System::StarRocks => "StarRocks",
    };
    let verb = match step.verb {
        Verb::Create => '+',
        Verb::Change => '~',
        Verb::Delete => '-',
        Verb::Run => '>',
    };
    let _ = writeln!(out, "{number:>4}  {system:<13} {verb} {}", step.what);
    const INDENT: &str = "                        ";
    for (key, value) in &step.properties {
        let _ = writeln!(out, "{INDENT}{key} = {value}");
    }
    for line in step.statement.iter().flat_map(|s| s.lines()) {
        let _ = writeln!(out, "{INDENT}{line}");
    }
    for change in &step.changes {
        let shown = |v: &Option<String>| v.clone().unwrap_or_else(|| "(absent)".to_owned());
        let _ = writeln!(
            out,
            "{INDENT}{}: {} → {}",
            change.field,
            shown(&change.from),
            shown(&change.to)
        );
    }
}
