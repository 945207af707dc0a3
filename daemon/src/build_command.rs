//! `hookd build DIR`: has the daemon of this runner build an image, as any other client of its API.
//!
//! The log goes to standard error, and the image by its digest to standard output. A daemon that is started
//! again meanwhile goes on where it was: see `call.rs`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hookd_api::transport::HOOKD_SOCKET;
use hookd_api::v1::{BuildImageStart, BuiltImage};
use serde_json::json;

use crate::ids;

mod call;

use call::{Call, CallError};

/// Exit code of a process that a signal ended: this and its number.
const SIGNALLED: u8 = 128;

/// What is built, and what is printed.
#[derive(Args, Clone, Debug)]
pub struct BuildCommand {
    /// Directory of the build context, beneath a directory that the daemon takes contexts from.
    directory: PathBuf,

    /// The Dockerfile. Default: `Dockerfile` in the directory.
    #[arg(short, long)]
    file: Option<PathBuf>,

    /// NAME=VALUE of an ARG, or NAME, whose value is that of the environment variable.
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,

    /// Name or number of the stage to build. Default: the last one.
    #[arg(long, default_value = "")]
    target: String,

    /// What the image is for, such as linux/arm64. Default: the daemon's own platform.
    #[arg(long, default_value = "")]
    platform: String,

    /// A further name of the image, registry/repository:tag, which the administrator must allow.
    #[arg(short, long = "tag")]
    tags: Vec<String>,

    /// Builds though an image of the same things is in the registry.
    #[arg(long)]
    no_cache: bool,

    /// What is printed of the image.
    #[arg(short, long, value_enum, default_value = "reference")]
    output: Output,

    /// Directory of the daemon's socket.
    #[arg(long, env = "HOOKD_SOCKET_DIR", default_value = "/run/hookd")]
    socket_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Its reference by digest.
    Reference,
    /// A JSON object with `reference`, `digest`, `size` and `tags`.
    Json,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
enum BuildCommandError {
    /// There is no such directory as the process stands in.
    #[error("{path:?} cannot be made an absolute path")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel has no random bytes for the step's id.
    #[error("no id can be made for the build")]
    NoId(#[source] io::Error),
    /// Standard output is closed.
    #[error("the image is built, and cannot be printed")]
    Print(#[source] io::Error),
    /// See [`CallError`].
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Builds; the exit code: 0 with an image, 1 without one, 128 + n if signal n ended it.
pub async fn run(command: &BuildCommand) -> u8 {
    match built(command).await {
        Ok(()) => 0,
        Err(BuildCommandError::Call(CallError::Signalled { number })) => SIGNALLED + number,
        Err(error) => {
            // Nothing is left to do about a closed standard error.
            let _ = writeln!(io::stderr(), "hookd build: {}", crate::error::report(&error));
            if let BuildCommandError::Call(CallError::Refused { remedy, .. }) = &error
                && !remedy.is_empty()
            {
                let _ = writeln!(io::stderr(), "hookd build: {remedy}");
            }
            1
        }
    }
}

async fn built(command: &BuildCommand) -> Result<(), BuildCommandError> {
    let socket = command.socket_dir.join(HOOKD_SOCKET);
    let image = Call::new(socket, start(command)?).run().await?;
    let printed = match command.output {
        Output::Reference => image.reference,
        Output::Json => as_json(&image),
    };
    writeln!(io::stdout(), "{printed}").map_err(BuildCommandError::Print)
}

fn as_json(image: &BuiltImage) -> String {
    let BuiltImage { reference, digest, size, tags } = image;
    json!({"reference": reference, "digest": digest, "size": size, "tags": tags}).to_string()
}

fn start(command: &BuildCommand) -> Result<BuildImageStart, BuildCommandError> {
    let unguessable = ids::unguessable().map_err(BuildCommandError::NoId)?;
    let context = absolute(&command.directory)?;
    let dockerfile = command.file.as_deref().map(absolute).transpose()?;
    Ok(BuildImageStart {
        step_id: format!("build-{unguessable}"),
        dockerfile: dockerfile.unwrap_or_default(),
        context,
        build_args: arguments(&command.build_args, |name| std::env::var(name).ok()),
        target: command.target.clone(),
        platform: command.platform.clone(),
        tags: command.tags.clone(),
        no_cache: command.no_cache,
        ..BuildImageStart::default()
    })
}

/// The daemon stands in another directory.
fn absolute(path: &Path) -> Result<String, BuildCommandError> {
    let invalid = |source| BuildCommandError::Path { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(invalid)?;
    let not_text = |_| invalid(io::ErrorKind::InvalidData.into());
    absolute.into_os_string().into_string().map_err(not_text)
}

/// As docker has it, a name without a value is left out if no variable has it.
fn arguments(
    given: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => variable(text).map(|value| (text.clone(), value)),
    };
    given.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        command: BuildCommand,
    }

    #[test]
    fn the_command_line_is_that_of_docker_build() {
        let line = "build app -f other/D --build-arg A=1=2 --build-arg HOME_OF_NOBODY --target t \
                    --platform linux/arm64 -t r.example/a:1 --tag r.example/b --no-cache";
        let start = start(&Cli::parse_from(line.split(' ')).command).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(Path::new(&start.context), here.join("app"));
        assert_eq!(Path::new(&start.dockerfile), here.join("other/D"));
        assert_eq!(start.build_args, BTreeMap::from([("A".to_owned(), "1=2".to_owned())]));
        assert_eq!((start.target.as_str(), start.platform.as_str()), ("t", "linux/arm64"));
        assert_eq!(start.tags, ["r.example/a:1", "r.example/b"]);
        assert!(start.no_cache && start.step_id.parse::<ids::StepId>().is_ok());
    }

    #[test]
    fn an_argument_without_a_value_is_that_of_the_environment() {
        let given = ["A", "B", "C="].map(str::to_owned);
        let found = arguments(&given, |name| (name == "A").then(|| "of env".to_owned()));
        let expected = [("A", "of env"), ("C", "")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    }
}
