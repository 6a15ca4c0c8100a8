//! What of a new configuration a running gateway can't take over.

use super::Config;

impl Config {
    /// The keys that differ from `new` and are fixed for as long as the process runs: sockets, threads, and who it is.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let own_name = |config: &Self| config.topology.region_name(config.region).to_owned();
        let (old, listen) = (&self.listen, &new.listen);
        let fixed = [
            ("region", own_name(self) == own_name(new)),
            ("internal_tls", self.internal_tls == new.internal_tls),
            ("listen.http", old.http == listen.http),
            ("listen.https", old.https == listen.https),
            ("listen.internal", old.internal == listen.internal),
            ("listen.admin", old.admin == listen.admin),
            ("listen.workers", old.workers == listen.workers),
        ];
        fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}
