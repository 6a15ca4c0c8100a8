//! Tidy: what no compiler checks and every change could break quietly.
//!
//! The rules are about the tree as text: who may know whom, what the pure core may not do, how big and how named a file
//! is, and that documents and code say the same. Each rule is a function from text to findings, so that its own unit
//! tests show on a made-up source that it can fail; the tests in this file apply it to the real tree.
//!
//! Absent by design: what clippy holds (`clippy.toml` and `[lints]`), and formatting.

mod dependencies;
mod documents;
mod examples;
mod packages;
mod purity;
mod shape;
mod source;

use std::{fs, path::Path};

use source::{Source, read_tree};

/// Tests elsewhere that hold a rule of this kind, because they need the code and not its text.
const GUARDS: &[&str] = &[
    "every_metric_is_documented_and_every_documented_metric_is_there",
    "the_page_has_every_key_and_no_other_with_default_and_range",
    "the_reference_has_every_key_and_no_other_with_its_default",
    "the_three_regions_work_everywhere",
];

#[test]
fn dependencies_point_down() {
    let sources = read_tree("src");
    hold(dependencies::findings(&sources));
    hold(dependencies::findings_of_table(&sources));
}

#[test]
fn the_domain_is_pure() {
    hold(read_tree("src").iter().flat_map(purity::findings));
}

#[test]
fn files_have_one_concept_a_theory_and_a_size() {
    for root in ["src", "loadtest/src", "tests", "benches"] {
        hold(read_tree(root).iter().flat_map(shape::findings));
    }
}

#[test]
fn one_tls_stack_is_built() {
    hold(packages::findings(&packages::built()));
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    hold(packages::toolchain_findings(&read("rust-toolchain.toml"), &read("docker/Dockerfile")));
}

#[test]
fn every_problem_code_is_documented() {
    let codes = documents::problem_codes(&read("src/gateway/problem.rs"), &read("src/domain/decide.rs"));
    hold(documents::table_findings("docs/PROBLEMS.md", &read("docs/PROBLEMS.md"), &codes));
}

#[test]
fn the_readme_begins_with_commands_that_exist() {
    hold(documents::readme_findings(&read("README.md"), &read("Makefile")));
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let sources: Vec<Source> = ["src", "loadtest/src", "tests"].into_iter().flat_map(read_tree).collect();
    hold(documents::invariant_findings(&read("ARCHITECTURE.md"), &sources));
    hold(
        GUARDS
            .iter()
            .filter(|name| !documents::has_test(&sources, name))
            .map(|name| format!("no test `{name}`")),
    );
}

#[test]
fn the_code_map_names_every_folder_and_nothing_else() {
    hold(documents::code_map_findings(&read("ARCHITECTURE.md"), &read_tree("src"), &exists));
}

#[test]
fn links_and_make_targets_in_documents_lead_somewhere() {
    let makefile = read("Makefile");
    for document in documents::all() {
        let text = read(&document);
        hold(documents::link_findings(&document, &text, &exists));
        hold(documents::target_findings(&document, &text, &makefile));
    }
}

#[test]
fn keys_and_metrics_that_documents_name_exist() {
    let (keys, metrics) = (read("docs/CONFIG.md"), read("docs/METRICS.md"));
    for document in documents::all() {
        hold(documents::name_findings(&document, &read(&document), &keys, &metrics));
    }
}

#[test]
fn configurations_to_copy_work() {
    let sidecar = "docker/sidecar.toml";
    hold(examples::findings(sidecar, &read(sidecar)));
    let readme = read("README.md");
    let blocks = examples::toml_blocks(&readme);
    assert!(!blocks.is_empty(), "the README shows a configuration");
    hold(blocks.into_iter().flat_map(|block| examples::findings("README.md", block)));
}

/// Fails with every finding at once.
#[track_caller]
fn hold(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A module may be a folder, a file, or both.
fn exists(path: &str) -> bool {
    root().join(path).exists() || root().join(format!("{path}.rs")).exists()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
