//! What the service account may do, of what the placement and the settings need.

use futures::future::join_all;

use crate::cluster::access::{self, IN_RUNNER_POD, OPTIONAL, Permission, Rule};
use crate::cluster::{Cluster, retry::Retry};
use crate::config::Config;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;

use super::or_return;

/// A permission for one Secret.
type Named<'a> = (Permission, &'a str);

/// It has each of them.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let cluster = or_return!(facts.cluster());
    match missing(facts, cluster).await {
        Ok(Missing { needed, .. }) if !needed.is_empty() => {
            let found = format!(
                "hookd's service account may not {} in namespace {}",
                needed.join(", "),
                cluster.namespace
            );
            let failure = access::failure(&cluster.namespace, &[]);
            Outcome::failure(
                found,
                "No Role that is bound to the account grants it",
                failure.remedy,
            )
        }
        Ok(Missing { optional, .. }) if !optional.is_empty() => Outcome::warning(
            format!("hookd's service account may not {}", optional.join(", ")),
            "hookd does without: it cannot say what a pod waits for, where a claim ties steps to a node, or \
             let one build serve several steps",
            "Apply deploy/rbac.yaml or deploy/rbac-own-pod.yaml as it is",
        ),
        Ok(Missing { count, .. }) => Outcome::ok(format!(
            "hookd's service account has all {count} permissions that it needs"
        )),
        Err(failure) => failure.into(),
    }
}

/// Each as "create jobs.batch".
struct Missing {
    needed: Vec<String>,
    optional: Vec<String>,
    count: usize,
}

async fn missing(facts: &Facts, cluster: &Cluster) -> Result<Missing, Failure> {
    let retry = cluster.retry();
    let (required, optional) = rules(facts);
    let granted = access::granted(cluster, &retry).await?;
    let (needed, optional_lacking) = if granted.is_known() {
        (granted.lacks(required.clone()), granted.lacks(optional.clone()))
    } else {
        // A webhook that authorizes lists no rules, and answers single questions.
        tokio::try_join!(
            refused(cluster, &retry, access::each(required.clone()).collect()),
            refused(cluster, &retry, access::each(optional.clone()).collect())
        )?
    };
    let mut needed: Vec<_> = needed.iter().map(access::describe).collect();
    let named = of_secrets(&facts.config);
    let asked = named
        .iter()
        .map(|(permission, name)| access::may(cluster, &retry, *permission, Some(name)));
    for ((permission, name), may) in named.iter().zip(join_all(asked).await) {
        if !may? {
            needed.push(format!("{} (the Secret {name})", access::describe(permission)));
        }
    }
    let count = access::each(required).count() + access::each(optional).count() + named.len();
    Ok(Missing { needed, optional: optional_lacking.iter().map(access::describe).collect(), count })
}

/// What hookd needs, and what it can do without.
fn rules(facts: &Facts) -> (Vec<Rule>, Vec<Rule>) {
    let (in_runner_pod, builds) = (facts.is_in_runner_pod(), facts.config.registry.host.is_some());
    let mut required = access::required(in_runner_pod, builds);
    if in_runner_pod && builds {
        // Both lists have pods and their logs.
        required.retain(|rule| !IN_RUNNER_POD[..2].contains(rule));
    }
    let optional = if in_runner_pod && !builds { &OPTIONAL[..1] } else { &OPTIONAL[..] };
    (required, optional.to_vec())
}

/// What hookd must do with single Secrets.
fn of_secrets(config: &Config) -> Vec<Named<'_>> {
    let may = |verb| Permission { group: "", resource: "secrets", verb };
    let pull =
        config.pull_secret.iter().flat_map(|name| [(may("get"), name), (may("update"), name)]);
    let read = config.registry.tls.iter().map(|entry| &entry.secret).chain(&config.registry.secret);
    pull.chain(read.map(|name| (may("get"), name)))
        .map(|(one, name)| (one, name.as_str()))
        .collect()
}

async fn refused(
    cluster: &Cluster,
    retry: &Retry,
    all: Vec<Permission>,
) -> Result<Vec<Permission>, Failure> {
    let asked = all.iter().map(|permission| access::may(cluster, retry, *permission, None));
    let answers: Result<Vec<bool>, Failure> = join_all(asked).await.into_iter().collect();
    Ok(all.into_iter().zip(answers?).filter(|(_, may)| !may).map(|(one, _)| one).collect())
}
