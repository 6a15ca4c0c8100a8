//! The process environment, taken once: what `env:NAME` names and what overrides keys of the file.
//!
//! Absent by design: reading the process anywhere but in [`Environment::from_process`]; changes after that.

use std::collections::BTreeMap;
use std::fmt;

/// Variables and their values. `Debug` shows names only: values are secrets more often than not.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, Result<String, NotUnicode>>,
}

/// A variable's bytes aren't UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUnicode;

impl Environment {
    /// What this process was started with.
    pub fn from_process() -> Self {
        let text = |value: std::ffi::OsString| value.into_string().map_err(|_| NotUnicode);
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, text(value))))
            .collect();
        Self { variables }
    }

    pub(super) fn get(&self, name: &str) -> Option<Result<&str, NotUnicode>> {
        self.variables.get(name).map(|value| value.as_deref().map_err(|not| *not))
    }

    /// The variables whose names start so, in alphabetical order.
    pub(super) fn starting_with(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = (&str, Result<&str, NotUnicode>)> {
        self.variables
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_deref().map_err(|not| *not)))
    }
}

impl<Name: Into<String>, Text: Into<String>> FromIterator<(Name, Text)> for Environment {
    fn from_iter<I: IntoIterator<Item = (Name, Text)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), Ok(value.into()))).collect();
        Self { variables }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.variables.keys()).finish()
    }
}
