//! One container of a job, from its input to the pod.

use std::collections::BTreeMap;

use hookd_api::v1::{ContainerSpec, PreparedContainer};
use k8s_openapi::api::core::v1::{Container, Volume, VolumeMount};

use crate::error::{Failure, Reason};
use crate::image::lookup::Healthcheck;
use crate::spec::container;
use crate::spec::create_options::{self, CreateOptions};
use crate::spec::ports::{self, Ports};

/// One container on its way into the pod.
pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) spec: &'a ContainerSpec,
    pub(super) options: CreateOptions,
    pub(super) ports: Ports,
    pub(super) health: Option<&'a Healthcheck>,
}

impl<'a> Part<'a> {
    pub(super) fn new(
        name: String,
        spec: &'a ContainerSpec,
        health: Option<&'a Healthcheck>,
    ) -> Result<Self, Failure> {
        if spec.image.is_empty() {
            return Err(Failure::new(
                Reason::InvalidInput,
                format!("Container {name} of the job names no image"),
                "Set `image:` in the workflow",
            ));
        }
        container::check_environment(&spec.environment_variables)?;
        let options = create_options::parse(&spec.create_options)?;
        let ports = ports::parse(&spec.port_mappings)?;
        Ok(Self { name, spec, options, ports, health })
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
        let warnings = self.options.warnings.iter();
        let warnings = warnings.map(|warning| format!("Container {}: {warning}", self.name));
        let moved = self.ports.moved.iter().filter(move |_| shared).map(|mapping| {
            let (_, port) = mapping.rsplit_once(':').unwrap_or(("", mapping));
            format!(
                "Container {}: of port {mapping} only {port} is to be had, on localhost: all \
                 containers of the job share one network",
                self.name
            )
        });
        warnings.chain(moved)
    }

    pub(super) fn prepared(&self, pod: &str) -> PreparedContainer {
        let ports = self.ports.in_context().into_iter().collect();
        PreparedContainer { id: self.name.clone(), network: pod.to_owned(), ports }
    }

    /// The container and its volumes, with `mounts` of the contract.
    pub(super) fn container(&self, mounts: Vec<VolumeMount>) -> (Container, Vec<Volume>) {
        let mut container = Container {
            name: self.name.clone(),
            image: Some(self.spec.image.clone()),
            ports: self.ports.of_container(),
            volume_mounts: Some(mounts),
            ..Container::default()
        };
        let volumes = self.options.apply(&mut container, self.health);
        (container, volumes)
    }
}
