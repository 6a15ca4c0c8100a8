//! Why a promotion doesn't happen: each with its place and what to do about it.

/// One reason. `Display` is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{region} is no region where {jurisdiction}'s data may be ({lawful}); choose one of these", lawful = lawful.join(", "))]
    Unlawful { region: String, jurisdiction: String, lawful: Vec<String> },
    #[error(
        "{jurisdiction} has no member in {region}: give its URL in jurisdictions.{jurisdiction}.register, or choose another"
    )]
    NoMember { region: String, jurisdiction: String },
    #[error(
        "--without {region}: {jurisdiction} has no member of that name in jurisdictions.{jurisdiction}.register"
    )]
    WithoutNobody { region: String, jurisdiction: String },
    #[error("--without {region}: the target can't be left out")]
    WithoutTarget { region: String },
    #[error(
        "--without {region}: it answers as the primary; what it acknowledges can't be left out of account"
    )]
    WithoutPrimary { region: String },
    #[error("the target {region} doesn't answer: {why}; start its database, or choose another")]
    TargetSilent { region: String, why: String },
    #[error(
        "the target {region} runs as a former primary, of timeline {timeline}: restart its database (its unit runs `primary \
         check` and makes it a standby), then promote it"
    )]
    TargetFormerPrimary { region: String, timeline: u32 },
    #[error(
        "{region} belongs to another cluster than {target} (its system identifier differs): correct its URL"
    )]
    Foreign { region: String, target: String },
    #[error(
        "no member shows the register's row of {jurisdiction}: run `residency-migrate schema apply` on its primary first"
    )]
    NoRow { jurisdiction: String },
    #[error(
        "{region} doesn't answer: {why}; it may have been promoted by somebody else, or have more than {target}. Bring it \
         back, or make sure and name it: --without {region}"
    )]
    Silent { region: String, target: String, why: String },
    #[error(
        "{better} has {bytes} bytes of log that {target} lacks: promote {better}, or let them go by leaving it out: \
         --without {better}"
    )]
    Behind { target: String, better: String, bytes: u64 },
    #[error(
        "{better} has replayed timeline {later}, and {target} only timeline {timeline}: {target} has missed a promotion. \
         Promote {better}"
    )]
    Earlier { target: String, better: String, timeline: u32, later: u32 },
    #[error(
        "no proof that the primary in {region} can't acknowledge writes any more ({why}). One of: make it reachable, so \
         that it can be fenced in its database; switch its server off and prove it with --confirm-off COMMAND{quorum}; or \
         take the risk of two primaries by name: --assume-dead"
    )]
    NoProof { region: String, why: String, quorum: String },
    #[error(
        "the primary in {region} answers, so it is not dead: leave out --assume-dead and it will be fenced"
    )]
    Alive { region: String },
    #[error(
        "the primary in {region} answers, so it is not off: leave out --confirm-off and it will be fenced"
    )]
    NotOff { region: String },
    #[error(
        "durability is remote, and no standby but the target {target} answers: each write would wait. Bring one back, or \
         give the durability up by name: --durability async"
    )]
    NoStandby { target: String },
}
