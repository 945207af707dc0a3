//! `options:` of a container, which are docker's: what of them Kubernetes has.
//!
//! The text is taken apart as a shell would (quotes, backslashes), without expansion. One table
//! (`table.rs`) knows every flag of `docker create`: those that mean something here, and
//! those that have no equivalent, of which each gets a warning that names it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Failure, Reason};

mod apply;
mod table;

use table::{FLAGS, Flag, Meaning};

/// What the options of one container ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateOptions {
    cpus: Option<String>,
    memory: Option<String>,
    memory_reservation: Option<String>,
    user: Option<(i64, Option<i64>)>,
    groups: Vec<i64>,
    working_directory: Option<String>,
    entrypoint: Option<String>,
    environment: BTreeMap<String, String>,
    /// Names by which the container is to be found: --name, --network-alias, --hostname.
    pub names: Vec<String>,
    /// --add-host: address and name.
    pub hosts: Vec<(String, String)>,
    shm_size: Option<String>,
    tmpfs: Vec<(String, Option<String>)>,
    privileged: bool,
    read_only: bool,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    health: Health,
    /// One line for each flag that has no equivalent.
    pub warnings: Vec<String>,
}

/// When a container counts as healthy: what differs from its image's HEALTHCHECK.
#[derive(Clone, Debug, Default, PartialEq)]
struct Health {
    command: Option<String>,
    /// --no-healthcheck.
    none: bool,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    start_period: Option<Duration>,
    retries: Option<u32>,
}

/// Reads the options of a container.
///
/// # Errors
/// `INVALID_INPUT` for a flag that docker does not know, or a value that it would not take.
pub fn parse(text: &str) -> Result<CreateOptions, Failure> {
    let mut options = CreateOptions::default();
    let mut words = split(text)?.into_iter();
    while let Some(word) = words.next() {
        let (flag, given) = find(&word)?;
        let value = match (flag.takes_value, given) {
            (false, Some(value)) if value != "true" => continue,
            (false, _) => String::new(),
            (true, Some(value)) => value,
            (true, None) => words.next().ok_or_else(|| invalid(&word, "needs a value"))?,
        };
        options.take(flag, &value)?;
    }
    Ok(options)
}

/// The flag of a word, and the value that is joined to it.
fn find(word: &str) -> Result<(&'static Flag, Option<String>), Failure> {
    let unknown = || invalid(word, "is not a flag of `docker create`");
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        let flag = FLAGS.iter().find(|flag| flag.name == name).ok_or_else(unknown)?;
        return Ok((flag, value.map(str::to_owned)));
    }
    let mut letters = word.strip_prefix('-').ok_or_else(unknown)?.chars();
    let short = letters.next().ok_or_else(unknown)?;
    let flag = FLAGS.iter().find(|flag| flag.short == Some(short)).ok_or_else(unknown)?;
    let joined = letters.as_str();
    let value = joined.strip_prefix('=').unwrap_or(joined);
    Ok((flag, (!joined.is_empty() && flag.takes_value).then(|| value.to_owned())))
}

impl CreateOptions {
    fn take(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        let wrong = |what: &str| invalid(&format!("--{} {value}", flag.name), what);
        match flag.meaning {
            Meaning::Nothing => {}
            Meaning::NoEquivalent => self.warnings.push(format!(
                "`--{}` in `options:` has no equivalent in Kubernetes and is ignored",
                flag.name
            )),
            Meaning::Cpus => self.cpus = Some(value.to_owned()),
            Meaning::Memory => self.memory = Some(bytes(value).ok_or_else(|| wrong("is no size"))?),
            Meaning::MemoryReservation => {
                self.memory_reservation = Some(bytes(value).ok_or_else(|| wrong("is no size"))?);
            }
            Meaning::ShmSize => self.shm_size = Some(bytes(value).ok_or_else(|| wrong("is no size"))?),
            Meaning::User => match user(value) {
                Some(user) => self.user = Some(user),
                None => self.warnings.push(format!(
                    "`--user {value}` in `options:` is ignored: Kubernetes takes numbers only, as in 1001:1001"
                )),
            },
            Meaning::Group => match value.parse() {
                Ok(group) => self.groups.push(group),
                Err(_) => self.warnings.push(format!(
                    "`--group-add {value}` in `options:` is ignored: Kubernetes takes numbers only"
                )),
            },
            Meaning::WorkingDirectory => self.working_directory = Some(value.to_owned()),
            Meaning::Entrypoint => self.entrypoint = Some(value.to_owned()),
            Meaning::Environment => match value.split_once('=') {
                Some((name, value)) => {
                    self.environment.insert(name.to_owned(), value.to_owned());
                }
                None => self.warnings.push(format!(
                    "`--env {value}` in `options:` is ignored: it has no value"
                )),
            },
            Meaning::Name => self.names.push(value.to_owned()),
            Meaning::Host => {
                let (name, address) = value.split_once([':', '=']).ok_or_else(|| wrong("is not NAME:ADDRESS"))?;
                self.hosts.push((address.trim_matches(['[', ']']).to_owned(), name.to_owned()));
            }
            Meaning::Tmpfs => {
                let (path, options) = value.split_once(':').unwrap_or((value, ""));
                let size = options.split(',').find_map(|option| option.strip_prefix("size="));
                self.tmpfs.push((path.to_owned(), size.and_then(bytes)));
            }
            Meaning::Privileged => self.privileged = true,
            Meaning::ReadOnly => self.read_only = true,
            Meaning::CapAdd => self.cap_add.push(capability(value)),
            Meaning::CapDrop => self.cap_drop.push(capability(value)),
            Meaning::HealthCommand => self.health.command = Some(value.to_owned()),
            Meaning::NoHealth => self.health.none = true,
            Meaning::HealthInterval => {
                self.health.interval = Some(duration(value).ok_or_else(|| wrong("is no time"))?);
            }
            Meaning::HealthTimeout => {
                self.health.timeout = Some(duration(value).ok_or_else(|| wrong("is no time"))?);
            }
            Meaning::HealthStart => {
                self.health.start_period = Some(duration(value).ok_or_else(|| wrong("is no time"))?);
            }
            Meaning::HealthRetries => {
                self.health.retries = Some(value.parse().map_err(|_| wrong("is no number"))?);
            }
        }
        Ok(())
    }
}

fn invalid(what: &str, why: &str) -> Failure {
    Failure::new(
        Reason::InvalidInput,
        format!("`{what}` in `options:` of a container {why}"),
        "Correct the workflow: `options:` takes the flags of `docker create`",
    )
}

/// Words as a shell sees them: quotes and backslashes, no expansion.
fn split(text: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Takes the rest of a quotation.
fn quoted(
    quote: char,
    letters: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), Failure> {
    loop {
        match letters.next().ok_or_else(|| invalid(&quote.to_string(), "is not closed"))? {
            letter if letter == quote => return Ok(()),
            '\\' if quote == '"' => match letters.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                other => word.extend(['\\'].into_iter().chain(other)),
            },
            letter => word.push(letter),
        }
    }
}

/// "512m" of docker as a quantity in bytes.
fn bytes(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: f64 = match &text[digits.len()..] {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1_048_576.0,
        "g" | "gb" | "gib" => 1_073_741_824.0,
        "t" | "tb" | "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok().filter(|number| *number > 0.0)?;
    Some(format!("{:.0}", number * factor))
}

/// "1m30s" of docker (Go's durations).
fn duration(text: &str) -> Option<Duration> {
    let mut left = text.trim();
    let mut total = 0.0;
    while !left.is_empty() {
        let end = left.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = left[..end].parse().ok()?;
        let unit: String = left[end..].chars().take_while(|l| l.is_ascii_alphabetic()).collect();
        total += number
            * match unit.as_str() {
                "ns" => 1e-9,
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        left = &left[end + unit.len()..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn user(text: &str) -> Option<(i64, Option<i64>)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    // The one name whose number is known without the image.
    let number = |name: &str| if name == "root" { Some(0) } else { name.parse().ok() };
    let group = match group {
        Some(group) => Some(number(group)?),
        None => None,
    };
    Some((number(user)?, group))
}

/// Kubernetes has the names without their prefix.
fn capability(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

#[cfg(test)]
mod tests;
