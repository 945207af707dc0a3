//! What the runner writes to standard input, read leniently: any field may be absent or null, and
//! what is not known is ignored.
//!
//! Nothing of the input's values reaches an error message: they hold secrets.

use std::io::Read;
use std::path::PathBuf;

use hookd_api::v1::{ContainerSpec, ScriptSpec};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::report::Explain;

/// One call of the hook.
#[derive(Debug)]
pub(crate) struct Input {
    /// What to do.
    pub(crate) command: Command,
    /// Where the response goes; `None`: nowhere.
    pub(crate) response_file: Option<PathBuf>,
}

/// A command that hook can carry out.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make the job's containers and wait until they are ready.
    PrepareJob {
        /// The job container, if the job has one.
        container: Option<Box<ContainerSpec>>,
        /// The services.
        services: Vec<ContainerSpec>,
    },
    /// Run a program in the job container and pass on its output and exit code.
    RunScriptStep(Box<ScriptSpec>),
    /// Run one container and pass on its output and exit code.
    RunContainerStep(Box<ContainerSpec>),
    /// Delete everything that the job left in the cluster.
    CleanupJob,
}

/// An input that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Standard input cannot be read.
    #[error("Standard input cannot be read")]
    Read(#[source] std::io::Error),
    /// Nothing was written to standard input.
    #[error("Standard input is empty")]
    Empty,
    /// The input is not one JSON object.
    #[error("Standard input is not one JSON object: it goes wrong at line {line}, column {column}")]
    NotJson {
        /// Line of the input, from 1.
        line: usize,
        /// Column in that line, from 1; 0 if the line is empty.
        column: usize,
    },
    /// The input names no command.
    #[error("The hook input has no `command`")]
    NoCommand,
    /// The command is not one of the runner's.
    #[error("The hook command {0:?} is not known")]
    UnknownCommand(String),
    /// The command needs `args` and has none.
    #[error("The hook input of {0} has no `args`")]
    NoArgs(&'static str),
    /// A field of `args` has a type of its own.
    #[error("`{field}` in the `args` of {command} is not of the type that the runner sends")]
    UnreadableArgs {
        /// The command.
        command: &'static str,
        /// The first field that cannot be read.
        field: String,
    },
    /// No program.
    #[error("The `args` of run_script_step name no `entryPoint`")]
    NoEntryPoint,
    /// Neither image nor Dockerfile.
    #[error("The `args` of run_container_step name neither an `image` nor a `dockerfile`")]
    NoImage,
    /// Both image and Dockerfile.
    #[error("The `args` of run_container_step name both an `image` and a `dockerfile`")]
    TwoImages,
}

/// Reads one hook input from `reader`, to its end.
pub(crate) fn read(mut reader: impl Read) -> Result<Input, InputError> {
    let mut json = Vec::new();
    reader.read_to_end(&mut json).map_err(InputError::Read)?;
    parse(&json)
}

/// Reads one hook input from its JSON.
fn parse(json: &[u8]) -> Result<Input, InputError> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    if json.trim_ascii().is_empty() {
        return Err(InputError::Empty);
    }
    // The message of serde_json's error quotes the input; only its position is safe to print.
    let mut fields: Map<String, Value> = serde_json::from_slice(json)
        .map_err(|error| InputError::NotJson { line: error.line(), column: error.column() })?;
    let response_file = match fields.remove("responseFile") {
        Some(Value::String(path)) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => None,
    };
    let command = command(&fields.remove("command").unwrap_or_default(), fields.remove("args"))?;
    Ok(Input { command, response_file })
}

/// The command of that name, with its arguments.
fn command(name: &Value, args: Option<Value>) -> Result<Command, InputError> {
    match name.as_str() {
        None | Some("") => Err(InputError::NoCommand),
        Some("prepare_job") => preparation(Args::of("prepare_job", args)?),
        Some("run_script_step") => script(Args::of("run_script_step", args)?),
        Some("run_container_step") => container(Args::of("run_container_step", args)?),
        Some("cleanup_job") => Ok(Command::CleanupJob),
        Some(other) => Err(InputError::UnknownCommand(other.chars().take(64).collect())),
    }
}

/// The `args` of a command, without what is null.
struct Args {
    command: &'static str,
    fields: Map<String, Value>,
}

impl Args {
    fn of(command: &'static str, args: Option<Value>) -> Result<Self, InputError> {
        let mut fields = match args {
            None | Some(Value::Null) => return Err(InputError::NoArgs(command)),
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                return Err(InputError::UnreadableArgs { command, field: "args".to_owned() });
            }
        };
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
        Ok(Self { command, fields })
    }

    /// All fields as one message.
    fn read<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        T::deserialize(&self.fields).map_err(|_| self.unreadable(unreadable::<T>(&self.fields)))
    }

    /// One field, which may be absent.
    fn field<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, InputError> {
        let Some(value) = self.fields.get(name) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|_| self.unreadable(name.to_owned()))
    }

    fn unreadable(&self, field: String) -> InputError {
        InputError::UnreadableArgs { command: self.command, field }
    }
}

/// The containers that `args` describe.
fn preparation(args: Args) -> Result<Command, InputError> {
    let container = args.field("container")?;
    let services: Vec<ContainerSpec> = args.field("services")?.unwrap_or_default();
    Ok(Command::PrepareJob { container, services })
}

/// The program that `args` describe.
fn script(mut args: Args) -> Result<Command, InputError> {
    // Runners up to 2.293 sent one string.
    if let Some(Value::String(path)) = args.fields.get("prependPath") {
        let entries = path.split(':').filter(|entry| !entry.is_empty());
        let entries = entries.map(Value::from).collect();
        args.fields.insert("prependPath".to_owned(), Value::Array(entries));
    }
    let spec: ScriptSpec = args.read()?;
    if spec.entry_point.is_empty() {
        return Err(InputError::NoEntryPoint);
    }
    Ok(Command::RunScriptStep(Box::new(spec)))
}

/// The container that `args` describe.
fn container(args: Args) -> Result<Command, InputError> {
    let spec: ContainerSpec = args.read()?;
    match (spec.image.is_empty(), spec.dockerfile.is_empty()) {
        (true, true) => Err(InputError::NoImage),
        (false, false) => Err(InputError::TwoImages),
        _ => Ok(Command::RunContainerStep(Box::new(spec))),
    }
}

/// Removes members and elements that are null: the runner means absent.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => {
            elements.retain(|element| !element.is_null());
            elements.iter_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

/// Name of the first field that cannot be read; serde_json does not report it.
fn unreadable<T: DeserializeOwned>(fields: &Map<String, Value>) -> String {
    let fails = |(name, value): &(&String, &Value)| {
        let alone = Map::from_iter([((*name).clone(), (*value).clone())]);
        T::deserialize(&alone).is_err()
    };
    fields.iter().find(fails).map_or_else(|| "args".to_owned(), |(name, _)| name.clone())
}

// === impl InputError ===

impl Explain for InputError {
    fn title(&self) -> String {
        "The hook input cannot be used".to_owned()
    }

    fn remedy(&self) -> String {
        let remedy = match self {
            Self::UnknownCommand(_) => {
                "This version of hook knows prepare_job, run_script_step, run_container_step and \
                 cleanup_job: use a version of hookd that knows what this runner sends"
            }
            Self::NoImage | Self::TwoImages => {
                "Exactly one of the two must be set: check `runs.image` of the action"
            }
            _ => {
                "The runner writes this input: start hook through the runner's \
                 ACTIONS_RUNNER_CONTAINER_HOOKS, or give it the JSON that the runner would send"
            }
        };
        remedy.to_owned()
    }
}

#[cfg(test)]
mod tests;
