//! A small API over the real clusters: one value a user, written at the primary, read from the region's own database.
use std::{cell::Cell, convert::Infallible, rc::Rc};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_postgres::Statement;

use crate::world::{Jurisdiction, Port, Region, Sql, World};

/// Sessions of each region's process.
const SESSIONS: usize = 12;

/// All processes. They end with its drop, at the latest.
pub(super) struct Apis(JoinSet<()>);

struct Process {
    region: Region,
    sessions: Vec<(Sql, Statement)>,
    /// Writes have others: a standby takes none.
    writing: Vec<(Sql, Statement)>,
    turn: Cell<usize>,
}

impl Apis {
    pub(super) async fn start(world: &World, jurisdiction: Jurisdiction) -> Result<Self> {
        let home = jurisdiction.home();
        let table = "CREATE TABLE latest (subject text PRIMARY KEY, value bigint)";
        world.sql(home, jurisdiction).await?.batch_execute(table).await.context("the table")?;
        world.caught_up(jurisdiction).await?;
        let mut processes = JoinSet::new();
        for region in Region::ALL {
            let listener = TcpListener::bind(world.address(region, Port::Api(1))).await?;
            let mut process =
                Process { region, sessions: Vec::new(), writing: Vec::new(), turn: Cell::new(0) };
            if region.databases().contains(&jurisdiction) {
                for _ in 0..SESSIONS {
                    let read = "SELECT value FROM latest WHERE subject = $1";
                    process.sessions.push(prepared(world, region, jurisdiction, read).await?);
                }
            }
            if region == home {
                for _ in 0..SESSIONS {
                    let write =
                        "INSERT INTO latest VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET value = $2";
                    process.writing.push(prepared(world, region, jurisdiction, write).await?);
                }
            }
            processes.spawn_local(serve(listener, Rc::new(process)));
        }
        Ok(Self(processes))
    }

    /// Ends them, and has their ports free.
    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

async fn prepared(
    world: &World,
    region: Region,
    jurisdiction: Jurisdiction,
    statement: &str,
) -> Result<(Sql, Statement)> {
    let sql = world.sql(region, jurisdiction).await?;
    let statement = sql.prepare(statement).await.context("preparing")?;
    Ok((sql, statement))
}

async fn serve(listener: TcpListener, process: Rc<Process>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let process = Rc::clone(&process);
        while connections.try_join_next().is_some() {}
        connections.spawn_local(async move {
            let service = service_fn(|request| {
                let process = Rc::clone(&process);
                async move { Ok::<_, Infallible>(process.answer(request).await) }
            });
            // Its end is the gateway's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Process {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match self.carry_out(request).await {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error:#}", self.region)),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }

    async fn carry_out(&self, request: Request<Incoming>) -> Result<String> {
        let subject = request.headers().get("residency-subject").context("no subject")?;
        let subject = subject.to_str().context("no text")?.to_owned();
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let pick = |from: &[(Sql, Statement)]| -> Result<usize> {
            turn.checked_rem(from.len()).context("no database here")
        };
        if request.method() == Method::GET {
            let (sql, read) = &self.sessions[pick(&self.sessions)?];
            let row = sql.query_opt(read, &[&subject]).await?;
            return Ok(row.map_or(0, |row| row.get::<_, i64>(0)).to_string());
        }
        let body = request.into_body().collect().await?.to_bytes();
        let value: i64 = std::str::from_utf8(&body)?.parse()?;
        let (sql, write) = &self.writing[pick(&self.writing)?];
        sql.execute(write, &[&subject, &value]).await?;
        Ok(value.to_string())
    }
}
