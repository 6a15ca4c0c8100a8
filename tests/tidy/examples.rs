//! Configurations that people copy from elsewhere than `config/` are good as they stand.

use std::path::Path;

use residency::config::{Config, Environment};

/// Faults and warnings of one example.
pub(crate) fn findings(place: &str, text: &str) -> Vec<String> {
    match Config::parse(text, Path::new(place), &Environment::default()) {
        Ok(loaded) => loaded.warnings.iter().map(|warning| format!("{place}: {warning}")).collect(),
        Err(errors) => vec![errors.to_string()],
    }
}

/// The blocks of a Markdown document that are marked as TOML.
pub(crate) fn toml_blocks(markdown: &str) -> Vec<&str> {
    let starts = markdown.match_indices("```toml\n").map(|(at, start)| &markdown[at + start.len()..]);
    starts.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn an_example_that_does_not_work_is_found() {
    let good =
        "region = \"us-east\"\nupstream = \"127.0.0.1:3000\"\njwks = \"file:keys.json\"\nserves = [\"us\"]\n";
    assert_eq!(findings("a.toml", good), Vec::<String>::new());
    assert_eq!(findings("a.toml", &good.replace("serves", "servs")).len(), 1);
    let page = format!("text\n```toml\n{good}```\nmore\n```sh\nmake\n```\n```toml\nx\n```\n");
    assert_eq!(toml_blocks(&page), [good, "x\n"]);
}
