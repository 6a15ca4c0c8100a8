//! Where the contenders' programs are, looked up before minutes are spent on the first of them.
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::contender::Program;

/// Where distributions put servers; ordinary users often lack these in `PATH`.
const SERVER_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// The program's file, or what to do to have it.
pub(super) fn locate(program: Program, options: &Options) -> Result<PathBuf> {
    match program {
        Program::Nginx => server("nginx"),
        Program::Haproxy | Program::HaproxyJwt | Program::HaproxySignature => server("haproxy"),
        Program::Gateway | Program::GatewayCold => {
            for file in [options.gateway.clone(), migrate(&options.gateway)] {
                ensure!(
                    file.is_file(),
                    "{} is not there; build it (make bench-peers does), or name the gateway with --gateway-bin",
                    file.display()
                );
            }
            Ok(options.gateway.clone())
        }
    }
}

/// `residency-migrate`, which is built beside the gateway.
pub(super) fn migrate(gateway: &Path) -> PathBuf {
    gateway.with_file_name("residency-migrate")
}

fn server(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(SERVER_DIRECTORIES.map(PathBuf::from));
    directories
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed; on Debian and Ubuntu: apt-get install {name}"))
}
