//! The files of a build context, as instructions name them.

/// The context that a Dockerfile is built with.
pub trait ContextFiles {
    /// What lies at a path without `.` and `..`, the root being empty; symlinks are not followed. None:
    /// nothing, or `.dockerignore` leaves it out.
    fn entry(&self, path: &str) -> Option<Entry>;

    /// The names in a directory, sorted; none: there are more than hookd reads, or one is not UTF-8.
    fn names(&self, directory: &str) -> Option<Vec<String>>;

    /// Whether patterns of `.dockerignore`'s kind match the path; none: one of them is malformed.
    fn matches(&self, patterns: &[String], path: &str) -> Option<bool>;

    /// The first bytes of a file.
    fn begin(&self, path: &str) -> Vec<u8>;
}

/// What lies in a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file with its permissions.
    File(u32),
    /// A directory with its permissions.
    Directory(u32),
    /// A symlink with its target.
    Symlink(String),
}

/// Paths that a pattern may match.
const MOST_MATCHES: usize = 10_000;
/// Links that are followed on the way to a file, as the kernel has it.
const MOST_LINKS: usize = 40;

/// The path without `.` and `..`, beneath the root as docker has it.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where the path leads once all symlinks are followed, beneath the root.
pub(super) fn resolve(files: &dyn ContextFiles, path: &str) -> Option<String> {
    let mut left: Vec<String> = clean(path).rsplit('/').map(str::to_owned).collect();
    let mut found = String::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part.is_empty() {
            continue;
        }
        if part == ".." {
            found.truncate(found.rfind('/').unwrap_or(0));
            continue;
        }
        let next = below(&found, &part);
        match files.entry(&next)? {
            Entry::Symlink(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                if target.starts_with('/') {
                    found.clear();
                }
                left.extend(target.rsplit('/').filter(|part| *part != ".").map(str::to_owned));
            }
            Entry::File(_) | Entry::Directory(_) => found = next,
        }
    }
    Some(found)
}

/// The path of a name in a directory.
pub(super) fn below(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The paths that a pattern of COPY matches, part by part, in their order; none: it is malformed, or it
/// matches more than hookd keeps.
pub(super) fn glob(files: &dyn ContextFiles, pattern: &str) -> Option<Vec<String>> {
    let mut found = vec![String::new()];
    if pattern.split('/').any(|part| part == "**") {
        return None;
    }
    for part in clean(pattern).split('/') {
        let mut next = Vec::new();
        for directory in &found {
            // The path keeps the names of links on the way: Kaniko does not follow them.
            let Some(to) = resolve(files, directory) else { continue };
            if !matches!(files.entry(&to), Some(Entry::Directory(_))) {
                continue;
            }
            if !is_pattern(part) {
                next.extend(files.entry(&below(&to, part)).map(|_| below(directory, part)));
                continue;
            }
            for name in files.names(&to)? {
                let is_matched = files.matches(&[part.to_owned()], &name)?;
                if is_matched && files.entry(&below(&to, &name)).is_some() {
                    next.push(below(directory, &name));
                }
            }
            if next.len() > MOST_MATCHES {
                return None;
            }
        }
        found = next;
    }
    Some(found)
}

/// Whether docker takes the source for a pattern.
pub(super) fn is_pattern(source: &str) -> bool {
    source.contains(['*', '?', '['])
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A context in memory.
    pub(in crate::dockerfile) struct Memory(pub(in crate::dockerfile) BTreeMap<String, Entry>);

    impl Memory {
        /// Of files, of directories, which end with a slash, and of symlinks with their targets.
        pub(in crate::dockerfile) fn of(entries: &[&str]) -> Self {
            let mut all = BTreeMap::from([(String::new(), Entry::Directory(0o755))]);
            for entry in entries {
                let (path, entry) = match entry.split_once(" -> ") {
                    Some((path, target)) => (path, Entry::Symlink(target.to_owned())),
                    None if entry.ends_with('/') => (*entry, Entry::Directory(0o755)),
                    None => (*entry, Entry::File(0o644)),
                };
                let path = path.trim_end_matches('/');
                let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
                all.extend(parents.map(|parent| (parent, Entry::Directory(0o755))));
                all.insert(path.to_owned(), entry);
            }
            Self(all)
        }
    }

    impl ContextFiles for Memory {
        fn entry(&self, path: &str) -> Option<Entry> {
            self.0.get(path).cloned()
        }

        fn names(&self, directory: &str) -> Option<Vec<String>> {
            let prefix = below(directory, "");
            let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
            let names = below.filter(|name| !name.is_empty() && !name.contains('/'));
            Some(names.map(str::to_owned).collect())
        }

        /// Of one star at the begin or the end.
        fn matches(&self, patterns: &[String], path: &str) -> Option<bool> {
            let one = |pattern: &String| match pattern.split_once('*') {
                Some((begin, end)) => path.starts_with(begin) && path.ends_with(end),
                None => pattern == path,
            };
            Some(patterns.iter().any(one))
        }

        fn begin(&self, _: &str) -> Vec<u8> {
            Vec::new()
        }
    }

    #[test]
    fn symlinks_are_followed_beneath_the_root() {
        let files = Memory::of(&[
            "real/x",
            "link -> real/x",
            "dir -> real",
            "up -> ../../real",
            "root -> /real/x",
            "out -> /etc/passwd",
            "loop -> loop",
            "a/b -> ../dir/./x",
        ]);
        for (path, expected) in [
            ("real/x", Some("real/x")),
            ("./link", Some("real/x")),
            ("dir/x", Some("real/x")),
            ("up/x", Some("real/x")),
            ("/root", Some("real/x")),
            ("a/b", Some("real/x")),
            ("..", Some("")),
            ("out", None),
            ("loop", None),
            ("none", None),
        ] {
            assert_eq!(resolve(&files, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_pattern_that_matches_too_much_is_not_kept() {
        let names = |number| (0..number).map(|at| format!("f{at}")).collect::<Vec<_>>();
        let found = |number| {
            let names = names(number);
            let files = Memory::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
            glob(&files, "f*").map(|found| found.len())
        };
        assert_eq!(found(MOST_MATCHES), Some(MOST_MATCHES));
        assert_eq!(found(MOST_MATCHES + 1), None);
    }

    #[test]
    fn a_pattern_matches_part_by_part() {
        let files = Memory::of(&["a.txt", "b.md", "src/one/a.txt", "src/two/a.txt", "src/two/b"]);
        let found = |pattern| glob(&files, pattern).unwrap().join(" ");
        assert_eq!(found("*.txt"), "a.txt");
        assert_eq!(found("/src/*/a.txt"), "src/one/a.txt src/two/a.txt");
        assert_eq!(found("yarn.lock*"), "");
    }
}
