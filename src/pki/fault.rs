//! Why a `pki` command did nothing.

use std::{io, path::PathBuf};

/// Each says what to do about it. No variant carries key material.
#[derive(Debug, thiserror::Error)]
pub enum PkiFault {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is already there and is never overwritten; `pki rotate` reissues certificates", path = path.display())]
    Exists { path: PathBuf },
    #[error("`{0}` cannot name a region: at most 63 of a-z, 0-9 and inner `-`, and not `ca`")]
    RegionName(String),
    #[error("`{0}` cannot name a program: at most 63 of a-z, 0-9 and inner `-`")]
    ControlName(String),
    #[error("no authority in {directory}: {missing} is missing (`pki init` makes one; `ca.key` is only where it ran)",
        directory = directory.display())]
    NoAuthority { directory: PathBuf, missing: &'static str },
    #[error("{path}: {reason}", path = path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{directory} has no certificate for region `{region}`; `pki init --region {region}` adds one",
        directory = directory.display())]
    NoSuchRegion { directory: PathBuf, region: String },
    #[error(
        "the authority is already being replaced: load the present files on every gateway, then `pki rotate --retire-old-ca`"
    )]
    RotationUnderWay,
    #[error(
        "ca.crt holds one authority: there is no old one to retire (`pki rotate --ca` starts a replacement)"
    )]
    NothingToRetire,
    #[error(
        "not retired: {file} is still issued by the old authority; `pki rotate` first, and load it on its gateways"
    )]
    StillInUse { file: String },
    #[error(
        "the authority ended on {0}: `pki rotate --ca` cannot bridge it, start anew with `pki init` in another directory"
    )]
    AuthorityExpired(jiff::Timestamp),
    #[error("certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("output: {0}")]
    Output(#[source] io::Error),
}
