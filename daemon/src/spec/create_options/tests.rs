use k8s_openapi::api::core::v1::Container;

use k8s_openapi::api::core::v1::Probe;

use super::*;
use crate::image::lookup::Healthcheck;

fn container(options: &str) -> (Container, usize) {
    let mut container = Container { name: "job".into(), ..Container::default() };
    let volumes = parse(options).unwrap().apply(&mut container, None);
    (container, volumes.len())
}

#[test]
fn words_are_those_of_a_shell() {
    let words = split(r#"--health-cmd "redis-cli \"ping\" $X" --env 'A=b c' -m\ 5 """#).unwrap();
    assert_eq!(words, ["--health-cmd", "redis-cli \"ping\" $X", "--env", "A=b c", "-m 5", ""]);
    assert!(split("'open").is_err());
}

#[test]
fn resources_users_and_capabilities_become_fields() {
    let (container, _) = container(
        "--cpus 1.5 -m512m --memory-reservation=256m --user 1001:1002 --cap-add CAP_NET_ADMIN --read-only -w /src",
    );
    let resources = container.resources.unwrap();
    let limits = resources.limits.unwrap();
    assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("1.5", "536870912"));
    assert_eq!(resources.requests.unwrap()["memory"].0, "268435456");
    let context = container.security_context.unwrap();
    assert_eq!((context.run_as_user, context.run_as_group), (Some(1001), Some(1002)));
    assert_eq!(context.capabilities.unwrap().add.unwrap(), ["NET_ADMIN"]);
    assert_eq!(context.read_only_root_filesystem, Some(true));
    assert_eq!(container.working_dir.as_deref(), Some("/src"));
}

#[test]
fn a_health_command_becomes_a_startup_probe_that_lasts_as_long_as_dockers() {
    let options = "--health-cmd \"pg_isready -U x\" --health-interval 10s --health-timeout 5s \
                   --health-retries 5 --health-start-period 1m30s";
    let probe = container(options).0.startup_probe.unwrap();
    assert_eq!(probe.exec.unwrap().command.unwrap(), ["/bin/sh", "-c", "pg_isready -U x"]);
    assert_eq!((probe.period_seconds, probe.timeout_seconds), (Some(1), Some(5)));
    assert_eq!(probe.failure_threshold, Some(140));
    assert_eq!(container("--health-cmd x --no-healthcheck").0.startup_probe, None);
    assert_eq!(container("--no-healthcheck --health-cmd x").0.startup_probe, None);
}

#[test]
fn memory_file_systems_become_volumes_in_memory() {
    let (container, volumes) = container("--shm-size 1g --tmpfs /run:size=64m,mode=777");
    let mounts: Vec<_> =
        container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path).collect();
    assert_eq!((mounts, volumes), (vec!["/run".to_owned(), "/dev/shm".to_owned()], 2));
}

#[test]
fn what_has_no_equivalent_is_warned_of_by_name() {
    let warnings =
        parse("--ulimit nofile=1024 --gpus all --network=host --user postgres --init -e NAME")
            .unwrap()
            .warnings;
    for flag in ["--ulimit", "--gpus", "--network", "--user postgres", "--env NAME"] {
        assert!(warnings.iter().any(|warning| warning.contains(flag)), "{flag}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 5);
}

#[test]
fn names_and_hosts_are_kept() {
    let options =
        parse("--name db --network-alias=database -h pg --add-host a:10.0.0.1 --add-host b=[::1]");
    let options = options.unwrap();
    assert_eq!(options.names, ["db", "database", "pg"]);
    let hosts = [("10.0.0.1", "a"), ("::1", "b")];
    assert_eq!(options.hosts, hosts.map(|(address, name)| (address.to_owned(), name.to_owned())));
}

#[test]
fn a_mistake_is_named() {
    for (options, words) in [
        ("--helth-cmd x", "`--helth-cmd` in `options:`"),
        ("--memory", "`--memory` in `options:` of a container needs a value"),
        ("--memory lots", "is no size"),
        ("--health-interval 5", "is no time"),
        ("redis", "`redis`"),
    ] {
        let error = parse(options).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidInput);
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn no_flag_stands_twice_in_the_table() {
    let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
    let shorts: Vec<_> = FLAGS.iter().filter_map(|flag| flag.short).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(shorts.iter().enumerate().all(|(at, short)| !shorts[..at].contains(short)));
}

fn probe_of_image(options: &str, image: &Healthcheck) -> Option<Probe> {
    let mut container = Container::default();
    parse(options).unwrap().apply(&mut container, Some(image));
    container.startup_probe
}

#[test]
fn an_images_own_health_check_holds_where_the_options_say_nothing_else() {
    let json = r#"{"Test":["CMD","/check","-q"],"Interval":2000000000,"Retries":5}"#;
    let image: Healthcheck = serde_json::from_str(json).unwrap();
    let probe = probe_of_image("", &image).unwrap();
    let command = |probe: &Probe| probe.exec.as_ref().unwrap().command.clone().unwrap();
    assert_eq!(command(&probe), ["/check", "-q"]);
    assert_eq!((probe.failure_threshold, probe.timeout_seconds), (Some(10), Some(30)));
    let probe = probe_of_image("--health-interval 3s --health-cmd other", &image).unwrap();
    assert_eq!(command(&probe), ["/bin/sh", "-c", "other"]);
    assert_eq!(probe.failure_threshold, Some(15));
    assert_eq!(probe_of_image("--no-healthcheck", &image), None);
    let none: Healthcheck = serde_json::from_str(r#"{"Test":["NONE"]}"#).unwrap();
    assert_eq!(probe_of_image("", &none), None);
}
