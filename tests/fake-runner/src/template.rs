//! Text with `${{ }}` expressions in it.

use thiserror::Error;

/// Why a text cannot be evaluated here.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// Simple names of a few contexts are known.
    #[error("the expression '${{{{ {expression} }}}}' is not supported here")]
    Unsupported {
        /// What stands between the braces.
        expression: String,
    },
    /// `${{` without `}}`.
    #[error("'{text}' opens an expression and does not close it")]
    Unclosed {
        /// The whole text.
        text: String,
    },
}

/// Replaces every `${{ inputs.<name> }}` by what `input` says, unknown names by nothing.
///
/// # Errors
///
/// [`TemplateError`] for any other expression.
pub fn evaluate<'a>(
    text: &str,
    input: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, TemplateError> {
    evaluate_with(text, |expression| {
        let name = input_name(expression)?;
        Some(input(name).unwrap_or_default().to_owned())
    })
}

/// Replaces every `${{ expression }}` by what `resolve` makes of it.
///
/// # Errors
///
/// [`TemplateError`] for an expression of which it makes nothing.
pub fn evaluate_with(
    text: &str,
    resolve: impl Fn(&str) -> Option<String>,
) -> Result<String, TemplateError> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after
            .split_once("}}")
            .ok_or_else(|| TemplateError::Unclosed { text: text.to_owned() })?;
        let value = resolve(expression.trim())
            .ok_or_else(|| TemplateError::Unsupported { expression: expression.trim().into() })?;
        result.push_str(before);
        result.push_str(&value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

fn input_name(expression: &str) -> Option<&str> {
    let (context, name) = expression.split_once('.')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (context.eq_ignore_ascii_case("inputs") && !name.is_empty() && name.chars().all(plain))
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(name: &str) -> Option<&'static str> {
        match name {
            "who" => Some("world"),
            "fetch-depth" => Some("1"),
            _ => None,
        }
    }

    #[test]
    fn inputs_are_replaced_within_other_text() {
        let text = "hello ${{ inputs.who }}, --depth=${{inputs.fetch-depth}}${{ inputs.none }}!";
        assert_eq!(evaluate(text, inputs).unwrap(), "hello world, --depth=1!");
    }

    #[test]
    fn dollars_and_braces_that_are_no_expression_stay() {
        assert_eq!(
            evaluate("$$ $(HOME) ${HOME} {{ }}", inputs).unwrap(),
            "$$ $(HOME) ${HOME} {{ }}"
        );
    }

    #[test]
    fn another_expression_is_refused_by_name() {
        let error = evaluate("${{ github.token }}", inputs).unwrap_err();
        assert!(error.to_string().contains("'${{ github.token }}'"), "{error}");
        assert!(evaluate("${{ inputs.who || 'x' }}", inputs).is_err());
    }

    #[test]
    fn an_open_expression_is_refused() {
        assert!(matches!(evaluate("${{ inputs.who", inputs), Err(TemplateError::Unclosed { .. })));
    }
}
