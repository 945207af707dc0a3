//! The variables of a stage, as far as its Dockerfile tells them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::expand::{ExpandError, Expander, MOST_SEARCHES};

/// Variables that a stage may have; of further ones nothing is known.
const MOST_VARIABLES: usize = 1000;
/// Bytes of a name and its value that are kept.
const LONGEST: usize = 1024;

/// What a stage's instructions have set.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Set by ENV; none: the value cannot be determined.
    envs: BTreeMap<String, Option<String>>,
    /// Set by ARG after it.
    arguments: BTreeMap<String, Option<String>>,
    /// The base image's own variables are not known: a name that is not set may be one of them.
    has_unknown: bool,
    /// Left of those that its text may make.
    searches: Rc<Cell<u32>>,
}

impl Scope {
    /// Of a stage that begins with an image of a registry, or with nothing.
    pub(super) fn of_image(is_scratch: bool) -> Self {
        let searches = Rc::new(Cell::new(MOST_SEARCHES));
        Self { has_unknown: !is_scratch, searches, ..Self::default() }
    }

    /// ENV.
    pub(super) fn set_env(&mut self, name: String, value: Option<String>) {
        self.arguments.remove(&name);
        let has_room = self.has_room(&name);
        put(&mut self.envs, name, value, has_room);
    }

    /// ARG, which hides a variable of the same name from then on; stages inherit both.
    pub(super) fn set_argument(&mut self, name: String, value: Option<String>) {
        let has_room = self.has_room(&name);
        put(&mut self.arguments, name, value, has_room);
    }

    /// Bytes that it takes, about.
    pub(super) fn weight(&self) -> usize {
        let all = self.envs.iter().chain(&self.arguments);
        all.map(|(name, value)| 64 + name.len() + value.as_ref().map_or(0, String::len)).sum()
    }

    fn has_room(&mut self, name: &str) -> bool {
        let count = self.envs.len() + self.arguments.len();
        let has_room = count < MOST_VARIABLES && name.len() < LONGEST;
        self.has_unknown |= !has_room;
        has_room
    }

    /// Arguments with their values; none: it cannot be determined.
    pub(super) fn arguments(&self) -> impl Iterator<Item = (&String, &Option<String>)> {
        self.arguments.iter()
    }

    /// What ARG has set; none within: the value cannot be determined.
    pub(super) fn argument(&self, name: &str) -> Option<Option<&str>> {
        self.arguments.get(name).map(Option::as_deref)
    }

    /// ENV has set it.
    pub(super) fn has_env(&self, name: &str) -> bool {
        self.envs.contains_key(name)
    }

    /// The text with its variables, as in a word; none if it cannot be determined.
    pub(super) fn expand(&self, text: &str, escape: char) -> Option<String> {
        self.expanded(escape, |expander| expander.expand(text))
    }

    /// The text of a heredoc with its variables, in which quotes are text, and the names of those that cannot
    /// be determined, which count as empty.
    pub(super) fn expand_text(&self, text: &str) -> Option<(String, BTreeSet<String>)> {
        let unknown = RefCell::new(BTreeSet::new());
        let value = |name: &str| {
            let found = self.arguments.get(name).or_else(|| self.envs.get(name));
            if found.map_or(self.has_unknown, Option::is_none) {
                unknown.borrow_mut().insert(name.to_owned());
            }
            found.cloned().flatten()
        };
        let expander = Expander { value: &value, escape: '\\', searches: &self.searches };
        let text = expander.expand_text(text).ok()?;
        Some((text, unknown.into_inner()))
    }

    fn expanded(
        &self,
        escape: char,
        expand: impl Fn(&Expander<'_>) -> Result<String, ExpandError>,
    ) -> Option<String> {
        let is_unknown = Cell::new(false);
        let value = |name: &str| {
            let found = self.arguments.get(name).or_else(|| self.envs.get(name));
            let unknown = found.map_or(self.has_unknown, Option::is_none);
            is_unknown.set(is_unknown.get() || unknown);
            found.cloned().flatten()
        };
        let expanded = expand(&Expander { value: &value, escape, searches: &self.searches }).ok();
        expanded.filter(|_| !is_unknown.get())
    }
}

/// Sets a variable, or forgets it if it takes too much.
fn put(
    variables: &mut BTreeMap<String, Option<String>>,
    name: String,
    value: Option<String>,
    has_room: bool,
) {
    let value = value.filter(|value| value.len() < LONGEST);
    if has_room {
        variables.insert(name, value);
    } else {
        variables.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_base_image_is_not_known() {
        let mut scope = Scope::of_image(false);
        scope.set_argument("A".to_owned(), Some("arg".to_owned()));
        scope.set_env("E".to_owned(), Some("env".to_owned()));
        assert_eq!(scope.expand("$A-${E}", '\\').as_deref(), Some("arg-env"));
        scope.set_argument("E".to_owned(), Some("late".to_owned()));
        assert_eq!(scope.expand("$E", '\\').as_deref(), Some("late"));
        assert_eq!(scope.expand("$PATH", '\\'), None);
        scope.set_env("E".to_owned(), Some("again".to_owned()));
        assert_eq!(scope.expand("$E", '\\').as_deref(), Some("again"));
        assert_eq!(Scope::of_image(true).expand("[$A]", '\\').as_deref(), Some("[]"));
    }

    #[test]
    fn quotes_are_text_in_a_heredoc() {
        let mut scope = Scope::of_image(true);
        scope.set_env("X".to_owned(), Some("env".to_owned()));
        let text = "'$X' \"${X:-no}\" \\$X\n";
        let expanded = "'env' \"env\" $X\n".to_owned();
        assert_eq!(scope.expand_text(text), Some((expanded, BTreeSet::new())));
        let (text, unknown) = Scope::of_image(false).expand_text("[$X]").unwrap();
        assert_eq!((text.as_str(), unknown), ("[]", BTreeSet::from(["X".to_owned()])));
    }
}
