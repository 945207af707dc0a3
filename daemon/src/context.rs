//! What all operations share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::build::BuildEnvironment;
use crate::build::cache::BuildCache;
use crate::build::prebuild::Prebuilds;
use crate::cluster::Cluster;
use crate::cluster::access::{self, Permission};
use crate::cluster::retry::Retry;
use crate::config::{AgentInjection, Config};
use crate::error::{Failure, report};
use crate::forward::JobNetwork;
use crate::metrics::metrics;
use crate::names::origin::Origin;
use crate::objects::agent::Injection;
use crate::objects::template::Template;
use crate::policy::Policy;
use crate::registry::client::{RegistryClient, RegistryError};
use crate::registry::credentials::Credentials;
use crate::registry::resolver::{ImageInfo, ImageResolver};
use crate::runner::{HookTemplate, Runner};
use crate::session::crashes::Crashes;
use crate::session::drive::Sessions;
use crate::session::remembered::RememberedSteps;
use crate::session::runner_deletion::RunnerDeletion;
use crate::session::steps::Steps;
use crate::session::timings::JobTimings;
use crate::session::warnings::Warnings;
use crate::stepd::identity::Identities;
use crate::stepd::pods::Agents;
use crate::traces::Traces;

pub mod registries;

/// What all operations need.
pub struct Context {
    /// The settings.
    pub config: Config,
    /// The runner's namespace.
    pub cluster: Cluster,
    /// The clients and their steps.
    pub sessions: Sessions,
    /// Those of the job, if there is a collector.
    pub traces: Traces,
    /// The agents in job pods.
    pub agents: Agents,
    /// What registries report of images.
    pub images: ImageResolver,
    /// Images that this job built.
    pub builds: BuildCache,
    /// A node could not make a pod with image volumes, though the cluster's version has them.
    pub lacks_image_volumes: AtomicBool,
    /// How steps reach the services of the job.
    pub network: JobNetwork,
    /// Builds ahead of the steps that need them.
    pub prebuilds: Prebuilds,
    /// The steps that built images; the images' tags derive from their ids.
    pub built_tags: RememberedSteps,
    /// The steps that made Secrets for a job's pod; the Secrets' names derive from their ids.
    pub job_secrets: RememberedSteps,
    /// stepd's program is where containers of the runner pod find it.
    pub tools: OnceCell<()>,
    /// Warnings that the job's user has read.
    pub warnings: Warnings,
    /// What the job's containers took, for the summary of its first step.
    pub job_timings: JobTimings,
    /// What was learnt from the cluster, once.
    known: OnceCell<ClusterInfo>,
    /// Those of the runner's pull Secrets and of the registry of built images.
    credentials: OnceCell<Vec<Credentials>>,
    registries: OnceCell<RegistryClient>,
    missing: Mutex<Vec<Permission>>,
}

/// What hookd learns from the cluster once.
#[derive(Clone, Debug)]
pub struct ClusterInfo {
    /// The runner pod.
    pub runner: Runner,
    /// Version of the API server.
    pub cluster_version: String,
}

/// How long hookd waits for the API server before it serves.
const WARMING: Duration = Duration::from_secs(20);
/// Minor version of Kubernetes from which image volumes are on by default.
const IMAGE_VOLUMES: u32 = 35;

impl ClusterInfo {
    /// How stepd gets into pods of this cluster, as far as its version shows.
    pub fn injection(&self, config: &Config) -> Injection {
        match config.agent_injection {
            AgentInjection::ImageVolumes => Injection::ImageVolumes,
            AgentInjection::InitContainer => Injection::InitContainer,
            AgentInjection::Auto if has_image_volumes(&self.cluster_version) => {
                Injection::ImageVolumes
            }
            AgentInjection::Auto => Injection::InitContainer,
        }
    }
}

/// True of a version from which image volumes are on by default: "v1.36.3", "1.35+".
pub fn has_image_volumes(version: &str) -> bool {
    minor_version(version).is_some_and(|minor| minor >= IMAGE_VOLUMES)
}

/// The 36 of "v1.36.3"; none: it is no version.
pub fn minor_version(version: &str) -> Option<u32> {
    let minor = version.trim_start_matches('v').split('.').nth(1)?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Where the administrator's template for pods is: the file that a rule of the policy names, the sidecar's
/// setting, or the runner container's, as the reference hooks have it.
pub fn hook_template(
    config: &Config,
    policy: Option<&Policy>,
    runner: Option<&Runner>,
) -> HookTemplate {
    let by_rule = policy.zip(runner).and_then(|(policy, runner)| policy.template(&runner.labels));
    by_rule.map_or_else(|| HookTemplate::of(config, runner), HookTemplate::File)
}

impl Context {
    /// A context that has asked the cluster nothing yet.
    pub fn new(config: Config, client: Client, namespace: String) -> Self {
        let cluster = Cluster {
            client,
            namespace,
            api_timeout: config.api_timeout,
            start_timeout: config.start_timeout,
        };
        let steps = Steps::default();
        let runner_deletion =
            RunnerDeletion::new(cluster.clone(), config.pod_name.clone(), steps.clone());
        Self {
            agents: Agents::new(
                cluster.clone(),
                runner_deletion.clone(),
                &config.pod_name,
                Identities::new(&config.socket_dir),
            ),
            sessions: Sessions {
                steps,
                crashes: Crashes::load(&config.socket_dir),
                tasks: TaskTracker::new(),
                stopping: CancellationToken::new(),
                runner_deletion,
                origin: watch::Sender::default(),
            },
            traces: Traces::default(),
            images: ImageResolver::new(&config.registry),
            builds: BuildCache::default(),
            lacks_image_volumes: AtomicBool::new(false),
            network: JobNetwork::default(),
            prebuilds: Prebuilds::new(RememberedSteps::new(&config.socket_dir, "prebuilds")),
            built_tags: RememberedSteps::new(&config.socket_dir, "built-images"),
            job_secrets: RememberedSteps::new(&config.socket_dir, "job-secrets"),
            tools: OnceCell::new(),
            warnings: Warnings::default(),
            job_timings: JobTimings::default(),
            known: OnceCell::new(),
            credentials: OnceCell::new(),
            registries: OnceCell::new(),
            missing: Mutex::default(),
            config,
            cluster,
        }
    }

    /// What the cluster says of the runner and of our permissions; asked until it was answered
    /// well once.
    ///
    /// # Errors
    /// A missing permission, by name; an API that stays away.
    pub async fn cluster_info(&self) -> Result<&ClusterInfo, Failure> {
        self.known.get_or_try_init(|| self.discover(self.cluster.retry())).await
    }

    /// As [`Context::cluster_info`], at the start: hooks that wait for the socket are to hear soon what is
    /// wrong.
    ///
    /// # Errors
    /// As [`Context::cluster_info`].
    pub async fn warm(&self) -> Result<&ClusterInfo, Failure> {
        self.known.get_or_try_init(|| self.discover(Retry::new(WARMING))).await
    }

    async fn discover(&self, retry: Retry) -> Result<ClusterInfo, Failure> {
        let granted = access::granted(&self.cluster, &retry).await?;
        let read = Runner::read(&self.cluster, &self.config, &retry).await;
        let missing = granted.lacks(self.required(read.as_ref().ok()));
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&missing);
        metrics().lacks_permissions(missing.len());
        if !missing.is_empty() {
            return Err(access::failure(&self.cluster.namespace, &missing));
        }
        let runner = read?;
        let version = retry
            .run("read the API server's version", || self.cluster.client.apiserver_version())
            .await?;
        Ok(ClusterInfo { runner, cluster_version: version.git_version })
    }

    /// What hookd must be allowed to do.
    fn required(&self, runner: Option<&Runner>) -> Vec<access::Rule> {
        let in_runner_pod = runner.is_some_and(|runner| runner.job_volumes.is_some());
        access::required(in_runner_pod, self.config.registry.host.is_some())
    }

    /// The administrator's policy as it is now, if there is one.
    ///
    /// # Errors
    /// `POLICY_INVALID` when it cannot be read.
    pub fn policy(&self) -> Result<Option<Policy>, Failure> {
        let file = self.config.policy.policy_file.as_deref();
        Ok(file.map(Policy::read).transpose()?)
    }

    fn hook_template(&self, policy: Option<&Policy>) -> HookTemplate {
        let runner = self.cached_cluster_info().map(|known| &known.runner);
        hook_template(&self.config, policy, runner)
    }

    /// The administrator's template for pods, if there is one.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` when it cannot be read; as [`Context::policy`].
    pub fn template(&self) -> Result<Option<Template>, Failure> {
        Template::of(&self.hook_template(self.policy()?.as_ref()))
    }

    /// The job that objects are made for now.
    pub fn origin(&self) -> Origin {
        self.sessions.origin.borrow().clone()
    }

    /// What builds on this runner share.
    ///
    /// # Errors
    /// As [`Context::cluster_info`] and [`Context::policy`].
    pub async fn build_environment(&self) -> Result<BuildEnvironment<'_>, Failure> {
        let runner = &self.cluster_info().await?.runner;
        let policy = self.policy()?;
        Ok(BuildEnvironment {
            config: &self.config,
            cluster: &self.cluster,
            runner,
            template: self.hook_template(policy.as_ref()),
            policy,
            cache: &self.builds,
            registry: self.registries().await.ok(),
            built_tags: &self.built_tags,
            warnings: &self.warnings,
            is_trusted: false,
            origin: self.origin(),
        })
    }

    /// What a registry reports of an image that a pod of ours is to run; `more` are credentials of
    /// that pod alone.
    pub async fn image(&self, image: &str, more: &[Credentials]) -> Option<Arc<ImageInfo>> {
        let shared = self.credentials().await.ok()?;
        let client = self.registries().await.ok()?;
        self.images.find(client, image, more, shared).await
    }

    /// The client for registries, with the certificates of the settings.
    ///
    /// # Errors
    /// One of these is none; the log says so.
    pub async fn registries(&self) -> Result<&RegistryClient, RegistryError> {
        let made = || async {
            RegistryClient::new(&registries::options(&self.cluster, &self.config.registry).await)
        };
        let client = self.registries.get_or_try_init(made).await;
        client.inspect_err(|error| {
            tracing::warn!(error = report(error), "registries cannot be asked: no client");
        })
    }

    /// Those of the runner's pull Secrets and of the registry of built images, as far as hookd may read
    /// them.
    ///
    /// # Errors
    /// As [`Context::cluster_info`].
    pub async fn credentials(&self) -> Result<&[Credentials], Failure> {
        let known = self.cluster_info().await?;
        let read = || registries::credentials(&self.cluster, &self.config, &known.runner);
        Ok(self.credentials.get_or_init(read).await)
    }

    /// What is known already, without asking.
    pub fn cached_cluster_info(&self) -> Option<&ClusterInfo> {
        self.known.get()
    }

    /// The permissions that were missing when they were last looked at.
    pub fn missing(&self) -> Vec<Permission> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_stepd_follows_from_the_version_unless_it_is_set() {
        let known = |version: &str| ClusterInfo {
            runner: Runner::default(),
            cluster_version: version.to_owned(),
        };
        for (version, expected) in [
            ("v1.36.3", Injection::ImageVolumes),
            ("v1.35.0+k3s1", Injection::ImageVolumes),
            ("1.35+", Injection::ImageVolumes),
            ("v1.34.9", Injection::InitContainer),
            ("", Injection::InitContainer),
        ] {
            assert_eq!(known(version).injection(&Config::of(&[])), expected, "{version}");
        }
        let set = Config::of(&["--agent-injection", "init-container"]);
        assert_eq!(known("v1.36.3").injection(&set), Injection::InitContainer);
    }
}
