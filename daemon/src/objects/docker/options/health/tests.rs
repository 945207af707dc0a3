use k8s_openapi::api::core::v1::{Container, Probe};

use super::super::{ContainerKind, parse};
use super::*;

fn image(json: &str) -> ImageConfig {
    serde_json::from_str(json).unwrap()
}

fn probe(options: &str, image: Option<&ImageConfig>) -> Option<Probe> {
    let mut container = Container::default();
    parse(options).unwrap().apply(&mut container, ContainerKind::Service, image);
    container.startup_probe
}

fn command(probe: &Probe) -> Vec<String> {
    probe.exec.clone().unwrap().command.unwrap()
}

/// First check, seconds between checks, number of checks.
fn times(probe: &Probe) -> (i32, i32, i32) {
    (
        probe.initial_delay_seconds.unwrap(),
        probe.period_seconds.unwrap(),
        probe.failure_threshold.unwrap(),
    )
}

// docker-library/postgres#880: a temporary server answers until the image has set itself up.
#[test]
fn the_first_check_is_made_when_docker_makes_it() {
    for (options, expected) in [
        // An interval after the start; the last one after `retries` intervals.
        ("--health-interval 10s --health-retries 5", (10, 1, 41)),
        ("--health-interval 1s --health-retries 1", (1, 1, 1)),
        ("--health-interval 500ms --health-retries 4", (1, 1, 2)),
        ("--health-interval 2m --health-retries 3", (120, 10, 25)),
        // docker's defaults: 30 s, three times.
        ("", (30, 3, 21)),
        ("--health-interval 0 --health-retries 0", (30, 3, 21)),
        // Within a start period a start interval, which is 5 s by default, and failures are free.
        ("--health-interval 10s --health-start-period 1m30s", (5, 1, 116)),
        ("--health-interval 10s --health-start-period 20s --health-start-interval 2s", (2, 1, 49)),
        // Without a start period there is no start interval.
        ("--health-interval 10s --health-start-interval 2s --health-retries 1", (10, 1, 1)),
    ] {
        let probe = probe(&format!("--health-cmd x {options}"), None).unwrap();
        assert_eq!(times(&probe), expected, "{options}");
    }
}

#[test]
fn a_check_may_take_as_long_as_docker_lets_it() {
    for (options, seconds) in [("", 30), ("--health-timeout 5s", 5), ("--health-timeout 1.2s", 2)] {
        let probe = probe(&format!("--health-cmd x {options}"), None).unwrap();
        assert_eq!(probe.timeout_seconds, Some(seconds), "{options}");
    }
}

// docker-library/postgres#146: compose files double the dollars, and shells use $$.
#[test]
fn the_kubelet_expands_nothing_in_a_health_command() {
    let probe_of = |options: &str| command(&probe(options, None).unwrap());
    assert_eq!(probe_of("--health-cmd 'test -d /proc/$$'")[2], "test -d /proc/$$$$");
    assert_eq!(probe_of("--health-cmd 'echo $(NAME) $X'")[2], "echo $$(NAME) $$X");
    let image = image(r#"{"Healthcheck":{"Test":["CMD","/check","$(NAME)"]}}"#);
    assert_eq!(command(&probe("", Some(&image)).unwrap()), ["/check", "$$(NAME)"]);
}

#[test]
fn an_images_own_health_check_holds_unless_options_differ() {
    let json = r#"{"Healthcheck":{"Test":["CMD","/check","-q"],"Interval":2000000000,"Retries":5,
        "StartPeriod":60000000000,"StartInterval":3000000000,"Timeout":1500000000}}"#;
    let image = image(json);
    let of_image = |options: &str| probe(options, Some(&image)).unwrap();
    assert_eq!(command(&of_image("")), ["/check", "-q"]);
    assert_eq!(times(&of_image("")), (3, 1, 68));
    assert_eq!(of_image("").timeout_seconds, Some(2));
    // An empty command is none of the options' own.
    assert_eq!(command(&of_image("--health-cmd ''")), ["/check", "-q"]);
    let other = of_image("--health-interval 3s --health-cmd other");
    assert_eq!(command(&other), ["/bin/sh", "-c", "other"]);
    assert_eq!(times(&other), (3, 1, 73));
}

#[test]
fn where_docker_has_no_health_check_there_is_no_probe() {
    let checked = image(r#"{"Healthcheck":{"Test":["CMD","/check"]}}"#);
    for options in ["--no-healthcheck", "--health-cmd x --no-healthcheck", "--no-healthcheck=true"]
    {
        assert_eq!(probe(options, Some(&checked)), None, "{options}");
    }
    for test in [r#"["NONE"]"#, "[]", r#"["CMD"]"#, r#"["CMD-SHELL"]"#, r#"["WHAT","x"]"#] {
        let image = image(&format!(r#"{{"Healthcheck":{{"Test":{test}}}}}"#));
        assert_eq!(probe("--health-interval 1s", Some(&image)), None, "{test}");
    }
    assert_eq!(probe("--health-interval 1s --health-retries 3 --health-cmd ''", None), None);
    assert_eq!(probe("", Some(&image("{}"))), None);
    for kind in [ContainerKind::Job, ContainerKind::Step] {
        let mut container = Container::default();
        let options = parse("--health-cmd false").unwrap();
        options.apply(&mut container, kind, None);
        assert_eq!(container.startup_probe, None);
        assert!(options.warnings(kind)[0].contains("--health-"), "{kind:?}");
    }
}

#[test]
fn a_health_command_runs_in_the_images_shell() {
    let image =
        image(r#"{"Shell":["/bin/bash","-ec"],"Healthcheck":{"Test":["CMD-SHELL","a","b"]}}"#);
    assert_eq!(command(&probe("", Some(&image)).unwrap()), ["/bin/bash", "-ec", "a", "b"]);
    let own = probe("--health-cmd c", Some(&image)).unwrap();
    assert_eq!(command(&own), ["/bin/bash", "-ec", "c"]);
}

#[test]
fn times_that_are_too_large_end_at_the_largest() {
    let all = |time: &str| {
        format!(
            "--health-cmd x --health-interval {time} --health-timeout {time} \
             --health-start-period {time} --health-start-interval {time} \
             --health-retries 99999999999"
        )
    };
    for time in ["2562047h", "2562047h47m16.854775807s", "1ns", "0", "0s", "1.5h", "1us"] {
        let probe = probe(&all(time), None).unwrap();
        let (first, period, checks) = times(&probe);
        assert!(first >= 0 && period > 0 && checks > 0, "{time}: {probe:?}");
        assert!(probe.timeout_seconds.unwrap() > 0, "{time}");
    }
    for time in ["18446744073709551615", "99999999999999999999", "1e300", "-5", "\"1s\"", "null"] {
        let json = format!(
            r#"{{"Healthcheck":{{"Test":["CMD","x"],"Interval":{time},"Timeout":{time},
            "StartPeriod":{time},"StartInterval":{time},"Retries":{time}}}}}"#
        );
        let image = image(&json);
        let (first, period, checks) = times(&probe("", Some(&image)).unwrap());
        assert!(first >= 0 && period > 0 && checks > 0, "{time}");
    }
}

#[test]
fn durations_are_those_of_go() {
    use super::super::values::duration;
    for (text, nanoseconds) in [
        ("0", 0),
        ("1h30m", 5_400_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("+3s", 3_000_000_000),
        ("100us", 100_000),
        ("100\u{b5}s", 100_000),
        ("100\u{3bc}s", 100_000),
        ("1ms5ns", 1_000_005),
        ("0.000000001s", 1),
        ("2562047h47m16.854775807s", u64::try_from(i64::MAX).unwrap()),
    ] {
        assert_eq!(duration(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
    }
    for text in [
        "",
        "5",
        "-1s",
        "1",
        "s",
        ".s",
        "1d",
        "1 s",
        "1s1",
        "1.2.3s",
        "9999999h",
        "2562048h",
        "99999999999999999999s",
        "2562047h47m16.854775808s",
        "1e3s",
        "inf",
        "NaN",
        "1\u{b5}",
        "x1s",
    ] {
        assert_eq!(duration(text), None, "{text}");
        let options = format!("--health-cmd x --health-interval '{text}'");
        assert!(parse(&options).is_err(), "{text}");
    }
}
