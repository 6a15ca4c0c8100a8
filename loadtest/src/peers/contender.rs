//! Who is compared: which program, with which duties.

/// A program in one of its roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    pub(super) program: Program,
    pub(super) access_log: bool,
    name: &'static str,
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
}

impl Contender {
    /// All contenders: each program with its access log, once more without, and the cold cache.
    pub fn all() -> Vec<Self> {
        let table = [
            (Program::Nginx, true, "nginx"),
            (Program::Haproxy, true, "haproxy"),
            (Program::HaproxyJwt, true, "haproxy-jwt"),
            (Program::HaproxySignature, true, "haproxy-jwt-signature-only"),
            (Program::Gateway, true, "gateway"),
            (Program::GatewayCold, true, "gateway-cold-cache"),
            (Program::Nginx, false, "nginx-no-log"),
            (Program::Haproxy, false, "haproxy-no-log"),
            (Program::HaproxyJwt, false, "haproxy-jwt-no-log"),
            (Program::Gateway, false, "gateway-no-log"),
        ];
        table.into_iter().map(|(program, access_log, name)| Self { program, access_log, name }).collect()
    }

    /// The name in reports and for `--only`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}
