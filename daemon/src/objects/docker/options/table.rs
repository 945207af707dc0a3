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
    /// There is nothing like it: a warning with this advice.
    NoEquivalent(&'static str),
    /// Only the administrator may allow it; there is nothing like it either.
    Power,
    /// Power if another namespace is named than the container's own.
    Namespace,
    Network,
    SecurityOption,
    ContentTrust,
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
    Hostname,
    Host,
    Volume,
    Mount,
    Tmpfs,
    Privileged,
    ReadOnly,
    Init,
    Terminal,
    Input,
    Pull,
    CapAdd,
    CapDrop,
    HealthCommand,
    NoHealth,
    HealthInterval,
    HealthTimeout,
    HealthStart,
    HealthStartInterval,
    HealthRetries,
}

const fn value(name: &'static str, short: Option<char>, meaning: Meaning) -> Flag {
    Flag { name, short, takes_value: true, meaning }
}

const fn switch(name: &'static str, short: Option<char>, meaning: Meaning) -> Flag {
    Flag { name, short, takes_value: false, meaning }
}

const fn none(name: &'static str, advice: &'static str) -> Flag {
    value(name, None, Meaning::NoEquivalent(advice))
}

const fn power(name: &'static str) -> Flag {
    value(name, None, Meaning::Power)
}

const fn namespace(name: &'static str) -> Flag {
    value(name, None, Meaning::Namespace)
}

const LIMITS: &str = "use `--cpus` and `--memory`";
const WEIGHT: &str = "weights are those of the cluster; use `--cpus` for a limit";
const DISK: &str = "the cluster has no limits for block devices";
const LABELS: &str = "the hook template can label the job's pod";
const DNS: &str = "use `--add-host`, or `dnsConfig` of the hook template";
const ADDRESS: &str = "use `--network-alias` and reach the container by its name";
const LOGS: &str = "the cluster keeps the logs";
const PORTS: &str = "all containers of the job reach the container's ports on localhost";
const LIFE: &str = "no container of a job is restarted, and each is stopped at the job's end";
const ENVIRONMENT: &str = "write the variables to `env:` of the container";
const WINDOWS: &str = "it is for Windows";
const NODE: &str = "it is a matter of the node, which the cluster's administrator sets up";
const VOLUMES: &str = "use `volumes:`; a named volume is shared by the containers that name it";

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
    value("hostname", Some('h'), Meaning::Hostname),
    value("add-host", None, Meaning::Host),
    value("volume", Some('v'), Meaning::Volume),
    value("mount", None, Meaning::Mount),
    value("tmpfs", None, Meaning::Tmpfs),
    value("pull", None, Meaning::Pull),
    switch("read-only", None, Meaning::ReadOnly),
    value("cap-drop", None, Meaning::CapDrop),
    value("health-cmd", None, Meaning::HealthCommand),
    switch("no-healthcheck", None, Meaning::NoHealth),
    value("health-interval", None, Meaning::HealthInterval),
    value("health-timeout", None, Meaning::HealthTimeout),
    value("health-start-period", None, Meaning::HealthStart),
    value("health-start-interval", None, Meaning::HealthStartInterval),
    value("health-retries", None, Meaning::HealthRetries),
    switch("init", None, Meaning::Init),
    switch("interactive", Some('i'), Meaning::Input),
    switch("tty", Some('t'), Meaning::Terminal),
    // A pod is removed at the end, and nothing is printed of a pull that goes well.
    switch("rm", None, Meaning::Nothing),
    switch("quiet", Some('q'), Meaning::Nothing),
    switch("disable-content-trust", None, Meaning::ContentTrust),
    // What only the administrator may allow.
    switch("privileged", None, Meaning::Privileged),
    value("cap-add", None, Meaning::CapAdd),
    value("security-opt", None, Meaning::SecurityOption),
    value("net", None, Meaning::Network),
    value("network", None, Meaning::Network),
    namespace("cgroupns"),
    namespace("ipc"),
    namespace("pid"),
    namespace("userns"),
    namespace("uts"),
    power("cgroup-parent"),
    power("device"),
    power("device-cgroup-rule"),
    power("sysctl"),
    // What Kubernetes has nothing like.
    switch("publish-all", Some('P'), Meaning::NoEquivalent(PORTS)),
    value("publish", Some('p'), Meaning::NoEquivalent(PORTS)),
    none("expose", PORTS),
    switch("oom-kill-disable", None, Meaning::NoEquivalent("raise `--memory` instead")),
    none("oom-score-adj", "raise `--memory` instead"),
    switch("use-api-socket", None, Meaning::NoEquivalent("there is no docker daemon")),
    value("attach", Some('a'), Meaning::NoEquivalent(LOGS)),
    value("cpu-shares", Some('c'), Meaning::NoEquivalent(WEIGHT)),
    value("label", Some('l'), Meaning::NoEquivalent(LABELS)),
    none("label-file", LABELS),
    none("annotation", LABELS),
    none("blkio-weight", DISK),
    none("blkio-weight-device", DISK),
    none("device-read-bps", DISK),
    none("device-read-iops", DISK),
    none("device-write-bps", DISK),
    none("device-write-iops", DISK),
    none("storage-opt", DISK),
    none("cidfile", "`job.container.id` has the container's name"),
    none("cpu-period", LIMITS),
    none("cpu-quota", LIMITS),
    none("cpu-rt-period", LIMITS),
    none("cpu-rt-runtime", LIMITS),
    none("cpuset-cpus", LIMITS),
    none("cpuset-mems", LIMITS),
    none("kernel-memory", LIMITS),
    none("memory-swap", LIMITS),
    none("memory-swappiness", LIMITS),
    none("pids-limit", "the kubelet's `podPidsLimit` limits the pod"),
    none("ulimit", "the limits are those of the node's container runtime"),
    none("cpu-count", WINDOWS),
    none("cpu-percent", WINDOWS),
    none("io-maxbandwidth", WINDOWS),
    none("io-maxiops", WINDOWS),
    none("isolation", WINDOWS),
    none("dns", DNS),
    none("dns-opt", DNS),
    none("dns-option", DNS),
    none("dns-search", DNS),
    none("domainname", DNS),
    none("env-file", ENVIRONMENT),
    none("gpus", "request `nvidia.com/gpu` or the like in `resources` of the hook template"),
    none("ip", ADDRESS),
    none("ip6", ADDRESS),
    none("link", ADDRESS),
    none("link-local-ip", ADDRESS),
    none("mac-address", ADDRESS),
    none("log-driver", LOGS),
    none("log-opt", LOGS),
    none("platform", NODE),
    none("runtime", NODE),
    none("restart", LIFE),
    none("stop-signal", LIFE),
    none("stop-timeout", LIFE),
    none("volume-driver", VOLUMES),
    none("volumes-from", VOLUMES),
];
