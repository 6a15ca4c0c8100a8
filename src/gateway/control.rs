//! The control plane: one runtime beside the workers, for everything that is not a request.
//!
//! It loads keys before the first connection is accepted, watches, serves the admin listener, and acts on signals: SIGHUP
//! reloads, SIGTERM and SIGINT drain. Files that have changed are read again as on SIGHUP, but only those: certificates that
//! are renewed restart no watcher.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::body::ResponseBody;
use super::own_paths;
use super::problem::Problem;
use super::settings::Settings;
use super::sight::Sight;
use super::watch::Watching;
use super::watched_files::{Change, Group, WatchedFiles};
use super::{Gateway, registrar, watch};
use crate::auth::{KeyRefresher, RefreshOptions};
use crate::clock;
use crate::config::{Config, Environment, ReloadOn};
use crate::telemetry::AccessLog;

/// The control plane's place among the workers' metrics, after any worker's.
pub const METRICS_INDEX: usize = 1024;

/// How long the start waits for the issuers' keys before it serves without them.
const KEYS_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at the files. Two of them are a second or two, which nobody minds who replaces a certificate.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The control plane's parts.
pub struct Control {
    gateway: Arc<Gateway>,
    path: PathBuf,
    environment: Environment,
    access_log: Option<AccessLog>,
    generation: i64,
    /// The watchers of the settings in force.
    watching: Watching,
    files: WatchedFiles,
    /// What was of no use when it was read last.
    refused: BTreeSet<Group>,
}

impl Control {
    /// Starts keys and watchers. `files` were looked at before the settings were made of them. Returns once the keys were
    /// fetched or have failed once.
    pub async fn start(
        gateway: Arc<Gateway>,
        path: PathBuf,
        files: WatchedFiles,
        environment: Environment,
        access_log: Option<AccessLog>,
    ) -> anyhow::Result<Self> {
        let settings = gateway.settings();
        show_certificate(&settings);
        // First, since what is not known of registers must not be served.
        if let Some(registers) = &settings.registers {
            let differ = registers.start().await;
            anyhow::ensure!(
                differ.is_empty(),
                "register.subject_key and register.identifier_key are none of those that the register of {} is hashed under; \
                 set the same secrets as at the other gateways (`residency-migrate schema status` shows the keys' ids)",
                differ.join(", ")
            );
        }
        let watching = attend(&gateway, &settings, None);
        tokio::task::spawn_local(registrar::serve_forever(Arc::clone(&gateway)));
        let ring = Arc::clone(settings.verifier.ring());
        if tokio::time::timeout(KEYS_WAIT, ring.settled()).await.is_err() {
            tracing::warn!(
                "the issuers' keys are not there yet; requests with tokens get 503 until they are"
            );
        }
        gateway.metrics.control().config_applied(1, clock::wall());
        let refused = BTreeSet::new();
        Ok(Self { gateway, path, environment, access_log, generation: 1, watching, files, refused })
    }

    /// Serves until a signal asks to end. Gives the access log back, for whoever waits for its last lines.
    pub async fn run(mut self, admin: Option<std::net::TcpListener>) -> io::Result<Option<AccessLog>> {
        if let Some(listener) = admin {
            let listener = TcpListener::from_std(listener)?;
            tokio::task::spawn_local(admin_forever(Arc::clone(&self.gateway), listener));
        }
        let (mut hangup, mut terminate, mut interrupt) = (
            signal(SignalKind::hangup())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        loop {
            tokio::select! {
                () = received(&mut hangup) => self.hang_up().await,
                changes = self.changes() => self.follow(changes).await,
                () = received(&mut terminate) => break,
                () = received(&mut interrupt) => break,
            }
        }
        tracing::info!("draining");
        self.gateway.begin_drain();
        Ok(self.access_log)
    }

    async fn hang_up(&mut self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
        self.reload().await;
    }

    /// Waits until files have changed, if it is asked for. Dropping it forgets no change.
    async fn changes(&mut self) -> Vec<Change> {
        if self.gateway.settings().config.reload == ReloadOn::Signal {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let paths = self.files.paths();
            // Not here, where a file system that hangs would take the watchers with it.
            let look = move || paths.iter().map(|path| Sight::of(path)).collect::<Vec<_>>();
            let Ok(sights) = tokio::task::spawn_blocking(look).await else { continue };
            let changes = self.files.changes(&sights);
            if !changes.is_empty() {
                return changes;
            }
        }
    }

    /// Reads again what has changed.
    async fn follow(&mut self, changes: Vec<Change>) {
        for change in &changes {
            tracing::info!(files = ?change.files, "files have changed");
        }
        let is_whole = |change: &Change| matches!(change.group, Group::Configuration | Group::Wanted);
        if changes.iter().any(is_whole) && self.reload().await {
            return;
        }
        // A configuration that is of no use must not keep certificates from being renewed.
        for change in changes {
            match change.group {
                Group::Configuration | Group::Wanted => {}
                Group::Public | Group::Internal => self.reload_certificates(change.group),
                Group::Jwks(issuer) => {
                    let settings = self.gateway.settings();
                    tokio::task::spawn_local(async move { settings.verifier.ring().refetch(issuer).await });
                }
            }
        }
    }

    fn reload_certificates(&mut self, group: Group) {
        let settings = self.gateway.settings();
        let tls = &settings.tls;
        let read = match group {
            Group::Public => tls.public.as_ref().map(|(store, _)| store.reload().map(drop)),
            _ => tls.internal.as_ref().map(|internal| internal.reload()),
        };
        match read {
            None => {}
            Some(Ok(())) => {
                self.refused.remove(&group);
                self.gateway.metrics.control().certificates_applied(self.refused.is_empty());
                count_certificates(&self.gateway, &settings);
                show_certificate(&settings);
                tracing::info!(certificates = ?group, "certificates replaced");
            }
            Some(Err(error)) => {
                self.refused.insert(group);
                self.gateway.metrics.control().config_rejected();
                tracing::error!(%error, "certificates refused; the old ones stay");
            }
        }
    }

    /// Reads everything anew, and says whether it is in use. What can't be put to work is reported, and everything stays
    /// as it was.
    async fn reload(&mut self) -> bool {
        let previous = self.gateway.settings();
        let before = Sight::of(&self.path);
        let loaded = match Config::load(&self.path, &self.environment) {
            Ok(loaded) => loaded,
            Err(errors) => {
                self.files.refused(before);
                return self.reject(&errors);
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "configuration");
        }
        for key in previous.config.needs_restart(&loaded.config) {
            tracing::warn!(key, "this key changes at the next start only");
        }
        let files = WatchedFiles::of(&self.path, before.clone(), &loaded.config);
        self.files.refused(before);
        self.files.want(&loaded.config);
        let settings = match Settings::new(loaded.config, Some(&previous), Some(&self.gateway.metrics)) {
            Ok(settings) => settings,
            Err(error) => return self.reject(&error),
        };
        show_certificate(&settings);
        Self::follow_registers(&previous, &settings).await;
        self.gateway.replace_settings(settings);
        let settings = self.gateway.settings();
        self.watching.cancel.cancel();
        self.watching = attend(&self.gateway, &settings, Some(&self.watching));
        self.files = files;
        self.refused.clear();
        self.generation += 1;
        self.gateway.metrics.control().config_applied(self.generation, clock::wall());
        tracing::info!(generation = self.generation, "configuration applied");
        true
    }

    /// Follows other registers than before, if these are others. They are read before anything is decided by them: an empty
    /// table would leave everybody to their claims.
    async fn follow_registers(previous: &Settings, settings: &Settings) {
        let same = match (&previous.registers, &settings.registers) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some(new) = &settings.registers {
            for jurisdiction in new.start().await {
                tracing::error!(
                    jurisdiction,
                    "its register is hashed under other keys; its subjects are refused"
                );
            }
        }
        if let Some(old) = previous.registers.clone() {
            tokio::task::spawn_local(async move { old.leave().await });
        }
    }

    fn reject(&mut self, error: &dyn std::fmt::Display) -> bool {
        tracing::error!(file = %self.path.display(), %error, "configuration refused; the old one stays");
        self.refused.insert(Group::Configuration);
        self.gateway.metrics.control().config_rejected();
        false
    }
}

/// Starts what keeps these settings fresh, in place of what kept those `before`.
fn attend(gateway: &Arc<Gateway>, settings: &Arc<Settings>, before: Option<&Watching>) -> Watching {
    let watching = watch::start(gateway, settings, before);
    let cancel = watching.cancel.clone();
    let options = RefreshOptions { refresh_every: settings.config.token.jwks_refresh, ca_file: None };
    match KeyRefresher::new(Arc::clone(settings.verifier.ring()), &options) {
        Ok(refresher) => {
            tokio::task::spawn_local(refresher.run(cancel.clone()));
        }
        Err(error) => tracing::error!(%error, "keys can't be fetched"),
    }
    count_certificates(gateway, settings);
    ask_issuer(gateway, settings);
    if let Some(positions) = &settings.positions {
        positions.attend(gateway, &cancel);
    }
    let (gateway, settings, token) = (Arc::clone(gateway), Arc::clone(settings), cancel.clone());
    tokio::task::spawn_local(async move {
        token.run_until_cancelled(count_keys_forever(&gateway, &settings)).await
    });
    watching
}

/// Registers know this gateway by the certificate that it shows to others.
fn show_certificate(settings: &Settings) {
    if let Some(registers) = &settings.registers {
        registers.show(settings.tls.internal.as_ref().map(|internal| internal.fingerprint()));
    }
}

fn count_certificates(gateway: &Gateway, settings: &Settings) {
    for (certificate, at) in settings.tls.expiries() {
        gateway.metrics.control().certificate_expiry(&certificate, at.into());
    }
}

/// Starts what asks an issuer about tokens. It isn't cancelled: requests that began with these settings may still need it,
/// and it ends when the last of them has let go of the settings.
fn ask_issuer(gateway: &Arc<Gateway>, settings: &Settings) {
    let Some(introspection) = settings.verifier.take_introspection() else { return };
    let gateway = Arc::clone(gateway);
    tokio::task::spawn_local(async move {
        let endpoint = introspection.url().to_owned();
        let metrics = gateway.metrics.control();
        let ended = introspection.run(|result, took| metrics.introspected(&endpoint, result.as_str(), took));
        if let Err(error) = ended.await {
            tracing::error!(%error, "issuers can't be asked about tokens");
        }
    });
}

/// Carries the key ring's own counts over to the metrics.
async fn count_keys_forever(gateway: &Gateway, settings: &Settings) {
    let metrics = gateway.metrics.control();
    let mut counted: Vec<(u64, u64)> = Vec::new();
    loop {
        for (index, status) in settings.verifier.ring().status().into_iter().enumerate() {
            if counted.len() <= index {
                counted.push((0, 0));
            }
            let (fetched, failed) = &mut counted[index];
            let at = clock::wall() - status.age.unwrap_or_default();
            (*fetched..status.fetched).for_each(|_| metrics.jwks_fetched(&status.source, true, at));
            (*failed..status.failed).for_each(|_| metrics.jwks_fetched(&status.source, false, at));
            (*fetched, *failed) = (status.fetched, status.failed);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn received(signal: &mut Signal) {
    // `None` means that no more can come; then nothing is to be waited for.
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn admin_forever(gateway: Arc<Gateway>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let gateway = Rc::new(Arc::clone(&gateway));
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let response = admin(&gateway, &request);
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "admin connection ended");
            }
        });
    }
}

fn admin(gateway: &Gateway, request: &http::Request<hyper::body::Incoming>) -> http::Response<ResponseBody> {
    let settings = gateway.settings();
    let reply = match request.uri().path() {
        "/metrics" => own_paths::json(crate::telemetry::Metrics::CONTENT_TYPE, gateway.metrics.encode()),
        path => own_paths::health(&settings, path, request.uri().query(), gateway.is_draining(), true)
            .unwrap_or_else(|| Problem::NotFound.reply()),
    };
    reply.into_http()
}
