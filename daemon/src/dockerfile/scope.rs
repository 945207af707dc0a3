//! The variables of a stage, as far as its Dockerfile tells them.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::expand::{ExpandError, Expander};

/// What a stage's instructions have set.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Set by ENV; none: the value cannot be determined.
    envs: BTreeMap<String, Option<String>>,
    /// Set by ARG after it.
    arguments: BTreeMap<String, Option<String>>,
    /// The base image's own variables are not known: a name that is not set may be one of them.
    has_unknown: bool,
}

impl Scope {
    /// Of a stage that begins with an image of a registry, or with nothing.
    pub(super) fn of_image(is_scratch: bool) -> Self {
        Self { has_unknown: !is_scratch, ..Self::default() }
    }

    /// ENV.
    pub(super) fn set_env(&mut self, name: String, value: Option<String>) {
        self.arguments.remove(&name);
        self.envs.insert(name, value);
    }

    /// ARG, which hides a variable of the same name from then on; stages inherit both.
    pub(super) fn set_argument(&mut self, name: String, value: Option<String>) {
        self.arguments.insert(name, value);
    }

    /// The names of arguments.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &String> {
        self.arguments.keys()
    }

    /// ENV has set it.
    pub(super) fn has_env(&self, name: &str) -> bool {
        self.envs.contains_key(name)
    }

    /// The text with its variables, as in a word; none if it cannot be determined.
    pub(super) fn expand(&self, text: &str, escape: char) -> Option<String> {
        self.expanded(escape, |expander| expander.expand(text))
    }

    /// The text of a heredoc with its variables: quotes are text.
    pub(super) fn expand_text(&self, text: &str) -> Option<String> {
        self.expanded('\\', |expander| expander.expand_text(text))
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
        let expanded = expand(&Expander { value: &value, escape }).ok();
        expanded.filter(|_| !is_unknown.get())
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
        assert_eq!(scope.expand_text(text).as_deref(), Some("'env' \"env\" $X\n"));
    }
}
