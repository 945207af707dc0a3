//! Why a build failed, from the end of Kaniko's log.

use std::path::Path;

use crate::cluster::pod::one_line;
use crate::endpoint::ENDPOINT;
use crate::error::{Failure, Reason};
use crate::image::build_log::plain;
use crate::image::registry::Destination;

/// Words of the registry's answers and of the network's.
const UNREACHABLE: [&str; 6] = [
    "connection refused",
    "no such host",
    "i/o timeout",
    "no route to host",
    "server misbehaving",
    "HTTP response to HTTPS client",
];
const REFUSED: [&str; 5] = ["UNAUTHORIZED", "DENIED", "401 ", "403 ", "405 "];
/// Words of the build's own registry endpoint.
const NOT_NAMED: [&str; 2] = ["is no part of the images that", "is not part of this build"];
const UNKNOWN_IMAGE: [&str; 3] = ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "404 Not Found"];
/// Kaniko's words for a base image that it did not get, whatever the reason.
const NO_IMAGE: &str = "image not found on";

/// Says in one sentence why Kaniko ended with `exit_code`; the whole story is in its log, which
/// the user has seen.
pub fn explain(
    dockerfile: &Path,
    destination: &Destination,
    exit_code: i32,
    tail: &str,
) -> Failure {
    let dockerfile = dockerfile.display();
    let tail = &plain(tail);
    let Some(words) = error_line(tail) else {
        return Failure::new(
            Reason::BuildFailed,
            format!("The build of {dockerfile} failed: Kaniko ended with exit code {exit_code}"),
            "Read the end of the build's log above",
        );
    };
    let words = match registry_words(tail) {
        Some(cause) if words.contains(NO_IMAGE) => format!("{words}: {cause}"),
        _ => words,
    };
    let has = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
    let failed = |reason, why: String, remedy: &str| {
        Failure::new(reason, format!("The build of {dockerfile} failed: {why}"), remedy)
    };
    let pushing = words.contains("pushing image")
        || words.contains("push permission")
        || words.contains("error pushing");
    if let Some(code) = run_exit_code(&words) {
        return failed(
            Reason::BuildFailed,
            format!("a RUN command ended with exit code {code}"),
            "Read the command's own output in the build's log above",
        );
    }
    if words.contains(ENDPOINT) {
        return failed(
            Reason::BuildFailed,
            words,
            "Look at the log of container registry-endpoint in the build's pod, and run the job again",
        );
    }
    if has(&NOT_NAMED) {
        return failed(
            Reason::BuildFailed,
            words,
            "Name the image in a FROM line of this Dockerfile: a build reads no others, not even those \
             of ONBUILD in a base image",
        );
    }
    if pushing && has(&UNREACHABLE) {
        return failed(
            Reason::RegistryUnreachable,
            format!("registry {} cannot be reached: {words}", destination.push_host),
            "Check that the registry runs, and ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and \
             _REGISTRY_PORT",
        );
    }
    if pushing {
        return failed(
            Reason::RegistryRefused,
            format!("registry {} does not take the image: {words}", destination.push_host),
            "Check that the registry is writable, and the credentials in \
             ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET",
        );
    }
    if words.contains("parsing dockerfile") || words.contains("dockerfile parse error") {
        return failed(Reason::BuildFailed, words, "Correct the Dockerfile");
    }
    if has(&UNKNOWN_IMAGE) {
        return failed(
            Reason::ImagePullFailed,
            format!("a base image does not exist: {words}"),
            "Check the FROM lines for a misspelling, and HOOKD_REGISTRY_MAP if bases come from a \
             mirror",
        );
    }
    if has(&REFUSED) {
        return failed(
            Reason::RegistryRefused,
            format!("a base image may not be read: {words}"),
            "Add its registry's credentials to ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET",
        );
    }
    if has(&UNREACHABLE) {
        return failed(
            Reason::RegistryUnreachable,
            words,
            "Check the network of the build's pod, and HOOKD_REGISTRY_MAP or \
             HOOKD_REGISTRY_MIRRORS",
        );
    }
    if words.contains(NO_IMAGE) {
        return failed(Reason::ImagePullFailed, words, "Check the FROM lines, and their registry");
    }
    failed(Reason::BuildFailed, words, "Read the build's log above")
}

/// The registry's own words: for mapped and mirrored registries Kaniko has them in a warning only.
fn registry_words(tail: &str) -> Option<String> {
    let warning =
        tail.lines().rev().find_map(|line| line.split_once("Failed to retrieve image "))?;
    let (words, _) = warning.1.split_once(". Will try").unwrap_or((warning.1, ""));
    Some(one_line(words))
}

/// Kaniko's own last word.
fn error_line(tail: &str) -> Option<String> {
    let line = tail.lines().rev().find(|line| {
        let line = line.trim_start();
        ["error ", "Error", "FATA["].iter().any(|start| line.starts_with(start))
    })?;
    let line = one_line(line);
    let words = line.trim().strip_prefix("FATA[").and_then(|fatal| fatal.split_once("] "));
    let words = words.map_or(line.trim(), |(_, words)| words);
    let words = words.trim_start_matches("error building image: ");
    Some(words.chars().take(600).collect())
}

/// The exit code of a failed RUN.
fn run_exit_code(words: &str) -> Option<i32> {
    let (_, code) = words.split_once("failed to execute command: ")?;
    code.rsplit_once("exit status ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn explained(tail: &str) -> Failure {
        let destination = Destination {
            push: "r:5000/hookd/build:s".into(),
            push_host: "r:5000".into(),
            pull: "localhost:30500/hookd/build".into(),
            insecure: true,
        };
        explain(Path::new("/w/a/Dockerfile"), &destination, 1, tail)
    }

    #[test]
    fn a_failed_run_is_named_with_its_exit_code() {
        let failure = explained(
            "boom\nerror building image: error building stage: failed to execute command: waiting \
             for process to exit: exit status 7\n",
        );
        assert_eq!(failure.reason, Reason::BuildFailed);
        assert!(failure.message.contains("/w/a/Dockerfile"));
        assert!(failure.message.contains("a RUN command ended with exit code 7"), "{failure}");
    }

    #[test]
    fn a_syntax_error_is_in_the_parsers_words() {
        let failure = explained(
            "error building image: parsing dockerfile: dockerfile parse error on line 2: unknown \
             instruction: FRMO\n",
        );
        assert!(failure.message.contains("line 2: unknown instruction: FRMO"), "{failure}");
    }

    #[test]
    fn an_unknown_base_image_is_in_the_registrys_words() {
        let failure = explained(
            "error building image: GET http://r:5000/v2/library/nope/manifests/1: MANIFEST_UNKNOWN: \
             manifest unknown; map[Tag:1]",
        );
        assert_eq!(failure.reason, Reason::ImagePullFailed);
        assert!(failure.message.contains("library/nope"), "{failure}");
    }

    #[test]
    fn an_unknown_base_image_behind_a_map_is_in_the_registrys_words_too() {
        let failure = explained(
            "\u{1b}[33mWARN\u{1b}[0m[0000] Failed to retrieve image library/nope:1 from remapped \
             registry r:5000: GET http://r:5000/v2/library/nope/manifests/1: MANIFEST_UNKNOWN: \
             manifest unknown; map[Tag:1]. Will try with the next registry, or fallback to the \
             original registry.\nerror building image: image not found on any configured mapped \
             registries for nope:1\n",
        );
        assert_eq!(failure.reason, Reason::ImagePullFailed);
        assert!(failure.message.contains("MANIFEST_UNKNOWN: manifest unknown"), "{failure}");
        assert!(!failure.message.contains("Will try"), "{failure}");
    }

    #[test]
    fn a_fatal_line_is_the_reason_with_colours_and_without() {
        for line in [
            "\u{1b}[31mFATA\u{1b}[0m[0003] Timed out snapshotting FS in 90m   ",
            "FATA[0003] Timed out snapshotting FS in 90m",
            "\u{1b}[1;31merror building image: Timed out snapshotting FS in 90m\u{1b}[0m",
        ] {
            let failure = explained(&format!("\u{1b}[36mINFO\u{1b}[0m[0001] x\n{line}\n"));
            let words = "The build of /w/a/Dockerfile failed: Timed out snapshotting FS in 90m";
            assert_eq!(failure.message, words);
        }
    }

    #[test]
    fn a_registry_that_is_down_is_told_from_one_that_refuses() {
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
        assert!(refused.message.contains("r:5000"));
    }

    #[test]
    fn a_base_image_that_was_not_got_is_judged_by_its_registrys_words() {
        for (cause, reason) in [
            (
                "MANIFEST_UNKNOWN: unknown (registry q.io answers 404 Not Found)",
                Reason::ImagePullFailed,
            ),
            (
                "UNAUTHORIZED: log in (registry q.io answers 401 Unauthorized)",
                Reason::RegistryRefused,
            ),
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
            assert_eq!(failure.reason, reason, "{failure}");
            assert!(failure.message.contains(cause), "{failure}");
        }
    }

    #[test]
    fn a_failure_of_the_endpoint_is_not_taken_for_one_of_the_registry() {
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
        assert!(explained("INFO[0001] x\n").message.contains("exit code 1"));
    }
}
