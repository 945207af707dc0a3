use k8s_openapi::api::core::v1::Container;

use super::words::split;
use super::*;
use crate::error::Reason;

fn container(options: &str) -> Container {
    let mut container = Container { name: "db".into(), ..Container::default() };
    parse(options).unwrap().apply(&mut container, ContainerKind::Service, None);
    container
}

/// The one warning of these options.
fn warning(options: &str) -> String {
    let mut warnings = parse(options).unwrap().warnings(ContainerKind::Service);
    assert_eq!(warnings.len(), 1, "{options}: {warnings:?}");
    warnings.remove(0)
}

#[test]
fn words_are_those_of_a_shell() {
    let words = split(r#"--health-cmd "redis-cli \"ping\" $X" --env 'A=b c' -m\ 5 """#).unwrap();
    assert_eq!(words, ["--health-cmd", "redis-cli \"ping\" $X", "--env", "A=b c", "-m 5", ""]);
    assert!(split("'open").is_err());
}

#[test]
fn resources_users_and_capabilities_become_fields() {
    let container = container(
        "--cpus 1.5 -m512m --memory-reservation=256m --user 1001:1002 --cap-add CAP_NET_ADMIN --read-only -w /src",
    );
    let resources = container.resources.unwrap();
    let limits = resources.limits.unwrap();
    assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("1500m", "536870912"));
    assert_eq!(resources.requests.unwrap()["memory"].0, "268435456");
    let context = container.security_context.unwrap();
    assert_eq!((context.run_as_user, context.run_as_group), (Some(1001), Some(1002)));
    assert_eq!(context.capabilities.unwrap().add.unwrap(), ["NET_ADMIN"]);
    assert_eq!(context.read_only_root_filesystem, Some(true));
    assert_eq!(container.working_dir.as_deref(), Some("/src"));
}

// ARC#3641: docker starts a container on a machine that is busy, or just as large as its limit.
#[test]
fn a_limit_is_no_request_of_the_same_size() {
    let requests = |options: &str| {
        let resources = container(options).resources.unwrap();
        let mut requests = resources.requests.unwrap_or_default();
        ["cpu", "memory"].map(|name| requests.remove(name).map(|quantity| quantity.0))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(requests("--cpus 2 --memory 8g"), [some("10m"), some("16777216")]);
    assert_eq!(requests("--cpus 0.001 --memory 6m"), [some("1m"), some("6291456")]);
    assert_eq!(requests("--memory 1g --memory-reservation 64m"), [None, some("67108864")]);
    for options in ["--cpus 0", "--memory 0", "--memory-reservation 0b", ""] {
        assert_eq!(container(options).resources, None, "{options}");
    }
}

#[test]
fn what_has_no_equivalent_is_warned_of_by_name() {
    for (options, words) in [
        ("--ulimit nofile=1024", "`--ulimit`"),
        ("--gpus all", "`--gpus`"),
        ("--network=own", "`--network`"),
        ("--user postgres", "`--user postgres`"),
        ("--user 1001:docker", "`--user 1001:docker`"),
        ("--group-add docker", "`--group-add docker`"),
        ("-e NAME", "`--env NAME`"),
        ("--cpu-shares 512 -c 1", "`--cpu-shares`"),
        ("--disable-content-trust=false", "`--disable-content-trust`"),
        ("--tmpfs /x:noexec", "`noexec`"),
        ("-v /home/runner/_work/a:/a:shared", "`shared`"),
        ("--init", "`--init`"),
        ("--entrypoint ''", "`--entrypoint`"),
    ] {
        assert!(warning(options).contains(words), "{options}: {}", warning(options));
    }
    for options in ["--init=false", "--oom-kill-disable=false", "--rm -it", "--user '' -u 1001"] {
        let warnings = parse(options).unwrap().warnings(ContainerKind::Service);
        assert_eq!(warnings, [""; 0], "{options}");
    }
    assert_eq!(container("--user 1001:docker").security_context.unwrap().run_as_user, Some(1001));
}

#[test]
fn letters_may_be_joined_as_in_docker() {
    let options = parse("-itu 1001 -ePORT=1 -m=64m").unwrap();
    assert_eq!((options.tty, options.stdin), (true, true));
    assert_eq!(options.user, Some(User { user: 1001, group: None }));
    assert_eq!(options.environment["PORT"], "1");
    assert_eq!(options.memory, Some(64 << 20));
    assert_eq!(parse("-iu0").unwrap().user, Some(User { user: 0, group: None }));
    assert!(!parse("-i=false").unwrap().stdin);
    assert!(!parse("--privileged --privileged=false").unwrap().privileged);
    for on in ["--privileged", "--privileged=1", "--privileged=T", "--privileged=TRUE"] {
        assert!(parse(on).unwrap().privileged, "{on}");
    }
}

#[test]
fn names_and_hosts_are_kept() {
    let options =
        parse("--name db --network-alias=database -h pg --add-host a:10.0.0.1 --add-host b=[::1]");
    let options = options.unwrap();
    assert_eq!(options.names, ["db", "database", "pg"]);
    assert_eq!(options.hostname().as_deref(), Some("pg"));
    let hosts: Vec<_> =
        options.hosts.iter().map(|host| (host.name.as_str(), host.address.as_str())).collect();
    assert_eq!(hosts, [("a", "10.0.0.1"), ("b", "::1")]);
}

#[test]
fn a_mistake_is_named() {
    for (options, words) in [
        ("--helth-cmd x", "`--helth-cmd` in `options:`"),
        ("--memory", "`--memory` in `options:` needs a value"),
        ("--memory lots", "is no size"),
        ("--memory -1", "is no size"),
        ("--memory 1e400", "is no size"),
        ("--memory 99999999t", "is no size"),
        ("--memory 5m", "below 6m"),
        ("--memory 8m --memory-reservation 9m", "larger than `--memory`"),
        ("--cpus two", "is no number of CPUs"),
        ("--cpus -1", "is no number of CPUs"),
        ("--cpus 99999999999999999999", "is no number of CPUs"),
        ("--user -1", "is no id"),
        ("--user 4294967295", "is no id"),
        ("--user 1:99999999999", "is no id"),
        ("--group-add -1", "is no id"),
        ("--cap-add ''", "is no capability"),
        ("--pull sometimes", "is not always"),
        ("--privileged=yes", "neither true nor false"),
        ("--workdir src", "no absolute path"),
        ("--env =x", "names no variable"),
        ("--add-host a", "is not NAME:ADDRESS"),
        ("--mount type=bind,target=/x", "names no source"),
        ("--mount type=npipe,target=/x", "of a type"),
        ("--mount type=volume,source=x", "names no target"),
        ("--tmpfs /x:size=lots", "has a size that is none"),
        ("--health-retries -1", "is no number"),
        ("redis", "`redis`"),
        ("-", "`-`"),
    ] {
        let error = parse(options).expect_err(options);
        assert_eq!(error.reason, Reason::InvalidInput);
        assert!(error.message.contains(words), "{options}: {error}");
    }
    assert!(parse(&"--rm ".repeat(20_000)).is_err());
}

#[test]
fn no_flag_stands_twice_in_the_table() {
    let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
    let shorts: Vec<_> = FLAGS.iter().filter_map(|flag| flag.short).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(shorts.iter().enumerate().all(|(at, short)| !shorts[..at].contains(short)));
}
