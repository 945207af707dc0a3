//! Each parser of bytes that a job, an image or a client controls, with hostile inputs: no panic, an
//! end in time, and what must hold of every result. `make fuzz` gives each a minute.
//!
//! A parser that is added gets a test here: seeds, tokens of its language, and what must hold.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use hookd::build::context::{self, Bounds, ContextError};
use hookd::cluster::logs::{Lines, LogPosition};
use hookd::dockerfile::{self, Builder, ContextFiles, Entry};
use hookd::hooks::action_args;
use hookd::objects::container::ContainerStep;
use hookd::objects::docker::args;
use hookd::objects::docker::options;
use hookd::objects::docker::ports;
use hookd::objects::template::Template;
use hookd::registry::image_config::ImageConfig;
use hookd::registry::reference::{NamedImage, Reference};
use hookd::session::cursor::{BUILD_ATTEMPTS, Cursor};
use hookd::traces::TraceParent;
use hookd_api::v1::ContainerSpec;
use tokio_util::sync::CancellationToken;

use hostile::fuzz;

const YAML: [&str; 16] = [
    "[", "]", "{", "}", "- ", "? ", ": ", "&a ", "*a", "<<: ", "!!str ", "|\n ", "\"", "'",
    "---\n", "# ",
];
const ACTIONS: [&str; 4] = [
    "name: a\nruns:\n  using: docker\n  image: Dockerfile\n  args:\n    - -c\n    - ${{ inputs.x }}\n",
    "runs: {using: docker, image: x, args: ['a   b', \"${{ inputs.two words }}\", 5, ~, [c], {d: e}]}",
    "a: &a [x, x]\nb: &b [*a, *a]\nruns: {args: [*a, *b, &s text, *s]}\n",
    "runs:\n  args: |\n    text\n  <<: {args: [1]}\n",
];

fn lossy(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn split_words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn action_definitions() {
    let root = tempfile::tempdir().unwrap();
    let spec = |environment: &[(&str, &str)]| ContainerSpec {
        dockerfile: root.path().join("Dockerfile").display().to_string(),
        entry_point_args: split_words("\"a b\" \"x\""),
        environment_variables: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..ContainerSpec::default()
    };
    let step = ContainerStep::try_from(spec(&[("INPUT_X", "x")])).unwrap();
    fuzz("action.yml", &ACTIONS, &YAML, |input| {
        std::fs::write(root.path().join("action.yml"), input).unwrap();
        let found = action_args::whole(&step, root.path(), &[root.path().to_owned()]);
        // Whatever stands there, no more is taken from it than white space.
        let plain = |list: &[String]| list.concat().split_whitespace().collect::<String>();
        assert_eq!(plain(&found), plain(&step.args));
    });
}

#[test]
fn yaml_documents() {
    fuzz("YAML", &ACTIONS, &YAML, |input| {
        let value: Result<serde_json::Value, _> = hookd::yaml::parse(input);
        drop(value);
    });
}

#[test]
fn dockerignores() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("Dockerfile"), "FROM x\n").unwrap();
    std::fs::create_dir_all(root.path().join("a/b")).unwrap();
    std::fs::write(root.path().join("a/b/c"), "x").unwrap();
    let seeds = ["# x\n*\n!a\n**/b\n", "a/**/c\n[a-c]/?\n\\#\n", "!**\n/a/\n./b/../c\n"];
    let tokens = ["*", "**", "?", "[", "]", "[^", "!", "/", "\\", "\n", "..", "-"];
    fuzz(".dockerignore", &seeds, &tokens, |input| {
        std::fs::write(root.path().join(".dockerignore"), input).unwrap();
        let opened = context::open(&[root.path().to_owned()], &root.path().join("Dockerfile"));
        if let Ok(opened) = opened {
            let (timeout, cancelled) = (Duration::from_secs(5), CancellationToken::new());
            let bounds = Bounds { bytes: 1 << 20, timeout, cancelled };
            // A malformed pattern is an error; one that takes too long is a defect here.
            if let Err(error) = opened.write_tar_gz(std::io::sink(), &bounds) {
                assert!(!matches!(error, ContextError::TimedOut { .. }), "{error}");
            }
        }
    });
}

/// A context with a few files.
struct Few;

impl ContextFiles for Few {
    fn entry(&self, path: &str) -> Option<Entry> {
        match path {
            "" | "d" => Some(Entry::Directory(0o755)),
            "a" | "d/b" => Some(Entry::File(0o644)),
            "l" => Some(Entry::Symlink("../d/b".to_owned())),
            _ => None,
        }
    }

    fn names(&self, directory: &str) -> Option<Vec<String>> {
        let names: &[&str] = if directory.is_empty() { &["a", "d", "l"] } else { &["b"] };
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn matches(&self, patterns: &[String], _: &str) -> Option<bool> {
        Some(patterns.iter().any(|pattern| pattern.contains('*')))
    }

    fn begin(&self, _: &str) -> Vec<u8> {
        vec![0x1f, 0x8b, 0x08]
    }
}

#[test]
fn dockerfiles_that_are_written_anew() {
    let seeds = [
        "ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V AS b\nCOPY --from=b /x /y\nFROM scratch\n",
        "# escape=`\nFROM x`\n:1\nRUN --mount=type=bind,from=c,target=/c <<EOF\nFROM no\nEOF\n",
        "FROM a@sha256:0\nCOPY --from=0 a b\nONBUILD COPY --from=${X:-y} a b\n",
        "FROM a\nENV X=1\nCOPY --chmod=u+s <<EOF l d/* /$X/\n$X\nEOF\nVOLUME $X\nENV X=2\n",
        "FROM a\nCOPY --parents --exclude=*.b d/./b /\nADD --chown=:x a l /\nEXPOSE 1-9/TCP\n",
        "FROM a AS b\nRUN --mount=type=cache,id=\"x\",target=$T/c,uid=5 [\"x\"]\nFROM b\nUSER 5:$X\n",
    ];
    let tokens = [
        "FROM ",
        "COPY --from=",
        "ARG ",
        "$",
        "${",
        "}",
        ":-",
        "<<E\n",
        "\\\n",
        "AS ",
        "\n",
        "#",
        "[\"",
        "--mount=",
        "VOLUME ",
        "ENV ",
        ",target=/",
        "--chmod=",
    ];
    fuzz("Dockerfile", &seeds, &tokens, |input| {
        let Ok(named) = dockerfile::images(input) else { return };
        for image in &named {
            let name = image.reference.to_string();
            assert_eq!(name.parse::<Reference>().unwrap().to_string(), name, "read again");
        }
        for builder in [Builder::Original, Builder::Fork] {
            let Ok(lowered) = dockerfile::lower(input, &Few, builder) else { continue };
            // The builder gets no image that the Dockerfile does not name.
            let found = dockerfile::images(lowered.dockerfile.as_bytes()).into_iter().flatten();
            for image in found {
                let is_it = |one: &NamedImage| one.reference == image.reference;
                assert!(named.iter().any(is_it), "{}: {}", image.reference, lowered.dockerfile);
            }
        }
    });
}

#[test]
fn create_options_of_containers() {
    let seeds = [
        "--cpus 1 --memory=512m -e A=b --label x=y",
        "--health-cmd \"redis-cli ping\" --health-interval 10s --health-timeout 5s --health-retries 5",
        "-p 80:80 --tmpfs /x:size=1g --ulimit nofile=1:2 --add-host a:1.2.3.4 --user 0:0",
        "--entrypoint 'a b' --env-file x --volume /a:/b:ro --privileged",
    ];
    let tokens =
        ["--", "-", "=", " ", "\"", "'", "\\", ":", "9", "h", "ms", "g", "--memory", "--cpus"];
    fuzz("options", &seeds, &tokens, |input| drop(options::parse(&lossy(input))));
}

#[test]
fn port_mappings() {
    let tokens = [":", "-", "/", "tcp", "udp", "9", "0", "[::]", "127.0.0.1"];
    fuzz("ports", &["80:80 443/tcp 1-5:1-5/udp", "127.0.0.1:1:2 65536:0"], &tokens, |input| {
        drop(ports::parse(&split_words(&lossy(input))));
    });
}

#[test]
fn arguments() {
    let seeds = ["-c \"echo 'a  b' && x\"", "\\\"a b\\\\\" \"\" \"c", "a\tb\nc \\ \\\\"];
    let tokens = ["\"", "\\", " ", "\t", "\n", "'", "$", "$(", ")", "\"\""];
    fuzz("arguments", &seeds, &tokens, |input| {
        let line = lossy(input);
        let pieces = split_words(&line);
        let split = args::split(&pieces);
        let length: usize = split.iter().map(String::len).sum();
        assert!(length <= line.len(), "{length} bytes of {}", line.len());
        assert!(args::quote_dollars(&line).len() <= 2 * line.len());
        // As the runner cuts it: the line that is known gives arguments, and as many characters.
        let cut: Vec<String> = line
            .split(' ')
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
            .map(Into::into)
            .collect();
        assert!(args::of_line(&line, &cut).is_some());
        // Quoted as the runner quotes, one argument comes back as it was.
        if !line.contains(['"', '\\']) {
            assert_eq!(args::split(&[args::line_of(std::slice::from_ref(&line))]), [line]);
        }
    });
}

#[test]
fn image_references() {
    let seeds = ["busybox", "ghcr.io/a/b:c@sha256:0", "localhost:5000/x", "[::1]:5000/a/b"];
    let tokens = ["/", ":", "@", ".", "..", "-", "_", "sha256:", "%", "?", "#"];
    fuzz("references", &seeds, &tokens, |input| {
        let Ok(reference) = lossy(input).parse::<Reference>() else { return };
        let whole = reference.to_string();
        assert_eq!(whole.parse::<Reference>().as_ref(), Ok(&reference), "{whole}");
        assert!(!whole.contains("//") && !whole.split('/').any(|part| part == ".."), "{whole}");
    });
}

#[test]
fn image_configs() {
    let seeds = [
        r#"{"Entrypoint":["a"],"Cmd":["b"],"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000}}"#,
        r#"{"Entrypoint":null,"Cmd":[],"Healthcheck":{"Test":["NONE"],"Retries":-1,"Timeout":9e99}}"#,
    ];
    let tokens = ["[", "]", "{", "}", ":", ",", "\"", "null", "-", "9", "\\u0000", "1e308"];
    fuzz("image configs", &seeds, &tokens, |input| {
        let Ok(config) = serde_json::from_slice::<ImageConfig>(input) else { return };
        let command = config.command(Some("x"), &["y".to_owned()]).unwrap();
        assert_eq!(command, ["x", "y"]);
    });
}

#[test]
fn cursors() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let whole = format!(
        r#"{{"build":{{"attempt":1,"context_sent":true,"token":"{}","log":{{"timestamp":"2026-01-01T00:00:00Z",
        "nth":1,"bytes":2,"line_ended":true}}}},"image":{{"reference":"r/x@{digest}","digest":"{digest}"}},
        "run":{{"job_uid":"u","agent_launch":{{"Cmd":["x"]}},"before":[1,2],"log":{{"timestamp":null,"nth":0,
        "bytes":0,"line_ended":false}}}},"started":{{"secs_since_epoch":1,"nanos_since_epoch":2}}}}"#,
        "0".repeat(32)
    );
    Cursor::decode(whole.as_bytes()).unwrap();
    let seeds =
        [whole.as_str(), "{}", "null", r#"{"build":null,"image":null,"run":null,"started":null}"#];
    let tokens =
        ["[", "]", "{", "}", ":", ",", "\"", "null", "-1", "9", "0", "18446744073709551615"];
    fuzz("cursors", &seeds, &tokens, |input| {
        let Ok(cursor) = Cursor::decode(input) else { return };
        assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        let attempt = cursor.build.as_ref().map_or(0, |build| build.attempt);
        assert!(attempt < BUILD_ATTEMPTS);
    });
}

#[test]
fn pod_logs() {
    let seeds = [
        "2026-01-01T00:00:00.000000001Z a\n2026-01-01T00:00:00.000000001Z b\n2026-01-01T00:00:01Z c\n",
        "2026-01-01T00:00:00Z a\nfailed to watch\n",
    ];
    let tokens =
        ["2026-01-01T00:00:00Z ", "\n", " ", "Z", "+00:00 ", "9999-12-31T23:59:59Z ", "\0"];
    let log = LogPosition {
        timestamp: Some("2026-01-01T00:00:00.000000001Z".into()),
        nth: 1,
        bytes: 1,
        line_ended: false,
    };
    fuzz("Pod logs", &seeds, &tokens, |input| {
        for position in [LogPosition::default(), log.clone()] {
            let mut whole = Lines::resume(position.clone());
            let at_once = whole.feed(input);
            assert!(at_once.as_ref().map_or(0, bytes::Bytes::len) <= input.len());
            // The same bytes in chunks give the same.
            let mut chunked = Lines::resume(position);
            let fed: Result<Vec<_>, _> = input.chunks(7).map(|chunk| chunked.feed(chunk)).collect();
            if let (Ok(at_once), Ok(fed)) = (at_once, fed) {
                assert_eq!(at_once, fed.concat());
                assert_eq!(whole.position(), chunked.position());
            }
        }
    });
}

#[test]
fn templates() {
    let seeds = [
        "metadata: {labels: {a: b}}\nspec:\n  containers:\n  - name: $job\n    env: [{name: A, value: b}]\n",
        "spec: {hostAliases: [{ip: 1.2.3.4}], securityContext: {fsGroup: 1}, containers: [{name: x}]}",
        "{spec: {volumes: ~, containers: null, tolerations: [&t {key: a}, *t]}}",
    ];
    fuzz("templates", &seeds, &YAML, |input| drop(Template::parse("file", &lossy(input))));
}

#[test]
fn paths_of_dockerfiles() {
    let tokens = ["/", "..", ".", "//", "\0", "a"];
    fuzz("paths", &["/w/_actions/a/b/v1/./x/Dockerfile", "a/../../b"], &tokens, |input| {
        let text = lossy(input);
        if let Some(path) = context::normalised(Path::new(&text)) {
            assert!(path.is_absolute() && !path.components().any(|part| part.as_os_str() == ".."));
        }
    });
}

#[test]
fn parents_of_traces() {
    let seeds = [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000001-0000000000000001-00",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-x",
    ];
    let tokens = ["00-", "-", "0", "f", "F", "+", "01", "00000000000000000000000000000000", "\n"];
    fuzz("TRACEPARENT", &seeds, &tokens, |input| {
        let text = lossy(input);
        let Ok(parent) = text.parse::<TraceParent>() else { return };
        // It names the same span, and nothing but the flags may differ.
        let written = parent.to_string();
        assert_eq!((written.len(), &written[..53]), (text.len(), &text[..53]));
        assert!(!written.contains("-00000000000000000000000000000000-"));
        assert_eq!(written.parse::<TraceParent>().ok(), Some(parent));
    });
}
