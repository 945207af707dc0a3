//! What several checks need to know, asked once.

use std::time::{Duration, SystemTime};

use http::{Request, header};
use k8s_openapi::apimachinery::pkg::version::Info;

use crate::blocking;
use crate::cluster::Cluster;
use crate::cluster::client;
use crate::cluster::error::ClusterError;
use crate::cluster::retry::Retry;
use crate::config::Config;
use crate::context::{hook_template, registries};
use crate::doctor::pull_secrets::PullSecrets;
use crate::doctor::report::Outcome;
use crate::error::Failure;
use crate::objects::template::Template;
use crate::policy::Policy;
use crate::registry::client::{ClientOptions, RegistryClient, RegistryError};
use crate::runner::Runner;

/// How long a request is repeated that fails in passing.
const BUDGET: Duration = Duration::from_secs(1);
/// How long the first requests may take; those of the checks have a limit of their own.
const ANSWER: Duration = Duration::from_secs(4);

/// What the API server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Its version, "v1.36.2".
    pub(super) version: String,
    /// Seconds by which our clock is ahead of its own; none: it does not tell the time.
    pub(super) ahead: Option<i64>,
}

/// All of it.
pub(super) struct Facts {
    pub(super) config: Config,
    /// A line for each setting that cannot be used.
    pub(super) refused: Vec<String>,
    pub(super) cluster: Result<Cluster, Failure>,
    pub(super) server: Result<Server, Failure>,
    pub(super) runner: Result<Runner, Failure>,
    pub(super) registries: ClientOptions,
    /// The file of HOOKD_POLICY; none: it is not set.
    pub(super) policy: Result<Option<Policy>, Failure>,
    /// The runner pod's imagePullSecrets.
    pub(super) of_runner: PullSecrets,
    /// The Secret of the registry of built images, which builds push and pull with.
    pub(super) of_registry: PullSecrets,
}

impl Facts {
    /// Asks for them.
    pub(super) async fn gather(config: Config, refused: Vec<String>) -> Self {
        let cluster = client::connect().await.map(|(client, namespace)| Cluster {
            client,
            namespace: config.namespace.clone().unwrap_or(namespace),
            api_timeout: BUDGET,
            start_timeout: BUDGET,
        });
        Self::of(config, refused, cluster).await
    }

    /// Asks this cluster.
    pub(super) async fn of(
        config: Config,
        refused: Vec<String>,
        cluster: Result<Cluster, Failure>,
    ) -> Self {
        let (server, runner) = match &cluster {
            Ok(cluster) => tokio::join!(server(cluster), runner(cluster, &config)),
            Err(_) => (Err(unasked()), Err(unasked())),
        };
        let policy = policy(&config).await;
        let (mut registries, mut of_runner, mut of_registry) = Default::default();
        if let (Ok(cluster), Ok(runner)) = (&cluster, &runner) {
            let options = registries::options(cluster, &config.registry);
            let options = tokio::time::timeout(ANSWER, options);
            let pull_secrets = runner.pull_secrets.iter().map(|secret| secret.name.as_str());
            // What other jobs have given is not this one's.
            let pull_secrets =
                pull_secrets.filter(|name| config.pull_secret.as_deref() != Some(*name));
            let options = tokio::join!(
                options,
                PullSecrets::read(cluster, pull_secrets, ANSWER),
                PullSecrets::read(cluster, config.registry.secret.as_deref(), ANSWER)
            );
            (registries, of_runner, of_registry) =
                (options.0.unwrap_or_default(), options.1, options.2);
        }
        Self {
            config,
            refused,
            cluster,
            server,
            runner,
            registries,
            policy,
            of_runner,
            of_registry,
        }
    }

    /// The cluster.
    ///
    /// # Errors
    /// Nothing can be asked of it.
    pub(super) fn cluster(&self) -> Result<&Cluster, Outcome> {
        match (&self.cluster, &self.server) {
            (Ok(cluster), Ok(_)) => Ok(cluster),
            _ => Err(Outcome::skipped("the API server does not answer: see api-server")),
        }
    }

    /// What the runner pod's own object says.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn runner(&self) -> Result<&Runner, Outcome> {
        self.cluster()?;
        let unread = |_| Outcome::skipped("the runner pod cannot be read: see runner-pod");
        self.runner.as_ref().map_err(unread)
    }

    /// True if jobs run in the runner pod, or are meant to.
    pub(super) fn is_in_runner_pod(&self) -> bool {
        self.runner.as_ref().is_ok_and(|runner| runner.job_volumes.is_some())
    }

    /// The administrator's template for pods, as the daemon finds it.
    ///
    /// # Errors
    /// It is none, or depends on what cannot be read.
    pub(super) fn template(&self) -> Result<Option<Template>, Outcome> {
        let unread = |_| Outcome::skipped("the policy cannot be used: see policy");
        let policy = self.policy.as_ref().map_err(unread)?.as_ref();
        // A policy may choose by the labels of the pod.
        let runner =
            if policy.is_some() { Some(self.runner()?) } else { self.runner.as_ref().ok() };
        Ok(Template::of(&hook_template(&self.config, policy, runner))?)
    }

    /// What nodes pull the images of a pod of hookd with, as far as hookd may read it.
    pub(super) fn of_pods(&self) -> PullSecrets {
        self.of_runner.clone().and(&self.of_registry)
    }

    /// A client for registries, which speaks plain HTTP to `plain`, too.
    ///
    /// # Errors
    /// A certificate of the settings is none.
    pub(super) fn registries(&self, plain: Option<&str>) -> Result<RegistryClient, RegistryError> {
        let mut options = self.registries.clone();
        options.insecure.extend(plain.map(str::to_owned));
        RegistryClient::new(&options)
    }
}

fn unasked() -> Failure {
    ClusterError::NoAnswer {
        action: "read its version".to_owned(),
        source: Box::new(kube::Error::Service("no access is configured".into())),
    }
    .into()
}

/// Waits no longer than the checks may wait.
async fn in_time<T>(
    action: &str,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| {
        let source = Box::new(kube::Error::Service("no answer within 4 s".into()));
        Err(ClusterError::NoAnswer { action: action.to_owned(), source }.into())
    })
}

/// Reads the policy as each call of a hook does.
async fn policy(config: &Config) -> Result<Option<Policy>, Failure> {
    let Some(path) = config.policy.policy_file.clone() else { return Ok(None) };
    let what = format!("Reading the policy {}", path.display());
    Ok(Some(blocking::run(ANSWER, &what, move || Policy::read(&path)).await??))
}

async fn runner(cluster: &Cluster, config: &Config) -> Result<Runner, Failure> {
    let retry = Retry::new(BUDGET);
    in_time("read the runner pod", Runner::read(cluster, config, &retry)).await
}

/// Version and time, of one answer.
async fn server(cluster: &Cluster) -> Result<Server, Failure> {
    const ACTION: &str = "read its version";
    let retry = cluster.retry();
    let asked = retry.run(ACTION, || async {
        let request = Request::get("/version").body(kube::client::Body::empty());
        let request = request.map_err(|error| kube::Error::Service(error.into()))?;
        let answer = cluster.client.send(request).await?;
        let ahead =
            answer.headers().get(header::DATE).and_then(|date| ahead_of(date.to_str().ok()?));
        let body = answer.into_body().collect_bytes().await?;
        let info: Info = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
        Ok(Server { version: info.git_version, ahead })
    });
    in_time(ACTION, asked).await
}

/// Seconds by which our clock is ahead of a date of HTTP.
fn ahead_of(date: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let theirs = parser.parse_timestamp(date).ok()?.as_second();
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(i64::try_from(ours).ok()? - theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_answer_is_read() {
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert!((0..=1).contains(&ahead_of(&now).unwrap()), "{now}");
        assert!(ahead_of("Thu, 01 Jan 1970 00:00:10 GMT").unwrap() > 1_000_000_000);
        assert_eq!(ahead_of("tomorrow"), None);
    }
}
