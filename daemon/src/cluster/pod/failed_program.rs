//! What a user reads of a program that failed by itself, before the runner says that the hook failed.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Pod;

use super::container_status;

/// How a program failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailedProgram {
    /// 128 + n for signal n.
    pub exit_code: i32,
    /// The signal that ended it; 0: none, or that is not known.
    pub signal: i32,
    /// Milliseconds of CPU time; 0: not known.
    pub cpu_millis: u64,
    /// The most bytes of memory that its container has used; 0: not known.
    pub peak_memory: u64,
    /// Its image was built in its container, whose own image is the builder's.
    pub is_built_here: bool,
}

impl FailedProgram {
    /// One sentence without its full stop: that the program failed, and not what runs it, and where it ran.
    pub fn note(self, pod: Option<&Pod>, container: &str) -> String {
        let mut text = match self.signal {
            0 => format!("The program itself ended with exit code {}", self.exit_code),
            signal => format!("The program was ended by signal {signal}"),
        };
        // To a string it cannot fail.
        let _ = write!(text, ", in container {container}");
        if let Some(pod) = pod {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let _ = write!(text, " of pod {name} on node {}", node.unwrap_or("unknown"));
        }
        let image = pod.filter(|_| !self.is_built_here);
        let image = image.and_then(|pod| container_status(pod, container));
        let image = image.map(|status| match status.image_id.as_str() {
            "" => status.image.as_str(),
            id => id,
        });
        if let Some(image) = image.filter(|image| !image.is_empty()) {
            let _ = write!(text, ", image {image}");
        }
        if self.cpu_millis > 0 {
            let (seconds, tenths) = (self.cpu_millis / 1000, self.cpu_millis % 1000 / 100);
            let _ = write!(text, "; CPU time {seconds}.{tenths} s");
        }
        if self.peak_memory > 0 {
            let mebibytes = (self.peak_memory >> 20).max(1);
            let _ = write!(text, "; peak memory of the container {mebibytes} MiB");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_note_says_whose_code_it_is_and_where_it_ran() {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "runner-1"},
            "spec": {"nodeName": "node-7", "containers": []},
            "status": {"containerStatuses": [{
                "name": "job", "image": "busybox:1", "imageID": "r/busybox@sha256:ab",
                "ready": true, "restartCount": 0,
            }]},
        }));
        let pod = pod.unwrap();
        let failed = FailedProgram {
            exit_code: 3,
            cpu_millis: 1250,
            peak_memory: 5 << 20,
            ..FailedProgram::default()
        };
        let built = FailedProgram { is_built_here: true, ..failed }.note(Some(&pod), "job");
        assert!(built.contains("node node-7; CPU time") && !built.contains("busybox"), "{built}");
        assert_eq!(
            failed.note(Some(&pod), "job"),
            "The program itself ended with exit code 3, in container job of pod runner-1 on node node-7, \
             image r/busybox@sha256:ab; CPU time 1.2 s; peak memory of the container 5 MiB"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let killed = FailedProgram { exit_code: 137, signal: 9, ..FailedProgram::default() };
        let note = killed.note(None, "job");
        assert_eq!(note, "The program was ended by signal 9, in container job");
    }
}
