//! The load: requests at a constant rate from all regions, whatever becomes of those before them.
//!
//! Invariants
//! - A request's time counts from the moment at which it was due, so waiting for a user, or for this program, counts.
//! - Half of the orders carry an idempotency key and are tried once more when it is unknown what became of them; the
//!   others carry none and are never repeated, so that a gateway which repeats one places it twice.
use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    crowd::{Arrival, Crowd, Pool, User},
    diary::{Acknowledged, Asked, Diary, Missing, Outcome},
};
use crate::world::{Port, Region, World};

/// Longer than a gateway holds or waits, so that its own answer comes first.
const PATIENCE: Duration = Duration::from_secs(8);
/// Before an order is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Of a hundred requests, writes.
const WRITES: u32 = 30;
const LISTED: usize = 20;
const POSITION: &str = "residency-position";
const KEY: &str = "idempotency-key";

/// Everything that the requests share.
pub(super) struct Load {
    crowd: Crowd,
    gateways: BTreeMap<Region, SocketAddr>,
    /// Kept connections.
    lines: RefCell<BTreeMap<Region, Vec<SendRequest<Full<Bytes>>>>>,
    began: Instant,
    diary: RefCell<Diary>,
}

#[derive(Deserialize)]
struct Listed {
    orders: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    item: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Load {
    pub(super) fn new(crowd: Crowd, world: &World) -> Rc<Self> {
        Rc::new(Self {
            crowd,
            gateways: Region::ALL.map(|region| (region, world.address(region, Port::GatewayHttp))).into(),
            lines: RefCell::default(),
            began: Instant::now(),
            diary: RefCell::default(),
        })
    }

    /// Begins `rate` requests a second until told that it is over, and waits for the last answer.
    pub(super) async fn run(self: Rc<Self>, rate: f64, seed: u64, mut over: watch::Receiver<bool>) {
        let mut chance = SmallRng::seed_from_u64(seed);
        let interval = Duration::from_secs_f64(1.0 / rate);
        let mut under_way = JoinSet::new();
        for number in 0_u32.. {
            let due = self.began + interval * number;
            tokio::select! {
                () = sleep_until(due) => {}
                _ = over.wait_for(|over| *over) => break,
            }
            let pool = self.crowd.pool(chance.random());
            let arrival = Arrival { due, writes: chance.random_range(0..100) < WRITES };
            let user = pool.free.borrow_mut().pop();
            match user {
                Some(user) => {
                    under_way.spawn_local(Rc::clone(&self).serve(Rc::clone(pool), user, arrival));
                }
                None => pool.waiting.borrow_mut().push_back(arrival),
            }
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    }

    /// Since the load began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn asked(&self) -> usize {
        self.diary.borrow().asked.len()
    }

    /// The crowd and the diary, when the load is over.
    pub(super) fn close(self) -> (Crowd, Diary) {
        (self.crowd, self.diary.into_inner())
    }

    /// What is due for a pool, as long as that is anything; then the user is free again.
    async fn serve(self: Rc<Self>, pool: Rc<Pool>, user: Rc<User>, first: Arrival) {
        let mut next = Some(first);
        while let Some(Arrival { due, writes }) = next {
            if writes {
                self.order(&pool, &user, due).await;
            } else {
                self.list(&pool, &user, due).await;
            }
            next = pool.waiting.borrow_mut().pop_front();
        }
        // To the end of those who wait, so that all have their turn.
        pool.free.borrow_mut().insert(0, user);
    }

    async fn order(&self, pool: &Pool, user: &User, mut due: Instant) {
        let (number, order) = user.next_order();
        let keyed = number.is_multiple_of(2);
        let body = json!({ "item": order, "note": self.crowd.needle(pool.jurisdiction) }).to_string();
        for attempt in 0..2 {
            let wrote = user.wrote.get();
            let outcome = match self
                .ask(pool, user, Method::POST, "/orders", &body, keyed.then_some(&*order))
                .await
            {
                Ok(answer) if matches!(answer.status, StatusCode::OK | StatusCode::CREATED) => Outcome::Done,
                Ok(answer) => answer.refusal(),
                Err(outcome) => outcome,
            };
            if outcome.is_done() || outcome.is_unknown() {
                user.wrote.set(Some(self.now()));
            }
            let again = keyed && attempt == 0 && outcome.is_unknown();
            if outcome.is_done() {
                let (at, jurisdiction) = (self.now(), pool.jurisdiction);
                let acknowledged = Acknowledged { at, jurisdiction, order: order.clone() };
                self.diary.borrow_mut().acknowledged.push(acknowledged);
                user.acknowledge(order.clone());
            }
            self.note(pool, true, wrote, due, outcome);
            if !again {
                return;
            }
            sleep(PAUSE).await;
            due = Instant::now();
        }
    }

    async fn list(&self, pool: &Pool, user: &User, due: Instant) {
        let (expected, wrote) = (user.expects(), user.wrote.get());
        let path = format!("/orders?limit={LISTED}");
        let outcome = match self.ask(pool, user, Method::GET, &path, "", None).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                match serde_json::from_slice::<Listed>(&answer.body) {
                    Ok(Listed { orders }) => {
                        let due = due - self.began;
                        let missing =
                            expected.into_iter().filter(|order| orders.iter().all(|o| o.item != *order));
                        let missing = missing.map(|order| Missing { due, order });
                        self.diary.borrow_mut().missing.extend(missing);
                        Outcome::Done
                    }
                    Err(_) => Outcome::Broken,
                }
            }
            Ok(answer) => answer.refusal(),
            Err(outcome) => outcome,
        };
        self.note(pool, false, wrote, due, outcome);
    }

    fn note(&self, pool: &Pool, writes: bool, wrote: Option<Duration>, due: Instant, outcome: Outcome) {
        let Pool { place, jurisdiction, .. } = *pool;
        let (due, took) = (due - self.began, due.elapsed());
        let asked = Asked { due, took, place, jurisdiction, writes, wrote, outcome };
        self.diary.borrow_mut().asked.push(asked);
    }

    async fn ask(
        &self,
        pool: &Pool,
        user: &User,
        method: Method,
        path: &str,
        body: &str,
        key: Option<&str>,
    ) -> Result<Answer, Outcome> {
        let gateway = self.gateways[&pool.place];
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, gateway.to_string())
            .header(header::AUTHORIZATION, user.bearer.clone());
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header(KEY, key);
        }
        if let Some(position) = &*user.position.borrow() {
            request = request.header(POSITION, position);
        }
        let request = request.body(Full::from(body.to_owned())).expect("all its parts are valid");
        let answer = timeout(PATIENCE, self.exchange(pool.place, gateway, request))
            .await
            .unwrap_or(Err(Outcome::TimedOut))?;
        if let Some(position) = answer.headers.get(POSITION) {
            *user.position.borrow_mut() = Some(position.clone());
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        place: Region,
        gateway: SocketAddr,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Outcome> {
        let mut kept = self.kept(place);
        if let Some(line) = &mut kept
            && line.ready().await.is_err()
        {
            // It has ended meanwhile, and took nothing of this request.
            kept = None;
        }
        let mut line = match kept {
            Some(line) => line,
            None => connect(gateway).await.map_err(|_| Outcome::Unconnected)?,
        };
        let response = line.send_request(request).await.map_err(|_| Outcome::Broken)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| Outcome::Broken)?.to_bytes();
        self.lines.borrow_mut().entry(place).or_default().push(line);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// A connection that was used before and is not known to have ended.
    fn kept(&self, place: Region) -> Option<SendRequest<Full<Bytes>>> {
        let mut lines = self.lines.borrow_mut();
        let lines = lines.get_mut(&place)?;
        lines.retain(|line| !line.is_closed());
        lines.pop()
    }
}

impl Answer {
    fn refusal(&self) -> Outcome {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = problem.get("code").and_then(|code| code.as_str()).map(str::to_owned);
        Outcome::Refused(self.status.as_u16(), code)
    }
}

async fn connect(gateway: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // What goes wrong with it is told to whoever sends.
        let _ = connection.await;
    });
    Ok(sender)
}
