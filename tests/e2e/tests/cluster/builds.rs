//! The log of a build, and what a Dockerfile finds while it is built.

use std::process::Command;

use test_support::RunnerPod;
use test_support::cluster::{cluster, run};

#[test]
fn a_builds_log_stands_in_a_group_in_which_nothing_is_a_command() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\n\
                      RUN echo '::set-output name=x::y' && echo '##[error]not one'\n\
                      ENTRYPOINT [\"/bin/echo\", \"::notice::from the action\"]\n";
    let outcome = runner.run(&runner.action("loud", &[("Dockerfile", dockerfile)]));
    outcome.assert_code(0);
    let lines = outcome.log_lines();
    let at = |wanted: &str| {
        let found = lines.iter().position(|line| line == wanted);
        found.unwrap_or_else(|| panic!("no line {wanted:?} in\n{}", outcome.printed()))
    };
    assert!(lines[0].starts_with("##[group]Build "), "{}", lines[0]);
    assert!(lines[0].ends_with("/_actions/test/loud/v1/Dockerfile"), "{}", lines[0]);
    let token = lines[1].strip_prefix("::stop-commands::").expect("a stop-commands line");
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let (command, resume) = (at("::set-output name=x::y"), at(&format!("::{token}::")));
    assert!(command < resume && at("##[error]not one") < resume);
    assert_eq!(lines[resume + 1], "##[endgroup]");
    assert_eq!(outcome.text(), "::notice::from the action\n");
}

#[test]
fn each_build_has_a_token_of_its_own() {
    let runner = RunnerPod::start();
    let token = |label: u32| {
        let dockerfile = format!("FROM busybox:1\nLABEL n={label}\nCMD [\"true\"]\n");
        let step = runner.action("quiet", &[("Dockerfile", &dockerfile)]);
        runner.run(&step).assert_code(0).log_lines()[1].clone()
    };
    assert_ne!(token(1), token(2));
}

#[test]
fn the_context_is_the_dockerfiles_folder_as_it_is() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\nCOPY . /context/\n\
                      RUN cd /context && find . | sort && ls -l run.sh link | cut -c1-10 && \
                      cat link 'name with spaces' .hidden\n\
                      ENTRYPOINT [\"/context/run.sh\"]\n";
    let files = [
        ("action.yml", "runs: {using: docker, image: docker/Dockerfile}\n"),
        ("outside", "not in the context\n"),
        ("docker/Dockerfile", dockerfile),
        ("docker/.dockerignore", "ignored*\n!ignored-not\n"),
        ("docker/run.sh", "#!/bin/sh\necho ran\n"),
        ("docker/name with spaces", "spaces\n"),
        ("docker/.hidden", "hidden\n"),
        ("docker/ignored", "x"),
        ("docker/ignored-not", "x"),
        ("docker/deep/er/file", "x"),
    ];
    let step = runner.action("context", &files);
    let folder = runner.local("/home/runner/_work/_actions/test/context/v1/docker");
    std::os::unix::fs::symlink("run.sh", folder.join("link")).unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    let outcome = runner.run(&step);
    assert_eq!(outcome.assert_code(0).after_build(), "ran\n");
    let found = "./.dockerignore ./.hidden ./Dockerfile ./deep ./deep/er ./deep/er/file ./empty \
                 ./ignored-not ./link ./name with spaces ./run.sh";
    for path in found.split(" ./").map(|path| format!("./{}", path.trim_start_matches("./"))) {
        assert!(outcome.log_lines().contains(&path), "{path} is not in\n{}", outcome.printed());
    }
    for path in ["./ignored", "./outside"] {
        assert!(!outcome.log_lines().contains(&path.to_owned()), "{path} is in the context");
    }
    for line in ["-rwxr-xr-x", "lrwxrwxrwx", "#!/bin/sh", "spaces", "hidden"] {
        assert!(
            outcome.log_lines().contains(&line.to_owned()),
            "{line} is not in\n{}",
            outcome.printed()
        );
    }
}

#[test]
fn a_run_has_dockers_capabilities_a_seccomp_filter_and_no_token() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\n\
                      RUN grep -e CapEff -e Seccomp: -e NoNewPrivs /proc/self/status; id -u; \
                      ls /var/run/secrets /run/secrets; true\n\
                      ENTRYPOINT [\"true\"]\n";
    let outcome = runner.run(&runner.action("powers", &[("Dockerfile", dockerfile)]));
    outcome.assert_code(0);
    let lines = outcome.log_lines();
    // Docker's default set, 00000000a80425fb, without NET_RAW; setuid programs work.
    for line in ["CapEff:\t00000000a80405fb", "Seccomp:\t2", "NoNewPrivs:\t0", "0"] {
        assert!(lines.contains(&line.to_owned()), "{line} is not in\n{}", outcome.printed());
    }
    assert!(!outcome.printed().contains("serviceaccount"), "{}", outcome.printed());
}

/// The tags that hookd remembers as those of its own builds.
fn built_tags(runner: &RunnerPod) -> Vec<String> {
    let file = runner.socket_directory().join("built-images");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|step| format!("{step}_{}", runner.uid)).collect()
}

/// What `registry.yaml` promises: the registry is asked itself.
#[test]
fn an_image_that_a_job_built_is_deleted_at_its_end() {
    let runner = RunnerPod::start();
    let port = &cluster().registry_node_port;
    let tags = || {
        let mut list = Command::new("crane");
        list.args(["ls", &format!("localhost:{port}/hookd/build")]);
        run(&mut list, None).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = tags();
    let dockerfile = "FROM busybox:1\nRUN date >/built\nENTRYPOINT [\"/bin/cat\", \"/built\"]\n";
    runner.run(&runner.action("gone", &[("Dockerfile", dockerfile)])).assert_code(0);
    let mine = built_tags(&runner);
    assert_eq!(mine.len(), 1, "{mine:?}");
    assert!(!before.contains(&mine[0]) && tags().contains(&mine[0]), "{mine:?}");
    runner.cleanup().run().assert_code(0);
    let mut manifest = Command::new("crane");
    manifest.args(["manifest", &format!("localhost:{port}/hookd/build:{}", mine[0])]);
    let error = run(&mut manifest, None).unwrap_err();
    assert!(error.contains("MANIFEST_UNKNOWN") || error.contains("404"), "{error}");
    assert!(built_tags(&runner).is_empty());
    // A further use of the action builds it again.
    runner.run(&runner.action("gone", &[("Dockerfile", dockerfile)])).assert_code(0);
}
