//! Arguments of other stages: the original Kaniko does not forget them, and has one value of each.

use std::collections::BTreeMap;

use super::stage::Writer;
use super::{Builder, variables};
use crate::dockerfile::lines::Instruction;
use crate::dockerfile::stages::Stage;

/// Names that are remembered.
const MOST: usize = 1000;

/// What Kaniko has of the stages that are written; none: the value cannot be determined.
#[derive(Default)]
pub(super) struct Leaked(BTreeMap<String, Option<String>>);

impl Leaked {
    /// A stage before has it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Sets the arguments that a stage uses to what docker knows of them: to those of its base, or to nothing.
pub(super) fn begin(writer: &mut Writer<'_>, stage: &Stage) {
    if writer.builder != Builder::Original {
        return;
    }
    let texts = |one: &Instruction| {
        let heredocs = one.heredocs.iter().map(|heredoc| heredoc.text.as_str());
        [one.text.as_str()].into_iter().chain(heredocs).collect::<Vec<_>>().join("\n")
    };
    let text: String = stage.instructions.iter().map(texts).collect();
    let used = writer.leaked.0.iter().filter(|(name, _)| text.contains(name.as_str()));
    let used: Vec<_> = used.map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, kept) in used {
        let own = writer.scope.argument(&name).map(|value| value.map(str::to_owned));
        let value = match own {
            None => {
                let asks =
                    ["-", "+", "?"].iter().any(|one| text.contains(&format!("${{{name}{one}")));
                if asks {
                    let problem = format!("the builder knows ARG {name} of another stage as empty");
                    writer.warn(stage.from.line, problem);
                }
                String::new()
            }
            Some(Some(value)) if kept.as_ref() != Some(&value) => value,
            Some(_) => continue,
        };
        writer.line(&format!("ARG {name}={}", variables::escaped_word(&value)));
        writer.leaked.0.insert(name, Some(value));
    }
}

/// Remembers what a stage has.
pub(super) fn end(writer: &mut Writer<'_>) {
    if writer.builder != Builder::Original {
        return;
    }
    for (name, value) in writer.scope.arguments() {
        if writer.leaked.0.len() < MOST || writer.leaked.has(name) {
            writer.leaked.0.insert(name.clone(), value.clone());
        }
    }
}
