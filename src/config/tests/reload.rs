//! What a running gateway can take over.

use super::*;

#[test]
fn sockets_threads_and_identity_need_a_restart() {
    let sidecar = "region = \"a\"\nupstream = \"127.0.0.1:3000\"\nserves = [\"us\"]\njwks = \"file:/k\"\nlisten.workers = 1\n";
    let old = config(sidecar, &Environment::default());
    let table: [(&str, &str, &[&str]); 7] = [
        ("RESIDENCY_UPSTREAM", "127.0.0.1:3001", &[]),
        ("RESIDENCY_TIMEOUTS__IDLE_MS", "1000", &[]),
        ("RESIDENCY_REGION", "b", &["region"]),
        ("RESIDENCY_LISTEN__HTTP", "127.0.0.1:8081", &["listen.http"]),
        ("RESIDENCY_LISTEN__ADMIN", "off", &["listen.admin"]),
        ("RESIDENCY_LISTEN__WORKERS", "2", &["listen.workers"]),
        ("RESIDENCY_INTERNAL_TLS", "dir:/pki", &["internal_tls", "listen.internal"]),
    ];
    for (name, value, keys) in table {
        let new = config(sidecar, &environment(&[(name, value)]));
        assert_eq!(old.needs_restart(&new), keys, "{name}");
    }
    assert_eq!(old.needs_restart(&old), [""; 0]);
}
