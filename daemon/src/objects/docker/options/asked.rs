//! What options ask for, for those who judge it.

use super::{CreateOptions, values};

impl CreateOptions {
    /// The long names of the flags that were given, without their dashes.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        self.flags.iter().copied()
    }

    /// `--cpus` in thousandths.
    pub fn milli_cpus(&self) -> Option<u64> {
        self.cpus
    }

    /// The flags that ask for memory of the container itself, with bytes.
    pub fn memory_sizes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [("--memory", self.memory), ("--memory-reservation", self.memory_reservation)];
        all.into_iter().filter_map(|(flag, size)| Some((flag, size?)))
    }

    /// `--user`, as far as the container gets it.
    pub fn user_id(&self) -> Option<i64> {
        self.user.map(|user| user.user)
    }

    /// The user of `--user`, if it is a name: an image says whose.
    pub fn user_name(&self) -> Option<&str> {
        let (user, _) = self.user_parts();
        user.filter(|user| values::id(user).is_none())
    }

    /// The group of `--user`, if it is a name.
    pub fn group_name(&self) -> Option<&str> {
        let (_, group) = self.user_parts();
        group.filter(|group| values::id(group).is_none())
    }

    fn user_parts(&self) -> (Option<&str>, Option<&str>) {
        let text = self.user_text().unwrap_or_default();
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        (Some(user).filter(|user| !user.is_empty()), Some(group).filter(|group| !group.is_empty()))
    }

    /// The groups of `--user` and `--group-add`.
    pub fn group_ids(&self) -> impl Iterator<Item = i64> {
        let (_, group) = self.user_parts();
        group.and_then(values::id).into_iter().chain(self.groups.iter().copied())
    }

    /// `--cap-add`, in capitals without "CAP_".
    pub fn added_capabilities(&self) -> &[String] {
        &self.cap_add
    }

    /// `--privileged`, and every other option that weakens the isolation of the container but for users and
    /// capabilities.
    pub fn powers(&self) -> impl Iterator<Item = String> {
        let privileged = self.privileged.then(|| "--privileged".to_owned());
        privileged.into_iter().chain(self.powers.iter().map(|power| power.option.clone()))
    }
}
