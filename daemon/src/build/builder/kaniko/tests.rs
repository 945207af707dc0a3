//! Facts about both Kanikos' logs: the original 1.24.0 and the maintained fork 1.28.3.

use super::*;
use crate::build::progress::LOCAL_CAUSES;

fn progress(head: &str) -> Progress {
    Kaniko.progress(head)
}

/// What both print before they read.
const BEFORE: [&str; 2] = [
    "\u{1b}[36mINFO\u{1b}[0m[0000] To simulate EOF and exit, press 'Ctrl+D' \n",
    "\u{1b}[36mINFO\u{1b}[0m[0000] active feature flags: FF_KANIKO_COPY_AS_ROOT \n\
     \u{1b}[33mWARN\u{1b}[0m[0000] unknown feature flags set but not recognised by this version of \
     kaniko: FF_KANIKO_X \n\u{1b}[36mINFO\u{1b}[0m[0000] To simulate EOF and exit, press 'Ctrl+D' \n",
];

fn usage() -> String {
    format!("Usage:\n  executor [flags]\n\nFlags:\n{}", "  -b, --bucket string   Name\n".repeat(90))
}

/// All that Go's readers say of a gzip stream of a tar archive that was cut at some byte, or of which
/// a part is missing: found by cutting one at each of its bytes.
const CUTS: [&str; 7] = [
    // Nothing came at all.
    "EOF",
    // From within the gzip header to the end of the compressed data.
    "unexpected EOF",
    "gzip: invalid header",
    "gzip: invalid checksum",
    "flate: corrupt input before offset 1982",
    "archive/tar: invalid tar header",
    "some message of a later version",
];

#[test]
fn every_way_in_which_a_context_breaks_off_is_known() {
    for before in BEFORE {
        for cut in CUTS {
            let message = format!("error resolving source context: {cut}");
            let forms = [
                format!("{before}Error: {message}\n{}", usage()),
                format!("{before}Error: {message}\n"),
                format!("{before}FATA[0000] {message} \n"),
                format!("{before}\u{1b}[31mFATA\u{1b}[0m[0000] {message}           \n"),
            ];
            for log in forms {
                assert_eq!(progress(&log), Progress::Incomplete(message.clone()), "{log}");
            }
        }
        // hookd never sends a context without its Dockerfile.
        let missing = "error resolving dockerfile path: please provide a valid path to a Dockerfile \
                       within the build context with --dockerfile";
        let log = format!("{before}Error: {missing}\n{}", usage());
        assert_eq!(progress(&log), Progress::Incomplete(missing.to_owned()));
    }
}

#[test]
fn an_error_of_the_pods_own_is_no_broken_context() {
    for cause in LOCAL_CAUSES {
        let log =
            format!("Error: error resolving source context: open /kaniko/buildcontext/a: {cause}");
        assert_eq!(progress(&log), Progress::Decided, "{log}");
    }
}

#[test]
fn a_builder_that_has_its_context_proves_it() {
    let lines = [
        "\u{1b}[36mINFO\u{1b}[0m[0001] Resolved base name busybox:1 to s ",
        "INFO[0001] Retrieving image manifest busybox:1",
        "INFO[0012] Built cross stage deps: map[]",
        "error checking push permissions: checking push permission for \"r:5000/x\": DENIED",
        "error checking push permissions -- make sure you entered the correct tag name",
        "error building image: parsing dockerfile: dockerfile parse error on line 1: unknown",
        "error building image: error building stage: failed to execute command",
        // The command line itself: another attempt would end so too.
        "Error: unknown flag: --ignore-var-run",
        "\u{1b}[31mFATA\u{1b}[0m[0000] Invalid platform \"x\"",
    ];
    for before in BEFORE {
        for line in lines {
            assert_eq!(progress(&format!("{before}{line}\n")), Progress::Decided, "{line}");
        }
        assert_eq!(progress(before), Progress::Unknown);
    }
    for nothing in
        ["", "unable to retrieve container logs for containerd://1", "INFO[x] a\n[31m\u{1b}"]
    {
        assert_eq!(progress(nothing), Progress::Unknown, "{nothing}");
    }
}

#[test]
fn a_run_cannot_have_its_build_started_again() {
    let forged = "Error: error resolving source context: EOF\n";
    let log = format!("{}INFO[0001] Retrieving image manifest busybox:1\n{forged}", BEFORE[0]);
    assert_eq!(progress(&log), Progress::Decided);
}

#[test]
fn what_a_run_writes_in_place_of_the_digest_is_none() {
    let digest = format!("sha256:{}", "3f".repeat(32));
    assert_eq!(Kaniko.digest(&format!("{digest}\n")), Some(digest));
    let path = "/../../../other/image/manifests/latest";
    assert_eq!(Kaniko.digest(&format!("sha256:{path:.>64}")), None);
    assert_eq!(Kaniko.digest(&format!("sha256:{}", "3F".repeat(32))), None);
}
