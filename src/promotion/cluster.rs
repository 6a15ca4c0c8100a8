//! All members of a cluster, asked at the same time.

use super::{PromotionFault, session::Session};
use crate::{
    config::ClusterSettings,
    domain::promotion::{Cluster, Member},
};

/// Sessions with the members that answer, in the order of the configuration.
pub(super) struct Members {
    pub(super) settings: ClusterSettings,
    sessions: Vec<Result<Session, String>>,
}

impl Members {
    pub(super) async fn connect(settings: ClusterSettings) -> Self {
        let opened = settings.members.iter().map(|(region, url)| Session::open(region, url));
        let sessions =
            all(opened).await.into_iter().map(|opened| opened.map_err(|fault| fault.to_string())).collect();
        Self { settings, sessions }
    }

    /// The member in `region`, if it answered.
    pub(super) fn at(&self, region: &str) -> Result<&Session, PromotionFault> {
        let index = self.settings.members.iter().position(|(name, _)| name == region);
        let session = index.map(|index| &self.sessions[index]);
        match session {
            Some(Ok(session)) => Ok(session),
            Some(Err(why)) => Err(PromotionFault::Statement {
                region: region.to_owned(),
                doing: "connecting",
                reason: why.clone(),
            }),
            None => Err(PromotionFault::Statement {
                region: region.to_owned(),
                doing: "connecting",
                reason: "it is no member".to_owned(),
            }),
        }
    }

    /// Those that answered, by region: the order in which locks are taken.
    pub(super) fn sessions(&self) -> Vec<&Session> {
        let mut sessions: Vec<_> = self.sessions.iter().filter_map(|session| session.as_ref().ok()).collect();
        sessions.sort_by(|one, other| one.region.cmp(&other.region));
        sessions
    }

    /// What all of them say now. One whose session breaks counts as silent.
    pub(super) async fn look(&self) -> Cluster {
        let ClusterSettings { jurisdiction, lawful, members } = &self.settings;
        let asked = self.sessions.iter().map(async |session| match session {
            Err(why) => Err(why.clone()),
            Ok(session) => session.answer(jurisdiction).await.map_err(|fault| fault.to_string()),
        });
        let answers = all(asked).await;
        let member = |((region, _), answer): (&(String, _), _)| Member { region: region.clone(), answer };
        Cluster {
            jurisdiction: jurisdiction.clone(),
            lawful: lawful.clone(),
            members: members.iter().zip(answers).map(member).collect(),
        }
    }
}

/// Runs futures beside each other on this thread; their results in their own order.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *result = Some(ready);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().map(|result| result.expect("all were waited for")).collect()
}
