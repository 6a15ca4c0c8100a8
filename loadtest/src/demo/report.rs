//! What the demo claims, checked: each claim with whether it held and what was seen.
use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

/// All checks of a run, in order.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

/// One claim.
#[derive(Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

impl Report {
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// Writes it as JSON, with the directory it lies in.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let text = serde_json::to_string_pretty(self).context("a report is plain data")?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}
