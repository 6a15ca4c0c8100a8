//! What a request brings: the tokens in its header and its cookie, verified, and taken out of it.
//!
//! Of several the highest counts. One that does not verify makes the request go home, whatever else it brings: a client that
//! has a damaged token may have written what the damaged one said.

use smallvec::SmallVec;

use super::Positions;
use super::token::TokenFault;
use crate::domain::position::{Reading, Requirement, Token};
use crate::domain::register::Generation;
use crate::gateway::headers::POSITION;
use crate::http1::{Fields, Name};
use crate::telemetry::{PositionEvent, WorkerMetrics};

/// More than header and cookie can have by honest ways.
const MOST: usize = 4;

/// The tokens of one request.
#[derive(Debug, Default)]
pub struct Presented {
    tokens: SmallVec<[Token; 1]>,
    damaged: bool,
}

/// Why a request that could have gone nearer has to go home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Pinned,
    Unverified,
    Foreign,
    /// Another cluster's: a fault, and counted as one.
    OtherCluster,
}

impl Presented {
    /// Reads them, and takes the cookie out. The header goes with all others of ours.
    pub fn take(positions: &Positions, fields: &mut Fields, metrics: &WorkerMetrics) -> Self {
        let mut presented = Self::default();
        let mut count = 0;
        let mut read = |text: &[u8]| {
            count += 1;
            match positions.key.open(text) {
                _ if count > MOST => presented.damaged = true,
                Ok(token) => presented.tokens.push(token),
                Err(fault) => {
                    presented.damaged = true;
                    metrics.position(match fault {
                        TokenFault::Malformed => PositionEvent::Malformed,
                        TokenFault::Signature => PositionEvent::Signature,
                    });
                }
            }
        };
        if fields.has(Name::Residency) {
            fields.named(POSITION).for_each(&mut read);
        }
        if let Some(cookie) = &positions.cookie
            && fields
                .all(Name::Cookie)
                .any(|line| memchr::memmem::find(line, cookie.name.as_bytes()).is_some())
        {
            take_cookie(fields, cookie.name.as_bytes(), read);
        }
        presented
    }

    /// The newest generation of the subject's home that the client has heard of. When the routing table knows an older one, it is
    /// behind, and has to be brought up to date before the request is located.
    pub fn generation(&self) -> Generation {
        self.tokens.iter().map(|token| token.generation).max().unwrap_or_default()
    }

    /// What they ask of a database of `jurisdiction`.
    pub(super) fn requirement(
        &self,
        jurisdiction: &str,
        system_identifier: Option<u64>,
    ) -> (Requirement, Option<Why>) {
        if self.damaged {
            return (Requirement::Home, Some(Why::Unverified));
        }
        let mut required = Requirement::Nothing;
        let (mut foreign, mut own, mut cluster) = (false, false, system_identifier);
        for token in &self.tokens {
            match token.reading(jurisdiction, cluster) {
                Reading::Says(Requirement::Home) => return (Requirement::Home, Some(Why::Pinned)),
                Reading::Says(says) => {
                    own = true;
                    required = required.and(says);
                    // Positions of two clusters don't compare, even where neither is known to be this one's.
                    cluster = cluster.or(Some(token.system_identifier).filter(|known| *known != 0));
                }
                Reading::OtherCluster => return (Requirement::Home, Some(Why::OtherCluster)),
                Reading::OtherJurisdiction => foreign = true,
            }
        }
        // A client that has only another jurisdiction's has said nothing of this one: its own may have been replaced by it.
        if foreign && !own { (Requirement::Home, Some(Why::Foreign)) } else { (required, None) }
    }
}

/// Takes every cookie of that name out, and hands its value to `read`.
fn take_cookie(fields: &mut Fields, name: &[u8], mut read: impl FnMut(&[u8])) {
    let mut kept: Vec<u8> = Vec::new();
    let mut found = false;
    for pair in fields.all(Name::Cookie).flat_map(|line| line.split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        if parts.next().map(<[u8]>::trim_ascii) == Some(name) {
            found = true;
            let value = parts.next().unwrap_or_default().trim_ascii();
            let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            read(unquoted.unwrap_or(value));
        } else if !pair.is_empty() {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    if !found {
        return;
    }
    if kept.is_empty() {
        fields.retain(|field| field.name != Name::Cookie);
    } else {
        fields.replace("cookie", &kept);
    }
}
