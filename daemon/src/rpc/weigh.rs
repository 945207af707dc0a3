//! Number of strings in a call, each of which takes memory besides its bytes.

use hookd_api::v1;
use prost::Message;

/// The first message of a call.
pub(super) trait Weigh: Message {
    /// Number of its strings: arguments, names and values of variables, and all else that a client
    /// can repeat.
    fn strings(&self) -> usize;
}

fn of_container(container: &v1::ContainerSpec) -> usize {
    let mounts = container.system_mount_volumes.len() + container.user_mount_volumes.len();
    // A mount has three.
    let others = container.entry_point_args.len() + container.port_mappings.len() + 3 * mounts;
    2 * container.environment_variables.len() + others
}

impl Weigh for v1::PrepareJobRequest {
    fn strings(&self) -> usize {
        let Some(v1::prepare_job_request::Message::Start(start)) = &self.message else { return 0 };
        start.container.iter().chain(&start.services).map(of_container).sum()
    }
}

impl Weigh for v1::RunScriptStepRequest {
    fn strings(&self) -> usize {
        use v1::run_script_step_request::Message;
        let Some(Message::Start(start)) = &self.message else { return 0 };
        start.script.as_ref().map_or(0, |script| {
            let arguments = script.entry_point_args.len() + script.prepend_path.len();
            2 * script.environment_variables.len() + arguments
        })
    }
}

impl Weigh for v1::RunContainerStepRequest {
    fn strings(&self) -> usize {
        use v1::run_container_step_request::Message;
        let Some(Message::Start(start)) = &self.message else { return 0 };
        start.container.as_ref().map_or(0, of_container)
    }
}

impl Weigh for v1::BuildImageRequest {
    fn strings(&self) -> usize {
        use v1::build_image_request::Message;
        let Some(Message::Start(start)) = &self.message else { return 0 };
        2 * start.build_args.len() + start.tags.len()
    }
}
