//! What a job can make hookd read: made to need much, and made by chance.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hookd_api::v1;
use hostile::Chance;

use super::AT_ONCE;

/// Bytes of an input that is not made to be heavy: many are to be fed.
const ORDINARY: usize = 1 << 10;
/// Kinds of inputs that need much.
pub(crate) const KINDS: usize = 19;

/// A container step of its own.
pub(crate) fn step(container: v1::ContainerSpec, cursor: Vec<u8>) -> v1::RunContainerStepRequest {
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    let number = STEPS.fetch_add(1, Ordering::Relaxed);
    let resume = (!cursor.is_empty()).then(|| v1::Resume { cursor, ..v1::Resume::default() });
    let start = v1::RunContainerStepStart {
        step_id: format!("s{number}"),
        container: Some(container),
        resume,
        auto_ack: true,
        event: String::new(),
        job: None,
    };
    v1::RunContainerStepRequest {
        message: Some(v1::run_container_step_request::Message::Start(start)),
    }
}

/// An action beneath the work directory, with this definition and these rules.
fn action(work: &Path, number: usize, definition: &[u8], rules: &[u8]) -> String {
    let directory = work.join(format!("_actions/{}", number % (4 * AT_ONCE)));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("action.yml"), definition).unwrap();
    std::fs::write(directory.join(".dockerignore"), rules).unwrap();
    std::fs::write(directory.join("Dockerfile"), "FROM x\n").unwrap();
    directory.join("Dockerfile").display().to_string()
}

pub(crate) fn variables(number: usize, bytes: usize) -> BTreeMap<String, String> {
    (0..number).map(|number| (format!("V{number}"), "x".repeat(bytes))).collect()
}

/// Aliases that stand for a billion nodes.
pub(crate) fn bomb() -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
    }
    text + "runs: {args: *a9}\n"
}

/// Inputs that were made to need much.
pub(crate) fn heavy(
    (work, registry): (&Path, &str),
    number: usize,
    kind: usize,
) -> v1::RunContainerStepRequest {
    let pieces = || vec!["\"a".to_owned(), "b\"".to_owned()];
    let image = || v1::ContainerSpec { image: "x".into(), ..v1::ContainerSpec::default() };
    let ignoring = |definition: &str, rules: &str| v1::ContainerSpec {
        dockerfile: action(work, number, definition.as_bytes(), rules.as_bytes()),
        entry_point_args: pieces(),
        ..v1::ContainerSpec::default()
    };
    let built = |definition: &str| ignoring(definition, "*\n");
    let environment = |all| v1::ContainerSpec { environment_variables: all, ..image() };
    let strings = format!("s: &s {}\nruns: {{args: [{}]}}", "x".repeat(60_000), "*s,".repeat(200));
    let container = match kind {
        // Refused: 24 MiB, and variables and arguments that no program is started with.
        0 => environment(variables(24, 1 << 20)),
        1 => environment(variables(30, 120_000)),
        2 => environment(variables(9, 100_000)),
        3 => environment(variables(150_000, 8)),
        4 => built(&bomb()),
        5 => built(&strings),
        6 => built(&format!("runs: {{args: {}", "[".repeat(200_000))),
        7 => v1::ContainerSpec { entry_point_args: vec!["x".repeat(4); 400_000], ..image() },
        8 => v1::ContainerSpec {
            entry_point_args: pieces(),
            environment_variables: [("INPUT_A".to_owned(), "y".repeat(100_000))].into(),
            ..built(&format!("runs: {{args: [\"{}\"]}}", "${{inputs.a}}".repeat(15_000)))
        },
        9 => v1::ContainerSpec { create_options: "--label a=b ".repeat(80_000), ..image() },
        10 => v1::ContainerSpec { create_options: "-e A=b ".repeat(9_000), ..image() },
        // As many as there may be, and empty.
        11 => v1::ContainerSpec { entry_point_args: vec![String::new(); 32_000], ..image() },
        12 => environment(variables(if number.is_multiple_of(2) { 2_000 } else { 32_000 }, 400)),
        13 => ignoring("runs: {}", &"a\n".repeat(500_000)),
        14 => ignoring("runs: {}", &(0..9_999).map(|n| format!("**/a{n}/*\n")).collect::<String>()),
        // Refused with what they say, of which each character is written as five.
        16 => v1::ContainerSpec {
            user_mount_volumes: vec![v1::Mount {
                user_provided_value: "\u{1}".repeat(2_800_000),
                target_volume_path: "/__w".into(),
                ..v1::Mount::default()
            }],
            ..image()
        },
        17 => v1::ContainerSpec {
            environment_variables: [("\u{1}".repeat(2_800_000) + "=", String::new())].into(),
            ..image()
        },
        15 => ignoring(&format!("runs: {{args: [{}]}}", "a,".repeat(24_000)), "*\n"),
        _ => v1::ContainerSpec {
            image: format!("{registry}/x:{number}"),
            ..v1::ContainerSpec::default()
        },
    };
    step(container, Vec::new())
}

/// Inputs made by chance.
pub(crate) fn chosen(
    work: &Path,
    number: usize,
    chance: &mut Chance,
) -> v1::RunContainerStepRequest {
    let yaml = ["runs: {args: [a, &b c, *b]}", "runs:\n  args:\n  - ${{ inputs.x }}\n"];
    let rules = ["*\n!a/**\n", "[a-c]/**/x\n"];
    let cursors = [
        r#"{"build":{"attempt":20000000,"context_sent":false,"token":null,"log":{"timestamp":null,
        "nth":0,"bytes":0,"line_ended":false}},"image":null,"run":null,"started":null}"#,
        r#"{"build":null,"image":{"reference":"r@sha256:0","digest":"sha256:0"},"run":null}"#,
    ];
    let tokens = ["[", "]", "{", "}", "&a ", "*a", "**", "!", "\"", ":", "9", "null"];
    let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let mut input = |seeds: &[&str]| {
        let mut input = chance.input(seeds, &tokens);
        input.truncate(ORDINARY);
        input
    };
    let (definition, rules) = (input(&yaml), input(&rules));
    let cursor = if number.is_multiple_of(2) { input(&cursors) } else { Vec::new() };
    let container = v1::ContainerSpec {
        dockerfile: action(work, number, &definition, &rules),
        entry_point_args: lossy(input(&["\"a b\" c"])).split(' ').map(Into::into).collect(),
        create_options: lossy(input(&["--cpus 1"])),
        environment_variables: [("INPUT_X".to_owned(), lossy(input(&["x"])))].into(),
        ..v1::ContainerSpec::default()
    };
    step(container, cursor)
}
