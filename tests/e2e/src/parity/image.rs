//! An image in the cluster's registry: its configuration and its files.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::tree::{Layer, Tree};
use test_support::cluster::{cluster, run};

/// Seconds; no blob takes longer.
const TIMEOUT: &str = "120";

/// An image.
#[derive(Debug)]
pub(crate) struct Image {
    /// What containers of it are started with.
    pub(crate) config: Value,
    pub(crate) files: Tree,
}

impl Image {
    /// Reads an image of the registry.
    pub(crate) fn pull(reference: &str) -> Result<Self, String> {
        let manifest = json(&["manifest", reference])?;
        let mut config = json(&["config", reference])?;
        let (repository, _) = reference.split_once('@').ok_or("it is not named by digest")?;
        let mut files = Tree::default();
        // BuildKit writes null where there are none.
        let layers = &manifest["layers"];
        if !layers.is_array() && !layers.is_null() {
            return Err(format!("its manifest has the layers {layers}"));
        }
        for layer in layers.as_array().into_iter().flatten() {
            let digest = layer["digest"].as_str().ok_or("a layer has no digest")?;
            let of_digest = |error| format!("layer {digest}: {error}");
            let layer = layer_of(repository, digest).map_err(of_digest)?;
            files.apply(&layer).map_err(of_digest)?;
        }
        Ok(Self { config: config["config"].take(), files })
    }
}

/// The digest of an image of the cluster's registry.
pub(crate) fn digest(name: &str) -> String {
    let name = format!("localhost:{}/{name}", cluster().registry_node_port);
    let digest = run(Command::new("crane").args(["digest", &name]), None);
    digest.unwrap_or_else(|error| panic!("{name}: {error}")).trim().to_owned()
}

fn json(arguments: &[&str]) -> Result<Value, String> {
    let text = run(Command::new("crane").args(arguments), None)?;
    serde_json::from_str(&text).map_err(|error| format!("crane {arguments:?}: {error}"))
}

/// Layers that were read: most images have those of two bases, and the larger takes a second.
type Layers = HashMap<String, Arc<OnceLock<Result<Arc<Layer>, String>>>>;

fn layer_of(repository: &str, digest: &str) -> Result<Arc<Layer>, String> {
    static LAYERS: OnceLock<Mutex<Layers>> = OnceLock::new();
    let mut layers = LAYERS.get_or_init(Mutex::default).lock().unwrap();
    let layer = Arc::clone(layers.entry(digest.to_owned()).or_default());
    // Others may read other layers meanwhile.
    drop(layers);
    layer.get_or_init(|| read(repository, digest).map(Arc::new)).clone()
}

fn read(repository: &str, digest: &str) -> Result<Layer, String> {
    let blob = format!("{repository}@{digest}");
    let crane = Command::new("timeout").args([TIMEOUT, "crane", "blob", &blob]).output();
    let output = crane.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let bytes = output.stdout.as_slice();
    let layer = match bytes {
        [0x1F, 0x8B, ..] => Layer::read(MultiGzDecoder::new(bytes)),
        _ => Layer::read(bytes),
    };
    layer.map_err(|error| error.to_string())
}
