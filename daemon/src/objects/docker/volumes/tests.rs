use super::*;
use crate::error::Reason;
use crate::objects::docker::options;

fn mount(written: &str) -> Mount {
    // As the runner takes it apart.
    let parts: Vec<_> = written.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target, option] => (source, target, option.eq_ignore_ascii_case("ro")),
        [target, "ro"] => ("", target, true),
        [source, target] => (source, target, false),
        _ => ("", written, false),
    };
    Mount {
        user_provided_value: written.to_owned(),
        source_volume_path: source.to_owned(),
        target_volume_path: target.to_owned(),
        read_only,
    }
}

fn read_all(volumes: &[&str], options: &str) -> Result<UserVolumes, Failure> {
    let mounts: Vec<_> = volumes.iter().map(|written| mount(written)).collect();
    let system = [mount("/home/runner/_work:/__w"), mount("/home/runner/_work/_temp:/__w/_temp")];
    read("job", &mounts, &options::parse(options).unwrap(), &system)
}

fn kinds(volumes: &UserVolumes) -> Vec<(VolumeSource, &str, bool)> {
    let volumes = volumes.volumes.iter();
    volumes.map(|one| (one.source.clone(), one.target.as_str(), one.read_only)).collect()
}

fn directory(path: &str) -> VolumeSource {
    VolumeSource::Directory(path.to_owned())
}

#[test]
fn every_spelling_of_docker_is_read() {
    use VolumeSource::{Anonymous, Memory, Named};
    let data = || Named("data".to_owned());
    for (volume, options, expected) in [
        ("/a", "", (Anonymous, "/a", false)),
        ("/a/:ro", "", (Anonymous, "/a", true)),
        ("data:/d", "", (data(), "/d", false)),
        ("data:/d//e/../f/.", "", (data(), "/d/f", false)),
        ("data:/d:ro,z", "", (data(), "/d", true)),
        ("/w/x:/x:z", "", (directory("/w/x"), "/x", false)),
        ("/w/x:/x:cached", "", (directory("/w/x"), "/x", false)),
        ("/w/x:/__w/repo/node_modules", "", (directory("/w/x"), "/__w/repo/node_modules", false)),
        ("data:/github/home/.npm", "", (data(), "/github/home/.npm", false)),
        ("", "-v /w/x:/x:ro", (directory("/w/x"), "/x", true)),
        ("", "--volume /a", (Anonymous, "/a", false)),
        ("", "--mount type=bind,source=/w/x,target=/x,readonly", (directory("/w/x"), "/x", true)),
        ("", "--mount src=data,dst=/d,ro=false", (data(), "/d", false)),
        ("", "--mount type=volume,target=/d", (Anonymous, "/d", false)),
        (
            "",
            "--mount type=tmpfs,destination=/t,tmpfs-size=1m",
            (Memory(Some(1 << 20)), "/t", false),
        ),
        ("", "--tmpfs /run:size=64m,mode=1777", (Memory(Some(64 << 20)), "/run", false)),
        ("", "--shm-size 1g", (Memory(Some(1 << 30)), "/dev/shm", false)),
        ("", "--shm-size 1g --tmpfs /dev/shm", (Memory(None), "/dev/shm", false)),
    ] {
        let volumes: Vec<_> = [volume].into_iter().filter(|text| !text.is_empty()).collect();
        let found = read_all(&volumes, options).unwrap();
        assert_eq!(kinds(&found), [expected], "{volume} {options}");
    }
}

#[test]
fn what_cannot_be_mounted_is_refused_by_name() {
    for (volume, words) in [
        ("./x:/t", "relative path"),
        (".:/t", "relative path"),
        ("../x:/t", "relative path"),
        ("x/y:/t", "relative path"),
        ("~:/t", "relative path"),
        ("~/.cache:/t", "relative path"),
        ("$HOME/x:/t", "relative path"),
        ("bad name:/t", "no name of a volume"),
        ("_x:/t", "no name of a volume"),
        ("d\u{e4}ta:/t", "no name of a volume"),
        ("data:t", "no absolute path"),
        ("data:./t", "no absolute path"),
        ("data", "no absolute path"),
        ("/t:ro,z", "no absolute path"),
        ("C:\\a:/t", "no absolute path"),
        ("C:\\a:C:\\b", "no absolute path"),
        ("/a:/b:/c:ro", "a character"),
        ("data:/", "over the root"),
        ("data:/..", "over the root"),
        ("data:/__w", "needed by the runner"),
        ("data:/__w/", "needed by the runner"),
        ("data:/__w/_temp", "needed by the runner"),
        ("data:/__w/x/../_temp", "needed by the runner"),
        ("data:/github", "needed by the runner"),
        ("data:/github/home", "needed by the runner"),
        ("data:/__e", "needed by the runner"),
        ("data:/__e/node20", "needed by the runner"),
        ("data:/__r/home", "needed by the runner"),
        ("data:/__hookd", "needed by the runner"),
        ("data:/__hookd/usr/local/bin", "needed by the runner"),
        ("data:/__hookd_run", "needed by the runner"),
        ("data:/__hookd_run/socket", "needed by the runner"),
        ("data:/__w/../__hookd", "needed by the runner"),
        ("data://__hookd/", "needed by the runner"),
        ("data:/./__hookd", "needed by the runner"),
        ("data:/__hookd_other", "needed by the runner"),
    ] {
        let error = read_all(&[volume], "").expect_err(volume);
        assert_eq!(error.reason, Reason::InvalidInput);
        let written = format!("{volume:?}");
        for word in ["Container job", words, written.as_str()] {
            assert!(error.message.contains(word), "{volume}: {error}");
        }
    }
    for options in ["-v data:/__hookd", "--mount src=x,dst=/__e", "--tmpfs /__hookd_run"] {
        assert!(read_all(&[], options).is_err(), "{options}");
    }
}

#[test]
fn a_place_is_mounted_once() {
    for (volumes, options) in [
        (vec!["a:/d", "b:/d"], ""),
        (vec!["a:/d", "b:/d/"], ""),
        (vec!["a:/d"], "-v b:/x/../d"),
        (vec!["a:/d"], "--tmpfs /d"),
    ] {
        let error = read_all(&volumes, options).unwrap_err();
        assert!(error.message.contains("is mounted at /d too"), "{error}");
    }
}

#[test]
fn dockers_socket_is_named_and_not_mounted() {
    for volume in [
        "/var/run/docker.sock:/var/run/docker.sock",
        "/run/docker.sock:/var/run/docker.sock:ro",
        "/var/run/../run/docker.sock:/sock",
        "/home/runner/_work/x:/var/run/docker.sock",
    ] {
        let found = read_all(&[volume], "").unwrap();
        assert!(found.volumes.is_empty());
        assert!(found.warnings[0].contains("no docker daemon"), "{volume}");
        let found = read_all(&[], &format!("-v {volume}")).unwrap();
        assert!(found.warnings[0].contains(volume), "{volume}");
    }
}

// internetarchive/openlibrary#2032, docker/for-mac#3133
#[test]
fn a_volume_that_hides_the_images_files_is_noted() {
    let found = read_all(&["/etc/skel", "conf:/etc/apt", "/w/x:/x"], "--tmpfs /t").unwrap();
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].contains("/etc/skel, /etc/apt starts empty"), "{found:?}");
    assert!(read_all(&["conf:/etc/apt:nocopy"], "").unwrap().warnings.is_empty());
}
