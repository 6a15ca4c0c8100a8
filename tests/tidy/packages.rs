//! What is built into the programs: one TLS stack, and the toolchain that the image has too.

use std::process::Command;

use super::root;

/// Other ways to TLS and to cryptography. All of it is rustls on aws-lc-rs.
const FORBIDDEN: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "boring", "boring-sys"];

/// Everything that a build for this machine compiles, one package a line, as cargo resolves it. The lock file alone
/// doesn't say: it also names what a feature nobody asks for would bring.
pub(crate) fn built() -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--offline", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("the cargo that runs this test can be run again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("package names are text")
}

pub(crate) fn findings(built: &str) -> Vec<String> {
    let mut names: Vec<&str> = built.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    names.dedup();
    if !names.contains(&"rustls") {
        return vec!["the list of packages has no rustls: it is not the list of what is built".to_owned()];
    }
    names
        .iter()
        .filter(|name| FORBIDDEN.contains(name))
        .map(|name| format!("`{name}` is built; `cargo tree -i {name}` says for whom"))
        .collect()
}

/// The image's builder is the toolchain that everyone else has.
pub(crate) fn toolchain_findings(toolchain: &str, dockerfile: &str) -> Vec<String> {
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    let Some(channel) = channel else { return vec!["rust-toolchain.toml pins no channel".to_owned()] };
    let wanted = format!("rust:{channel}-");
    if dockerfile.contains(&wanted) {
        return Vec::new();
    }
    vec![format!("docker/Dockerfile does not build with `{wanted}…`, which rust-toolchain.toml pins")]
}

#[test]
fn a_second_stack_is_found() {
    assert_eq!(findings("rustls v0.23.46\nring v0.17.14\nring v0.17.14 (*)\n").len(), 1);
    assert_eq!(findings("rustls v0.23.46\nopenssl-sys v0.9.1\nopenssl-probe v0.2.0\n").len(), 1);
    assert_eq!(findings("rustls v0.23.46\naws-lc-rs v1.19.0\nstring v1.0.0\n").len(), 0);
    assert_eq!(findings("").len(), 1);
}

#[test]
fn another_toolchain_in_the_image_is_found() {
    let pinned = "[toolchain]\nchannel = \"1.95.0\"\n";
    assert_eq!(toolchain_findings(pinned, "FROM rust:1.95.0-bookworm AS build\n").len(), 0);
    assert_eq!(toolchain_findings(pinned, "FROM rust:1.94.0-bookworm AS build\n").len(), 1);
    assert_eq!(toolchain_findings("[toolchain]\n", "FROM rust:1.95.0-bookworm AS build\n").len(), 1);
}
