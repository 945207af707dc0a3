//! Fields of the runner's input that the examples have no or one kind of.

use serde_json::{Value, json};

use super::tests::{planned, value};
use super::*;
use crate::objects::agent;

/// A job with these fields in its container and in its one service.
fn job(container: &Value, service: &Value) -> JobSpec {
    let spec = |fields: &Value| {
        let mut all = json!({"image": "debian"});
        for (name, field) in fields.as_object().into_iter().flatten() {
            all[name] = field.clone();
        }
        serde_json::from_value(all).unwrap()
    };
    JobSpec::read(Some(spec(container)), vec![spec(service)]).unwrap()
}

fn mount<'a>(pod: &'a Value, container: usize, target: &str) -> &'a Value {
    let mounts = pod["spec"]["containers"][container]["volumeMounts"].as_array().unwrap();
    let found = mounts.iter().find(|mount| mount["mountPath"] == target);
    found.unwrap_or_else(|| panic!("nothing is mounted at {target}"))
}

fn volume<'a>(pod: &'a Value, mount: &Value) -> &'a Value {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap()
}

#[test]
fn a_tool_cache_elsewhere_is_a_directory_of_its_own() {
    let tools = json!([{"sourceVolumePath": "/opt/hostedtoolcache", "targetVolumePath": "/__t"}]);
    let pod = value(&planned(&job(&json!({"systemMountVolumes": tools}), &json!({}))).unwrap());
    let mounted = mount(&pod, 0, "/__t");
    assert!(volume(&pod, mounted)["emptyDir"].is_object(), "{mounted}");
    assert!(mounted["readOnly"].is_null());
}

#[test]
fn named_volumes_are_shared_and_anonymous_ones_are_not() {
    let volumes = json!([
        {"userProvidedValue": "Data_1:/d", "sourceVolumePath": "Data_1", "targetVolumePath": "/d"},
        {"userProvidedValue": "/a:ro", "targetVolumePath": "/a", "readOnly": true},
    ]);
    let fields = json!({"userMountVolumes": volumes});
    let pod = value(&planned(&job(&fields, &fields)).unwrap());
    assert_eq!(mount(&pod, 0, "/d")["name"], mount(&pod, 1, "/d")["name"]);
    assert_ne!(mount(&pod, 0, "/a")["name"], mount(&pod, 1, "/a")["name"]);
    assert_eq!(mount(&pod, 1, "/a")["readOnly"], true);
}

#[test]
fn a_service_runs_what_docker_would_make_of_its_words() {
    let service =
        json!({"entryPoint": "/run$HOME", "entryPointArgs": ["-x", "\"a", "b\"", "$(Y)"]});
    let pod = value(&planned(&job(&json!({}), &service)).unwrap());
    let container = &pod["spec"]["containers"][1];
    assert_eq!(container["command"], json!(["/run$$HOME"]));
    assert_eq!(container["args"], json!(["-x", "a b", "$$(Y)"]));
    let plain = value(&planned(&job(&json!({}), &json!({}))).unwrap());
    // Its image's own.
    let container = &plain["spec"]["containers"][1];
    assert!(container["command"].is_null() && container["args"].is_null());
}

#[test]
fn the_job_container_keeps_the_runners_home_and_empty_values() {
    let variables = json!({"HOME": "/github/home", "EMPTY": "", "CI": "no", "PROXY": "http://p:1"});
    let plan = planned(&job(&json!({"environmentVariables": variables}), &json!({}))).unwrap();
    let get = |name: &str| plan.environment.get(name).map(String::as_str);
    assert_eq!((get("HOME"), get("EMPTY")), (Some("/github/home"), Some("")));
    assert_eq!((get("CI"), get("GITHUB_ACTIONS")), (Some("no"), Some("true")));
    assert_eq!(get("PROXY"), Some("http://p:1"));
}

#[test]
fn a_job_containers_own_entrypoint_is_not_its_program() {
    let fields =
        json!({"entryPoint": "/x", "entryPointArgs": ["y"], "workingDirectory": "/__w/r/r"});
    let pod = value(&planned(&job(&fields, &json!({}))).unwrap());
    let job = &pod["spec"]["containers"][0];
    assert_eq!(job["command"][0], agent::STEPD);
    assert!(job["args"].is_null() && job["workingDir"].is_null(), "{job}");
}

#[test]
fn without_image_volumes_the_pod_has_the_same_paths() {
    let around = PodOptions { injection: Injection::InitContainer, ..super::tests::pod_options() };
    let externals = json!([{"sourceVolumePath": "/home/runner/externals", "targetVolumePath": "/__e",
        "readOnly": true}]);
    let spec = job(&json!({"systemMountVolumes": externals}), &json!({}));
    let made = plan(&super::tests::runner(), &"s1".parse().unwrap(), &spec, around).unwrap();
    let pod = value(&made);
    let init = pod["spec"]["initContainers"].as_array().unwrap();
    assert_eq!(init.len(), 1);
    let copied = init[0]["volumeMounts"].as_array().unwrap();
    let filled = copied.iter().find(|mount| mount["mountPath"] == "/__e").unwrap();
    assert_eq!(filled["name"], mount(&pod, 0, "/__e")["name"]);
    let names: Vec<_> = pod["spec"]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].to_string())
        .collect();
    let mut apart = names.clone();
    apart.dedup();
    assert_eq!(names, apart);
}
