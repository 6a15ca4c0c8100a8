//! Watching: what works in this region and in the others, turned into liveness for the decision and into health.
//!
//! Tasks on the control plane each look at one thing and note what they saw on a [`board::Board`]; once an interval the board
//! is read as a whole and published. All of it belongs to one generation of settings and ends with it.

mod board;
mod checks;
mod probes;
mod signs;
mod state;
mod view;

use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::settings::Settings;
use board::Board;
pub use signs::Signs;
pub use state::RegionState;

/// The watchers of one generation of settings.
pub struct Watching {
    /// Ends them.
    pub cancel: CancellationToken,
    board: Rc<Board>,
}

/// Starts all watchers of these settings on the current thread, in place of those `before`.
pub fn start(gateway: &Arc<Gateway>, settings: &Arc<Settings>, before: Option<&Watching>) -> Watching {
    let cancel = CancellationToken::new();
    gateway.metrics.control().forget_topology();
    let board = Rc::new(Board::new(settings, before.map(|before| &*before.board)));
    for probe in probes::all(gateway, settings, &board) {
        let cancel = cancel.clone();
        tokio::task::spawn_local(async move { cancel.run_until_cancelled(probe).await });
    }
    let (gateway, settings, token) = (Arc::clone(gateway), Arc::clone(settings), cancel.clone());
    let watching = Watching { cancel, board: Rc::clone(&board) };
    tokio::task::spawn_local(async move {
        token.run_until_cancelled(publish_forever(&gateway, &settings, &board)).await;
    });
    watching
}

async fn publish_forever(gateway: &Gateway, settings: &Settings, board: &Board) {
    let mut interval = tokio::time::interval(settings.config.health.interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let metrics = gateway.metrics.control();
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = settings.signs.to_publish() => {}
        }
        if settings.inherited && !board.is_complete(settings) {
            continue;
        }
        let view = board.read(settings, metrics);
        let liveness = view.liveness(settings);
        if **settings.liveness.load() != liveness {
            tracing::info!(changes = %view.describe(settings), "liveness changed");
            settings.liveness.store(Arc::new(liveness));
        }
        view.count(settings, metrics);
        settings.state.store(Arc::new(view.state(settings)));
        settings.replayed.store(Arc::new(view.replayed(settings)));
        settings.health.publish(view.checks(settings));
    }
}
