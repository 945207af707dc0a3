//! The builders that are compared with docker.

use test_support::cluster::cluster;
use test_support::{RunnerPod, Setup};

use crate::buildkitd::Buildkitd;

/// What hookd builds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// The development cluster's Kaniko, 1.24.0.
    Kaniko,
    /// The rootless BuildKit of `deploy/devcluster/buildkit.sh`.
    BuildKit,
    /// One buildkitd of deploy/buildkitd for all contexts.
    Buildkitd,
}

impl Builder {
    /// By its name: that in `HOOKD_BUILDER`, or `buildkitd`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "kaniko" => Some(Self::Kaniko),
            "buildkit" => Some(Self::BuildKit),
            "buildkitd" => Some(Self::Buildkitd),
            _ => None,
        }
    }

    /// Name of the file with what came of each context.
    pub fn record(self) -> &'static str {
        match self {
            Self::Kaniko => "expected-1.24",
            Self::BuildKit | Self::Buildkitd => "expected-buildkit",
        }
    }

    /// How many of all contexts must be as docker builds them.
    pub fn least_as_docker(self) -> usize {
        match self {
            Self::Kaniko => 235,
            Self::BuildKit | Self::Buildkitd => 275,
        }
    }

    /// A runner pod whose hookd builds with it, and the buildkitd that must be there as long.
    pub fn start(self) -> (Option<Buildkitd>, RunnerPod) {
        let setup = Setup::default();
        match self {
            Self::Kaniko => (None, RunnerPod::with(&setup)),
            Self::BuildKit => (None, RunnerPod::with(&buildkit(setup))),
            Self::Buildkitd => {
                let buildkitd = Buildkitd::start("", &[]);
                let runner = buildkitd.runner(setup);
                (Some(buildkitd), runner)
            }
        }
    }
}

/// hookd builds with BuildKit.
pub fn buildkit(setup: Setup) -> Setup {
    setup.set("HOOKD_BUILDER", "buildkit").set("HOOKD_BUILDKIT_IMAGE", cluster().buildkit_image())
}
