//! Inputs as runners write them, and broken ones.

use super::*;

fn spec(args: &str) -> Result<Command, InputError> {
    parse(format!(r#"{{"command":"run_container_step","args":{args}}}"#).as_bytes())
        .map(|input| input.command)
}

#[test]
fn null_means_absent_at_any_depth() {
    let args = r#"{"image":"a","dockerfile":null,"entryPointArgs":["x",null],
            "environmentVariables":{"A":"1","B":null},"registry":null,
            "systemMountVolumes":[{"userProvidedValue":null,"targetVolumePath":"/t"}],
            "newField":[1]}"#;
    let Ok(Command::RunContainerStep(spec)) = spec(args) else { panic!("not read") };
    assert_eq!(spec.entry_point_args, ["x"]);
    assert_eq!(spec.environment_variables.len(), 1);
    assert_eq!(spec.system_mount_volumes[0].target_volume_path, "/t");
}

#[test]
fn state_and_response_file_may_be_missing_or_null() {
    for json in [
        r#"{"command":"cleanup_job"}"#,
        r#"{"command":"cleanup_job","args":null,"state":null,"responseFile":null}"#,
    ] {
        let input = parse(json.as_bytes()).unwrap();
        assert!(matches!(input.command, Command::CleanupJob));
        assert_eq!(input.response_file, None);
    }
}

#[test]
fn a_path_of_an_old_runner_is_taken_apart() {
    let json = r#"{"command":"run_script_step","args":{"entryPoint":"sh",
            "prependPath":"/b:/a","entryPointArgs":["-e",""],"environmentVariables":null}}"#;
    let Command::RunScriptStep(spec) = parse(json.as_bytes()).unwrap().command else {
        panic!("not read")
    };
    assert_eq!(spec.prepend_path, ["/b", "/a"]);
    assert_eq!(spec.entry_point_args, ["-e", ""]);
}

#[test]
fn a_job_may_have_a_container_or_services_or_neither() {
    let read = |args: &str| {
        let json = format!(r#"{{"command":"prepare_job","args":{args}}}"#);
        parse(json.as_bytes()).map(|input| input.command)
    };
    let Ok(Command::PrepareJob { container, services }) =
        read(r#"{"container":null,"services":[{"image":"redis","registry":null}]}"#)
    else {
        panic!("not read")
    };
    assert!(container.is_none() && services[0].image == "redis");
    assert!(matches!(read("{}"), Ok(Command::PrepareJob { .. })));
    let error = read(r#"{"services":"redis"}"#).unwrap_err();
    assert!(error.to_string().contains("`services` in the `args` of prepare_job"), "{error}");
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert!(parse(b"\xef\xbb\xbf{\"command\":\"cleanup_job\"}\n").is_ok());
}

#[test]
fn an_unreadable_field_is_named_and_its_value_is_not() {
    let error = spec(r#"{"image":"a","environmentVariables":{"TOKEN":["s3cret"]}}"#);
    let Err(error) = error else { panic!("read") };
    assert!(error.to_string().contains("`environmentVariables`"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn broken_json_is_reported_by_position_only() {
    let error = parse(b"{\"command\":\"x\", s3cret").unwrap_err();
    assert!(error.to_string().contains("line 1, column 17"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn fuzz_hook_inputs() {
    let seeds = [
        r#"{"command":"run_container_step","responseFile":"/r","args":{"image":"a","environmentVariables":
            {"A":"b"},"systemMountVolumes":[{"sourceVolumePath":"/a","readOnly":false}]},"state":{}}"#,
        r#"{"command":"prepare_job","args":{"container":{"image":"a"},"services":[{"image":"b"}]}}"#,
        r#"{"command":"run_script_step","args":{"entryPoint":"sh","prependPath":"/b:/a"}}"#,
        r#"{"command":"cleanup_job"}"#,
    ];
    let words = ["[", "]", "{", "}", ":", ",", "\"", "null", "true", "-1", "9", "\\u0000"];
    hostile::fuzz("hook inputs", &seeds, &words, |json| {
        if let Err(error) = parse(json) {
            assert!(error.to_string().len() < 1000, "{error}");
        }
    });
}
