//! No spelling of an image's name evades a rule.

use proptest::prelude::*;

use super::*;

/// True if a policy of these patterns lets the image be used.
fn allows(patterns: &[&str], image: &str) -> bool {
    let listed = patterns.iter().map(|pattern| format!("'{pattern}'")).collect::<Vec<_>>();
    let policy = policy(&format!("images: {{allowed: [{}]}}", listed.join(", ")));
    policy.of_job(&job(with_image(image))).is_empty()
}

#[test]
fn one_image_in_all_its_spellings_is_judged_alike() {
    let pinned = format!("busybox:1@{}", digest());
    for image in [
        "busybox",
        "busybox:1",
        "library/busybox",
        "docker.io/busybox:1",
        "docker.io/library/busybox",
        "index.docker.io/library/busybox",
        "Docker.io/library/busybox",
        pinned.as_str(),
    ] {
        for pattern in ["docker.io/library/busybox", "docker.io/**", "index.docker.io/library/*"] {
            assert!(allows(&[pattern], image), "{pattern} {image}");
        }
        assert!(!allows(&["docker.io/library/debian", "ghcr.io/**"], image), "{image}");
    }
}

#[test]
fn what_only_looks_like_an_allowed_image_is_refused() {
    let id = format!("sha256:{}", "0".repeat(64));
    let by_id = format!("library/{id}");
    for image in [
        "evil.example/library/busybox",
        "docker.io.evil.example/library/busybox",
        "docker.io:5000/library/busybox",
        "localhost/library/busybox",
        // docker takes a first part with a capital for a host.
        "EVIL/busybox",
        "Library/busybox",
        "docker.io/library/../evil/x",
        "docker.io/library//busybox",
        "docker.io/library/busybox/more",
        "library/busyboxx",
        "docker://busybox",
        " busybox",
        "busybox\n",
        "busybox@",
        "@sha256:0",
        "user@docker.io/library/busybox",
        "docker.io%2flibrary/busybox",
        "[::1]/library/busybox",
        // The id of any image that the node has.
        id.as_str(),
        by_id.as_str(),
    ] {
        assert!(
            !allows(&["docker.io/library/busybox", "docker.io/library/sha*"], image),
            "{image}"
        );
    }
}

#[test]
fn a_pattern_for_tags_allows_no_digest() {
    let pinned = format!("ghcr.io/o/x:1.2@{}", digest());
    assert!(allows(&["ghcr.io/o/x:1.*"], "ghcr.io/o/x:1.2"));
    for pattern in ["ghcr.io/o/x:1.*", "ghcr.io/o/x:*", "ghcr.io/o/x:sha*"] {
        assert!(!allows(&[pattern], &pinned), "{pattern}");
    }
    assert!(allows(&[&format!("ghcr.io/o/x@{}", digest())], &pinned));
    assert!(!allows(&[&format!("ghcr.io/o/x@{}", digest())], "ghcr.io/o/x:1.2"));
    assert!(!allows(&[&format!("ghcr.io/o/x@sha256:{}", "1".repeat(64))], &pinned));
}

#[test]
fn a_digest_that_is_none_does_not_satisfy_the_rule() {
    let policy = policy("images: {digestRequired: true}");
    for image in ["busybox@sha256:0", "busybox@sha512:00", "busybox:sha256", "busybox"] {
        assert_eq!(rules(&policy.of_job(&job(with_image(image)))), ["images.digestRequired"]);
    }
}

proptest! {
    /// What is allowed is pulled from the allowed place, by the rules of docker's own parser, written here once more.
    #[test]
    fn what_is_allowed_is_of_the_allowed_repository(image in "[a-zA-Z:@./_ -]{0,24}|([a-zA-Z.]{1,9}/){0,3}(library|org|busybox|x)(/x|:1|@sha256:0)?") {
        let patterns = ["docker.io/library/*", "ghcr.io/org/**"];
        if !image.is_empty() && allows(&patterns, &image) {
            let name = image.split('@').next().unwrap();
            let (first, rest) = name.split_once('/').unwrap_or(("", name));
            let is_host = first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(char::is_uppercase);
            let (host, path) = if is_host { (first, rest) } else { ("docker.io", name) };
            let path = path.rsplit_once(':').map_or(path, |(path, _)| path);
            let host = host.to_lowercase();
            let parts: Vec<_> = path.split('/').collect();
            let is_hub = matches!(host.as_str(), "docker.io" | "index.docker.io")
                && matches!(parts[..], [_] | ["library", _]);
            let is_org = host == "ghcr.io" && parts.len() > 1 && parts[0] == "org";
            prop_assert!(is_hub || is_org, "{image}");
            prop_assert!(!image.contains(' ') && !path.contains(".."));
        }
    }

    /// An option cannot be given so that the rules do not see it.
    #[test]
    fn a_flag_is_seen_in_every_spelling(
        spelling in prop::sample::select(vec![
            "--memory=2g", "--memory 2g", "-m2g", "-m 2g", "-m=2g", "'--memory=2g'", "--mem\\ory 2g",
            "-im2g", "-ti -m 2147483648", "--memory 1g -m 2048m",
        ])
    ) {
        let policy = policy("options: {memory: 1Gi}");
        let spec = JobSpec::read(Some(with_options(spelling)), Vec::new()).unwrap();
        let refused = policy.of_job(&spec);
        prop_assert_eq!(rules(&refused), ["options.memory"]);
    }
}
