//! The volumes that a runner pod brings for jobs that run in it: an ephemeral container can mount no
//! others. `docs/placement.md` says what each is for.

use k8s_openapi::api::core::v1::{Pod, VolumeMount};

use super::error::RunnerError;
use super::that_mounts;
use crate::config::Config;

/// Names of the volumes of the runner pod, by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobVolumes {
    /// The work directory.
    pub work: String,
    /// stepd's program; containers mount it read-only.
    pub tools: String,
    /// The runner's externals: Node.js.
    pub externals: String,
    /// `/github` of all containers: links into the work directory.
    pub github: String,
    /// Sockets of stepd in job containers, in services and in container steps. None of them mounts those
    /// of another kind, whose stepd it could call or pose as.
    pub agents: Agents,
    /// Empty directories for the job's own volumes.
    pub spare: Vec<String>,
    /// Volumes of the pod that a template may have containers mount: none that hookd mounts, which has
    /// its token there, and its socket.
    pub all: Vec<String>,
    /// Names that the pod has for 127.0.0.1.
    pub local_names: Vec<String>,
}

/// See [`JobVolumes::agents`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents {
    /// Of job containers.
    pub job: String,
    /// Of services.
    pub services: String,
    /// Of container steps.
    pub steps: String,
}

/// Directories beneath the directory of agents at which the hookd container mounts them.
pub const TOOLS: &str = "tools";
/// As [`TOOLS`].
pub const EXTERNALS: &str = hookd_api::transport::EXTERNALS_DIR;
/// As [`TOOLS`].
pub const GITHUB: &str = "github";
/// As [`TOOLS`].
pub const JOB: &str = "job";
/// As [`TOOLS`].
pub const SERVICES: &str = "services";
/// As [`TOOLS`].
pub const STEPS: &str = "steps";
/// Start of the names of spare volumes.
const SPARE: &str = "hookd-volume-";

/// The volumes; none if the pod brings no volume for jobs at all.
///
/// # Errors
/// What is missing, or what of the pod keeps jobs from running in it.
pub(super) fn find(pod: &Pod, config: &Config) -> Option<Result<JobVolumes, RunnerError>> {
    let hookd = that_mounts(pod, config, false)?;
    let mounts = hookd.volume_mounts.as_deref().unwrap_or_default();
    let all = [TOOLS, EXTERNALS, GITHUB, JOB, SERVICES, STEPS];
    let mounted = |kind: &str| mount_at(mounts, &config.agents_dir.join(kind).to_string_lossy());
    if all.iter().all(|kind| mounted(kind).is_none()) {
        return None;
    }
    Some(check(pod, config).and_then(|()| {
        let named = |kind: &str| {
            let path = config.agents_dir.join(kind);
            let mount = mounted(kind).ok_or(RunnerError::NoJobVolume { path })?;
            Ok(mount.name.clone())
        };
        let work = mount_at(mounts, &config.work_dir.to_string_lossy());
        let work =
            work.ok_or_else(|| RunnerError::NoJobVolume { path: config.work_dir.clone() })?;
        if [&work.sub_path, &work.sub_path_expr].into_iter().flatten().any(|path| !path.is_empty())
        {
            return Err(RunnerError::PartOfVolume { volume: work.name.clone() });
        }
        let agents = Agents { job: named(JOB)?, services: named(SERVICES)?, steps: named(STEPS)? };
        Ok(JobVolumes {
            work: work.name.clone(),
            tools: named(TOOLS)?,
            externals: named(EXTERNALS)?,
            github: named(GITHUB)?,
            agents,
            spare: names(pod).filter(|name| name.starts_with(SPARE)).cloned().collect(),
            all: names(pod)
                .filter(|name| !mounts.iter().any(|mount| mount.name == **name))
                .cloned()
                .collect(),
            local_names: local_names(pod),
        })
    }))
}

fn mount_at<'a>(mounts: &'a [VolumeMount], path: &str) -> Option<&'a VolumeMount> {
    let path = path.trim_end_matches('/');
    mounts.iter().find(|mount| mount.mount_path.trim_end_matches('/') == path)
}

/// What of the pod would make every job wrong, or open to its own steps.
fn check(pod: &Pod, config: &Config) -> Result<(), RunnerError> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let mut listed = spec.image_pull_secrets.iter().flatten();
    if let Some(secret) = &config.pull_secret
        && !listed.any(|listed| listed.name == *secret)
    {
        return Err(RunnerError::PullSecretNotListed { secret: secret.clone() });
    }
    if spec.share_process_namespace.unwrap_or_default() {
        return Err(RunnerError::SharedProcesses);
    }
    let Some(context) = &spec.security_context else { return Ok(()) };
    for (field, is_set) in [
        ("runAsUser", context.run_as_user.is_some()),
        ("runAsGroup", context.run_as_group.is_some()),
        ("runAsNonRoot", context.run_as_non_root.unwrap_or_default()),
    ] {
        if is_set {
            return Err(RunnerError::UserOfPod { field });
        }
    }
    Ok(())
}

fn names(pod: &Pod) -> impl Iterator<Item = &String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.map(|volume| &volume.name)
}

fn local_names(pod: &Pod) -> Vec<String> {
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let local = aliases.filter(|alias| alias.ip == "127.0.0.1");
    local.flat_map(|alias| alias.hostnames.iter().flatten().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A runner pod whose hookd container mounts these directories of agents.
    fn pod(kinds: &[&str], more: &Value) -> Pod {
        let mounts = kinds.iter().map(
            |kind| json!({"name": format!("v-{kind}"), "mountPath": format!("/run/hookd-agents/{kind}/")}),
        );
        let mut mounts: Vec<_> = mounts.collect();
        mounts.push(json!({"name": "hookd", "mountPath": "/run/hookd"}));
        mounts.push(json!({"name": "work", "mountPath": "/home/runner/_work"}));
        let mut spec = json!({
            "initContainers": [{"name": "hookd", "volumeMounts": mounts}],
            "containers": [{"name": "runner"}],
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["redis"]},
                {"ip": "10.0.0.1", "hostnames": ["other"]}],
            "volumes": [{"name": "hookd-volume-0"}, {"name": "work"}, {"name": "hookd-volume-1"}],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    const ALL: [&str; 6] = [TOOLS, EXTERNALS, GITHUB, JOB, SERVICES, STEPS];

    #[test]
    fn volumes_are_found_by_where_hookd_mounts_them() {
        let found = find(&pod(&ALL, &json!({})), &Config::of(&[])).unwrap().unwrap();
        assert_eq!(found.work, "work");
        assert_eq!((found.agents.steps.as_str(), found.tools.as_str()), ("v-steps", "v-tools"));
        assert_eq!(found.spare, ["hookd-volume-0", "hookd-volume-1"]);
        assert_eq!(found.local_names, ["redis"]);
        assert_eq!(found.all, ["hookd-volume-0", "hookd-volume-1"], "hookd mounts the others");
        assert_eq!(find(&pod(&[], &json!({})), &Config::of(&[])), None);
    }

    #[test]
    fn each_missing_volume_is_named_by_its_path() {
        for missing in ALL {
            let rest: Vec<_> = ALL.into_iter().filter(|kind| *kind != missing).collect();
            let error = find(&pod(&rest, &json!({})), &Config::of(&[])).unwrap().unwrap_err();
            assert!(error.to_string().contains(&format!("/run/hookd-agents/{missing}")), "{error}");
        }
    }

    #[test]
    fn what_opens_a_pod_to_its_jobs_is_refused() {
        for (more, word) in [
            (json!({"shareProcessNamespace": true}), "shareProcessNamespace"),
            (json!({"securityContext": {"runAsUser": 1001}}), "runAsUser"),
            (json!({"securityContext": {"runAsGroup": 0}}), "runAsGroup"),
            (json!({"securityContext": {"runAsNonRoot": true}}), "runAsNonRoot"),
        ] {
            let error = find(&pod(&ALL, &more), &Config::of(&[])).unwrap().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        let plain = json!({"securityContext": {"fsGroup": 1001, "runAsNonRoot": false}});
        find(&pod(&ALL, &plain), &Config::of(&[])).unwrap().unwrap();
    }

    #[test]
    fn a_pull_secret_that_the_pod_does_not_list_is_named() {
        let config = Config::of(&["--pull-secret", "pull"]);
        let error = find(&pod(&ALL, &json!({})), &config).unwrap().unwrap_err();
        assert!(error.to_string().contains("pull"), "{error}");
        let listed = json!({"imagePullSecrets": [{"name": "other"}, {"name": "pull"}]});
        find(&pod(&ALL, &listed), &config).unwrap().unwrap();
    }

    #[test]
    fn a_part_of_a_volume_cannot_be_the_work_directory() {
        let mut pod = pod(&ALL, &json!({}));
        let containers = pod.spec.as_mut().unwrap().init_containers.as_mut().unwrap();
        let mounts = containers[0].volume_mounts.as_mut().unwrap();
        mounts.last_mut().unwrap().sub_path = Some("w".to_owned());
        let error = find(&pod, &Config::of(&[])).unwrap().unwrap_err();
        assert!(error.to_string().contains("volume work"), "{error}");
    }
}
