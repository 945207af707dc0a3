//! What a job may write to keep hookd busy or to fill its memory: each ends soon, with a reason.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Far more than any of these takes on a slow machine, and far less than without limits.
const SOON: Duration = Duration::from_secs(30);

fn ignore_file(rules: impl AsRef<[u8]>) -> Place {
    let place = place();
    place.write(".dockerignore", rules);
    place
}

/// Sends a context that may take this long.
fn send_for(place: &Place, timeout: Duration) -> Result<ContextSummary, ContextError> {
    let bounds = Bounds { timeout, ..plenty() };
    place.open("action/Dockerfile")?.write_tar_gz(io::sink(), &bounds)
}

#[test]
fn half_a_million_rules_are_refused_before_they_are_kept() {
    let many = |count: usize| (0..count).map(|number| format!("{number:x}\n")).collect::<String>();
    let started = Instant::now();
    let error = ignore_file(many(500_000)).refusal();
    let file_limit =
        matches!(error, ContextError::FileTooLarge { limit, .. } if limit == RULES_LIMIT);
    assert!(file_limit, "{error}");
    let error = ignore_file("a\n".repeat(MOST_RULES + 1)).refusal();
    assert!(matches!(error, ContextError::TooManyRules { limit: MOST_RULES, .. }), "{error}");
    assert!(error.to_string().contains("10000 patterns") && error.help().contains("fewer"));
    // As many as are allowed are no trouble, with comments and empty lines beside them.
    assert!(ignore_file(format!("# x\n\n{}", many(MOST_RULES))).send().is_ok());
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_pattern_longer_than_a_path_is_refused_with_its_line() {
    let rules = |length: usize| format!("ok\n!{}\n", "*".repeat(length));
    let error = ignore_file(rules(LONGEST_PATTERN + 1)).refusal();
    assert!(matches!(error, ContextError::RuleTooLong { line: 2, .. }), "{error}");
    assert!(ignore_file(rules(LONGEST_PATTERN)).send().is_ok());
}

#[test]
fn a_dockerfile_has_a_limit() {
    let place = place();
    place.write("Dockerfile", vec![b'#'; DOCKERFILE_LIMIT as usize]);
    assert!(place.send().is_ok());
    place.write("Dockerfile", vec![b'#'; DOCKERFILE_LIMIT as usize + 1]);
    let error = place.refusal();
    assert!(
        matches!(&error, ContextError::FileTooLarge { path, .. } if path.ends_with("Dockerfile"))
    );
}

/// Patterns that cost a matcher the most, 60 to a file, and a path of 3,900 bytes.
#[test]
fn costly_patterns_end_at_the_deadline_and_with_the_step() {
    let deep = format!("{}f", "aa/".repeat(1300));
    for part in ["*a", "**/", "**a", "[a-z]*", "?*", "***", "a**/", "!**/*a", "[^b]*/"] {
        let negated = part.strip_prefix('!');
        let text = negated.unwrap_or(part);
        let pattern = text.repeat(4000 / text.len());
        let exception = if negated.is_some() { "!" } else { "" };
        let place = ignore_file(format!("**\n{exception}{pattern}b\n!**/{pattern}f\n").repeat(20));
        place.write(&deep, "");
        let started = Instant::now();
        match send_for(&place, Duration::from_secs(1)) {
            Err(ContextError::TimedOut { path, seconds: 1 }) => assert_eq!(path, place.context),
            other => assert!(other.is_ok(), "{part}: {other:?}"),
        }
        assert!(started.elapsed() < SOON, "{part}: {:?}", started.elapsed());
    }
}

#[test]
fn a_cancelled_step_ends_its_walk() {
    let place = place();
    (0..2000).for_each(|number| place.write(&number.to_string(), ""));
    let bounds = plenty();
    bounds.cancelled.cancel();
    let context = place.open("action/Dockerfile").unwrap();
    let error = context.write_tar_gz(io::sink(), &bounds).unwrap_err();
    assert!(matches!(error, ContextError::Cancelled), "{error}");
}

#[test]
fn a_path_that_no_builder_could_unpack_is_refused_or_ignored() {
    let place = place();
    // Deeper than a path may be long: made from within, as a job can.
    let name = "d".repeat(200);
    let mut directory: OwnedFd = std::fs::File::open(&place.context).unwrap().into();
    for _ in 0..40 {
        fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = fs::openat(&directory, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let error = place.refusal();
    assert!(matches!(error, ContextError::PathTooLong { .. }), "{error}");
    assert!(error.to_string().len() < 600, "{error}");
    place.write(".dockerignore", "d*\n");
    assert_eq!(place.sent(), [".dockerignore", "Dockerfile"]);
    place.write(".dockerignore", format!("{name}/{name}\n"));
    assert_eq!(place.sent().len(), 3);
}

#[test]
fn many_directories_are_sent_in_order_whatever_has_room() {
    let place = place();
    let names: Vec<_> = (0..9000).map(|number| format!("{number:04}{}", "n".repeat(60))).collect();
    for name in &names {
        std::fs::create_dir(place.context.join(name)).unwrap();
    }
    place.write(&format!("{}/sub/sub/file", names[4000]), "");
    let mut expected = vec!["Dockerfile".to_owned()];
    for name in &names {
        expected.push(format!("{name}/"));
        if *name == names[4000] {
            expected
                .extend(["sub/", "sub/sub/", "sub/sub/file"].map(|one| format!("{name}/{one}")));
        }
    }
    assert!(place.sent() == expected);
}

#[test]
fn no_cut_of_a_stream_passes_for_a_whole_context() {
    let place = place();
    place.write("noise", noise(3000));
    place.write(&"n".repeat(200), "x".repeat(5000));
    let stream = place.send().unwrap();
    // Those of the context, and the three directories.
    let all = entries(&stream).len() + 3;
    let read = |cut: &[u8]| -> io::Result<usize> {
        let mut count = 0;
        for entry in tar::Archive::new(GzDecoder::new(cut)).entries()? {
            io::copy(&mut entry?, &mut io::sink())?;
            count += 1;
        }
        Ok(count)
    };
    // What a reader takes for the end is the end of the archive: only gzip's own trailer may lack.
    for length in 0..stream.len() {
        let count = read(&stream[..length]);
        assert!(
            count.as_ref().is_err() || count.is_ok_and(|count| count == all),
            "cut at {length}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever stands in the file: it is refused, or evaluated in time.
    #[test]
    fn any_bytes_are_refused_or_evaluated_in_time(
        rules in proptest::collection::vec(
            proptest::sample::select(&b"*?[]^-\\/!#ab. \n"[..]), 0..3000
        ),
        path in "[ab./]{1,200}",
    ) {
        let started = Instant::now();
        if let Ok(rules) = Rules::parse(&rules) {
            let bounds = Bounds { timeout: Duration::from_secs(5), ..plenty() };
            let meter = bounds::Meter::new("/".into(), &bounds);
            let parent = dockerignore::Matched::default();
            let evaluated = rules.evaluate(path.as_bytes(), &parent, &meter);
            prop_assert!(evaluated.is_ok() || started.elapsed() >= Duration::from_secs(5));
        }
        prop_assert!(started.elapsed() < SOON);
    }
}
