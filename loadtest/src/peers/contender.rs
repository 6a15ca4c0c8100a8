//! Who is compared: which program, with which duties, under which load.

use super::Scenario;

/// A program in one of its roles, under one of the loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    pub(super) program: Program,
    pub(super) access_log: bool,
    pub(super) upstream: Upstream,
    pub(super) load: Load,
    name: &'static str,
    scenarios: &'static [Scenario],
}

/// A program and what it does with a request besides forwarding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// nginx, forwarding only.
    Nginx,
    /// `HAProxy`, forwarding only.
    Haproxy,
    /// `HAProxy` that verifies the RS256 signature, issuer, audience and expiry of each request's token, as ours does.
    HaproxyJwt,
    /// `HAProxy` that verifies the RS256 signature and looks at no claim: less than a service can do with, and the
    /// least that verification can cost it.
    HaproxySignature,
    /// Ours: tokens, region routing, headers, metrics.
    Gateway,
    /// Ours with a token cache far smaller than the number of users: each request's token is verified anew.
    GatewayCold,
}

impl Program {
    /// Whether a token signed by a stranger must be refused with 401.
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::HaproxyJwt | Self::HaproxySignature | Self::Gateway | Self::GatewayCold)
    }

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Gateway | Self::GatewayCold)
    }
}

/// How the contender reaches the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    Tcp,
    Unix,
}

/// What a contender is put through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Small requests over kept connections.
    Requests,
    /// The same over TLS.
    Https,
    /// The same as HTTP/2 streams over TLS.
    Http2,
    /// The same, each over a TLS connection of its own.
    Handshakes,
    /// Answers of 1 MiB.
    Downloads,
    /// Requests of 1 MiB.
    Uploads,
    /// Many connections that rest.
    Idle,
    /// Small requests to one worker on one core, which it shares with the load; half the connections.
    OneWorker,
    /// Small requests to two workers on both cores, which they share with the load.
    TwoWorkers,
}

impl Load {
    /// In the order in which a round goes through them.
    pub(super) const ALL: [Self; 9] = [
        Self::Requests,
        Self::OneWorker,
        Self::TwoWorkers,
        Self::Https,
        Self::Http2,
        Self::Handshakes,
        Self::Downloads,
        Self::Uploads,
        Self::Idle,
    ];

    /// Whether the client's side is TLS.
    pub(super) fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Http2 | Self::Handshakes)
    }

    /// Whether load and contender share cores, which are then neither full of one of them nor quiet.
    pub(super) fn shares_cores(self) -> bool {
        matches!(self, Self::OneWorker | Self::TwoWorkers)
    }

    pub(super) fn workers(self) -> usize {
        if self == Self::TwoWorkers { 2 } else { 1 }
    }
}

impl Contender {
    /// All contenders in the order of the reports.
    pub fn all() -> Vec<Self> {
        use Load::{Downloads, Handshakes, Http2, Https, Idle, OneWorker, Requests, TwoWorkers, Uploads};
        use Program::{Gateway, GatewayCold, Haproxy, HaproxyJwt, HaproxySignature, Nginx};
        const PLAIN: &[Scenario] = &[Scenario::Requests];
        let requests = [
            // The bases of other comparisons too.
            (Nginx, true, "nginx", &[Scenario::Requests, Scenario::Unix][..]),
            (Haproxy, true, "haproxy", PLAIN),
            (HaproxyJwt, true, "haproxy-jwt", PLAIN),
            (HaproxySignature, true, "haproxy-jwt-signature-only", PLAIN),
            (Gateway, true, "gateway", PLAIN),
            (GatewayCold, true, "gateway-cold-cache", PLAIN),
            (Nginx, false, "nginx-no-log", PLAIN),
            (Haproxy, false, "haproxy-no-log", PLAIN),
            (HaproxyJwt, false, "haproxy-jwt-no-log", PLAIN),
            (Gateway, false, "gateway-no-log", PLAIN),
        ];
        let requests = requests.map(|(program, access_log, name, scenarios)| Self {
            access_log,
            ..Self::new(program, name, Requests, scenarios)
        });
        let unix = [(Nginx, "nginx-unix"), (Gateway, "gateway-unix")].map(|(program, name)| Self {
            upstream: Upstream::Unix,
            ..Self::new(program, name, Requests, &[Scenario::Unix])
        });
        let others = [
            (Gateway, "gateway-one-worker", OneWorker, &[Scenario::Workers][..]),
            (Gateway, "gateway-two-workers", TwoWorkers, &[Scenario::Workers]),
            (Nginx, "nginx-https", Https, &[Scenario::Https]),
            (Gateway, "gateway-https", Https, &[Scenario::Https]),
            (Nginx, "nginx-http2", Http2, &[Scenario::Http2]),
            (Gateway, "gateway-http2", Http2, &[Scenario::Http2]),
            (Nginx, "nginx-handshakes", Handshakes, &[Scenario::Handshakes]),
            (Gateway, "gateway-handshakes", Handshakes, &[Scenario::Handshakes]),
            (Nginx, "nginx", Downloads, &[Scenario::Bodies]),
            (Haproxy, "haproxy", Downloads, &[Scenario::Bodies]),
            (Gateway, "gateway", Downloads, &[Scenario::Bodies]),
            (Nginx, "nginx", Uploads, &[Scenario::Bodies]),
            (Haproxy, "haproxy", Uploads, &[Scenario::Bodies]),
            (Gateway, "gateway", Uploads, &[Scenario::Bodies]),
            (Nginx, "nginx", Idle, &[Scenario::Idle]),
            (Haproxy, "haproxy", Idle, &[Scenario::Idle]),
            (Gateway, "gateway", Idle, &[Scenario::Idle]),
        ];
        let others = others.map(|(program, name, load, scenarios)| Self::new(program, name, load, scenarios));
        requests.into_iter().chain(unix).chain(others).collect()
    }

    fn new(program: Program, name: &'static str, load: Load, scenarios: &'static [Scenario]) -> Self {
        Self { program, access_log: true, upstream: Upstream::Tcp, load, name, scenarios }
    }

    /// The name in reports and for `--only`; unique under one load.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether one of the given comparisons needs it.
    pub(super) fn serves(&self, scenarios: &[Scenario]) -> bool {
        scenarios.iter().any(|scenario| self.scenarios.contains(scenario))
    }

    /// A name for files and progress, unique among all.
    pub(super) fn label(&self) -> String {
        match self.load {
            Load::Downloads => format!("{}-1mib", self.name),
            Load::Uploads => format!("{}-upload-1mib", self.name),
            Load::Idle => format!("{}-idle", self.name),
            _ => self.name.to_owned(),
        }
    }
}
