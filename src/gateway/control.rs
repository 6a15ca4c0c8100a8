//! The control plane: one runtime beside the workers, for everything that is not a request.
//!
//! It loads keys before the first connection is accepted, watches, serves the admin listener, and acts on signals: SIGHUP
//! reloads, SIGTERM and SIGINT drain.

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
use tokio_util::sync::CancellationToken;

use super::body::ResponseBody;
use super::own_paths;
use super::problem::Problem;
use super::settings::Settings;
use super::{Gateway, watch};
use crate::auth::{KeyRefresher, RefreshOptions};
use crate::clock;
use crate::config::{Config, Environment};
use crate::telemetry::AccessLog;

/// The control plane's place among the workers' metrics, after any worker's.
pub const METRICS_INDEX: usize = 1024;

/// How long the start waits for the issuers' keys before it serves without them.
const KEYS_WAIT: Duration = Duration::from_secs(5);

/// The control plane's parts.
pub struct Control {
    gateway: Arc<Gateway>,
    path: PathBuf,
    environment: Environment,
    access_log: Option<AccessLog>,
    generation: i64,
    /// Ends the watchers of the settings in force.
    watching: CancellationToken,
}

impl Control {
    /// Starts keys and watchers. Returns once the keys were fetched or have failed once.
    pub async fn start(
        gateway: Arc<Gateway>,
        path: PathBuf,
        environment: Environment,
        access_log: Option<AccessLog>,
    ) -> Self {
        let settings = gateway.settings();
        let watching = attend(&gateway, &settings);
        let ring = Arc::clone(settings.verifier.ring());
        if tokio::time::timeout(KEYS_WAIT, ring.settled()).await.is_err() {
            tracing::warn!(
                "the issuers' keys are not there yet; requests with tokens get 503 until they are"
            );
        }
        gateway.metrics.control().config_applied(1, clock::wall());
        Self { gateway, path, environment, access_log, generation: 1, watching }
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
                () = received(&mut hangup) => self.reload(),
                () = received(&mut terminate) => break,
                () = received(&mut interrupt) => break,
            }
        }
        tracing::info!("draining");
        self.gateway.begin_drain();
        Ok(self.access_log)
    }

    /// Reads the file anew. What can't be put to work is reported, and everything stays as it was.
    fn reload(&mut self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
        let previous = self.gateway.settings();
        let reject = |error: &dyn std::fmt::Display| {
            tracing::error!(file = %self.path.display(), %error, "configuration refused; the old one stays");
            self.gateway.metrics.control().config_rejected();
        };
        let loaded = match Config::load(&self.path, &self.environment) {
            Ok(loaded) => loaded,
            Err(errors) => return reject(&errors),
        };
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "configuration");
        }
        for key in previous.config.needs_restart(&loaded.config) {
            tracing::warn!(key, "this key changes at the next start only");
        }
        let settings = match Settings::new(loaded.config, Some(&previous)) {
            Ok(settings) => settings,
            Err(error) => return reject(&error),
        };
        self.gateway.replace_settings(settings);
        let settings = self.gateway.settings();
        self.watching.cancel();
        self.watching = attend(&self.gateway, &settings);
        self.generation += 1;
        self.gateway.metrics.control().config_applied(self.generation, clock::wall());
        tracing::info!(generation = self.generation, "configuration applied");
    }
}

/// Starts what keeps these settings fresh.
fn attend(gateway: &Arc<Gateway>, settings: &Arc<Settings>) -> CancellationToken {
    let cancel = watch::start(gateway, settings);
    let options = RefreshOptions { refresh_every: settings.config.token.jwks_refresh, ca_file: None };
    match KeyRefresher::new(Arc::clone(settings.verifier.ring()), &options) {
        Ok(refresher) => {
            tokio::task::spawn_local(refresher.run(cancel.clone()));
        }
        Err(error) => tracing::error!(%error, "keys can't be fetched"),
    }
    ask_issuer(gateway, settings);
    let (gateway, settings, token) = (Arc::clone(gateway), Arc::clone(settings), cancel.clone());
    tokio::task::spawn_local(async move {
        token.run_until_cancelled(count_keys_forever(&gateway, &settings)).await
    });
    cancel
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

/// Carries the key ring's own counts, and the certificates' end, over to the metrics.
async fn count_keys_forever(gateway: &Gateway, settings: &Settings) {
    let metrics = gateway.metrics.control();
    if let Some((store, _)) = &settings.tls.public {
        metrics.certificate_expiry("public", store.not_after().into());
    }
    if let Some(internal) = &settings.tls.internal {
        metrics.certificate_expiry("internal", internal.not_after().into());
    }
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
    match request.uri().path() {
        "/metrics" => own_paths::json(crate::telemetry::Metrics::CONTENT_TYPE, gateway.metrics.encode()),
        path => own_paths::health(&settings, path, request.uri().query(), gateway.is_draining(), true)
            .unwrap_or_else(|| Problem::NotFound.response()),
    }
}
