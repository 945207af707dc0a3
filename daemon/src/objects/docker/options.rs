//! `options:` of a container, which are docker's: what of them Kubernetes has.
//!
//! The text is taken apart as a shell would (quotes, backslashes), without expansion. One table
//! (`table.rs`) knows every flag of `docker create`. Each flag is applied to the container, refused
//! (`policy.rs`), or named in a warning; none is dropped silently.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Failure;
use crate::objects::docker::volumes::UserVolume;
use crate::objects::error::SpecError;

mod apply;
mod asked;
mod health;
mod policy;
mod table;
mod take;
mod values;
mod words;

use health::Health;
use policy::Power;
use table::{FLAGS, Flag};

/// More text than this is a mistake.
const LONGEST: usize = 64 << 10;

/// The kinds of containers that options are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// The job container, whose program is stepd.
    Job,
    /// A service.
    Service,
    /// A container step.
    Step,
}

/// `--add-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name, as given.
    pub name: String,
    /// An IP address or `host-gateway`, as given, without brackets.
    pub address: String,
}

/// `--user`; at least the user is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    user: i64,
    group: Option<i64>,
}

/// What the options of one container ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateOptions {
    /// The long names of the flags that were given, in any spelling.
    flags: BTreeSet<&'static str>,
    /// In thousandths.
    cpus: Option<u64>,
    /// In bytes, as all sizes.
    memory: Option<u64>,
    memory_reservation: Option<u64>,
    shm_size: Option<u64>,
    user: Option<User>,
    /// The last --user, as given.
    user_text: String,
    groups: Vec<i64>,
    working_directory: Option<String>,
    entrypoint: Option<String>,
    environment: BTreeMap<String, String>,
    /// Names under which the container is found: --name, --network-alias, --hostname.
    pub names: Vec<String>,
    /// The last --hostname.
    hostname: Option<String>,
    /// --add-host.
    pub hosts: Vec<ExtraHost>,
    /// --volume, --mount and --tmpfs.
    volumes: Vec<UserVolume>,
    privileged: bool,
    read_only: bool,
    init: bool,
    tty: bool,
    stdin: bool,
    no_new_privileges: bool,
    seccomp_unconfined: bool,
    apparmor_unconfined: bool,
    pull_policy: Option<&'static str>,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    health: Health,
    /// Options that need the administrator's permission whatever else is given.
    powers: Vec<Power>,
    /// One line for each flag that has no equivalent.
    warnings: Vec<String>,
}

/// A flag with its value; a switch's is "true" or "false".
struct Given {
    flag: &'static Flag,
    value: String,
}

/// Reads the options of a container.
///
/// # Errors
/// `INVALID_INPUT` for a flag that docker does not know, or a value that it would not take.
pub fn parse(text: &str) -> Result<CreateOptions, Failure> {
    if text.len() > LONGEST {
        return Err(invalid("...", &format!("are longer than {LONGEST} bytes")));
    }
    let mut options = CreateOptions::default();
    let mut words = words::split(text)?.into_iter();
    while let Some(word) = words.next() {
        for Given { flag, value } in find(&word, &mut words)? {
            options.flags.insert(flag.name);
            options.take(flag, &value)?;
        }
    }
    if let (Some(limit), Some(reserved)) = (options.memory, options.memory_reservation)
        && reserved > limit
    {
        return Err(invalid("--memory-reservation", "is larger than `--memory`"));
    }
    Ok(options)
}

/// The long names of all flags, without their dashes.
pub fn flag_names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|flag| flag.name)
}

/// The flags of a word, with the values that are joined to it or follow it.
fn find(word: &str, more: &mut impl Iterator<Item = String>) -> Result<Vec<Given>, Failure> {
    let unknown = || invalid(word, "is not a flag of `docker create`");
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        let flag = FLAGS.iter().find(|flag| flag.name == name).ok_or_else(unknown)?;
        return Ok(vec![with_value(flag, word, value, more)?]);
    }
    let mut letters = word.strip_prefix('-').filter(|rest| !rest.is_empty()).ok_or_else(unknown)?;
    let mut found = Vec::new();
    // Letters of switches may be joined: `-itu 0` is three flags.
    while let Some(letter) = letters.chars().next() {
        let flag = FLAGS.iter().find(|flag| flag.short == Some(letter)).ok_or_else(unknown)?;
        letters = &letters[letter.len_utf8()..];
        let joined = match letters.strip_prefix('=') {
            Some(value) => Some(value),
            None if flag.takes_value && !letters.is_empty() => Some(letters),
            None => None,
        };
        found.push(with_value(flag, word, joined, more)?);
        if joined.is_some() {
            break;
        }
    }
    Ok(found)
}

fn with_value(
    flag: &'static Flag,
    word: &str,
    joined: Option<&str>,
    more: &mut impl Iterator<Item = String>,
) -> Result<Given, Failure> {
    let value = match (flag.takes_value, joined) {
        (true, Some(value)) => value.to_owned(),
        (true, None) => more.next().ok_or_else(|| invalid(word, "needs a value"))?,
        (false, None) => true.to_string(),
        (false, Some(value)) => values::boolean(value)
            .ok_or_else(|| invalid(word, "is neither true nor false"))?
            .to_string(),
    };
    Ok(Given { flag, value })
}

fn invalid(what: &str, why: &str) -> Failure {
    SpecError::InvalidOption { option: what.to_owned(), problem: why.to_owned() }.into()
}

#[cfg(test)]
mod coverage;
#[cfg(test)]
mod tests;
