use std::path::Path;

use super::*;
use crate::objects::mounts;
use crate::runner::WorkVolume;
use hookd_api::v1::{ContainerSpec, Mount};

fn runner() -> Runner {
    Runner {
        name: "r".into(),
        namespace: "ns".into(),
        uid: "u".into(),
        node: "n".into(),
        work: Some(WorkVolume { claim: "c".into(), same_node: true, ..WorkVolume::default() }),
        ..Runner::default()
    }
}

fn step() -> ContainerStep {
    let environment = [("INPUT_A-B", "s3cret"), ("HOME", "/github/home")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ContainerStep::try_from(ContainerSpec {
        image: "busybox".into(),
        entry_point: "/bin/$sh".into(),
        entry_point_args: vec!["$(HOME)".into(), "$$".into()],
        environment_variables: environment.into(),
        ..ContainerSpec::default()
    })
    .unwrap()
}

const SETTINGS: JobSettings<'_> = JobSettings {
    pull_secret: None,
    timeout: Duration::from_secs(60),
    template: None,
    services: &[],
};

fn made_for(launcher: ProcessLauncher) -> Job {
    let (runner, step_id) = (runner(), "s1".parse().unwrap());
    let launch = Launch { image: "busybox", launcher };
    job(&runner, &step_id, &step(), Mounts::default(), launch, SETTINGS).unwrap().job
}

fn made() -> (Job, Secret) {
    let secret = secret(&runner(), &"s1".parse().unwrap(), &step().environment);
    (made_for(ProcessLauncher::Kubelet), secret)
}

#[test]
fn the_job_of_a_step_is_the_recorded_one_for_both_starters() {
    let home = [Mount {
        source_volume_path: "/w/_temp/_github_home".into(),
        target_volume_path: "/github/home".into(),
        ..Mount::default()
    }];
    let (runner, step_id) = (runner(), "s1".parse().unwrap());
    for (name, launcher) in
        [("kubelet", ProcessLauncher::Kubelet), ("stepd", ProcessLauncher::Agent)]
    {
        let mounts = mounts::of_step(&home, Path::new("/w"), runner.work.as_ref()).unwrap();
        let launch = Launch { image: "busybox", launcher };
        let settings = JobSettings { pull_secret: Some("built"), ..SETTINGS };
        let plan = job(&runner, &step_id, &step(), mounts, launch, settings).unwrap();
        insta::assert_yaml_snapshot!(format!("started_by_{name}"), plan.job);
    }
}

#[test]
fn what_stepd_starts_is_nowhere_in_the_job() {
    let job = serde_json::to_string(&made_for(ProcessLauncher::Agent)).unwrap();
    for hidden in ["s3cret", "INPUT_A-B", "$sh", "$$"] {
        assert!(!job.contains(hidden), "{hidden} in {job}");
    }
    assert!(job.contains(agent::STEPD));
}

#[test]
fn values_of_the_environment_stand_in_the_secret_only() {
    let (job, secret) = made();
    let job = serde_json::to_string(&job).unwrap();
    assert!(!job.contains("s3cret") && job.contains("INPUT_A-B"));
    assert_eq!(secret.immutable, Some(true));
    let names: Vec<_> = step().environment.into_keys().collect();
    let at = names.iter().position(|name| name == "INPUT_A-B").unwrap();
    assert_eq!(secret.data.unwrap()[&key(at)].0, b"s3cret");
}

#[test]
fn the_kubelet_cannot_expand_anything_in_the_command() {
    let (job, _) = made();
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].command.as_deref(), Some(&["/bin/$$sh".to_owned()][..]));
    assert_eq!(pod.containers[0].args.as_deref().unwrap(), ["$$(HOME)", "$$$$"]);
}

#[test]
fn a_jobs_pod_is_made_once_and_is_owned_by_the_runner() {
    let (job, secret) = made();
    for metadata in [&job.metadata, &secret.metadata] {
        let owner = &metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "u"));
    }
    let spec = job.spec.unwrap();
    assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(60)));
    assert_eq!(spec.pod_replacement_policy.as_deref(), Some("Failed"));
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
}

#[test]
fn pods_of_both_starters_resolve_the_names_of_the_jobs_services() {
    let alias = HostAlias { ip: "10.1.2.3".into(), hostnames: Some(vec!["redis".into()]) };
    let services = [alias];
    let settings = JobSettings { services: &services, ..SETTINGS };
    for launcher in [ProcessLauncher::Kubelet, ProcessLauncher::Agent] {
        let (runner, step_id) = (runner(), "s1".parse().unwrap());
        let launch = Launch { image: "busybox", launcher };
        let plan = job(&runner, &step_id, &step(), Mounts::default(), launch, settings).unwrap();
        let pod = plan.job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.host_aliases.as_deref(), Some(&services[..]));
    }
    let pod = made().0.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.host_aliases, None);
}
