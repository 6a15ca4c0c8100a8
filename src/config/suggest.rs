//! Remedies that name what would have been right.

/// Below this two words have too little in common to have been meant for one another.
const ALIKE: f64 = 0.8;

/// "write one of: a, b", with the likeliest first.
pub(super) fn one_of<'name>(written: &str, names: impl IntoIterator<Item = &'name str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return "there is none to choose from yet".to_owned();
    }
    let all = names.join(", ");
    match nearest(written, names) {
        Some(name) => format!("did you mean `{name}`? Write one of: {all}"),
        None => format!("write one of: {all}"),
    }
}

/// The name most like what was written, if one is like it at all.
pub(super) fn nearest<'name>(
    written: &str,
    names: impl IntoIterator<Item = &'name str>,
) -> Option<&'name str> {
    let written = written.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
