//! Facts about the logs of BuildKit 0.34.2 and of the script around it.

use super::*;

fn progress(head: &str) -> Progress {
    BuildKit.progress(head)
}

#[test]
fn a_context_is_whole_when_the_script_says_so() {
    assert_eq!(progress(""), Progress::Unknown);
    assert_eq!(progress("some warning\n"), Progress::Unknown);
    let forged = format!("{ARRIVED}\n#5 0.1 {BROKEN}\n{BROKEN}\n");
    assert_eq!(progress(&forged), Progress::Decided);
    let cut = format!("gunzip: unexpected end of file\n{BROKEN}\n");
    let expected = Progress::Incomplete("gunzip: unexpected end of file;".to_owned());
    assert_eq!(progress(&cut), expected);
    let full =
        format!("tar: write error: No space left on device\ngunzip: short write\n{BROKEN}\n");
    assert_eq!(progress(&full), Progress::Decided);
    let refused = "[rootlesskit:parent] error: failed to start the child: operation not permitted";
    assert_eq!(progress(refused), Progress::Decided);
}

#[test]
fn the_digest_is_that_of_the_pushed_image() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let message = serde_json::json!({
        "containerimage.config.digest": "sha256:1",
        "containerimage.digest": digest,
    });
    assert_eq!(BuildKit.digest(&message.to_string()), Some(digest));
    assert_eq!(BuildKit.digest("{}"), None);
    assert_eq!(BuildKit.digest("sha256:0"), None);
}

#[test]
fn a_failed_run_is_named_with_its_line_and_exit_code() {
    let log = "#6 [2/2] RUN exit 7\n#6 0.112 error: not this one\n\
               #6 ERROR: process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7\n\
               ------\n > [2/2] RUN exit 7:\n0.112 error: not this one\n------\n\
               Dockerfile:2\n--------------------\n   1 |     FROM busybox:1\n   2 | >>> RUN exit 7\n\
               --------------------\nerror: failed to solve: process \"/bin/sh -c exit 7\" did not \
               complete successfully: exit code: 7\n";
    let error = BuildKit.last_error(log).unwrap();
    assert_eq!((error.line, error.exit_code), (Some(2), Some(7)));
    assert!(!error.message.contains("not this one"), "{error:?}");
}

#[test]
fn a_message_that_names_its_line_is_not_given_another() {
    let log = "Dockerfile:2\n--------------------\n   2 | >>> FRMO x\n--------------------\n\
               error: failed to solve: dockerfile parse error on line 2: unknown instruction: FRMO\n";
    let expected = LastError {
        line: None,
        message: "dockerfile parse error on line 2: unknown instruction: FRMO".to_owned(),
        exit_code: None,
    };
    assert_eq!(BuildKit.last_error(log), Some(expected));
    assert_eq!(BuildKit.last_error("#1 DONE 0.0s\n"), None);
}
