//! Whatever is in the file, an answer comes out and no panic.

use proptest::prelude::*;

use super::*;
use crate::domain::upstream_groups::UpstreamGroup;

/// One change to a right file, by lines and characters.
#[derive(Debug, Clone)]
enum Mutation {
    RemoveLine(usize),
    DoubleLine(usize),
    SwapLines(usize, usize),
    Insert(usize, String),
    Cut(usize, usize),
    Replace(&'static str, &'static str),
}

impl Mutation {
    fn apply(&self, text: &str) -> String {
        let mut lines: Vec<&str> = text.lines().collect();
        let count = lines.len().max(1);
        let at = |position: usize| text.char_indices().nth(position).map_or(text.len(), |(at, _)| at);
        match self {
            _ if lines.is_empty() => text.to_owned(),
            Self::RemoveLine(line) => {
                lines.remove(line % count);
                lines.join("\n")
            }
            Self::DoubleLine(line) => {
                lines.insert(line % count, lines[line % count]);
                lines.join("\n")
            }
            Self::SwapLines(left, right) => {
                lines.swap(left % count, right % count);
                lines.join("\n")
            }
            Self::Insert(position, insertion) => {
                let (before, after) = text.split_at(at(*position));
                format!("{before}{insertion}{after}")
            }
            Self::Cut(position, length) => {
                format!("{}{}", &text[..at(*position)], &text[at(position + length)..])
            }
            Self::Replace(from, to) => text.replacen(from, to, 1),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let line = 0..70_usize;
    let position = 0..2_400_usize;
    prop_oneof![
        line.clone().prop_map(Mutation::RemoveLine),
        line.clone().prop_map(Mutation::DoubleLine),
        (line.clone(), line).prop_map(|(left, right)| Mutation::SwapLines(left, right)),
        (position.clone(), "[\\PC\n]{1,6}").prop_map(|(at, text)| Mutation::Insert(at, text)),
        (position, 1..40_usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        prop::sample::select(vec![
            ("\"us-east\"", "7"),
            ("[regions.us-east]", "[[regions.us-east]]"),
            ("home = \"us-east\"", "home = {}"),
            ("\"10.1.0.2:7443\"", "\"env:NOT_SET\""),
            ("workers = 2", "workers = -99999999999999999999"),
            ("[token]", "[token.x]"),
            ("[[token.issuers]]", "[token.issuers]"),
            ("[\"@eea\"]", "[[\"@eea\"]]"),
            ("{ access = \"read\" }", "\"read\""),
            ("/orgs/{org}/**", "/orgs/{org"),
            ("[log]", "log = 5\n[log]"),
            ("credentials = true", "credentials = \"yes\""),
            ("[cors]", "[cors.x]"),
        ])
        .prop_map(|(from, to)| Mutation::Replace(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_file_gives_a_configuration_or_a_report(mutations in prop::collection::vec(mutation(), 1..6)) {
        let text = mutations.iter().fold(TWO_REGIONS.to_owned(), |text, mutation| mutation.apply(&text));
        match parse(&text, &complete_environment()) {
            Ok(loaded) => {
                prop_assert!(!loaded.config.own_region().endpoints(UpstreamGroup::API).is_empty());
                prop_assert_eq!(loaded.config.regions.len(), loaded.config.topology.regions().len());
            }
            Err(errors) => {
                prop_assert!(!errors.errors.is_empty());
                let report = errors.to_string();
                prop_assert!(!report.contains("secret-"), "{}", report);
            }
        }
    }

    #[test]
    fn any_override_gives_a_configuration_or_a_report(
        name in prop::sample::select(crate::config::known_keys::known_keys()),
        value in "[\\PC\n]{0,20}",
    ) {
        let name = name.pattern.replace(".databases.*", ".databases.us").replace(".upstreams.*", ".upstreams.api").replacen("regions.*", "regions.us-east", 1);
        let name = name.replace("jurisdictions.*", "jurisdictions.eu").replace('.', "__").replace('-', "_");
        let name = format!("RESIDENCY_{}", name.to_uppercase());
        let variables = [(name, value)];
        let complete = ["PG_US", "REDIS_URL", "JWT_SECRET", "API_SIGNING_SECRET", "SUBJECT_KEY"]
            .map(|name| (name.to_owned(), "x".repeat(40)));
        if let Err(errors) = parse(TWO_REGIONS, &variables.into_iter().chain(complete).collect()) {
            prop_assert!(!errors.errors.is_empty());
        }
    }
}
