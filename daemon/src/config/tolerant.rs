//! Settings that cannot be used: hookd warns and takes the default, since a sidecar that ends for a
//! misspelt number takes the runner with it.

use clap::{Arg, Command};

/// The same command, without the environment variables whose values it would refuse, and a line on
/// each of them.
pub fn tolerant(mut command: Command) -> (Command, Vec<String>) {
    let mut warnings = Vec::new();
    command = command.mut_args(|arg| usable(arg, &mut warnings));
    command = command.mut_subcommands(|command| command.mut_args(|arg| usable(arg, &mut warnings)));
    // Arguments of the same name stand in several commands.
    warnings.sort();
    warnings.dedup();
    (command, warnings)
}

/// The argument, without its environment variable if clap would refuse the variable's value.
fn usable(arg: Arg, warnings: &mut Vec<String>) -> Arg {
    let Some(name) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else {
        return arg;
    };
    let alone = Command::new("hookd").disable_help_flag(true).arg(arg.clone().required(false));
    let Err(error) = alone.try_get_matches_from(["hookd"]) else { return arg };
    let default: Vec<_> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let instead = match default.join(",") {
        none if none.is_empty() => "the default is used".to_owned(),
        default => format!("the default {default} is used"),
    };
    warnings.push(format!("{name} cannot be used, and {instead}: {}", reason(&error)));
    arg.env(None::<&str>)
}

/// The first line of clap's message, without what it says of flags.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::value_parser;

    #[test]
    fn a_variable_that_cannot_be_used_is_named() {
        // A variable that is set wherever tests run, and is no number.
        let number = Arg::new("number").long("number").env("PATH").default_value("600");
        let number = number.value_parser(value_parser!(u16));
        let text = Arg::new("text").long("text").env("PATH");
        let command = Command::new("x").subcommand(Command::new("daemon").args([number, text]));
        let (command, warnings) = tolerant(command);
        let matches = command.try_get_matches_from(["x", "daemon"]).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        assert_eq!(matches.get_one::<u16>("number"), Some(&600));
        assert!(matches.get_one::<String>("text").is_some());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("PATH cannot be used, and the default 600 is used: "));
    }
}
