//! Which of docker's options may be given, and how much they may ask for.

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::error::PolicyError;
use super::file::OptionRules;
use crate::config::quantity::quantity;
use crate::objects::docker::options::{self, CreateOptions};
use crate::objects::docker::volumes::VolumeSource;
use crate::registry::pattern::matches_part;

/// A flag by its long name, or several with `*`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(try_from = "String")]
pub(super) struct FlagPattern(String);

impl TryFrom<String> for FlagPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = Self(text);
        let is_known = options::flag_names().any(|name| pattern.allows(name));
        is_known.then(|| pattern.clone()).ok_or_else(|| {
            format!("{:?} is no long flag of `docker create`, such as --cpus", pattern.0)
        })
    }
}

impl FlagPattern {
    fn allows(&self, name: &str) -> bool {
        self.0.strip_prefix("--").is_some_and(|pattern| matches_part(pattern, name))
    }
}

/// A capability, in capitals and without "CAP_"; or ALL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(from = "String")]
pub(super) struct Capability(String);

impl From<String> for Capability {
    fn from(text: String) -> Self {
        let text = text.trim().to_ascii_uppercase();
        Self(text.strip_prefix("CAP_").unwrap_or(&text).to_owned())
    }
}

/// A Kubernetes quantity.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[cfg_attr(test, serde(into = "String"))]
#[serde(try_from = "String")]
pub(super) struct Amount {
    text: String,
    amount: f64,
}

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match quantity(&text) {
            Some(amount) if amount > 0.0 => Ok(Self { text, amount }),
            _ => Err(format!("{text:?} is not an amount above 0 such as 500m, 2 or 4Gi")),
        }
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.text
    }
}

/// What the rules refuse of the options of a container.
pub(super) fn check(
    rules: &OptionRules,
    container: &str,
    options: &CreateOptions,
) -> Vec<PolicyError> {
    let judge = Judge { rules, container, options };
    let flags = judge.flags().chain(judge.powers()).chain(judge.capabilities());
    flags.chain(judge.ids()).chain(judge.amounts()).collect()
}

struct Judge<'a> {
    rules: &'a OptionRules,
    container: &'a str,
    options: &'a CreateOptions,
}

impl<'a> Judge<'a> {
    fn refused(&self, option: String, rule: &str) -> PolicyError {
        let container = self.container.to_owned();
        PolicyError::OptionNotAllowed { container, option, rule: format!("options.{rule}") }
    }

    fn flags(&self) -> impl Iterator<Item = PolicyError> {
        let rule = self.rules.allowed.as_ref();
        let given = rule.into_iter().flat_map(|allowed| {
            let is_refused = |name: &&str| !allowed.iter().any(|pattern| pattern.allows(name));
            self.options.flags().filter(is_refused)
        });
        given.map(|name| self.refused(format!("--{name}"), "allowed"))
    }

    /// The setting HOOKD_ALLOW_PRIVILEGED decides the same: both must allow it.
    fn powers(&self) -> impl Iterator<Item = PolicyError> {
        let is_refused = self.rules.privileged == Some(false);
        let powers = self.options.powers().filter(move |_| is_refused);
        powers.map(|option| self.refused(option, "privileged"))
    }

    fn capabilities(&self) -> impl Iterator<Item = PolicyError> {
        let rule = self.rules.capabilities.as_ref();
        let added = rule.into_iter().flat_map(|allowed| {
            let is_refused = |name: &&String| {
                !allowed.iter().any(|Capability(one)| one == "ALL" || one == *name)
            };
            self.options.added_capabilities().iter().filter(is_refused)
        });
        added.map(|name| self.refused(format!("--cap-add {name}"), "capabilities"))
    }

    fn ids(&self) -> impl Iterator<Item = PolicyError> {
        let refused = |allowed: &'a Option<Vec<i64>>, id: i64| {
            allowed.as_ref().is_some_and(|allowed| !allowed.contains(&id))
        };
        let user = self.options.user_id().filter(|id| refused(&self.rules.users, *id));
        let user = user.map(|id| self.refused(format!("--user {id}"), "users"));
        let groups = self.options.group_ids().filter(move |id| refused(&self.rules.groups, *id));
        let groups = groups.map(|id| self.refused(format!("group {id}"), "groups"));
        // Which id a name has, an image says.
        let name = self.options.user_name().filter(|_| self.rules.users.is_some());
        let name = name.map(|name| self.refused(format!("--user {name}"), "users"));
        let group = self.options.group_name().filter(|_| self.rules.groups.is_some());
        let group = group.map(|name| self.refused(format!("group {name}"), "groups"));
        user.into_iter().chain(name).chain(group).chain(groups)
    }

    fn amounts(&self) -> impl Iterator<Item = PolicyError> {
        let cpus = self.options.milli_cpus().map(|milli| ("--cpus".to_owned(), milli));
        let cpus = cpus.into_iter().filter_map(|(option, milli)| {
            let asked = milli as f64 / 1000.0;
            self.more_than(self.rules.cpus.as_ref(), option, asked, "cpus")
        });
        let in_memory = self.options.volumes().filter_map(|volume| match volume.source {
            VolumeSource::Memory(Some(size)) => Some((volume.written, size)),
            _ => None,
        });
        let memory = self.options.memory_sizes().map(|(flag, size)| (flag.to_owned(), size));
        let memory = memory.chain(in_memory).filter_map(|(option, size)| {
            self.more_than(self.rules.memory.as_ref(), option, size as f64, "memory")
        });
        cpus.chain(memory)
    }

    fn more_than(
        &self,
        most: Option<&Amount>,
        option: String,
        asked: f64,
        rule: &str,
    ) -> Option<PolicyError> {
        let most = most.filter(|most| asked > most.amount)?;
        Some(PolicyError::TooMuch {
            container: self.container.to_owned(),
            option,
            most: most.text.clone(),
            rule: format!("options.{rule}"),
        })
    }
}
