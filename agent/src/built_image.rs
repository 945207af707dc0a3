//! A program of an image that was built in this container: the container's root is the image's now, but
//! the kernel still has the user and the environment of the container.

use std::collections::HashMap;
use std::path::Path;

use hookd_api::stepd::v1::BuiltImage;
use rustix::process::{Gid, getgroups};

use crate::environment::{self, beginning};
use crate::log;
use crate::program::ProgramError;
use crate::supervise::Identity;

/// Bytes of /etc/passwd and of /etc/group that are read.
const LARGEST: u64 = 4 << 20;
/// Groups that a user gets from the image; Linux takes 65536.
const MOST_GROUPS: usize = 1024;
/// The container runtime sets it, and no image.
const HOSTNAME: &str = "HOSTNAME";

/// How a program of the image starts.
pub(crate) struct Launch {
    /// The user, with its groups.
    pub(crate) identity: Identity,
    /// The environment that the image gives, with HOME.
    pub(crate) environment: HashMap<String, String>,
    /// What its supervisor deletes first.
    pub(crate) builder_directories: Vec<String>,
}

/// Makes the root ready for a program of the image, whose working directory is `directory`.
///
/// # Errors
/// A user or group that the image does not have, or a directory that cannot be made.
pub(crate) fn prepare(image: BuiltImage, directory: &Path) -> Result<Launch, ProgramError> {
    let user = find(&image.user, Path::new("/etc"))?;
    if let Err(error) = std::fs::create_dir_all(directory) {
        log(format_args!("working directory {directory:?} cannot be made: {error}"));
    }
    let mut environment = image.environment;
    let mut own = environment::own();
    environment.extend(image.inherited.iter().filter_map(|name| own.remove_entry(name)));
    if let Some((name, value)) = own.remove_entry(HOSTNAME) {
        environment.entry(name).or_insert(value);
    }
    environment.entry("HOME".to_owned()).or_insert(user.home);
    let mut identity = user.identity;
    // Of the pod, such as the one that may write to its volumes; root's is the builder's own.
    let own = getgroups().unwrap_or_default();
    identity.groups.extend(own.into_iter().filter(|group| !group.is_root()).map(Gid::as_raw));
    Ok(Launch { identity, environment, builder_directories: image.builder_directories })
}

/// A user of the image.
#[derive(Debug, PartialEq)]
struct User {
    identity: Identity,
    home: String,
}

/// Looks a USER up, by the rules of docker: a number is an id, and its groups are those of the name that
/// has the id; with a group of its own a user gets no others.
fn find(given: &str, etc: &Path) -> Result<User, ProgramError> {
    let (name, group) = given.split_once(':').unwrap_or((given, ""));
    let passwd = lines(etc, "passwd");
    let wanted = if name.is_empty() { "0" } else { name };
    let id = number(wanted);
    let mut users = passwd.iter().filter_map(|line| PasswdLine::read(line));
    let entry = users.find(|line| id.map_or(line.name == wanted, |id| line.uid == id));
    let (uid, mut gid, home) = match (&entry, id) {
        (Some(line), _) => (line.uid, line.gid, line.home.to_owned()),
        (None, Some(id)) => (id, 0, "/".to_owned()),
        (None, None) => {
            return Err(ProgramError::NoUser { what: "user", name: name.into(), file: "passwd" });
        }
    };
    let of_image = lines(etc, "group");
    let mut all = of_image.iter().filter_map(|line| GroupLine::read(line));
    let mut groups = Vec::new();
    if group.is_empty() {
        let name = entry.map(|line| line.name);
        let mine = all
            .filter(|line| name.is_some_and(|name| line.members.split(',').any(|one| one == name)));
        groups.extend(mine.map(|line| line.gid).take(MOST_GROUPS));
    } else {
        let id = number(group);
        let found = all.find(|line| id.map_or(line.name == group, |id| line.gid == id));
        gid = found.map(|line| line.gid).or(id).ok_or_else(|| ProgramError::NoUser {
            what: "group",
            name: group.into(),
            file: "group",
        })?;
    }
    let home = if home.is_empty() { "/".to_owned() } else { home };
    Ok(User { identity: Identity { uid, gid, groups }, home })
}

/// An id; the largest stands for none in Linux.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn lines(etc: &Path, file: &str) -> Vec<String> {
    let text = beginning(&etc.join(file), LARGEST).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// `name:password:uid:gid:comment:home:shell`
struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, rest @ ..] = &fields[..] else { return None };
        let home = rest.get(1).copied().unwrap_or_default();
        Some(Self { name, uid: number(uid)?, gid: number(gid)?, home })
    }
}

/// `name:password:gid:member,member`
struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, gid, rest @ ..] = &fields[..] else { return None };
        let members = rest.first().copied().unwrap_or_default();
        Some(Self { name, gid: number(gid)?, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc() -> tempfile::TempDir {
        let etc = tempfile::tempdir().unwrap();
        let passwd = "# comment\nroot:x:0:0:root:/root:/bin/sh\nbroken:x:y\n\
                      app:x:1000:1001:App:/home/app:/bin/sh\nbare:x:1002:1002\n";
        std::fs::write(etc.path().join("passwd"), passwd).unwrap();
        let group = "root:x:0:root\napp:x:1001:\nwheel:x:10:root,app\nweb:x:33:app,other\n";
        std::fs::write(etc.path().join("group"), group).unwrap();
        etc
    }

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> User {
        let identity = Identity { uid, gid, groups: groups.to_vec() };
        User { identity, home: home.to_owned() }
    }

    #[test]
    fn a_user_is_looked_up_as_docker_does() {
        let etc = etc();
        for (given, expected) in [
            ("", user(0, 0, &[0, 10], "/root")),
            ("app", user(1000, 1001, &[10, 33], "/home/app")),
            ("1000", user(1000, 1001, &[10, 33], "/home/app")),
            ("app:web", user(1000, 33, &[], "/home/app")),
            ("app:4000", user(1000, 4000, &[], "/home/app")),
            (":web", user(0, 33, &[], "/root")),
            ("4242", user(4242, 0, &[], "/")),
            ("4242:10", user(4242, 10, &[], "/")),
            ("bare", user(1002, 1002, &[], "/")),
        ] {
            assert_eq!(find(given, etc.path()).unwrap(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_user_that_the_image_lacks_is_named() {
        let etc = etc();
        for (given, words) in [
            ("nobody", "no user \"nobody\" in the container's /etc/passwd"),
            ("app:none", "no group \"none\" in the container's /etc/group"),
            ("-1", "no user \"-1\""),
            ("4294967295", "no user"),
            ("4294967296", "no user"),
        ] {
            let error = find(given, etc.path()).unwrap_err();
            assert!(error.to_string().contains(words), "{given}: {error}");
            assert_eq!(error.code(), 126);
        }
    }

    #[test]
    fn an_image_without_users_runs_as_root_or_a_number() {
        let none = tempfile::tempdir().unwrap();
        assert_eq!(find("", none.path()).unwrap(), user(0, 0, &[], "/"));
        assert_eq!(find("7:8", none.path()).unwrap(), user(7, 8, &[], "/"));
        assert!(find("root", none.path()).is_err());
    }
}
