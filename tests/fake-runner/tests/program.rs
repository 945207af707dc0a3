//! The program as a whole, with shell scripts in the place of the hook.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, not beside them")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const ACTION: &str = r#"
inputs: {who: {default: world}}
runs:
  using: docker
  image: Dockerfile
  args: ["--greeting", "hello ${{ inputs.who }}"]
"#;

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(hook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { folder };
        fs::create_dir(bench.path("greet")).unwrap();
        fs::write(bench.path("greet/action.yml"), ACTION).unwrap();
        fs::write(bench.path("greet/Dockerfile"), "FROM scratch").unwrap();
        fs::write(bench.path("hook.sh"), hook).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, subcommand: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fake-runner"))
            .arg(subcommand)
            .arg("--hook")
            .arg(self.path("hook.sh"))
            .arg("--work")
            .arg(self.path("work"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("CI")
            .output()
            .unwrap()
    }

    fn input(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("input.json")).unwrap()).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Keeps its input beside itself.
const KEEP: &str = "cat > \"${0%/*}/input.json\"\n";

#[test]
fn a_step_is_put_before_the_hook_and_read_back() {
    let bench = Bench::new(&format!(
        "{KEEP}pwd; printf '%s ' \"$GITHUB_ACTIONS\" \"$CI\" \"$RUNNER_NAME\"; echo >&2 to stderr\n\
         echo 'greeting=hello' >> \"$GITHUB_OUTPUT\"; echo /x >> \"$GITHUB_PATH\"\n\
         response=$(sed 's/.*\"responseFile\":\"\\([^\"]*\\)\".*/\\1/' \"${{0%/*}}/input.json\")\n\
         echo '{{\"state\":{{\"a\":1}}}}' > \"$response\"\n"
    ));
    let arguments = [
        "--action",
        "greet",
        "--input",
        "who=you",
        "--result",
        "result.json",
        "--runner-name",
        "r",
    ];
    let output = bench.program("run", &arguments);
    assert!(output.status.success(), "{output:?}");
    let workspace = bench.path("work/demo/demo").canonicalize().unwrap();
    assert_eq!(text(&output.stdout), format!("{}\ntrue true r ", workspace.display()));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("to stderr\n"), "{stderr}");
    assert!(stderr.contains("runner: output greeting=\"hello\"\n"), "{stderr}");
    let result: Value =
        serde_json::from_slice(&fs::read(bench.path("result.json")).unwrap()).unwrap();
    assert_eq!(result["response"]["state"]["a"], 1);
    assert_eq!(result["path"][0], "/x");

    let input = bench.input();
    assert_eq!(input["command"], "run_container_step");
    let dockerfile = bench.path("work/_actions/demo/greet/v1/Dockerfile");
    assert_eq!(input["args"]["dockerfile"], dockerfile.to_str().unwrap());
    assert_eq!(input["args"]["entryPointArgs"][1], "\"hello");
    assert_eq!(input["args"]["environmentVariables"]["INPUT_WHO"], "you");
    assert_eq!(input["args"]["environmentVariables"]["GITHUB_ACTION"], "__demo_greet");
    assert_eq!(fs::read_dir(bench.path("work/_temp/_runner_hook_responses")).unwrap().count(), 0);
}

#[test]
fn file_commands_are_read_after_a_failure_too() {
    let bench = Bench::new("echo a=1 >> \"$GITHUB_OUTPUT\"; exit 7");
    let output = bench.program("run", &["--action", "greet"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stderr).contains("runner: output a=\"1\""), "{output:?}");
}

#[test]
fn a_malformed_file_command_fails_the_step() {
    let bench = Bench::new("echo nonsense >> \"$GITHUB_ENV\"");
    let output = bench.program("run", &["--action", "greet"]);
    assert_eq!(output.status.code(), Some(125));
    let expected = "the file behind GITHUB_ENV is malformed: invalid format 'nonsense'";
    assert!(text(&output.stderr).contains(expected), "{output:?}");
}

#[test]
fn the_runners_paths_may_differ_from_this_processs() {
    let bench = Bench::new(KEEP);
    let arguments = ["--uses", "docker://alpine:3", "--runner-work", "/home/runner/_work"];
    assert!(bench.program("run", &arguments).status.success());
    let input = bench.input();
    assert_eq!(input["args"]["image"], "alpine:3");
    let response = input["responseFile"].as_str().unwrap();
    assert!(response.starts_with("/home/runner/_work/_temp/_runner_hook_responses/"), "{response}");
}

#[test]
fn a_cancelled_step_interrupts_the_hook() {
    let bench = Bench::new("trap 'kill $!; exit 9' INT; sleep 30 >&- 2>&- & wait");
    let output = bench.program("run", &["--action", "greet", "--cancel-after", "0.5"]);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
}

#[test]
fn cleanup_sends_the_state_it_was_given() {
    let bench = Bench::new(KEEP);
    assert!(bench.program("cleanup", &["--state", r#"{"a":1}"#]).status.success());
    let input = bench.input();
    assert_eq!((&input["command"], &input["state"]["a"]), (&"cleanup_job".into(), &1.into()));
}

#[test]
fn prepare_prints_lines_with_which_a_shell_makes_the_same_call() {
    let bench = Bench::new(&format!("{KEEP}pwd; echo \"$GITHUB_ACTION $GITHUB_ACTIONS\""));
    let prepared = bench.program("prepare", &["--action", "greet"]);
    assert!(prepared.status.success(), "{prepared:?}");
    let script = format!(
        "{}cd \"$hook_directory\" && exec bash -e {} < \"$hook_input\"",
        text(&prepared.stdout),
        bench.path("hook.sh").display()
    );
    let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let workspace = bench.path("work/demo/demo");
    assert_eq!(text(&output.stdout), format!("{}\n__demo_greet true\n", workspace.display()));
    assert_eq!(bench.input()["command"], "run_container_step");
}

#[test]
fn what_is_no_action_is_refused_before_the_hook_starts() {
    let bench = Bench::new("exit 0");
    let fails = |arguments: &[&str], expected: &str| {
        let output = bench.program("run", arguments);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    };
    fails(&["--uses", "a/b@v1"], "has neither an action.yml nor a Dockerfile");
    fs::remove_file(bench.path("greet/Dockerfile")).unwrap();
    fails(&["--action", "greet"], "/v1/Dockerfile of the action does not exist");
    fs::remove_file(bench.path("hook.sh")).unwrap();
    fails(&["--uses", "docker://x"], "hook.sh does not exist");
    assert!(!Path::new(&bench.path("input.json")).exists());
}
