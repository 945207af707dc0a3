//! The operations, one file each, and what they share.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::cluster::access::{self, Permission};
use crate::cluster::retry::Retry;
use crate::cluster::watch::{PodWatch, Seen};
use crate::config::{Config, Tools};
use crate::error::Failure;
use crate::forward::JobNetwork;
use crate::image::builds::Builds;
use crate::image::credentials::Credentials;
use crate::image::lookup::{ImageInfo, Lookup};
use crate::runner::{HookTemplate, Runner};
use crate::spec::template::Template;
use crate::spec::tools::Delivery;
use crate::step::agents::Agents;
use crate::step::crashes::Crashes;
use crate::step::registry::Registry;
use crate::step::remembered::RememberedSteps;

pub mod build_image;
pub mod built_images;
pub mod cleanup_job;
pub mod prepare_job;
pub mod run_container_step;
pub mod run_script_step;
pub mod service_network;

/// What all operations need.
pub struct Context {
    /// The settings.
    pub config: Config,
    /// The warm client.
    pub client: Client,
    /// The runner's namespace.
    pub namespace: String,
    /// The steps that this daemon has seen.
    pub steps: Registry,
    /// The calls that daemons died with.
    pub crashes: Crashes,
    /// The agents in job pods.
    pub agents: Agents,
    /// What registries tell of images.
    pub images: Lookup,
    /// Images that this job built.
    pub builds: Builds,
    /// A node could not make a pod with image volumes, though the cluster's version has them.
    pub lacks_image_volumes: AtomicBool,
    /// How steps reach the services of the job.
    pub network: JobNetwork,
    /// The steps that built them; their ids are the images' tags.
    pub built_tags: RememberedSteps,
    /// The steps that made Secrets for a job's pod; the Secrets' names derive from their ids.
    pub job_secrets: RememberedSteps,
    /// Work that outlives its call.
    pub tasks: TaskTracker,
    /// Fires when hookd stops.
    pub stopping: CancellationToken,
    /// What was learnt from the cluster, once.
    known: OnceCell<Known>,
    /// Those of the runner's pull Secrets and of the registry of built images.
    credentials: OnceCell<Vec<Credentials>>,
    missing: Mutex<Vec<Permission>>,
    /// Warnings that the job's user has read.
    warned: Mutex<HashSet<String>>,
    leaving: Mutex<Weak<Leaving>>,
}

/// What an operation makes, and so what has to be undone when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// Jobs and a Secret, which go whatever the outcome.
    Jobs,
    /// A step in the agent of the job's pod.
    Step,
    /// The job's pod, which stays if all is well.
    JobPod,
}

/// What hookd learns from the cluster once.
#[derive(Clone, Debug)]
pub struct Known {
    /// The runner pod.
    pub runner: Runner,
    /// Version of the API server.
    pub cluster_version: String,
}

/// Watches for the deletion of the runner pod while somebody holds it: an idle runner watches
/// nothing.
#[derive(Debug)]
pub struct Leaving {
    _task: AbortOnDropHandle<()>,
}

/// How long hookd waits for the API server before it serves.
const WARMING: Duration = Duration::from_secs(20);
/// Minor version of Kubernetes from which image volumes are on by default.
const IMAGE_VOLUMES: u32 = 35;

impl Known {
    /// How stepd gets into pods of this cluster, as far as its version tells.
    pub fn delivery(&self, config: &Config) -> Delivery {
        match config.tools {
            Tools::ImageVolumes => Delivery::ImageVolumes,
            Tools::InitContainer => Delivery::InitContainer,
            Tools::Auto if has_image_volumes(&self.cluster_version) => Delivery::ImageVolumes,
            Tools::Auto => Delivery::InitContainer,
        }
    }
}

/// "v1.36.3", "1.35+"
fn has_image_volumes(version: &str) -> bool {
    let minor = version.trim_start_matches('v').split('.').nth(1).unwrap_or_default();
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().is_ok_and(|minor: u32| minor >= IMAGE_VOLUMES)
}

impl Context {
    /// A context that has asked the cluster nothing yet.
    pub fn new(config: Config, client: Client, namespace: String) -> Self {
        let images = Lookup::new(&config.registry);
        let crashes = Crashes::load(&config.socket_dir);
        let built_tags = RememberedSteps::new(&config.socket_dir, "built-images");
        let job_secrets = RememberedSteps::new(&config.socket_dir, "job-secrets");
        Self {
            config,
            client,
            namespace,
            steps: Registry::default(),
            crashes,
            agents: Agents::default(),
            images,
            builds: Builds::default(),
            lacks_image_volumes: AtomicBool::new(false),
            network: JobNetwork::default(),
            built_tags,
            job_secrets,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            known: OnceCell::new(),
            credentials: OnceCell::new(),
            missing: Mutex::default(),
            warned: Mutex::default(),
            leaving: Mutex::default(),
        }
    }

    /// What the cluster says of the runner and of our permissions; asked until it was answered
    /// well once.
    ///
    /// # Errors
    /// A missing permission, by name; an API that stays away.
    pub async fn known(&self) -> Result<&Known, Failure> {
        self.known.get_or_try_init(|| self.learn(self.retry())).await
    }

    /// As [`Context::known`], at the start: hooks that wait for the socket are to hear soon what is
    /// wrong.
    ///
    /// # Errors
    /// As [`Context::known`].
    pub async fn warm(&self) -> Result<&Known, Failure> {
        self.known.get_or_try_init(|| self.learn(Retry::new(WARMING))).await
    }

    async fn learn(&self, retry: Retry) -> Result<Known, Failure> {
        let missing = access::missing(&self.client, &self.namespace, &retry).await?;
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&missing);
        if !missing.is_empty() {
            return Err(access::failure(&self.namespace, &missing));
        }
        let runner = Runner::read(&self.client, &self.namespace, &self.config, &retry).await?;
        let version =
            retry.run("read the API server's version", || self.client.apiserver_version()).await?;
        Ok(Known { runner, cluster_version: version.git_version })
    }

    /// The administrator's template for pods, if there is one: the file that the sidecar's setting
    /// names, or else the one that the runner container's names, as the reference hooks have it.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` when it cannot be read.
    pub fn template(&self) -> Result<Option<Template>, Failure> {
        let of_runner = self.known_so_far().map(|known| &known.runner.hook_template);
        let path = match (&self.config.hook_template, of_runner) {
            (Some(path), _) | (None, Some(HookTemplate::File(path))) => path,
            (None, Some(HookTemplate::OutOfReach(warning))) => {
                return Ok(Some(Template::unreachable(warning.clone())));
            }
            (None, _) => return Ok(None),
        };
        Template::read(path).map(Some)
    }

    /// Those of the warnings that were not given since the job began.
    pub fn new_warnings(&self, warnings: Vec<String>) -> Vec<String> {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.into_iter().filter(|warning| warned.insert(warning.clone())).collect()
    }

    /// A new job: its user has read no warning yet.
    pub fn forget_warnings(&self) {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What a registry tells of an image that a pod of ours is to run; `more` are credentials of
    /// that pod alone.
    pub async fn image(&self, image: &str, more: &[Credentials]) -> Option<Arc<ImageInfo>> {
        let known = self.known().await.ok()?;
        let shared = self.credentials.get_or_init(|| async {
            let names = known.runner.pull_secrets.iter().map(|secret| secret.name.as_str());
            let names = names.chain(self.config.registry.secret.as_deref());
            let secrets = self.secrets();
            let read = names.map(|name| secrets.get_opt(name));
            // Who cannot be read is left to the kubelet.
            let found = futures::future::join_all(read).await.into_iter().flatten().flatten();
            found.flat_map(|secret| Credentials::of_secret(&secret)).collect()
        });
        self.images.find(image, more, shared.await).await
    }

    /// What is known already, without asking.
    pub fn known_so_far(&self) -> Option<&Known> {
        self.known.get()
    }

    /// The permissions that were missing when they were last looked at.
    pub fn missing(&self) -> Vec<Permission> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How requests are repeated within a step.
    pub fn retry(&self) -> Retry {
        Retry::new(self.config.api_timeout)
    }

    /// Pods of the runner's namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Jobs of the runner's namespace.
    pub fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Secrets of the runner's namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Cancels all steps when the runner pod is being deleted, for as long as the value is held.
    pub fn watch_for_leaving(&self) -> Arc<Leaving> {
        let mut shared = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaving) = shared.upgrade() {
            return leaving;
        }
        let (pods, name, steps) = (self.pods(), self.config.pod_name.clone(), self.steps.clone());
        let task = tokio::spawn(async move {
            let is_leaving = |seen: &Seen| match seen {
                Seen::Pod(pod) => pod.metadata.deletion_timestamp.is_some(),
                Seen::Gone => true,
                Seen::NotYet => false,
            };
            PodWatch::of_pod(pods, &name).until(is_leaving).await;
            tracing::info!("the runner pod is being deleted; cancelling its steps");
            steps.cancel_all();
        });
        let leaving = Arc::new(Leaving { _task: AbortOnDropHandle::new(task) });
        *shared = Arc::downgrade(&leaving);
        leaving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_stepd_follows_from_the_version_unless_it_is_set() {
        let known = |version: &str| Known {
            runner: Runner::default(),
            cluster_version: version.to_owned(),
        };
        for (version, expected) in [
            ("v1.36.3", Delivery::ImageVolumes),
            ("v1.35.0+k3s1", Delivery::ImageVolumes),
            ("1.35+", Delivery::ImageVolumes),
            ("v1.34.9", Delivery::InitContainer),
            ("", Delivery::InitContainer),
        ] {
            assert_eq!(known(version).delivery(&Config::of(&[])), expected, "{version}");
        }
        let set = Config::of(&["--tools", "init-container"]);
        assert_eq!(known("v1.36.3").delivery(&set), Delivery::InitContainer);
    }
}
