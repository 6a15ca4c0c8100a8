//! What the next one is told with a request, and what its client is told with the answer: the headers that pass on what was
//! decided.

use http::HeaderValue;

use super::Forwarding;
use crate::domain::decide::{Access, Basis, Database, Entry, Permit};
use crate::gateway::{headers, signer::Told};
use crate::http1::{Fields, Name};

impl Forwarding<'_> {
    /// Tells the next one what was decided: an API gets the decision, another gateway only who sends it.
    pub(super) fn address(&self, permit: &Permit, again: bool, fields: &mut Fields) {
        if again {
            // What the region that took nothing was to be told.
            fields.retain(|field| !matches!(field.name, Name::Residency | Name::Connection | Name::Upgrade));
        }
        let config = &self.generation.settings.config;
        let own = config.topology.region_name(config.region);
        if permit.leaves_region() {
            fields.add(headers::HOP, own.as_bytes());
            let home = self.placement.generation.0;
            if home > 0 {
                fields.add(headers::GENERATION, itoa::Buffer::new().format(home).as_bytes());
            }
            if let Some(token) = self.own_writes.as_ref().and_then(|own| own.token_for_hop()) {
                fields.add(headers::POSITION, token.as_bytes());
            }
            return;
        }
        let told = Told {
            served_by: own,
            access: access_name(permit.access()),
            jurisdiction: permit.jurisdiction().map(|found| config.topology.jurisdiction_name(found)),
            database: permit.database().map(database_name),
            subject: self.known.subject.as_ref().map(HeaderValue::as_bytes),
        };
        fields.add(headers::SERVED_BY, told.served_by.as_bytes());
        fields.add(headers::ACCESS, told.access.as_bytes());
        if let Some(jurisdiction) = told.jurisdiction {
            fields.add(headers::JURISDICTION, jurisdiction.as_bytes());
        }
        if let Some(database) = told.database {
            fields.add(headers::DATABASE, database.as_bytes());
        }
        if let Some(subject) = told.subject {
            fields.add(headers::SUBJECT, subject);
        }
        if matches!(permit.basis(), Basis::Observed(_)) {
            fields.add(headers::MODE, b"observe");
        }
        if let Some(signer) = &self.generation.signer {
            fields.add(headers::SIGNATURE, signer.sign(self.worker.clock.unix_seconds(), &told).as_bytes());
        }
    }

    /// Makes an upstream's answer fit for the client.
    pub(super) fn finish_head(&self, permit: &Permit, fields: &mut Fields) {
        let over_hop = permit.leaves_region();
        // The gateway of the client's connection replays; one that got the request over a hop passes the wish on.
        let for_edge = self.known.entry == Entry::Hop;
        headers::strip_response(fields, |name| {
            (over_hop && name.eq_ignore_ascii_case(headers::SERVED_BY.as_bytes()))
                || (for_edge && name.eq_ignore_ascii_case(headers::REPLAY.as_bytes()))
        });
        if !over_hop {
            let topology = &self.generation.settings.config.topology;
            fields.add(headers::SERVED_BY, topology.region_name(permit.destination()).as_bytes());
        }
    }
}

pub const fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

pub const fn database_name(database: Database) -> &'static str {
    match database {
        Database::Primary => "primary",
        Database::Replica => "replica",
    }
}
