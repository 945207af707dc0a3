//! The checks, each a function of what was asked before.

use super::Check;

mod admission;
mod api_server;
mod claim;
mod daemon;
mod images;
mod lookup;
mod node;
mod permissions;
mod placement;
mod planned;
mod policy;
mod quota;
mod registry;
mod registry_node;
mod secrets;
mod settings;
mod template;
mod work_directory;

/// A row of the table.
macro_rules! check {
    ($name:literal, $function:path) => {
        Check { name: $name, run: |facts| Box::pin(async move { $function(facts).await }) }
    };
}

/// All of them, in the order in which they are printed.
pub(super) const CHECKS: [Check; 25] = [
    check!("settings", settings::check),
    check!("daemon", daemon::check),
    check!("versions", daemon::versions),
    check!("api-server", api_server::check),
    check!("clock", api_server::clock),
    check!("permissions", permissions::check),
    check!("runner-pod", placement::runner_pod),
    check!("placement", placement::check),
    check!("work-directory", work_directory::check),
    check!("claim", claim::check),
    check!("policy", policy::check),
    check!("template", template::check),
    check!("image-volumes", placement::image_volumes),
    check!("secrets", secrets::check),
    check!("pod-security", admission::pod_security),
    check!("job-admission", admission::job),
    check!("build-admission", admission::build),
    check!("quota", quota::check),
    check!("node", node::check),
    check!("builder", images::builder),
    check!("builder-image", images::builder_image),
    check!("base-images", images::base_images),
    check!("registry-push", registry::push),
    check!("registry-pull", registry::pull),
    check!("registry-node", registry_node::check),
];

/// Ends a check early with the outcome of what it lacks.
macro_rules! or_return {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(outcome) => return outcome,
        }
    };
}
use or_return;

/// True for an answer that the account may not do this.
fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
