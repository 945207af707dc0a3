//! What runs while a fault happens, and what it prints if nothing is lost.

use serde_json::json;

use super::fault::Fault;
use super::output::{ExpectedOutput, Sequence};
use test_support::wait::s;
use test_support::{Call, JobRun, Placement, RunnerPod, container, job_container};

/// One kind of work of a runner; each has a runner pod of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A step in the job container that prints nothing for 15 s.
    Quiet,
    /// One that prints lines on both streams.
    Numbers,
    /// One that prints 100 MB.
    Megabytes,
    /// A Dockerfile action: its build, and then its run.
    Build,
    /// A container step that stepd starts.
    ByStepd,
    /// A container step that the kubelet starts.
    ByKubelet,
    /// `prepare_job`, with a service that is healthy after a while.
    Prepare,
    /// `cleanup_job`.
    Cleanup,
    /// As [`Operation::Numbers`], where jobs run in the runner pod.
    ScriptHere,
    /// A container step there.
    ContainerHere,
    /// A Dockerfile action there, whose registry is hookd itself.
    BuildHere,
}

/// All of them.
pub(crate) const ALL: [Operation; 11] = [
    Operation::Quiet,
    Operation::Numbers,
    Operation::Megabytes,
    Operation::Build,
    Operation::ByStepd,
    Operation::ByKubelet,
    Operation::Prepare,
    Operation::Cleanup,
    Operation::ScriptHere,
    Operation::ContainerHere,
    Operation::BuildHere,
];

/// The image of everything here: it is small.
const IMAGE: &str = "busybox:1";

const QUIET: &str = "echo '~o1'; sleep 15; echo '~o2'; exit 3\n";

/// On both streams.
fn numbers(last: u64, code: i32) -> String {
    format!(
        "i=1; while [ $i -le {last} ]; do echo \"~o$i\"; echo \"~e$i\" >&2; i=$((i+1)); \
         usleep 10000; done; exit {code}\n"
    )
}

/// 100 times 1000 lines of 1000 bytes.
const MEGABYTES: &str = r#"
i=0
while [ $i -lt 100 ]; do
  awk -v first=$((i * 1000)) 'BEGIN {
    x = sprintf("%990s", ""); gsub(/ /, "x", x)
    for (n = 1; n <= 1000; n++) printf "~o%06d %s\n", first + n, x
  }'
  i=$((i+1)); usleep 50000
done
exit 6
"#;

/// Lines of the program in a Dockerfile's RUN.
const BUILD_LINES: u64 = 300;

/// Another one each time: what was built once is not built again.
fn dockerfile(round: u32, code: i32) -> String {
    format!(
        "FROM busybox:1\nRUN : {round}; i=1; while [ $i -le {BUILD_LINES} ]; do \
         echo \"~b$i\"; i=$((i+1)); usleep 20000; done\n\
         ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo '~o1'; exit {code}\"]\n"
    )
}

impl Operation {
    /// A directory that a container step mounts, and that hookd makes if it is missing.
    pub(crate) const MISSING: &'static str = "_temp/_github_home";

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet step",
            Self::Numbers => "numbered lines",
            Self::Megabytes => "100 MB step",
            Self::Build => "build",
            Self::ByStepd => "container step, stepd",
            Self::ByKubelet => "container step, kubelet",
            Self::Prepare => "prepare_job",
            Self::Cleanup => "cleanup_job",
            Self::ScriptHere => "numbered lines, runner pod",
            Self::ContainerHere => "container step, runner pod",
            Self::BuildHere => "build, runner pod",
        }
    }

    /// True for a step in the job container.
    pub(crate) fn is_script(self) -> bool {
        matches!(self, Self::Quiet | Self::Numbers | Self::Megabytes | Self::ScriptHere)
    }

    /// Where the containers of its job run.
    pub(crate) fn placement(self) -> Placement {
        match self {
            Self::ScriptHere | Self::ContainerHere | Self::BuildHere => Placement::RunnerPod,
            _ => Placement::OwnPod,
        }
    }

    /// Setting of the runner's hookd.
    pub(crate) fn container_steps(self) -> &'static str {
        if self == Self::ByKubelet { "kubelet" } else { "auto" }
    }

    /// Exit code if nothing fails.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Quiet => 3,
            Self::Numbers => 5,
            Self::Megabytes => 6,
            Self::Build => 7,
            Self::ByStepd => 8,
            Self::ByKubelet => 9,
            Self::ScriptHere => 10,
            Self::ContainerHere => 11,
            Self::BuildHere => 12,
            Self::Prepare | Self::Cleanup => 0,
        }
    }

    /// What its program prints.
    pub(crate) fn expected_output(self) -> ExpectedOutput {
        let short = |mark, last| Sequence { mark, last, pad: 0 };
        let (stdout, stderr) = match self {
            Self::Quiet => (vec![short('o', 2)], vec![]),
            Self::Numbers | Self::ScriptHere => (vec![short('o', 1200)], vec![short('e', 1200)]),
            Self::Megabytes => (vec![Sequence { mark: 'o', last: 100_000, pad: 990 }], vec![]),
            Self::Build | Self::BuildHere => (vec![short('o', 1)], vec![short('b', BUILD_LINES)]),
            Self::ByStepd | Self::ContainerHere => (vec![short('o', 1000)], vec![short('e', 1000)]),
            // The log does not tell the streams apart.
            Self::ByKubelet => (vec![short('o', 1000), short('e', 1000)], vec![]),
            Self::Prepare | Self::Cleanup => (vec![], vec![]),
        };
        ExpectedOutput { stdout, stderr }
    }

    /// Its log since it last began. A build whose registry dies with hookd begins again, and only then.
    pub(crate) fn last_log(self, fault: Fault, stderr: &[u8]) -> &[u8] {
        const AGAIN: &[u8] = b"The build is started again";
        let daemon_dies =
            matches!(fault, Fault::DaemonKilled | Fault::DaemonHung | Fault::ContainerKilled);
        if self != Self::BuildHere || !daemon_dies {
            return stderr;
        }
        let begins = stderr.windows(AGAIN.len()).rposition(|bytes| bytes == AGAIN);
        &stderr[begins.unwrap_or_default()..]
    }

    /// Name of the pod that its program runs in; none: one of a Job.
    pub(crate) fn pod(self) -> Option<&'static str> {
        let of_job = matches!(self, Self::Build | Self::ByStepd | Self::ByKubelet);
        let own = self.placement() == Placement::OwnPod;
        (own && !of_job).then_some("runner-workflow")
    }

    /// What must be there before the call is made.
    pub(crate) fn set_up(self, runner: &RunnerPod) {
        let wanted = self.is_script() || self == Self::Cleanup;
        let runs = match self.placement() {
            Placement::OwnPod => job_pod_runs(runner),
            Placement::RunnerPod => job_container_runs(runner),
        };
        if wanted && !runs {
            JobRun::of(runner).clean_up().assert_code(0);
            let mut job = JobRun::of(runner);
            job.prepare(&job_container(IMAGE, &json!({})), &json!([])).assert_code(0);
        }
        if self == Self::Prepare {
            JobRun::of(runner).clean_up().assert_code(0);
            runner.assert_nothing_left_within(s(60));
        }
    }

    /// The call.
    pub(crate) fn call(self, runner: &RunnerPod, round: u32) -> Call<'_> {
        let script = |text: &str| JobRun::of(runner).step_call(&runner.script_program("sh", text));
        let call = match self {
            Self::Quiet => script(QUIET),
            Self::Numbers => script(&numbers(1200, 5)),
            Self::ScriptHere => script(&numbers(1200, 10)),
            Self::ContainerHere => runner.call(&runner.script(&numbers(1000, 11))),
            Self::Megabytes => script(MEGABYTES),
            Self::Build | Self::BuildHere => {
                let dockerfile = dockerfile(round, self.code());
                let files = [("Dockerfile", dockerfile.as_str())];
                runner.call(&runner.action(&format!("build-{round}"), &files))
            }
            Self::ByStepd => runner.call(&runner.script(&numbers(1000, 8))),
            Self::ByKubelet => runner.call(&runner.script(&numbers(1000, 9))),
            Self::Prepare => {
                let service = container(
                    IMAGE,
                    &json!({
                        "entryPoint": "sh",
                        "entryPointArgs": ["-c", "\"sleep 12; touch /ready; sleep 1000\""],
                        "createOptions":
                            "--health-cmd 'test -e /ready' --health-interval 1s --health-retries 90",
                    }),
                );
                JobRun::of(runner)
                    .prepare_call(&job_container(IMAGE, &json!({})), &json!([service]))
            }
            Self::Cleanup => runner.cleanup(),
        };
        call.piped()
    }
}

/// Whether stepd listens in a job container of the runner pod.
fn job_container_runs(runner: &RunnerPod) -> bool {
    let directories = std::fs::read_dir(runner.empty_dir("hookd-job")).into_iter().flatten();
    directories.flatten().any(|directory| directory.path().join("stepd.sock").exists())
}

fn job_pod_runs(runner: &RunnerPod) -> bool {
    let pods = runner.objects("pods", &["-l", "runner-pod=runner"]);
    pods.iter().any(|pod| {
        pod["metadata"]["name"] == "runner-workflow"
            && pod["status"]["phase"] == "Running"
            && pod["metadata"].get("deletionTimestamp").is_none()
            && pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
    })
}
