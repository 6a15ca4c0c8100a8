//! As whom Postgres runs. It refuses root, and a world must work as root and as an ordinary user.
//!
//! In order: an ordinary user runs it directly; root hands it to the user `postgres`, when that user can reach the
//! world's directory; else root runs it in a user namespace where root appears as that user, files staying root's.
use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, chown, geteuid};

/// A user other than root, and how to become it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Ourselves,
    /// `setpriv` to this user.
    Switch {
        uid: Uid,
        gid: Gid,
    },
    /// `unshare` into a user namespace in which we appear as this user.
    Namespace {
        uid: Uid,
        gid: Gid,
    },
}

impl Identity {
    /// The first that works for files under `directory`, which exists.
    pub(crate) fn for_files_in(directory: &Path) -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let postgres = User::from_name("postgres").context("looking up the user postgres")?;
        if let Some(user) = &postgres {
            let switch = Self::Switch { uid: user.uid, gid: user.gid };
            // `test` under that identity asks the kernel, which knows about every parent, ACL and mount.
            if switch.can(&["test", "-x"], Some(directory)) {
                return Ok(switch);
            }
        }
        // Any user with a name will do: initdb looks its own up.
        let user = match postgres {
            Some(user) => user,
            None => User::from_name("nobody")?.context("neither a user postgres nor nobody")?,
        };
        let namespace = Self::Namespace { uid: user.uid, gid: user.gid };
        if namespace.can(&["true"], None) {
            return Ok(namespace);
        }
        bail!(
            "Postgres refuses to run as root, the user postgres can't reach {directory}, and user namespaces are \
             not allowed here. Run as an ordinary user, or move the checkout below directories that all may enter \
             (chmod o+x), or allow namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
            directory = directory.display()
        )
    }

    /// The words to put before a command.
    pub(crate) fn prefix(&self) -> Vec<String> {
        match self {
            Self::Ourselves => Vec::new(),
            Self::Switch { uid, gid } => vec![
                "setpriv".into(),
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--init-groups".into(),
                "--".into(),
            ],
            Self::Namespace { uid, gid } => vec![
                "unshare".into(),
                "--user".into(),
                format!("--map-user={uid}"),
                format!("--map-group={gid}"),
                "--".into(),
            ],
        }
    }

    /// Gives `path` to it.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        if let Self::Switch { uid, gid } = self {
            chown(path, Some(*uid), Some(*gid)).with_context(|| format!("chown {}", path.display()))?;
        }
        Ok(())
    }

    fn can(&self, command: &[&str], path: Option<&Path>) -> bool {
        let prefix = self.prefix();
        let mut words = prefix.iter().map(String::as_str).chain(command.iter().copied());
        let Some(program) = words.next() else { return true };
        Command::new(program)
            .args(words)
            .args(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}
