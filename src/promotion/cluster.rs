//! All members of a cluster, asked at the same time.

use futures_util::future::join_all;

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
        let sessions = join_all(opened)
            .await
            .into_iter()
            .map(|opened| opened.map_err(|fault| fault.to_string()))
            .collect();
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
        let answers = join_all(asked).await;
        let member = |((region, _), answer): (&(String, _), _)| Member { region: region.clone(), answer };
        Cluster {
            jurisdiction: jurisdiction.clone(),
            lawful: lawful.clone(),
            members: members.iter().zip(answers).map(member).collect(),
        }
    }
}
