//! The one who asks: takes the workers' questions, puts them to the issuer, and hands out the answers.
//!
//! One task on the control plane owns everything; workers only send and wait.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::admission::{Admission, Lane};
use super::answer::Judge;
use super::endpoint::{AskFault, Endpoint};
use super::memory::{Memory, TokenDigest};
use super::{Introspection, IntrospectionResult, Question, Reply, TokenFault};
use crate::auth::{FetchSetupFault, IssuerPolicy, causes};
use crate::clock;

/// Between two lines in the log about an endpoint that fails on each question.
const COMPLAINTS_APART: Duration = Duration::from_secs(10);

/// Asks one issuer. Runs until nobody can put a question any more and the last one is answered.
pub struct IntrospectionService {
    introspection: Introspection,
    judge: Arc<Judge>,
    questions: mpsc::Receiver<Question>,
    memory: Memory,
    admission: Admission<TokenDigest>,
    /// Each token that somebody waits for, queued or under way.
    flights: HashMap<TokenDigest, Flight>,
    under_way: HashMap<Id, (TokenDigest, Lane, Instant)>,
    complained: Option<Instant>,
}

/// One token's question.
struct Flight {
    token: Box<str>,
    signed: bool,
    waiting: Vec<oneshot::Sender<Reply>>,
}

type Asked = Result<Reply, AskFault>;

impl IntrospectionService {
    pub(super) fn new(
        policy: &IssuerPolicy,
        introspection: Introspection,
        questions: mpsc::Receiver<Question>,
    ) -> Self {
        Self {
            judge: Arc::new(Judge::new(policy, introspection.keep)),
            questions,
            memory: Memory::new(introspection.keep_refused),
            admission: Admission::new(introspection.per_second, introspection.timeout),
            flights: HashMap::new(),
            under_way: HashMap::new(),
            complained: None,
            introspection,
        }
    }

    /// The endpoint, for logs and metrics.
    pub fn url(&self) -> &str {
        &self.introspection.url
    }

    /// Runs to the end; `observe` is told of each question's result and how long it took.
    pub async fn run(
        mut self,
        observe: impl Fn(IntrospectionResult, Duration),
    ) -> Result<(), FetchSetupFault> {
        let endpoint = Arc::new(Endpoint::new(&self.introspection)?);
        let mut asking: JoinSet<Asked> = JoinSet::new();
        let mut open = true;
        loop {
            self.start(&endpoint, &mut asking);
            let wake_at = self.admission.wake_at(Instant::now());
            tokio::select! {
                question = self.questions.recv(), if open => match question {
                    Some(question) => self.take(question),
                    None => open = false,
                },
                Some(ended) = asking.join_next_with_id(), if !asking.is_empty() => self.end(ended, &observe),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                else => return Ok(()),
            }
            while let Some(token) = self.admission.give_up(Instant::now()) {
                self.answer(&token, &Err(TokenFault::IntrospectionLimited));
            }
        }
    }

    fn take(&mut self, question: Question) {
        let Question { token, signed, reply } = question;
        let digest = TokenDigest::of(&token);
        if let Some(flight) = self.flights.get_mut(&digest) {
            flight.waiting.push(reply);
            return;
        }
        let lane = match self.memory.recall(&digest, clock::unix_time().as_secs()) {
            Ok(known) => return send(reply, known),
            // Nobody invents a signature.
            Err(_) if signed => Lane::Known,
            Err(lane) => lane,
        };
        if self.admission.join(lane, digest, Instant::now()).is_ok() {
            self.flights.insert(digest, Flight { token, signed, waiting: vec![reply] });
        } else {
            send(reply, Err(TokenFault::IntrospectionLimited));
        }
    }

    /// Puts every question whose turn it is.
    fn start(&mut self, endpoint: &Arc<Endpoint>, asking: &mut JoinSet<Asked>) {
        while let Some((lane, digest)) = self.admission.next(Instant::now()) {
            let flight = self.flights.get(&digest).expect("a queued token has its flight");
            if flight.waiting.iter().all(oneshot::Sender::is_closed) {
                // Everyone who asked has left.
                self.flights.remove(&digest);
                self.admission.finish(lane);
                continue;
            }
            let (endpoint, judge) = (Arc::clone(endpoint), Arc::clone(&self.judge));
            let (token, signed) = (flight.token.clone(), flight.signed);
            let task = asking.spawn(async move {
                let body = endpoint.ask(&token).await?;
                Ok(judge.read(&body, signed, clock::unix_time().as_secs())?)
            });
            self.under_way.insert(task.id(), (digest, lane, Instant::now()));
        }
    }

    fn end(
        &mut self,
        ended: Result<(Id, Asked), JoinError>,
        observe: &impl Fn(IntrospectionResult, Duration),
    ) {
        let (id, asked) = match ended {
            Ok((id, asked)) => (id, Some(asked)),
            Err(fault) => (fault.id(), None),
        };
        let Some((digest, lane, since)) = self.under_way.remove(&id) else { return };
        self.admission.finish(lane);
        let (result, reply) = match asked {
            Some(Ok(reply)) => {
                self.memory.keep(digest, &reply, clock::unix_time().as_secs());
                let inactive = reply == Err(TokenFault::Inactive);
                let result =
                    if inactive { IntrospectionResult::Inactive } else { IntrospectionResult::Active };
                (result, reply)
            }
            Some(Err(fault)) => {
                self.complain(&causes(&fault));
                (IntrospectionResult::Failed, Err(TokenFault::IntrospectionUnavailable))
            }
            None => {
                self.complain("the question ended abnormally");
                (IntrospectionResult::Failed, Err(TokenFault::IntrospectionUnavailable))
            }
        };
        observe(result, since.elapsed());
        self.answer(&digest, &reply);
    }

    fn answer(&mut self, token: &TokenDigest, reply: &Reply) {
        let flight = self.flights.remove(token);
        for waiting in flight.into_iter().flat_map(|flight| flight.waiting) {
            send(waiting, reply.clone());
        }
    }

    fn complain(&mut self, fault: &str) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now.duration_since(last) >= COMPLAINTS_APART) {
            self.complained = Some(now);
            let endpoint = self.url();
            tracing::error!(endpoint, fault, "an issuer can't be asked about tokens; unknown ones get 503");
        }
    }
}

/// Nobody is there any more when the client has left.
fn send(reply: oneshot::Sender<Reply>, answer: Reply) {
    let _ = reply.send(answer);
}
