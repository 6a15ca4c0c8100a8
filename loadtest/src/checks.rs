//! What a scenario claims, checked: each claim with whether it held and what was seen. The form that every report shares.
use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// All claims of a run, in the order in which they were checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Records a claim, and answers it as recorded.
    pub fn check(&mut self, name: impl Into<String>, passed: bool, detail: impl Into<String>) -> &Check {
        self.0.push(Check { name: name.into(), passed, detail: detail.into() });
        &self.0[self.0.len() - 1]
    }

    pub fn passed(&self) -> bool {
        self.failed() == 0
    }

    pub fn failed(&self) -> usize {
        self.iter().filter(|check| !check.passed).count()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.0.iter()
    }

    /// A line a claim, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Check { name, passed, detail } in self.iter() {
            let mark = if *passed { "passed" } else { "FAILED" };
            let _ = writeln!(text, "{mark}  {name}{}{detail}", if detail.is_empty() { "" } else { ": " });
        }
        text
    }
}

/// Writes a report as JSON, and makes the directory that it lies in.
pub fn write_json(path: &Path, report: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report).context("a report is plain data")?;
    write_text(path, &(text + "\n"))
}

/// Writes a file, and makes the directory that it lies in.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_passes_when_every_claim_holds_and_the_report_is_a_list_of_them() {
        let mut checks = Checks::default();
        assert!(checks.passed(), "nothing was claimed");
        assert!(checks.check("water is wet", true, "").passed);
        assert!(checks.passed());
        assert!(!checks.check("fire is cold", false, "600 °C").passed);
        assert_eq!((checks.passed(), checks.failed(), checks.len()), (false, 1, 2));
        assert_eq!(checks.text(), "passed  water is wet\nFAILED  fire is cold: 600 °C\n");

        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/report.json");
        write_json(&path, &checks).expect("it is written");
        let read: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON");
        assert_eq!(read[1], serde_json::json!({"name": "fire is cold", "passed": false, "detail": "600 °C"}));
    }
}
