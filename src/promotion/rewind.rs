//! A member that has gone another way than the primary is taken back to where they parted, with `pg_rewind`.
//!
//! `pg_rewind` makes the directory a copy of the primary's, configuration files included, and these are the primary's own.
//! So they are put aside first, beside the directory and not in it, and put back after. Where they lie aside a former run was
//! cut off: it is begun again from there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    PromotionFault,
    data_directory::{DataDirectory, sync},
};
use crate::postgres::DatabaseUrl;

/// Takes the directory back to the primary at `source`, and leaves it marked as a standby.
pub(super) fn rewind(directory: &DataDirectory, source: &DatabaseUrl) -> Result<(), PromotionFault> {
    begin(directory)?;
    let aside = aside(&directory.path);
    // Recovery without a standby's mark, which `pg_rewind` runs where the server didn't end cleanly.
    directory.unmark_standby()?;
    let (conninfo, password) = source.libpq();
    let mut command = directory.program("pg_rewind");
    command.arg("-D").arg(&directory.path).arg("--source-server").arg(conninfo);
    command.envs(password.map(|password| ("PGPASSWORD", password)));
    if let Some(file) = &directory.config_file {
        command.arg("--config-file").arg(file);
    }
    let rewound = DataDirectory::run(&mut command);
    // Whatever came of it, this must not open.
    directory.make_standby()?;
    rewound.map_err(|fault| {
        directory.fault(
            format!("has gone another way than the primary, and can't be taken back: {fault}"),
            "make a new standby: move the directory away and run pg_basebackup against the primary (docs/RUNBOOK.md)",
        )
    })?;
    put_back(&directory.path, &aside)
}

/// Puts the configuration aside, unless it lies there. From here on [`is_under_way`].
pub(super) fn begin(directory: &DataDirectory) -> Result<(), PromotionFault> {
    let aside = aside(&directory.path);
    if aside.exists() { Ok(()) } else { put_aside(&directory.path, &aside) }
}

/// A former run was cut off.
pub(super) fn is_under_way(directory: &DataDirectory) -> bool {
    aside(&directory.path).exists()
}

fn aside(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".residency-configuration");
    directory.with_file_name(name)
}

fn put_aside(directory: &Path, aside: &Path) -> Result<(), PromotionFault> {
    let making = aside.with_extension("residency-making");
    let copied = fs::remove_dir_all(&making)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .and_then(|()| fs::create_dir(&making))
        .and_then(|()| copy(directory, &making))
        .and_then(|()| fs::rename(&making, aside));
    copied.map_err(|source| PromotionFault::File { path: aside.to_owned(), source })
}

fn put_back(directory: &Path, aside: &Path) -> Result<(), PromotionFault> {
    let restored = copy(aside, directory).and_then(|()| fs::remove_dir_all(aside));
    restored.map_err(|source| PromotionFault::File { path: directory.to_owned(), source })
}

/// The configuration files directly in one directory, to another.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let is_configuration = Path::new(&entry.file_name()).extension().is_some_and(|kind| kind == "conf");
        if is_configuration && entry.file_type()?.is_file() {
            let copy = to.join(entry.file_name());
            fs::copy(entry.path(), &copy)?;
            fs::File::open(&copy)?.sync_all()?;
        }
    }
    sync(to)
}
