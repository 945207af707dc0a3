//! One container of a job, from its input to the pod.

use std::collections::BTreeMap;
use std::path::Path;

use hookd_api::v1::{ContainerSpec, PreparedContainer};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use crate::config::PolicyConfig;
use crate::error::Failure;
use crate::objects::container;
use crate::objects::docker::options::{self, ContainerKind, CreateOptions};
use crate::objects::docker::ports::{self, Ports};
use crate::objects::docker::volumes::{self, UserVolumes};
use crate::objects::error::SpecError;
use crate::objects::mounts::{self, Mounts};
use crate::registry::image_config::ImageConfig;
use crate::runner::WorkVolume;

/// One container on its way into the pod.
pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) spec: &'a ContainerSpec,
    pub(super) kind: ContainerKind,
    pub(super) options: CreateOptions,
    pub(super) volumes: UserVolumes,
    pub(super) ports: Ports,
    pub(super) image: Option<&'a ImageConfig>,
}

impl<'a> Part<'a> {
    /// Reads and checks what the workflow says of a container.
    pub(super) fn new(
        name: String,
        kind: ContainerKind,
        spec: &'a ContainerSpec,
        image: Option<&'a ImageConfig>,
        policy: &PolicyConfig,
    ) -> Result<Self, Failure> {
        if spec.image.is_empty() {
            return Err(SpecError::NoImage { container: name }.into());
        }
        container::check_number(&spec.environment_variables)?;
        container::check_environment(&spec.environment_variables)?;
        let options = options::parse(&spec.create_options)
            .map_err(|source| SpecError::InContainer { container: name.clone(), source })?;
        container::check_number(options.environment())?;
        container::check_environment(options.environment())?;
        options.check(&name, policy)?;
        let volumes =
            volumes::read(&name, &spec.user_mount_volumes, &options, &spec.system_mount_volumes)?;
        let ports = ports::parse(&spec.port_mappings)?;
        Ok(Self { name, spec, kind, options, volumes, ports, image })
    }

    /// The ports at which it listens as far as workflow and image say.
    pub(super) fn listens(&self) -> Ports {
        let own_program = !self.spec.entry_point.is_empty()
            || !self.spec.entry_point_args.is_empty()
            || self.options.entrypoint().is_some();
        match self.image.filter(|_| self.kind == ContainerKind::Service && !own_program) {
            Some(image) => self.ports.with_exposed(&image.exposed_ports),
            None => self.ports.clone(),
        }
    }

    /// Its environment, with what docker mode adds.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let mut all = self.options.environment().clone();
        all.extend(self.spec.environment_variables.clone());
        all.insert("GITHUB_ACTIONS".to_owned(), "true".to_owned());
        all.entry("CI".to_owned()).or_insert_with(|| "true".to_owned());
        all
    }

    /// Lines for the user; `shared`: the job's steps share the pod's network.
    pub(super) fn notes(&self, shared: bool) -> impl Iterator<Item = String> + '_ {
        let warnings = self.options.warnings(self.kind).into_iter();
        let warnings = warnings.chain(self.volumes.warnings.iter().cloned());
        let warnings = warnings.map(|warning| format!("Container {}: {warning}", self.name));
        let moved = self.ports.moved.iter().filter(move |_| shared).map(|mapping| {
            let (_, port) = mapping.rsplit_once(':').unwrap_or(("", mapping));
            format!(
                "Container {}: the host port of {mapping} is not published: use port {port} on \
                 localhost, because all containers of the job share the pod's network",
                self.name
            )
        });
        warnings.chain(moved)
    }

    pub(super) fn prepared(&self, pod: &str) -> PreparedContainer {
        let ports = self.ports.in_context().into_iter().collect();
        PreparedContainer { id: self.name.clone(), network: pod.to_owned(), ports }
    }

    /// Its mounts: those of the contract and the user's.
    pub(super) fn mounts(
        &self,
        work_dir: &Path,
        work: Option<&WorkVolume>,
    ) -> Result<Mounts, Failure> {
        let system = &self.spec.system_mount_volumes;
        let mut all = mounts::of_job(&self.name, system, work_dir, work)?;
        all.add_user(&self.name, &self.volumes.volumes, work_dir, work)?;
        Ok(all)
    }

    /// The container, with these mounts.
    pub(super) fn container(&self, mounts: Vec<VolumeMount>) -> Container {
        let mut container = Container {
            name: self.name.clone(),
            image: Some(self.spec.image.clone()),
            ports: self.ports.of_container(),
            volume_mounts: Some(mounts),
            ..Container::default()
        };
        self.options.apply(&mut container, self.kind, self.image);
        container
    }
}
