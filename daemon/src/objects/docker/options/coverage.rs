//! Every flag for every kind of container: applied, refused or named. None is dropped silently.

use std::time::Duration;

use hookd_api::v1::ContainerSpec;

use super::table::{FLAGS, Flag, Meaning};
use super::*;
use crate::config::PolicyConfig;
use crate::error::Reason;
use crate::names;
use crate::objects::agent::Injection;
use crate::objects::container::ContainerStep;
use crate::objects::job_pod::{self, JobSpec, PodOptions};
use crate::objects::mounts;
use crate::objects::step_job::{self, JobSettings, Launch, ProcessLauncher};
use crate::runner::{Runner, WorkVolume};

const KINDS: [ContainerKind; 3] = [ContainerKind::Job, ContainerKind::Service, ContainerKind::Step];

fn runner() -> Runner {
    let work = WorkVolume { claim: "c".into(), same_node: true, ..WorkVolume::default() };
    Runner { host_ip: "10.0.0.9".into(), work: Some(work), ..Runner::default() }
}

/// What is made of a container with these options, as text, and the warnings for the user.
fn made(
    kind: ContainerKind,
    options: &str,
    policy: &PolicyConfig,
) -> Result<(String, Vec<String>), Failure> {
    let (runner, id) = (runner(), "s1".parse().unwrap());
    let work_dir = std::path::Path::new("/w");
    let spec = ContainerSpec {
        image: "redis".into(),
        create_options: options.into(),
        ..ContainerSpec::default()
    };
    if kind == ContainerKind::Step {
        let step = ContainerStep::try_from(spec)?;
        step.options.check(names::STEP_CONTAINER, policy)?;
        let mut mounts = mounts::Mounts::default();
        mounts.add_user("step", &step.volumes.volumes, work_dir, runner.work.as_ref())?;
        let settings = JobSettings {
            pull_secret: None,
            timeout: Duration::from_secs(60),
            template: None,
            services: &[],
        };
        let launch = Launch { image: "redis", launcher: ProcessLauncher::Kubelet };
        let job = step_job::job(&runner, &id, &step, mounts, launch, settings)?.job;
        let text = format!("{} {:?}", serde_json::to_string(&job).unwrap(), step.environment);
        return Ok((text, step_job::warnings(&runner, &step)));
    }
    let job = match kind {
        ContainerKind::Job => JobSpec::read(Some(spec), Vec::new())?,
        _ => JobSpec::read(None, vec![spec])?,
    };
    job.check(policy)?;
    let around = PodOptions {
        work_dir,
        template: None,
        registry_secret: None,
        injection: Injection::ImageVolumes,
        images: &[],
    };
    let plan = job_pod::plan(&runner, &id, &job, around)?;
    let text = serde_json::to_string(&plan.pod).unwrap();
    // The names of a service are reported for each.
    let warnings =
        plan.warnings.into_iter().filter(|note| !note.starts_with("Services are reached"));
    Ok((format!("{text} {:?}", plan.environment), warnings.collect()))
}

/// A use of the flag that is right in docker.
fn example(flag: &Flag) -> String {
    let value = match flag.meaning {
        _ if !flag.takes_value => return format!("--{}", flag.name),
        Meaning::Cpus => "2",
        Meaning::Memory | Meaning::MemoryReservation | Meaning::ShmSize => "64m",
        Meaning::User => "1001",
        Meaning::Group => "2000",
        Meaning::WorkingDirectory => "/src",
        Meaning::Environment => "A=b",
        Meaning::Host => "h:host-gateway",
        Meaning::Volume => "data:/d:nocopy",
        Meaning::Mount => "type=bind,source=/w/x,target=/x",
        Meaning::Tmpfs => "/t",
        Meaning::Pull => "always",
        Meaning::CapAdd | Meaning::CapDrop => "net_admin",
        Meaning::HealthInterval
        | Meaning::HealthTimeout
        | Meaning::HealthStart
        | Meaning::HealthStartInterval => "7s",
        Meaning::HealthRetries => "7",
        Meaning::SecurityOption => "no-new-privileges",
        Meaning::Namespace | Meaning::Network => "host",
        _ => "x",
    };
    let more = match flag.meaning {
        Meaning::HealthInterval | Meaning::HealthTimeout | Meaning::HealthRetries => {
            " --health-cmd x"
        }
        Meaning::HealthStart => " --health-cmd x",
        Meaning::HealthStartInterval => " --health-cmd x --health-start-period 9s",
        _ => "",
    };
    format!("--{} {value}{more}", flag.name)
}

/// The rest of the example, to compare with.
fn without(flag: &Flag, example: &str) -> String {
    let own = format!("--{} ", flag.name);
    let rest = example.strip_prefix(own.as_str()).and_then(|rest| rest.split_once(' '));
    rest.map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}

/// What a pod is anyway, or what has nothing to act on in a container of this kind.
fn is_so_anyway(flag: &Flag, kind: ContainerKind) -> bool {
    match flag.name {
        // The pod goes with the job; nothing is printed of a pull; content trust is off.
        "rm" | "quiet" | "disable-content-trust" => true,
        // stepd reaps orphans; steps get neither terminal nor input in docker mode either.
        "init" => kind != ContainerKind::Service,
        "tty" | "interactive" => kind == ContainerKind::Job,
        // Without a check of the image there is none to turn off.
        "no-healthcheck" => kind == ContainerKind::Service,
        _ => false,
    }
}

#[test]
fn every_flag_is_applied_refused_or_named_for_every_container() {
    let (none, all) =
        (PolicyConfig::default(), PolicyConfig { allow_privileged: true, ..Default::default() });
    for (flag, kind) in FLAGS.iter().flat_map(|flag| KINDS.map(|kind| (flag, kind))) {
        let options = example(flag);
        let plain = made(kind, &without(flag, &options), &all).unwrap();
        for policy in [&none, &all] {
            let what = format!("{options} of {kind:?}, allowed: {}", policy.allow_privileged);
            let (text, warnings) = match made(kind, &options, policy) {
                Ok(made) => made,
                Err(error) => {
                    assert!(!policy.allow_privileged, "{what}: {error}");
                    assert_eq!(error.reason, Reason::PolicyDenied, "{what}");
                    let named = format!("--{}", flag.name);
                    assert!(error.message.contains(&named), "{what}: {error}");
                    continue;
                }
            };
            let is_applied = text != plain.0;
            let word = if flag.name.starts_with("health-") { "--health-*" } else { flag.name };
            let is_named = warnings.iter().any(|note| note.contains(word));
            let expected = is_so_anyway(flag, kind);
            assert_eq!(is_applied || is_named, !expected, "{what}: {warnings:?}");
            let container = match kind {
                ContainerKind::Job => "Container job: ",
                ContainerKind::Service => "Container redis: ",
                ContainerKind::Step => "Container step: ",
            };
            assert!(
                warnings.iter().all(|note| note.starts_with(container)),
                "{what}: {warnings:?}"
            );
        }
    }
}

#[test]
fn power_is_refused_for_every_container_unless_it_is_allowed() {
    for options in [
        "--privileged",
        "--privileged=true",
        "--cap-add SYS_ADMIN",
        "--cap-add=cap_net_admin",
        "--cap-add ALL",
        "--cap-drop ALL --cap-add all",
        "--device /dev/fuse",
        "--device=/dev/kvm:/dev/kvm:rwm",
        "--device-cgroup-rule 'c 1:3 mr'",
        "--user 0",
        "--user root",
        "--user 0:0",
        "--user=root:1001",
        "--user 00",
        "-u0",
        "-itu 0",
        "--user 1001 --user 0",
        "--security-opt seccomp=unconfined",
        "--security-opt apparmor:unconfined",
        "--security-opt label=disable",
        "--security-opt systempaths=unconfined",
        "--security-opt seccomp=/profile.json",
        "--pid host",
        "--pid=container:x",
        "--ipc host",
        "--uts host",
        "--userns=host",
        "--cgroupns host",
        "--network host",
        "--net=host",
        "--network name=host",
        "--network container:x",
        "--cgroup-parent /x",
        "--sysctl net.core.somaxconn=1",
    ] {
        for kind in KINDS {
            let error = made(kind, options, &PolicyConfig::default()).expect_err(options);
            assert_eq!(error.reason, Reason::PolicyDenied, "{options}");
            let all = PolicyConfig { allow_privileged: true, ..Default::default() };
            assert!(made(kind, options, &all).is_ok(), "{options}");
        }
    }
}

#[test]
fn what_takes_power_away_or_gives_none_is_not_refused() {
    for options in [
        "--user 1001",
        "--user 1001:0",
        "--user 0 --user 1001",
        "--user nobody",
        "--privileged=false",
        "--cap-drop ALL",
        "--group-add 2000",
        "--read-only",
        "--security-opt no-new-privileges",
        "--security-opt=no-new-privileges:true",
        "--security-opt seccomp=builtin",
        "--pid ''",
        "--ipc private",
        "--cgroupns private",
        "--network bridge",
        "--network none",
    ] {
        for kind in KINDS {
            assert!(made(kind, options, &PolicyConfig::default()).is_ok(), "{options}");
        }
    }
}

#[test]
fn a_refusal_names_option_container_and_setting() {
    for (options, setting) in [
        ("--privileged", "HOOKD_ALLOW_PRIVILEGED=true"),
        ("--user root", "HOOKD_ALLOW_ROOT_USER=true"),
        ("--cap-add cap_net_admin", "HOOKD_ALLOWED_CAPABILITIES=NET_ADMIN"),
    ] {
        let error = made(ContainerKind::Service, options, &PolicyConfig::default()).unwrap_err();
        assert!(error.message.contains("Container redis"), "{error}");
        assert!(error.remedy.contains(setting), "{}", error.remedy);
    }
}

#[test]
fn each_setting_allows_its_own_options_only() {
    let root = PolicyConfig { allow_root_user: true, ..Default::default() };
    let (text, _) = made(ContainerKind::Job, "--user root", &root).unwrap();
    assert!(text.contains("\"runAsUser\":0"), "{text}");
    assert!(made(ContainerKind::Job, "--privileged", &root).is_err());
    let named =
        PolicyConfig { allowed_capabilities: vec!["NET_ADMIN".into()], ..Default::default() };
    assert!(made(ContainerKind::Step, "--cap-add net_admin", &named).is_ok());
    assert!(made(ContainerKind::Step, "--cap-add SYS_ADMIN", &named).is_err());
    assert!(made(ContainerKind::Step, "--cap-add ALL", &named).is_err());
    assert!(made(ContainerKind::Step, "--user 0", &named).is_err());
}
