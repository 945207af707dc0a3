//! The contexts that expressions of a job may name.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::inputs::Inputs;
use crate::template::{self, TemplateError};
use crate::variables::Variables;

/// What expressions see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// `inputs` of a composite action.
    pub(crate) inputs: Option<Inputs>,
    /// `steps.<id>.outputs`.
    pub(crate) outputs: BTreeMap<String, Variables>,
    /// `steps.<id>.outcome`.
    pub(crate) outcomes: BTreeMap<String, &'static str>,
    /// `github.action_path`, in the container.
    pub(crate) action_path: Option<String>,
    /// `github.workspace`, in the container.
    pub(crate) workspace: String,
    /// `job.container.id` and `.network`.
    pub(crate) container: (String, String),
    /// `job.services.<name>`.
    pub(crate) services: BTreeMap<String, Value>,
}

impl Scope {
    /// The text with its expressions evaluated.
    pub(crate) fn evaluate(&self, text: &str, env: &Variables) -> Result<String, TemplateError> {
        template::evaluate_with(text, |expression| self.resolve(expression, env))
    }

    /// Names and values, with the expressions in values evaluated.
    pub(crate) fn evaluate_all(
        &self,
        pairs: &[(String, String)],
        env: &Variables,
    ) -> Result<Vec<(String, String)>, TemplateError> {
        let evaluated =
            |(name, text): &(String, String)| Ok((name.clone(), self.evaluate(text, env)?));
        pairs.iter().map(evaluated).collect()
    }

    fn resolve(&self, expression: &str, env: &Variables) -> Option<String> {
        let parts: Vec<_> =
            expression.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
        let owned = |text: Option<&str>| Some(text.unwrap_or_default().to_owned());
        match parts.as_slice() {
            ["inputs", name] => owned(self.inputs.as_ref()?.get(name)),
            ["env", name] => owned(env.get(name)),
            ["steps", id, "outputs", name] => {
                owned(self.outputs.get(*id).and_then(|outputs| outputs.get(name)))
            }
            ["steps", id, "outcome"] => owned(self.outcomes.get(*id).copied()),
            ["github", "action_path"] => owned(self.action_path.as_deref()),
            ["github", "workspace"] => Some(self.workspace.clone()),
            ["job", "container", "id"] => Some(self.container.0.clone()),
            ["job", "container", "network"] => Some(self.container.1.clone()),
            ["job", "services", name, field @ ("id" | "network")] => {
                owned(self.services.get(*name)?[field].as_str())
            }
            ["job", "services", name, "ports", port] => {
                let port = port.trim_matches('\'');
                owned(self.services.get(*name)?["ports"][port].as_str())
            }
            _ => None,
        }
    }
}

/// Whether a step with this `if:` runs in a job that has gone well so far or not.
pub(crate) fn holds(condition: Option<&str>, success: bool) -> Result<bool, String> {
    let condition = condition.unwrap_or("success()").trim();
    let inner = condition.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    match inner.unwrap_or(condition).trim() {
        "success()" => Ok(success),
        "failure()" => Ok(!success),
        "always()" => Ok(true),
        "cancelled()" => Ok(false),
        other => Err(format!("has a condition that is not known here: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_context_is_read_and_others_are_refused() {
        let mut scope = Scope { workspace: "/__w/d/d".into(), ..Scope::default() };
        scope.outputs.insert("a".into(), Variables::from_iter([("x", "1")]));
        scope.outcomes.insert("a".into(), "failure");
        scope.services.insert(
            "web".into(),
            serde_json::json!({"id": "i", "network": "n", "ports": {"80": "8080"}}),
        );
        let env = Variables::from_iter([("E", "e")]);
        let text = "${{ steps.a.outputs.x }}${{steps.a.outputs.none}} ${{ env.E }} \
                    ${{ job.services.web.ports['80'] }} ${{ job.services.web.ports[80] }} \
                    ${{ job.services.web.id }} ${{ github.workspace }} ${{ steps.a.outcome }}";
        assert_eq!(scope.evaluate(text, &env).unwrap(), "1 e 8080 8080 i /__w/d/d failure");
        assert!(scope.evaluate("${{ secrets.X }}", &env).is_err());
    }

    #[test]
    fn a_condition_decides_by_how_the_job_went() {
        for (condition, after_success, after_failure) in [
            (None, true, false),
            (Some("failure()"), false, true),
            (Some("${{ always() }}"), true, true),
        ] {
            assert_eq!(holds(condition, true), Ok(after_success));
            assert_eq!(holds(condition, false), Ok(after_failure));
        }
        assert!(holds(Some("github.ref == 'x'"), true).is_err());
    }
}
