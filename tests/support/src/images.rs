//! Images that tests make of others, without a builder.

use std::fs;
use std::path::Path;
use std::process::Command;

use fake_runner::layout::guid;

use crate::cluster::{cluster, run};

/// The name of an image of the cluster's registry for this machine and the kubelet.
fn named(name: &str) -> String {
    format!("localhost:{}/{name}", cluster().registry_node_port)
}

/// `image` with its configuration changed by `crane mutate`; by digest, since the node keeps what
/// it has under a tag.
pub fn derived(image: &str, changes: &[&str]) -> String {
    let tag = named(&format!("test/derived:{}", &guid().unwrap()[..8]));
    let mut mutate = Command::new("crane");
    mutate.arg("mutate").arg(named(&format!("library/{image}"))).args(changes);
    mutate.args(["--tag", &tag]);
    run(&mut mutate, None).unwrap().trim().to_owned()
}

/// An image of one file and nothing else; with this entrypoint, if it is given one.
pub fn of_one_file(file: &Path, entrypoint: Option<&str>) -> String {
    let folder = std::env::temp_dir().join(format!("hookd-{}", guid().unwrap()));
    fs::create_dir(&folder).unwrap();
    let layer = folder.join("layer.tar");
    let (parent, name) = (file.parent().unwrap(), file.file_name().unwrap());
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(parent).arg("-cf").arg(&layer).arg(name);
    run(&mut tar, None).unwrap();
    let tag = named(&format!("test/one-file:{}", &guid().unwrap()[..8]));
    let mut append = Command::new("crane");
    append.args(["append", "--new_tag", &tag, "--new_layer"]).arg(&layer);
    append.args(["--set-base-image-annotations=false"]);
    let image = run(&mut append, None).unwrap().trim().to_owned();
    fs::remove_dir_all(folder).unwrap();
    let Some(entrypoint) = entrypoint else { return image };
    let mut mutate = Command::new("crane");
    mutate.args(["mutate", &image, "--entrypoint", entrypoint, "--tag", &tag]);
    run(&mut mutate, None).unwrap().trim().to_owned()
}

/// Pushes an image of this name: `base` with files added and its configuration changed.
pub fn publish(name: &str, base: &str, files: &[(&str, &str)], changes: &[&str]) {
    let folder = std::env::temp_dir().join(format!("hookd-{}", guid().unwrap()));
    fs::create_dir(&folder).unwrap();
    let layer = folder.with_extension("tar");
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&folder).args(["--owner=0", "--group=0", "-cf"]).arg(&layer).arg(".");
    run(&mut tar, None).unwrap();
    let (tag, base) = (named(name), named(&format!("library/{base}")));
    let mut append = Command::new("crane");
    append.args(["append", "--base", &base, "--new_tag", &tag, "--new_layer"]).arg(&layer);
    append.args(["--set-base-image-annotations=false"]);
    run(&mut append, None).unwrap();
    fs::remove_dir_all(folder).unwrap();
    fs::remove_file(layer).unwrap();
    if !changes.is_empty() {
        let mut mutate = Command::new("crane");
        mutate.args(["mutate", &tag]).args(changes).args(["--tag", &tag]);
        run(&mut mutate, None).unwrap();
    }
}
