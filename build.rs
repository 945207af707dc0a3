//! Compiles `proto/` to Rust with protox, so that no `protoc` is needed.

use std::path::PathBuf;

use prost::Message as _;

/// The messages that the runner's own JSON is read into: camelCase keys, `null` means absent.
const RUNNER_JSON: [&str; 4] =
    [".hookd.v1.ContainerSpec", ".hookd.v1.Mount", ".hookd.v1.Registry", ".hookd.v1.ScriptSpec"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["hookd/v1/hookd.proto", "stepd/v1/stepd.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;

    // What hookd hears comes from jobs, in the end: its codec has limits.
    let (mut hookd, mut stepd) = (files.clone(), files);
    hookd.file.retain(|file| file.package() == "hookd.v1");
    stepd.file.retain(|file| file.package() == "stepd.v1");
    tonic_prost_build::compile_fds(stepd)?;
    // Apart from the others: hookd does not serve it.
    let collector = "opentelemetry/proto/collector/trace/v1/trace_service.proto";
    tonic_prost_build::compile_fds(protox::compile([collector], ["proto"])?)?;

    let mut config = tonic_prost_build::configure()
        .codec_path("crate::bounded::BoundedCodec")
        .btree_map(".hookd.v1.ContainerSpec")
        .btree_map(".hookd.v1.ScriptSpec")
        .btree_map(".hookd.v1.BuildImageStart");
    for message in RUNNER_JSON {
        config = config
            .type_attribute(
                message,
                "#[derive(serde::Deserialize)] #[serde(rename_all = \"camelCase\", default)]",
            )
            .field_attribute(message, "#[serde(deserialize_with = \"crate::null_as_default\")]");
    }
    config.compile_fds(hookd)?;
    Ok(())
}
