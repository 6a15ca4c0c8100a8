//! What a request's head says of it: read or write, and, without a token, whose data it is about.
//!
//! OPTIONS without a token is the question what may be asked, as browsers put it before they ask (a CORS preflight, which never
//! carries a token or a cookie). It touches nobody's data, so it is an anonymous read whatever its route says, and anonymous
//! reads are answered in the gateway's own region. With a token it is a request like any other: its path and its token are the
//! subject's, and go to lawful regions only (R1).
//!
//! Absent by design: bodies. Where one is needed, this says for what.

use super::decide::{Access, Location, Reads};
use super::graphql::GraphQlRule;
use super::named::NameSource;
use super::routes::{AccessRule, RouteRule};

/// A request's head, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Head<'request> {
    pub method: &'request str,
    /// It asks to leave HTTP/1.1 (WebSocket), or is an extended CONNECT.
    pub upgrade: bool,
    /// It carries a token, good or bad.
    pub has_token: bool,
}

/// Read or write, or how to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classified {
    As(Access),
    /// By the operation: [`GraphQlRule::access_of`], with the body if [`GraphQlRule::reads_body`] says so.
    GraphQl(GraphQlRule),
}

/// What a request without a token says about whose data it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint<'rule> {
    Located(Location),
    /// It names a country, there.
    Country(&'rule NameSource),
    /// It names an identifier of its subject, there.
    Identifier(Identified<'rule>),
}

/// A request that names an identifier, and where it goes if nobody has that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified<'rule> {
    pub identifier: &'rule NameSource,
    /// It may name a country as well, there.
    pub country: Option<&'rule NameSource>,
    /// Else here.
    otherwise: Location,
}

impl Identified<'_> {
    /// The place of a request whose identifier nobody has. `country` is what its country has come to, if it may name one. No
    /// refusal comes from it: that would tell who has an account and who has not.
    pub fn of_nobody(&self, country: Option<Location>) -> Location {
        match country {
            Some(located @ Location::Jurisdiction(_)) => located,
            _ => self.otherwise,
        }
    }
}

impl Head<'_> {
    pub fn classify(&self, rule: Option<&RouteRule>) -> Classified {
        if self.asks_what_may_be_asked() {
            return Classified::As(Access::Read);
        }
        match rule.and_then(|rule| rule.access) {
            Some(AccessRule::Always(access)) => Classified::As(access),
            // A WebSocket carries operations of every kind.
            _ if self.upgrade => Classified::As(Access::Write),
            Some(AccessRule::GraphQl(rule)) => Classified::GraphQl(rule),
            None => Classified::As(match self.method {
                "GET" | "HEAD" | "OPTIONS" => Access::Read,
                _ => Access::Write,
            }),
        }
    }

    /// Asked when there is no token.
    pub fn hint<'rule>(&self, rule: Option<&'rule RouteRule>) -> Hint<'rule> {
        match rule {
            Some(rule) if !self.asks_what_may_be_asked() => {
                let otherwise = rule.jurisdiction.map_or(Location::Anonymous, Location::Jurisdiction);
                match (&rule.identifier, rule.jurisdiction, &rule.country) {
                    (Some(identifier), _, country) => {
                        Hint::Identifier(Identified { identifier, country: country.as_ref(), otherwise })
                    }
                    (None, None, Some(source)) => Hint::Country(source),
                    _ => Hint::Located(otherwise),
                }
            }
            _ => Hint::Located(Location::Anonymous),
        }
    }

    fn asks_what_may_be_asked(&self) -> bool {
        self.method == "OPTIONS" && !self.has_token
    }
}

/// What a rule, or its absence, says of reads.
pub fn reads(rule: Option<&RouteRule>) -> Reads {
    rule.map_or_else(Reads::default, |rule| rule.reads)
}

#[cfg(test)]
mod tests;
