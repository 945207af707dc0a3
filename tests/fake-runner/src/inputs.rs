//! The inputs of a step: what `with:` gives, and the action's defaults for the rest.

use thiserror::Error;

use crate::action::Action;
use crate::template::TemplateError;

/// A default that cannot be evaluated here, of an input that was not given.
#[derive(Debug, Error)]
#[error("input '{name}' was not given and its default cannot be used")]
pub struct DefaultError {
    name: String,
    #[source]
    source: TemplateError,
}

/// Inputs in the runner's order: the given ones first. Names that differ in case only are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs(Vec<(String, String)>);

impl Inputs {
    /// `given`, and the defaults of `action` for what is not given.
    ///
    /// # Errors
    ///
    /// [`DefaultError`] if a default that is needed has an expression in it.
    pub fn new(given: &[(String, String)], action: &Action) -> Result<Self, DefaultError> {
        Self::of(given, &action.inputs)
    }

    /// `given`, and `defaults` for what is not given.
    ///
    /// # Errors
    ///
    /// As [`Inputs::new`].
    pub fn of(
        given: &[(String, String)],
        defaults: &[(String, String)],
    ) -> Result<Self, DefaultError> {
        let mut inputs = Self::default();
        for (name, value) in given {
            match inputs.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, old)) => old.clone_from(value),
                None => inputs.0.push((name.clone(), value.clone())),
            }
        }
        for (name, default) in defaults {
            if inputs.get(name).is_none() {
                let value = literal(default)
                    .map_err(|source| DefaultError { name: name.clone(), source })?;
                inputs.0.push((name.clone(), value));
            }
        }
        Ok(inputs)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// `INPUT_<NAME>` and value of each, in order.
    pub fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        let variable = |name: &str| format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
        self.0.iter().map(move |(name, value)| (variable(name), value.as_str()))
    }
}

/// A default knows no inputs, so any expression in it is one too many.
fn literal(text: &str) -> Result<String, TemplateError> {
    match text.split_once("${{") {
        None => Ok(text.to_owned()),
        Some((_, after)) => {
            let expression = after.split("}}").next().unwrap_or_default().trim().to_owned();
            Err(TemplateError::Unsupported { expression })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action() -> Action {
        let yaml = "{inputs: {Who: {default: all}, token: {default: '${{ github.token }}'}}, \
                    runs: {using: docker, image: Dockerfile}}";
        Action::from_yaml(yaml).unwrap()
    }

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn given_inputs_come_first_and_defaults_fill_up() {
        let given = given(&[("fetch-depth", "1"), ("TOKEN", "t"), ("two words", "x")]);
        let inputs = Inputs::new(&given, &action()).unwrap();
        let variables: Vec<_> = inputs.variables().collect();
        let expected = [
            ("INPUT_FETCH-DEPTH", "1"),
            ("INPUT_TOKEN", "t"),
            ("INPUT_TWO_WORDS", "x"),
            ("INPUT_WHO", "all"),
        ];
        assert_eq!(variables, expected.map(|(n, v)| (n.to_owned(), v)));
        assert_eq!(inputs.get("WHO"), Some("all"));
    }

    #[test]
    fn a_default_with_an_expression_names_the_input_that_would_help() {
        let error = Inputs::new(&[], &action()).unwrap_err();
        assert_eq!(error.to_string(), "input 'token' was not given and its default cannot be used");
        assert!(error.source.to_string().contains("github.token"), "{}", error.source);
    }
}
