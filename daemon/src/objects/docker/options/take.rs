//! Takes one flag after the other.

use super::policy::Power;
use super::table::{Flag, Meaning};
use super::{CreateOptions, ExtraHost, User, invalid, values};
use crate::error::Failure;
use crate::objects::docker::volumes;

/// docker takes no lower limit.
const LEAST_MEMORY: u64 = 6 << 20;

impl CreateOptions {
    /// Takes a flag; a switch's value is "true" or "false".
    pub(super) fn take(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        let on = value == "true";
        match flag.meaning {
            Meaning::Privileged => self.privileged = on,
            Meaning::ReadOnly => self.read_only = on,
            Meaning::Init => self.init = on,
            Meaning::Terminal => self.tty = on,
            Meaning::Input => self.stdin = on,
            Meaning::NoHealth => self.health.none = on,
            Meaning::ContentTrust if on => {}
            // Only what turns the default off is worth a warning.
            Meaning::ContentTrust => self.no_equivalent(flag, "images are pulled by the kubelet"),
            Meaning::Nothing => {}
            Meaning::NoEquivalent(_) if !flag.takes_value && !on => {}
            Meaning::NoEquivalent(advice) => self.no_equivalent(flag, advice),
            Meaning::Power => self.power(flag, value),
            Meaning::Namespace => self.namespace(flag, value),
            Meaning::Network => self.network(flag, value)?,
            Meaning::SecurityOption => self.security_option(flag, value),
            Meaning::WorkingDirectory | Meaning::Entrypoint | Meaning::Environment => {
                self.program(flag, value)?;
            }
            Meaning::Name | Meaning::Hostname | Meaning::Host => self.name(flag, value)?,
            Meaning::Cpus | Meaning::Memory | Meaning::MemoryReservation | Meaning::ShmSize => {
                self.size(flag, value)?;
            }
            Meaning::User | Meaning::Group => self.user(flag, value)?,
            Meaning::Pull => self.pull(flag, value)?,
            Meaning::Volume | Meaning::Mount | Meaning::Tmpfs => self.volume(flag, value)?,
            Meaning::CapAdd | Meaning::CapDrop => {
                let name = values::capability(value)
                    .ok_or_else(|| wrong(flag, value, "is no capability"))?;
                let list = if flag.meaning == Meaning::CapAdd {
                    &mut self.cap_add
                } else {
                    &mut self.cap_drop
                };
                list.push(name);
            }
            _ => self.health(flag, value)?,
        }
        Ok(())
    }

    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn no_equivalent(&mut self, flag: &Flag, advice: &str) {
        self.warn(format!(
            "`--{}` in `options:` has no equivalent in Kubernetes and is ignored: {advice}",
            flag.name
        ));
    }

    /// Refused, or, where the administrator allows it, named: Kubernetes has nothing like it.
    fn power(&mut self, flag: &Flag, value: &str) {
        self.powers.push(Power { option: format!("--{} {value}", flag.name) });
        self.no_equivalent(flag, "the hook template can change the pod");
    }

    fn namespace(&mut self, flag: &Flag, value: &str) {
        match value {
            "" => {}
            "private" | "shareable" | "none" => self.no_equivalent(
                flag,
                "the containers of a job share the pod's network and IPC namespaces, and no others",
            ),
            _ => self.power(flag, value),
        }
    }

    fn network(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        // A plain name, or docker's longer form: name=x,alias=y.
        let fields: Vec<_> = value.split(',').map(|field| field.split_once('=')).collect();
        let mut name = value;
        if fields.iter().all(Option::is_some) {
            for (key, field) in fields.into_iter().flatten() {
                match key {
                    "name" => name = field,
                    "alias" => self.names.push(field.to_owned()),
                    "ip" | "ip6" | "mac-address" | "link-local-ip" | "driver-opt"
                    | "gw-priority" => {}
                    _ => return Err(wrong(flag, value, "is no network")),
                }
            }
        }
        if name == "host" || name.starts_with("container:") {
            self.power(flag, value);
        } else {
            self.no_equivalent(flag, "all containers of a job share the network of its pod");
        }
        Ok(())
    }

    fn security_option(&mut self, flag: &Flag, value: &str) {
        let (name, setting) = value.split_once(['=', ':']).unwrap_or((value, ""));
        match (name, setting) {
            ("no-new-privileges", "" | "true") => self.no_new_privileges = true,
            ("no-new-privileges", "false") => self.no_new_privileges = false,
            // The profile that each container has anyway.
            ("seccomp", "builtin" | "default") => self.seccomp_unconfined = false,
            ("seccomp", "unconfined") => {
                self.powers.push(Power { option: format!("--{} {value}", flag.name) });
                self.seccomp_unconfined = true;
            }
            ("apparmor", "unconfined") => {
                self.powers.push(Power { option: format!("--{} {value}", flag.name) });
                self.apparmor_unconfined = true;
            }
            _ => self.power(flag, value),
        }
    }

    fn program(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        match flag.meaning {
            Meaning::WorkingDirectory if !value.starts_with('/') => {
                return Err(wrong(flag, value, "is no absolute path"));
            }
            Meaning::WorkingDirectory => self.working_directory = Some(value.to_owned()),
            Meaning::Entrypoint if value.is_empty() => {
                self.no_equivalent(flag, "name a program; an image's ENTRYPOINT cannot be emptied");
            }
            Meaning::Entrypoint => self.entrypoint = Some(value.to_owned()),
            _ => match value.split_once('=') {
                Some(("", _)) => return Err(invalid("--env =...", "names no variable")),
                Some((name, value)) => {
                    self.environment.insert(name.to_owned(), value.to_owned());
                }
                None => self.warn(format!(
                    "`--env {value}` in `options:` is ignored: it has no value, and hookd's own \
                     environment is none of the job's. Write --env {value}=<value>"
                )),
            },
        }
        Ok(())
    }

    fn name(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        if flag.meaning != Meaning::Host {
            if flag.meaning == Meaning::Hostname {
                self.hostname = Some(value.to_owned());
            }
            self.names.push(value.to_owned());
            return Ok(());
        }
        let parts = value.split_once('=').or_else(|| value.split_once(':'));
        let (name, address) = parts
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| wrong(flag, value, "is not NAME:ADDRESS"))?;
        let plain = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let address = plain.unwrap_or(address).to_owned();
        self.hosts.push(ExtraHost { name: name.to_owned(), address });
        Ok(())
    }

    fn size(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        let bytes = || values::bytes(value).ok_or_else(|| wrong(flag, value, "is no size"));
        // docker takes 0 for no limit.
        let some = |number: u64| (number > 0).then_some(number);
        match flag.meaning {
            Meaning::Cpus => {
                let cpus = values::milli_cpus(value);
                self.cpus = some(cpus.ok_or_else(|| wrong(flag, value, "is no number of CPUs"))?);
            }
            Meaning::Memory => {
                self.memory = some(bytes()?);
                if self.memory.is_some_and(|memory| memory < LEAST_MEMORY) {
                    return Err(wrong(flag, value, "is below 6m, the least that docker takes"));
                }
            }
            Meaning::MemoryReservation => self.memory_reservation = some(bytes()?),
            _ => self.shm_size = some(bytes()?),
        }
        Ok(())
    }

    fn user(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        let name = flag.name;
        let (user, group) = value.split_once(':').map_or((value, None), |(u, g)| (u, Some(g)));
        let group = group.filter(|group| !group.is_empty());
        let numbers = [Some(user), group].into_iter().flatten();
        if let Some(number) = numbers.clone().find(|text| {
            !text.is_empty() && values::looks_numeric(text) && values::id(text).is_none()
        }) {
            return Err(wrong(flag, number, "is no id from 0 to 2147483647"));
        }
        let unknown = |text: &str| {
            format!(
                "`--{name} {text}` in `options:` is ignored: Kubernetes takes numbers only, as in \
                 --{name} 1001"
            )
        };
        if flag.meaning == Meaning::Group {
            match values::id(value) {
                Some(group) => self.groups.push(group),
                None => self.warn(unknown(value)),
            }
            return Ok(());
        }
        value.clone_into(&mut self.user_text);
        // docker takes no name at all for root.
        let id = if user.is_empty() && !value.is_empty() { Some(0) } else { values::id(user) };
        self.user = id.map(|user| User { user, group: group.and_then(values::id) });
        if !value.is_empty() && self.user.is_none() {
            self.warn(unknown(value));
        } else if group.is_some_and(|group| values::id(group).is_none()) {
            self.warn(format!(
                "The group of `--user {value}` in `options:` is ignored: Kubernetes takes numbers \
                 only, as in --user 1001:1001"
            ));
        }
        Ok(())
    }

    fn pull(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        self.pull_policy = Some(match value {
            "always" => "Always",
            "missing" => "IfNotPresent",
            "never" => "Never",
            _ => return Err(wrong(flag, value, "is not always, missing or never")),
        });
        Ok(())
    }

    fn volume(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        let read = match flag.meaning {
            Meaning::Volume => Ok(volumes::of_flag(value)),
            Meaning::Mount => volumes::of_mount_flag(value, values::bytes),
            _ => volumes::of_tmpfs(value, values::bytes),
        };
        let (volume, ignored) = read.map_err(|why| wrong(flag, value, &why))?.into_parts();
        self.volumes.push(volume);
        for field in ignored {
            self.warn(format!(
                "`{field}` of `--{} {value}` in `options:` has no equivalent in Kubernetes and is \
                 ignored",
                flag.name
            ));
        }
        Ok(())
    }

    fn health(&mut self, flag: &Flag, value: &str) -> Result<(), Failure> {
        let time = || {
            values::duration(value)
                .ok_or_else(|| wrong(flag, value, "is no time, as 10s or 1m30s are"))
        };
        match flag.meaning {
            Meaning::HealthCommand => self.health.command = Some(value.to_owned()),
            Meaning::HealthInterval => self.health.interval = Some(time()?),
            Meaning::HealthTimeout => self.health.timeout = Some(time()?),
            Meaning::HealthStart => self.health.start_period = Some(time()?),
            Meaning::HealthStartInterval => self.health.start_interval = Some(time()?),
            _ => {
                let number: u64 =
                    value.trim().parse().map_err(|_| wrong(flag, value, "is no number"))?;
                self.health.retries = Some(u32::try_from(number).unwrap_or(u32::MAX));
            }
        }
        Ok(())
    }
}

fn wrong(flag: &Flag, value: &str, why: &str) -> Failure {
    invalid(&format!("--{} {value}", flag.name), why)
}
