//! Programs that work as PID 1 of their container only: init systems and supervisors of a whole
//! container. stepd is PID 1 itself, so that the kubelet has to start these.
//!
//! A container's file system is not known before it runs, so the command's words decide: the name of
//! the program, whatever its directory. Programs that are not found here, behind a script, say
//! themselves what is wrong ([`crate::stepd::pid_1`]).

/// Names of programs that refuse to run, or do something else, if they are not PID 1.
const INITS: [&str; 13] = [
    "finit",
    "init",
    "linuxrc",
    "my_init",
    "openrc-init",
    "preinit",
    "runit",
    "runit-init",
    "s6-linux-init",
    "s6-overlay-init",
    "s6-svscan",
    "systemd",
    "systemd-init",
];
/// These reap what others leave, which they can as PID 1, or where they are set to adopt orphans.
const REAPERS: [&str; 3] = ["tini", "tini-static", "docker-init"];
/// The variable that sets this.
const SUBREAPER: &str = "TINI_SUBREAPER";
/// Options of a reaper that take a value.
const WITH_VALUE: [char; 2] = ['p', 'e'];
/// Shells, which are asked for one command with `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// True if `command` starts a program that must be PID 1. `is_set` says whether the step sets a
/// variable.
pub fn wants_pid_1(command: &[String], is_set: &dyn Fn(&str) -> bool) -> bool {
    let Some((program, rest)) = command.split_first() else { return false };
    if SHELLS.contains(&base_name(program))
        && let Some(line) = shell_command(rest)
    {
        return starts_init(&first_words(line), is_set);
    }
    // An entrypoint that is a script commonly executes the init which it is given.
    let given = rest.iter().find(|argument| !argument.starts_with('-'));
    starts_init(command, is_set)
        || given.is_some_and(|given| given.starts_with('/') && is_init(base_name(given)))
}

fn starts_init(command: &[String], is_set: &dyn Fn(&str) -> bool) -> bool {
    let Some((program, rest)) = command.split_first() else { return false };
    let name = base_name(program);
    if REAPERS.contains(&name) {
        return !is_set(SUBREAPER) && !adopts_orphans(rest);
    }
    is_init(name) || (name == "busybox" && wants_pid_1(rest, is_set))
}

fn is_init(name: &str) -> bool {
    INITS.contains(&name)
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// `tini -s` and its like, also among other letters.
fn adopts_orphans(arguments: &[String]) -> bool {
    let mut arguments = arguments.iter();
    while let Some(letters) = arguments.next().and_then(|argument| argument.strip_prefix('-')) {
        if letters.is_empty() || letters == "-" {
            return false;
        }
        for (at, letter) in letters.char_indices() {
            if letter == 's' {
                return true;
            }
            if WITH_VALUE.contains(&letter) {
                if at + letter.len_utf8() == letters.len() {
                    arguments.next();
                }
                break;
            }
        }
    }
    false
}

/// The command of `sh -c command`, also of `sh -ec command`.
fn shell_command(arguments: &[String]) -> Option<&str> {
    let at = arguments.iter().position(|argument| {
        argument.starts_with('-') && !argument.starts_with("--") && argument.ends_with('c')
    })?;
    arguments[..at].iter().all(|argument| argument.starts_with('-')).then_some(())?;
    arguments.get(at + 1).map(String::as_str)
}

/// The words of a line without `exec`; quotes and variables are left as they are.
fn first_words(line: &str) -> Vec<String> {
    let words = line.split_whitespace().skip_while(|word| *word == "exec").take(8);
    words.map(|word| word.trim_matches(['"', '\'', ';']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(command: &[&str]) -> bool {
        let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
        wants_pid_1(&command, &|_| false)
    }

    // shinsenter/php#64, Nico640/docker-unms#80, kipsilabs/altmount#578, FaserF/hassio-addons#73
    #[test]
    fn programs_that_must_be_pid_1_are_known() {
        for command in [
            &["/init"][..],
            &["/init", "/bin/echo", "x"],
            &["init"],
            &["/sbin/init"],
            &["/usr/sbin/init", "--log-level=info"],
            &["/lib/systemd/systemd"],
            &["/usr/lib/systemd/systemd", "--system"],
            &["/bin/s6-svscan", "/etc/s6"],
            &["/package/admin/s6-overlay/libexec/s6-overlay-init"],
            &["runit"],
            &["/sbin/runit-init"],
            &["/sbin/openrc-init"],
            &["/sbin/my_init", "--", "true"],
            &["/bin/busybox", "init"],
            &["/linuxrc"],
            // Shell forms, which execute their one command.
            &["/bin/sh", "-c", "/init"],
            &["/bin/bash", "-ec", "exec /sbin/init"],
            &["sh", "-e", "-c", "exec '/init' --x"],
            &["busybox", "sh", "-c", "exec init"],
            // A script that executes what it is given.
            &["/entrypoint.sh", "/sbin/init"],
            &["docker-entrypoint.sh", "/usr/lib/systemd/systemd"],
            &["/bin/sh", "-e", "/init"],
            // Reapers that are not set to adopt orphans.
            &["tini", "--", "/app"],
            &["/sbin/tini", "-g", "--", "/app", "-s"],
            &["/usr/bin/tini-static", "-vv", "/app"],
            &["/sbin/docker-init", "-p", "s", "/app"],
            &["sh", "-c", "exec tini -- app"],
        ] {
            assert!(wants(command), "{command:?}");
        }
    }

    #[test]
    fn programs_that_run_anywhere_are_left_to_stepd() {
        for command in [
            &[][..],
            &["/bin/sh", "-c", "echo /init"],
            &["/bin/sh", "/init.sh"],
            &["sh", "script", "-c", "/init"],
            &["sh", "-c"],
            &["dumb-init", "--", "/app"],
            &["catatonit", "/app"],
            &["/usr/bin/init-database"],
            &["node", "init"],
            &["/app", "--init"],
            &["git", "init"],
            &["busybox", "echo", "init"],
            &["tini", "-s", "--", "/app"],
            &["tini", "-vsg", "/app"],
            &["tini", "-p", "SIGKILL", "-s", "--", "/app"],
            &["systemd-cat", "x"],
        ] {
            assert!(!wants(command), "{command:?}");
        }
        let tini = ["tini", "--", "/app"].map(str::to_owned);
        assert!(!wants_pid_1(&tini, &|name| name == "TINI_SUBREAPER"));
    }
}
