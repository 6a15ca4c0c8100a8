//! Where a scenario finds the programs under test, and where it puts what it makes.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The part of a scenario's command line that says so.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// The directory with residency-gateway and residency-migrate; default: this program's own.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where the report, other results and the world's directory go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))]
    target: PathBuf,
}

/// The programs under test, and the directory for results. All absolute, since the world's processes run elsewhere.
#[derive(Clone, Debug)]
pub struct Programs {
    pub gateway: PathBuf,
    pub migrate: PathBuf,
    pub target: PathBuf,
}

impl Places {
    /// Looks for them, and makes the directory for results.
    pub fn find(self) -> Result<Programs> {
        let programs = match self.programs {
            Some(programs) => programs,
            None => {
                let own = std::env::current_exe().context("this program's own path")?;
                own.parent().context("a program lies in a directory")?.to_owned()
            }
        };
        Programs::within(&programs, &self.target)
    }
}

impl Programs {
    /// Those that lie in one directory.
    pub fn within(programs: &Path, target: &Path) -> Result<Self> {
        let absolute =
            |path: &Path| path.canonicalize().with_context(|| format!("finding {}", path.display()));
        fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
        let programs = absolute(programs)?;
        Ok(Self {
            gateway: programs.join("residency-gateway"),
            migrate: programs.join("residency-migrate"),
            target: absolute(target)?,
        })
    }

    /// The directory of the worlds' directories.
    pub fn worlds(&self) -> PathBuf {
        self.target.join("worlds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_answers_is_absolute_and_what_is_not_there_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let found =
            Programs::within(directory.path(), &directory.path().join("target")).expect("it is there");
        assert!(found.gateway.is_absolute() && found.gateway.ends_with("residency-gateway"));
        assert!(found.worlds().ends_with("target/worlds") && found.target.is_dir());
        let error = Programs::within(&directory.path().join("nowhere"), directory.path());
        assert!(error.expect_err("it is not there").to_string().contains("nowhere"));
    }
}
