//! `hookd completions`: a script for each shell, which knows every command.
#![allow(clippy::unwrap_used, reason = "a test that cannot run hookd must fail")]

use std::io::Write as _;
use std::process::{Command, Stdio};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// What hookd prints; without the settings of the machine.
fn hookd(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookd"));
    let ran = command.env_clear().args(arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = hookd(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let named = list.lines().filter_map(|line| line.strip_prefix("  "));
    let named = named.filter(|line| !line.starts_with(' '));
    let names = named.map(|line| line.split(' ').next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn completions_of_each_shell_name_every_command() {
    let commands = commands();
    assert!(commands.iter().any(|name| name == "doctor") && commands.len() > 8, "{commands:?}");
    for shell in SHELLS {
        let script = hookd(&["completions", shell]);
        let missing: Vec<_> = commands.iter().filter(|name| !script.contains(*name)).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
        assert!(script.contains("socket-dir"), "{shell} has no options");
    }
}

#[test]
fn bash_takes_its_completions() {
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    let script = hookd(&["completions", "bash"]);
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn bash_completes_the_name_of_a_command() {
    let script = hookd(&["completions", "bash"]);
    let asks =
        "COMP_WORDS=(hookd doc); COMP_CWORD=1; _hookd hookd doc hookd; echo \"${COMPREPLY[*]}\"";
    let ran = Command::new("bash").args(["-c", &format!("{script}\n{asks}")]).output().unwrap();
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "doctor\n", "{:?}", ran.stderr);
}

#[test]
fn an_unknown_shell_is_refused_with_those_that_are_known() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookd"));
    let ran = command.env_clear().args(["completions", "tcsh"]).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(SHELLS.iter().all(|shell| said.contains(shell)), "{said}");
}
