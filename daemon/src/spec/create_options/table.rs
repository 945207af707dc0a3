//! The flags of `docker create` (28.2).

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// Without its dashes.
    pub(super) name: &'static str,
    /// Its one-letter form.
    pub(super) short: Option<char>,
    /// A value follows.
    pub(super) takes_value: bool,
    /// What becomes of it.
    pub(super) meaning: Meaning,
}

/// What a flag means to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing is to be done: the pod is so anyway.
    Nothing,
    /// There is nothing like it: a warning.
    NoEquivalent,
    Cpus,
    Memory,
    MemoryReservation,
    ShmSize,
    User,
    Group,
    WorkingDirectory,
    Entrypoint,
    Environment,
    Name,
    Host,
    Tmpfs,
    Privileged,
    ReadOnly,
    CapAdd,
    CapDrop,
    HealthCommand,
    NoHealth,
    HealthInterval,
    HealthTimeout,
    HealthStart,
    HealthRetries,
}

const fn value(name: &'static str, short: Option<char>, meaning: Meaning) -> Flag {
    Flag { name, short, takes_value: true, meaning }
}

const fn switch(name: &'static str, short: Option<char>, meaning: Meaning) -> Flag {
    Flag { name, short, takes_value: false, meaning }
}

const fn none(name: &'static str) -> Flag {
    value(name, None, Meaning::NoEquivalent)
}

/// Every flag.
pub(super) const FLAGS: &[Flag] = &[
    value("cpus", None, Meaning::Cpus),
    value("memory", Some('m'), Meaning::Memory),
    value("memory-reservation", None, Meaning::MemoryReservation),
    value("shm-size", None, Meaning::ShmSize),
    value("user", Some('u'), Meaning::User),
    value("group-add", None, Meaning::Group),
    value("workdir", Some('w'), Meaning::WorkingDirectory),
    value("entrypoint", None, Meaning::Entrypoint),
    value("env", Some('e'), Meaning::Environment),
    value("name", None, Meaning::Name),
    value("network-alias", None, Meaning::Name),
    value("net-alias", None, Meaning::Name),
    value("hostname", Some('h'), Meaning::Name),
    value("add-host", None, Meaning::Host),
    value("tmpfs", None, Meaning::Tmpfs),
    switch("privileged", None, Meaning::Privileged),
    switch("read-only", None, Meaning::ReadOnly),
    value("cap-add", None, Meaning::CapAdd),
    value("cap-drop", None, Meaning::CapDrop),
    value("health-cmd", None, Meaning::HealthCommand),
    switch("no-healthcheck", None, Meaning::NoHealth),
    value("health-interval", None, Meaning::HealthInterval),
    value("health-timeout", None, Meaning::HealthTimeout),
    value("health-start-period", None, Meaning::HealthStart),
    value("health-retries", None, Meaning::HealthRetries),
    // stepd reaps; a pod is removed at the end and has no terminal.
    switch("init", None, Meaning::Nothing),
    switch("rm", None, Meaning::Nothing),
    switch("interactive", Some('i'), Meaning::Nothing),
    switch("tty", Some('t'), Meaning::Nothing),
    value("pull", None, Meaning::Nothing),
    switch("quiet", Some('q'), Meaning::Nothing),
    value("label", Some('l'), Meaning::Nothing),
    switch("publish-all", Some('P'), Meaning::NoEquivalent),
    switch("oom-kill-disable", None, Meaning::NoEquivalent),
    switch("disable-content-trust", None, Meaning::Nothing),
    switch("use-api-socket", None, Meaning::NoEquivalent),
    value("attach", Some('a'), Meaning::NoEquivalent),
    value("cpu-shares", Some('c'), Meaning::NoEquivalent),
    value("publish", Some('p'), Meaning::NoEquivalent),
    value("volume", Some('v'), Meaning::NoEquivalent),
    none("annotation"),
    none("blkio-weight"),
    none("blkio-weight-device"),
    none("cgroup-parent"),
    none("cgroupns"),
    none("cidfile"),
    none("cpu-count"),
    none("cpu-percent"),
    none("cpu-period"),
    none("cpu-quota"),
    none("cpu-rt-period"),
    none("cpu-rt-runtime"),
    none("cpuset-cpus"),
    none("cpuset-mems"),
    none("device"),
    none("device-cgroup-rule"),
    none("device-read-bps"),
    none("device-read-iops"),
    none("device-write-bps"),
    none("device-write-iops"),
    none("dns"),
    none("dns-opt"),
    none("dns-option"),
    none("dns-search"),
    none("domainname"),
    none("env-file"),
    none("expose"),
    none("gpus"),
    none("health-start-interval"),
    none("io-maxbandwidth"),
    none("io-maxiops"),
    none("ip"),
    none("ip6"),
    none("ipc"),
    none("isolation"),
    none("kernel-memory"),
    none("label-file"),
    none("link"),
    none("link-local-ip"),
    none("log-driver"),
    none("log-opt"),
    none("mac-address"),
    none("memory-swap"),
    none("memory-swappiness"),
    none("mount"),
    none("net"),
    none("network"),
    none("oom-score-adj"),
    none("pid"),
    none("pids-limit"),
    none("platform"),
    none("restart"),
    none("runtime"),
    none("security-opt"),
    none("stop-signal"),
    none("stop-timeout"),
    none("storage-opt"),
    none("sysctl"),
    none("ulimit"),
    none("userns"),
    none("uts"),
    none("volume-driver"),
    none("volumes-from"),
];
