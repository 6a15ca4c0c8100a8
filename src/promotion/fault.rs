//! Why a command ended early: where, what, and what to do.

use std::{io, path::PathBuf};

use crate::{config::ConfigErrors, domain::promotion::Refusal, postgres::DatabaseFault};

/// Each says what to do about it. None carries a password.
#[derive(Debug, thiserror::Error)]
pub enum PromotionFault {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error("refused:{}", listed(.0))]
    Refused(Vec<Refusal>),
    #[error("{0}")]
    Database(#[from] DatabaseFault),
    #[error("{region}: {doing}: {reason}")]
    Statement { region: String, doing: &'static str, reason: String },
    #[error(
        "another promotion, or a change of durability, is under way: its lock is held at {region} by {holder}; wait for its \
         end, or end that session"
    )]
    Busy { region: String, holder: String },
    #[error(
        "{region}: the user lacks {missing}; grant it, or give a superuser's URL to residency-migrate (docs/RUNBOOK.md)"
    )]
    Rights { region: String, missing: String },
    #[error("{region}: {what} within {seconds} s; {remedy}")]
    Late { region: String, what: &'static str, seconds: u64, remedy: &'static str },
    #[error(
        "`{command}` ended with {status}: the old primary's server is not proven to be off, and nothing was changed"
    )]
    NotOff { command: String, status: String },
    #[error(
        "the cluster has changed while it was looked at (generation {found}, before {expected}); look again with --dry-run"
    )]
    Moved { expected: u64, found: String },
    #[error(
        "{region}: `{setting}` stays `{found}`: it is set where ALTER SYSTEM doesn't reach; remove it there"
    )]
    Overridden { region: String, setting: &'static str, found: String },
    #[error(
        "no member of {jurisdiction}'s cluster answers as the primary ({members}); `residency-migrate promote` makes one"
    )]
    NoPrimary { jurisdiction: String, members: String },
    #[error("durability stays as it is: {0}")]
    Durability(String),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {what}; {remedy}", path = path.display())]
    DataDirectory { path: PathBuf, what: String, remedy: String },
    #[error("{program}: {reason}")]
    Program { program: String, reason: String },
    #[error("output: {0}")]
    Output(#[source] io::Error),
}

fn listed(refusals: &[Refusal]) -> String {
    refusals.iter().flat_map(|refusal| ["\n  - ".to_owned(), refusal.to_string()]).collect()
}
