//! How stepd and the runner's externals (Node.js) get into a pod.
//!
//! As image volumes, the images of hookd and of the runner are mounted as they are: both are on the
//! node already, and nothing is copied. A cluster without them needs an init container, which
//! copies both into empty directories: the externals from its own image, which is the runner's, and
//! stepd from the work volume, where hookd has put it.

use std::path::Path;

use hookd_api::transport::STEPD_DIR;
use k8s_openapi::api::core::v1::{
    Container, ImageVolumeSource, SecurityContext, Volume, VolumeMount,
};

use crate::objects::mounts::{self, WORK, empty_dir};
use crate::runner::{Runner, WorkVolume};

/// stepd in a pod.
pub const STEPD: &str = "/__hookd/usr/local/bin/stepd";
/// Directory of the work volume that has stepd for an init container.
pub const COPY_DIR: &str = "_hookd";
/// Where stepd's volume is.
const HOOKD: &str = "/__hookd";
/// Where the whole image of the runner is.
const RUNNER: &str = "/__r";
/// Where the runner's image has its externals, and where jobs expect them.
const LINKS: &str = "/__r/home/runner/externals:/__e";
/// Where the init container has the work volume's copy of stepd.
const COPY: &str = "/__copy";
/// Copies stepd, and all externals with their links.
const INSTALL: &str = "mkdir -p /__hookd/usr/local/bin && \
                       cp /__copy/stepd /__hookd/usr/local/bin/stepd && \
                       cp -RP /home/runner/externals/. /__e/";

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Whole images, mounted read-only: Kubernetes 1.35, containerd 2.1.
    ImageVolumes,
    /// One init container.
    InitContainer,
    /// Volumes that the runner pod has: the container runs there.
    RunnerPod,
}

/// What a pod needs for stepd.
#[derive(Debug, Default)]
pub struct AgentParts {
    /// Of the pod.
    pub volumes: Vec<Volume>,
    /// Of stepd's container.
    pub mounts: Vec<VolumeMount>,
    /// Runs before all others.
    pub init_container: Option<Container>,
    /// The command of stepd's container.
    pub command: Vec<String>,
}

/// For a job container, with the externals at /__e.
pub fn for_job(runner: &Runner, injection: Injection) -> AgentParts {
    match (injection, &runner.work) {
        (Injection::InitContainer, Some(work)) => copied(runner, work),
        (Injection::RunnerPod, _) => AgentParts::default(),
        _ => {
            let mut agent = for_step(runner);
            agent.volumes.push(image_volume("runner", &runner.runner_image));
            agent.mounts.push(mount("runner", RUNNER));
            agent.command.extend(["--links", LINKS].map(str::to_owned));
            agent
        }
    }
}

/// For a container step, which has no externals; with image volumes only.
pub fn for_step(runner: &Runner) -> AgentParts {
    AgentParts {
        volumes: vec![image_volume("hookd", &runner.hookd_image), empty_dir("hookd-run")],
        mounts: vec![mount("hookd", HOOKD), mount("hookd-run", STEPD_DIR)],
        init_container: None,
        command: [STEPD, "serve", "--dir", STEPD_DIR].map(str::to_owned).to_vec(),
    }
}

fn copied(runner: &Runner, work: &WorkVolume) -> AgentParts {
    let copy = Path::new(&work.sub_path).join(COPY_DIR);
    let from_work = VolumeMount {
        name: WORK.to_owned(),
        mount_path: COPY.to_owned(),
        sub_path: copy.to_str().map(str::to_owned),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let init_container = Container {
        name: "hookd-tools".to_owned(),
        image: Some(runner.runner_image.clone()),
        command: Some(["/bin/sh", "-c", INSTALL].map(str::to_owned).to_vec()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount("hookd", HOOKD),
            mount(mounts::EXTERNALS_VOLUME, mounts::EXTERNALS),
            from_work,
        ]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            ..SecurityContext::default()
        }),
        ..Container::default()
    };
    let mut stepd = mount("hookd", HOOKD);
    stepd.read_only = Some(true);
    AgentParts {
        volumes: vec![
            empty_dir("hookd"),
            empty_dir("hookd-run"),
            empty_dir(mounts::EXTERNALS_VOLUME),
            mounts::volume(work),
        ],
        mounts: vec![stepd, mount("hookd-run", STEPD_DIR)],
        init_container: Some(init_container),
        command: for_step(runner).command,
    }
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn image_volume(name: &str, image: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        image: Some(ImageVolumeSource {
            reference: Some(image.to_owned()),
            pull_policy: Some("IfNotPresent".to_owned()),
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> Runner {
        Runner {
            hookd_image: "hookd@sha256:0".into(),
            runner_image: "runner@sha256:1".into(),
            work: Some(WorkVolume { claim: "c".into(), sub_path: "w".into(), same_node: true }),
            ..Runner::default()
        }
    }

    #[test]
    fn image_volumes_need_no_init_container() {
        let agent = for_job(&runner(), Injection::ImageVolumes);
        assert!(agent.init_container.is_none());
        let images = agent.volumes.iter().filter_map(|volume| volume.image.as_ref());
        let images: Vec<_> = images.filter_map(|image| image.reference.as_deref()).collect();
        assert_eq!(images, ["hookd@sha256:0", "runner@sha256:1"]);
        assert!(agent.command.contains(&LINKS.to_owned()));
        assert!(!for_step(&runner()).command.contains(&LINKS.to_owned()));
    }

    #[test]
    fn without_them_an_init_container_brings_both() {
        let agent = for_job(&runner(), Injection::InitContainer);
        assert!(agent.volumes.iter().all(|volume| volume.image.is_none()));
        let init = agent.init_container.unwrap();
        assert_eq!(init.image.as_deref(), Some("runner@sha256:1"));
        let copy = &init.volume_mounts.unwrap()[2];
        assert_eq!((copy.sub_path.as_deref(), copy.read_only), (Some("w/_hookd"), Some(true)));
        assert_eq!(agent.command[0], STEPD);
        assert_eq!(agent.mounts[0].read_only, Some(true));
    }
}
