//! Upstream groups: which of a region's processes a request goes to, such as `web` beside `api`.
//!
//! A group's name means the same in every region; which processes it has is each region's own affair. Requests that no route
//! sends elsewhere go to `api`, which is always there and always the first.

/// The group of requests whose route names none.
pub const API: &str = "api";
/// More groups than this is a slip: each has processes of its own in every region.
pub const MOST_GROUPS: usize = 64;

/// A group, as an index into the [`UpstreamGroups`] that made it. By default `api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UpstreamGroup(u8);

/// All groups of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamGroups {
    names: Vec<Box<str>>,
}

/// There are more groups than [`MOST_GROUPS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} upstream groups; the most is {MOST_GROUPS}")]
pub struct TooManyGroups(pub usize);

impl UpstreamGroup {
    pub const API: Self = Self(0);

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl UpstreamGroups {
    /// `api` and, after it, the names in their order; a name that comes again is the same group.
    pub fn new<'name>(names: impl IntoIterator<Item = &'name str>) -> Result<Self, TooManyGroups> {
        let mut groups = Self::default();
        for name in names {
            if groups.find(name).is_none() {
                groups.names.push(name.into());
            }
        }
        match groups.names.len() {
            count if count > MOST_GROUPS => Err(TooManyGroups(count)),
            _ => Ok(groups),
        }
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = UpstreamGroup> + use<> {
        (0..self.names.len()).map(|index| UpstreamGroup(u8::try_from(index).expect("at most 64 groups")))
    }

    pub fn find(&self, name: &str) -> Option<UpstreamGroup> {
        self.iter().find(|group| self.name(*group) == name)
    }

    pub fn name(&self, group: UpstreamGroup) -> &str {
        &self.names[group.index()]
    }
}

impl Default for UpstreamGroups {
    fn default() -> Self {
        Self { names: vec![API.into()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_is_always_there_and_first() {
        for names in [&[][..], &["api"], &["web", "api", "web"], &["web"]] {
            let groups = UpstreamGroups::new(names.iter().copied()).expect("few");
            assert_eq!(groups.find("api"), Some(UpstreamGroup::API), "{names:?}");
            assert_eq!(groups.find("api"), Some(UpstreamGroup::default()), "{names:?}");
            assert_eq!(groups.iter().len(), if names.contains(&"web") { 2 } else { 1 }, "{names:?}");
        }
        let groups = UpstreamGroups::new(["web", "grpc"]).expect("few");
        let names: Vec<&str> = groups.iter().map(|group| groups.name(group)).collect();
        assert_eq!(names, ["api", "web", "grpc"]);
        assert_eq!(groups.find("ftp"), None);
    }

    #[test]
    fn groups_are_bounded() {
        let names: Vec<String> = (1..=MOST_GROUPS).map(|index| format!("g{index}")).collect();
        let first = |count: usize| UpstreamGroups::new(names[..count].iter().map(String::as_str));
        assert_eq!(first(MOST_GROUPS - 1).expect("with `api` they are 64").iter().len(), MOST_GROUPS);
        assert_eq!(first(MOST_GROUPS), Err(TooManyGroups(MOST_GROUPS + 1)));
    }
}
