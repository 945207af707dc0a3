use hookd_api::v1::PrepareJobStart;
use serde_json::Value;

use super::*;
use crate::config::PolicyConfig;
use crate::error::Reason;
use crate::objects::agent::STEPD;
use crate::runner::WorkVolume;

pub(super) fn runner() -> Runner {
    Runner {
        name: "r".into(),
        namespace: "ns".into(),
        uid: "u".into(),
        node: "n".into(),
        work: Some(WorkVolume { claim: "c".into(), same_node: true, ..WorkVolume::default() }),
        hookd_image: "reg/hookd@sha256:1".into(),
        runner_image: "reg/runner@sha256:2".into(),
        ..Runner::default()
    }
}

/// The runner's own example.
fn input() -> PrepareJobStart {
    let input: Value = serde_json::from_str(include_str!(
        "../../../../tests/fixtures/prepare_job_container_services.json"
    ))
    .unwrap();
    let spec = |value: &Value| serde_json::from_value(without_nulls(value)).unwrap();
    PrepareJobStart {
        container: Some(spec(&input["args"]["container"])),
        services: input["args"]["services"].as_array().unwrap().iter().map(spec).collect(),
        ..PrepareJobStart::default()
    }
}

fn read(input: PrepareJobStart) -> Result<JobSpec, Failure> {
    JobSpec::read(input.container, input.services)
}

/// The job of the runner's own example.
fn example() -> JobSpec {
    read(input()).unwrap()
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// As on a new cluster, with nothing else set.
pub(super) fn pod_options() -> PodOptions<'static> {
    PodOptions {
        work_dir: Path::new("/home/runner/_work"),
        template: None,
        registry_secret: None,
        injection: Injection::ImageVolumes,
        images: &[],
    }
}

pub(super) fn planned(spec: &JobSpec) -> Result<Plan, Failure> {
    let step = "s1".parse().unwrap();
    plan(&runner(), &step, spec, pod_options())
}

pub(super) fn value(plan: &Plan) -> Value {
    serde_json::to_value(&plan.pod).unwrap()
}

#[test]
fn the_pod_of_the_runners_own_example_is_the_recorded_one() {
    let plan = planned(&example()).unwrap();
    insta::assert_yaml_snapshot!("pod_of_the_example", plan.pod);
    insta::assert_yaml_snapshot!("notes_of_the_example", plan.warnings);
}

#[test]
fn the_job_container_is_stepd_in_the_users_image() {
    let pod = value(&planned(&example()).unwrap());
    let job = &pod["spec"]["containers"][0];
    assert_eq!(job["image"], "ghcr.io/octo-org/build-image:1.4");
    assert_eq!(job["command"][0], STEPD);
    assert_eq!((job.get("args"), job.get("env")), (None, None));
    assert!(!pod.to_string().contains("docker.sock"));
}

#[test]
fn the_pod_is_owned_and_has_neither_token_nor_restart() {
    let pod = value(&planned(&example()).unwrap());
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u");
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["restartPolicy"], "Never");
    assert_eq!(spec.get("initContainers"), None);
}

#[test]
fn values_of_the_environment_stand_in_no_specification() {
    let plan = planned(&example()).unwrap();
    let text = value(&plan).to_string();
    for secret in ["fake-password-1", "fake-password-2", "fake-password-3", "development"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(text.contains("POSTGRES_PASSWORD"));
    assert_eq!(plan.environment["NODE_ENV"], "development");
    assert_eq!(plan.environment["GITHUB_ACTIONS"], "true");
    assert_eq!(plan.secrets.len(), 2);
    let pull = &plan.secrets[1];
    assert_eq!(pull.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    let name = pull.metadata.name.as_deref().unwrap();
    assert_eq!(value(&plan)["spec"]["imagePullSecrets"][0]["name"], name);
}

#[test]
fn services_are_found_by_their_names_and_ports() {
    let plan = planned(&example()).unwrap();
    assert_eq!(plan.containers, ["job", "redis", "private-postgres"]);
    let prepared = &plan.prepared;
    assert_eq!(prepared.services[1].id, "private-postgres");
    assert_eq!(prepared.services[1].ports["5432"], "5432");
}

#[test]
fn a_job_with_services_only_has_no_job_container_and_no_stepd() {
    let plan = planned(&JobSpec { container: None, ..example() }).unwrap();
    assert_eq!(plan.containers, ["redis", "private-postgres"]);
    assert!(plan.prepared.container.is_none());
    assert!(!value(&plan).to_string().contains("stepd"));
}

#[test]
fn a_port_of_two_containers_is_refused_before_anything_is_made() {
    let mut spec = input();
    spec.services[1].port_mappings.push("6379".into());
    assert!(read(spec).unwrap_err().message.contains("6379"));
    // What only the image says counts too.
    let image = |port: &str| {
        let json = format!(r#"{{"ExposedPorts":{{"{port}":{{}}}}}}"#);
        serde_json::from_str(&json).map(Some).unwrap()
    };
    let mut twice = input();
    for service in &mut twice.services {
        service.port_mappings.clear();
    }
    let twice = read(twice).unwrap();
    let planned_with = |images: &[Option<ImageConfig>]| {
        let around = PodOptions { images, ..pod_options() };
        plan(&runner(), &"s1".parse().unwrap(), &twice, around)
    };
    let error = planned_with(&[image("6379/tcp"), image("6379/tcp")]).unwrap_err();
    for word in ["6379", "redis", "private-postgres", "EXPOSE"] {
        assert!(error.message.contains(word), "{error}");
    }
    assert!(planned_with(&[image("6379/tcp"), image("6379/udp")]).is_ok());
    assert!(planned_with(&[image("6379/tcp"), None]).is_ok());
}

#[test]
fn a_call_is_checked_before_the_cluster_is_asked() {
    let broken = |change: fn(&mut PrepareJobStart)| {
        let mut input = input();
        change(&mut input);
        read(input).unwrap_err()
    };
    for (failure, words) in [
        (
            broken(|job| job.services[0].image.clear()),
            "Container service of the job names no image",
        ),
        (
            broken(|job| job.services[0].create_options = "--frob".into()),
            "Container redis: `--frob`",
        ),
        (
            broken(|job| {
                let job = job.container.as_mut().unwrap();
                job.environment_variables.insert("A=B".into(), String::new());
            }),
            "\"A=B\" is not a name",
        ),
        (broken(|job| job.services[0].port_mappings = vec!["x".into()]), "\"x\" in `ports:`"),
        (
            broken(|job| {
                let job = job.container.as_mut().unwrap();
                job.user_mount_volumes[0].target_volume_path = "/__w".into();
            }),
            "/__w",
        ),
    ] {
        assert_eq!(failure.reason, Reason::InvalidInput);
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[test]
fn what_the_administrator_does_not_allow_is_refused_by_name() {
    // The runner's own example has `--user root`.
    let denied = example().check(&PolicyConfig::default()).unwrap_err();
    assert_eq!(denied.reason, Reason::PolicyDenied);
    assert!(denied.message.contains("--user root"), "{denied}");
    let policy = PolicyConfig { allow_root_user: true, ..PolicyConfig::default() };
    example().check(&policy).unwrap();
}

#[test]
fn a_volume_from_elsewhere_on_the_runner_is_refused_by_its_path() {
    let mut spec = input();
    let container = spec.container.as_mut().unwrap();
    container.user_mount_volumes[1].source_volume_path = "/etc/ssl".into();
    let error = planned(&read(spec).unwrap()).unwrap_err();
    assert!(error.message.contains("/etc/ssl"), "{error}");
}

#[test]
fn a_template_wins_where_it_differs_from_the_workflow() {
    let planned = |template: &str| {
        let template = Template::parse("t", template).unwrap();
        let step = "s1".parse().unwrap();
        let around = PodOptions { template: Some(&template), ..pod_options() };
        plan(&runner(), &step, &example(), around).unwrap()
    };
    let job = |fields: &str| planned(&format!("spec: {{containers: [{{name: $job, {fields}}}]}}"));
    let resources = |plan: &Plan| value(plan)["spec"]["containers"][0]["resources"].clone();
    // An empty value says nothing: it took the workflow's limit away before.
    assert_eq!(resources(&job("resources: {}")), resources(&planned("")));
    let variables = planned("").environment;
    let name = variables.keys().next().unwrap().clone();
    let plan = job(&format!("env: [{{name: {name}, value: theirs}}]"));
    assert!(!plan.environment.contains_key(&name) && plan.environment.len() + 1 == variables.len());
    assert!(plan.warnings.iter().any(|note| note.contains(&format!("the variable {name}"))));
}
