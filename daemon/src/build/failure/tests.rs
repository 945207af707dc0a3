use std::collections::BTreeSet;

use super::*;
use crate::build::builder::{BUILDKIT, KANIKO};

fn explained(tail: &str) -> BuilderFailure {
    explain(KANIKO, "r:5000", 1, tail)
}

/// One failure of each kind, as Kaniko's log has it, for the list of all messages.
pub(in crate::build) fn examples() -> Vec<BuilderFailure> {
    let all = [
        "INFO[0001] Taking snapshot of full filesystem...",
        "error building image: error building stage: failed to execute command: waiting for process \
         to exit: exit status 7",
        "error pushing image: failed to push to destination r:5000/hookd/build:s: Get \
         \"http://r:5000/v2/\": dial the build's registry endpoint: connect: connection refused",
        "error building image: GET https://index.docker.io/v2/a/b/manifests/1: DENIED: 1 is no part of \
         the images that FROM, COPY --from and RUN --mount name",
        "error pushing image: Get \"https://r:5000/v2/\": UNAVAILABLE: registry r:5000 cannot be reached: \
         its certificate, or that of hookd, is not accepted",
        "error pushing image: Get \"http://r:5000/v2/\": dial tcp: connect: connection refused",
        "error pushing image: POST http://r:5000/v2/hookd/build/blobs/uploads/: TOOMANYREQUESTS: slow down \
         (registry r:5000 answers 429 Too Many Requests)",
        "error pushing image: PATCH http://r:5000/v2/hookd/build/blobs/uploads/1: UNKNOWN: unknown error \
         (registry r:5000 answers 500 Internal Server Error)",
        "error pushing image: POST http://r:5000/v2/hookd/build/blobs/uploads/: DENIED: no",
        "error building image: parsing dockerfile: dockerfile parse error on line 2: unknown \
         instruction: FRMO",
        "error building image: GET https://q.io/v2/a/b/manifests/1: UNAVAILABLE: registry q.io cannot be \
         reached: its certificate, or that of hookd, is not accepted",
        "error building image: GET https://index.docker.io/v2/library/busybox/manifests/1: TOOMANYREQUESTS: \
         you have reached your pull rate limit (registry index.docker.io answers 429 Too Many Requests)",
        "error building image: GET http://r:5000/v2/library/nope/manifests/1: MANIFEST_UNKNOWN: manifest \
         unknown",
        "error building image: GET https://q.io/v2/a/b/manifests/1: UNAUTHORIZED: log in",
        "error building image: Get \"https://q.io/v2/\": dial tcp: lookup q.io: no such host",
        "error building image: image not found on any configured mapped registries for q.io/a/b:1",
        "error building image: Timed out snapshotting FS in 90m",
    ];
    let buildkit = [
        "error: no answer of the buildkitd at tcp://buildkitd.buildkit:1234: failed to list workers: \
         Unavailable: connection error: desc = \"transport: authentication handshake failed\"",
        "error: failed to receive status: rpc error: code = Unavailable desc = error reading from \
         server: EOF",
        "error: failed to solve: Unavailable: closing transport due to: connection error: desc = \"error \
         reading from server: EOF\", received prior goaway: code: NO_ERROR, debug data: \"graceful_stop\"",
    ];
    let buildkit = buildkit.into_iter().map(|tail| explain(BUILDKIT, "r:5000", 1, tail));
    all.into_iter().map(explained).chain(buildkit).collect()
}

#[test]
fn the_examples_have_every_kind_of_failure() {
    let shown: BTreeSet<_> = examples().into_iter().map(|failure| failure.remedy).collect();
    for kind in KINDS.iter().chain([&OTHER]) {
        assert!(shown.contains(kind.remedy), "no example with {:?}", kind.remedy);
    }
}

#[test]
fn a_failed_run_is_named_with_its_exit_code() {
    let failure = explained(
        "boom\nerror building image: error building stage: failed to execute command: waiting \
         for process to exit: exit status 7\n",
    );
    assert_eq!(failure.reason, Reason::BuildFailed);
    assert!(failure.why.contains("a RUN command ended with exit code 7"), "{failure:?}");
}

#[test]
fn a_syntax_error_has_the_parsers_message() {
    let failure = explained(
        "error building image: parsing dockerfile: dockerfile parse error on line 2: unknown \
         instruction: FRMO\n",
    );
    assert!(failure.why.contains("line 2: unknown instruction: FRMO"), "{failure:?}");
}

#[test]
fn an_unknown_base_image_has_the_registrys_message() {
    let failure = explained(
        "error building image: GET http://r:5000/v2/library/nope/manifests/1: MANIFEST_UNKNOWN: \
         manifest unknown; map[Tag:1]",
    );
    assert_eq!(failure.reason, Reason::ImagePullFailed);
    assert!(failure.why.contains("library/nope"), "{failure:?}");
}

#[test]
fn an_unknown_mapped_base_image_has_the_registrys_message() {
    let failure = explained(
        "\u{1b}[33mWARN\u{1b}[0m[0000] Failed to retrieve image library/nope:1 from remapped \
         registry r:5000: GET http://r:5000/v2/library/nope/manifests/1: MANIFEST_UNKNOWN: \
         manifest unknown; map[Tag:1]. Will try with the next registry, or fallback to the \
         original registry.\nerror building image: image not found on any configured mapped \
         registries for nope:1\n",
    );
    assert_eq!(failure.reason, Reason::ImagePullFailed);
    assert!(failure.why.contains("MANIFEST_UNKNOWN: manifest unknown"), "{failure:?}");
    assert!(!failure.why.contains("Will try"), "{failure:?}");
}

#[test]
fn a_fatal_line_is_the_reason_with_colours_and_without() {
    for line in [
        "\u{1b}[31mFATA\u{1b}[0m[0003] Timed out snapshotting FS in 90m   ",
        "FATA[0003] Timed out snapshotting FS in 90m",
        "\u{1b}[1;31merror building image: Timed out snapshotting FS in 90m\u{1b}[0m",
    ] {
        let failure = explained(&format!("\u{1b}[36mINFO\u{1b}[0m[0001] x\n{line}\n"));
        let expected = "Timed out snapshotting FS in 90m";
        assert_eq!(failure.why, expected);
    }
}

#[test]
fn a_registry_that_is_down_differs_from_one_that_refuses() {
    let down = explained(
        "error checking push permissions -- make sure you entered the correct tag name, and \
         that you are authenticated correctly, and try again: checking push permission for \
         \"r:5000/hookd/build:s\": creating push check transport for r:5000 failed: Get \
         \"http://r:5000/v2/\": dial tcp: connect: connection refused",
    );
    assert_eq!(down.reason, Reason::RegistryUnreachable);
    let refused = explained(
        "error checking push permissions -- make sure you entered the correct tag name: POST \
         http://r:5000/v2/hookd/build/blobs/uploads/: DENIED: no",
    );
    assert_eq!(refused.reason, Reason::RegistryRefused);
    assert!(refused.why.contains("r:5000"));
}

#[test]
fn a_missing_base_image_is_classified_by_the_registrys_message() {
    for (cause, reason) in [
        (
            "MANIFEST_UNKNOWN: unknown (registry q.io answers 404 Not Found)",
            Reason::ImagePullFailed,
        ),
        ("UNAUTHORIZED: log in (registry q.io answers 401 Unauthorized)", Reason::RegistryRefused),
        ("DENIED: no (registry q.io answers 403 Forbidden)", Reason::RegistryRefused),
        (
            "UNAVAILABLE: registry q.io cannot be reached: connection refused (q.io cannot be \
             reached: connect: Connection refused)",
            Reason::RegistryUnreachable,
        ),
        ("DENIED: 1 is no part of the images that FROM names", Reason::BuildFailed),
        ("UNKNOWN: (registry q.io answers 500 Internal Server Error)", Reason::ImagePullFailed),
    ] {
        let failure = explained(&format!(
            "WARN[0000] Failed to retrieve image q.io/a/b:1 from its registry: GET \
             https://q.io/v2/a/b/manifests/1: {cause}. Will try with the next registry, or fallback \
             to the original registry.\nerror building image: image not found on any configured \
             mapped registries for q.io/a/b:1\n",
        ));
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.why.contains(cause), "{failure:?}");
    }
}

#[test]
fn a_failure_of_the_endpoint_is_none_of_the_registry() {
    let gone = explained(
        "error pushing image: failed to push to destination r:5000/hookd/build:s: Get \
         \"http://r:5000/v2/\": dial the build's registry endpoint: connect: connection refused",
    );
    assert_eq!(gone.reason, Reason::BuildFailed);
    assert!(gone.remedy.contains("registry-endpoint"), "{}", gone.remedy);
    let unnamed = explained(
        "error building image: GET https://index.docker.io/v2/a/b/manifests/1: DENIED: 1 is no part \
         of the images that FROM, COPY --from and RUN --mount name",
    );
    assert_eq!(unnamed.reason, Reason::BuildFailed);
    assert!(unnamed.remedy.contains("FROM"), "{}", unnamed.remedy);
}

#[test]
fn an_unknown_end_names_the_exit_code() {
    assert!(explained("INFO[0001] x\n").why.contains("exit code 1"));
}

#[test]
fn a_failure_of_buildkit_is_of_the_same_kinds() {
    let base = "busybox:9: failed to resolve source metadata for docker.io/library/busybox:9: ";
    let request = "Head \"https://index.docker.io/v2/library/busybox/manifests/9\": ";
    for (message, reason) in [
        (
            "dockerfile parse error on line 2: unknown instruction: FRMO".to_owned(),
            Reason::BuildFailed,
        ),
        (format!("{base}index.docker.io/library/busybox:9: not found"), Reason::ImagePullFailed),
        (
            format!("{base}failed to do request: {request}dial tcp: connect: connection refused"),
            Reason::RegistryUnreachable,
        ),
        (
            format!("{base}unexpected status from HEAD request to https://x/: 403 Forbidden"),
            Reason::RegistryRefused,
        ),
        (
            format!(
                "{base}source \"docker-image://x/y\" not allowed by policy: source denied by policy"
            ),
            Reason::BuildFailed,
        ),
        (
            "failed to push r:5000/hookd/build:s: unexpected status from POST request to \
             http://r:5000/v2/hookd/build/blobs/uploads/: 403 Forbidden"
                .to_owned(),
            Reason::RegistryRefused,
        ),
    ] {
        let failure =
            explain(BUILDKIT, "r:5000", 1, &format!("error: failed to solve: {message}\n"));
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.why.ends_with(&message), "{failure:?}");
    }
    let silent = explain(BUILDKIT, "r:5000", 137, "#4 [2/2] RUN kill -9 -1\n");
    assert_eq!(silent.why, "BuildKit ended with exit code 137");
}
