//! A database's URL in the words of Postgres' own programs, and the same for another of its server's databases.

use tokio_postgres::config::{Host, SslMode};

use super::url::{Check, DatabaseUrl, address};

impl DatabaseUrl {
    /// The database's name.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
    }

    /// The same server and user, another database, and who asks for it.
    #[must_use]
    pub fn with_database(&self, database: &str, application: &str) -> Self {
        let mut url = self.clone();
        url.config.dbname(database).application_name(application);
        url.address = address(&url.config).expect("it had one host and one port before");
        url
    }

    /// A connection string for libpq without the password, which belongs into `PGPASSWORD`.
    pub fn libpq(&self) -> (String, Option<String>) {
        let config = &self.config;
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => Some(host.clone()),
            [Host::Unix(path)] => Some(path.display().to_string()),
            _ => None,
        };
        let mode = match (self.check, config.get_ssl_mode()) {
            (Check::IssuerAndName, _) => "verify-full",
            (Check::Issuer, _) => "verify-ca",
            (Check::Nothing, SslMode::Disable) => "disable",
            (Check::Nothing, SslMode::Require) => "require",
            (Check::Nothing, _) => "prefer",
        };
        let path = |path: &std::path::Path| path.display().to_string();
        let (certificate, key) =
            self.client_certificate.as_ref().map(|(one, two)| (path(one), path(two))).unzip();
        let words = [
            ("host", host),
            ("hostaddr", config.get_hostaddrs().first().map(ToString::to_string)),
            ("port", config.get_ports().first().map(ToString::to_string)),
            ("user", config.get_user().map(str::to_owned)),
            ("dbname", Some(self.database().to_owned())),
            ("connect_timeout", Some("5".to_owned())),
            ("sslmode", Some(mode.to_owned())),
            ("sslrootcert", self.roots.as_deref().map(path)),
            ("sslcert", certificate),
            ("sslkey", key),
        ];
        let word = |(key, value): (&str, Option<String>)| {
            value.map(|value| format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
        };
        let text: Vec<_> = words.into_iter().filter_map(word).collect();
        let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        (text.join(" "), password)
    }
}
