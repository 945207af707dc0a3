//! Images, and mutations of what they depend on.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::tree::{NAMES, Node, Tree, tree};

pub(super) const PLATFORMS: [&str; 5] =
    ["linux/amd64", "linux/amd64/v2", "linux/arm64", "linux/arm/v6", "linux/arm/v7"];
pub(super) const BODY: [&str; 5] = ["RUN one", "RUN two", "ENV K=1", "ENV K=2", "USER 1:1"];
pub(super) const VALUES: [&str; 7] = ["", "1", "B=1", "1 AB=2", "it's", "$A", "\\"];
/// The last two leave out the file itself.
pub(super) const IGNORES: [&str; 5] = [
    "*.log\nignored\n",
    "*.log\nignored\n# more\n",
    "*.log\nignored\n!keep.log\n",
    "*.log\nignored\n.dockerignore\n",
    "*.log\nignored\n.dockerignore\n!keep.log\n",
];
pub(super) const SETTINGS: [&[&str]; 7] = [
    &[],
    &["--kaniko-image", "ghcr.io/osscontainertools/kaniko:v1.28.2"],
    &["--build-compression", "zstd"],
    &["--build-snapshot-mode", "redo"],
    &["--build-capabilities", "CHOWN"],
    &["--build-cache-repository", "hookd/cache"],
    BUILDKIT,
];
pub(super) const BUILDKIT: &[&str] = &["--builder", "buildkit"];
pub(super) const TEMPLATES: [&str; 6] = [
    "",
    "nodeSelector: {disk: ssd}",
    "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: \
     {matchExpressions: [{key: disk, operator: Exists}]}}]}}",
    "runtimeClassName: gvisor",
    "containers: [{name: $build, env: [{name: A, value: b}]}]",
    "volumes: [{name: ca, configMap: {name: ca}}]\n  \
     containers: [{name: $build, volumeMounts: [{name: ca, mountPath: /ca}]}]",
];
/// Settings that no image depends on.
pub(super) const ROOM: [&[&str]; 4] = [
    &[],
    &["--build-memory", "8Gi", "--build-cpu", "4", "--build-timeout", "60"],
    &["--build-compressed-caching", "false"],
    &["--built-images-max-age", "60", "--build-context-timeout", "60", "--prebuild-limit", "1"],
];

/// What an image depends on: two images may be one only if these are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Image {
    pub(super) tree: Tree,
    pub(super) ignore: usize,
    /// Of the first stage.
    pub(super) body: Vec<&'static str>,
    pub(super) arguments: BTreeMap<&'static str, String>,
    /// Of the base images.
    pub(super) digests: [u8; 3],
    pub(super) platform: &'static str,
    pub(super) settings: usize,
    pub(super) template: usize,
}

/// What no image depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chance {
    pub(super) seconds: u64,
    pub(super) ignored: u8,
    /// In a `.dockerignore` that is left out.
    pub(super) has_remark: bool,
    pub(super) has_setgid: bool,
    pub(super) has_unused_argument: bool,
    pub(super) is_tolerant: bool,
    pub(super) step: u32,
    pub(super) room: usize,
}

pub(super) fn image() -> impl Strategy<Value = Image> {
    let arguments = prop::collection::btree_map(
        select(&["A", "AB"][..]),
        select(&VALUES[..]).prop_map(str::to_owned),
        0..=2,
    );
    let body = select(&BODY[..]);
    let parts = (
        tree(),
        0..IGNORES.len(),
        prop::collection::vec(body, 0..4),
        arguments,
        prop::array::uniform3(0..4_u8),
        select(&PLATFORMS[..]),
        0..SETTINGS.len(),
        0..TEMPLATES.len(),
    );
    parts.prop_map(|(tree, ignore, body, arguments, digests, platform, settings, template)| Image {
        tree,
        ignore,
        body,
        arguments,
        digests,
        platform,
        settings,
        template,
    })
}

pub(super) fn chance() -> impl Strategy<Value = Chance> {
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let parts = (1..2_000_000_000_u64, any::<u8>(), switches, any::<u32>(), 0..ROOM.len());
    parts.prop_map(|(seconds, ignored, switches, step, room)| {
        let (has_remark, has_setgid, has_unused_argument, is_tolerant) = switches;
        Chance {
            seconds,
            ignored,
            has_remark,
            has_setgid,
            has_unused_argument,
            is_tolerant,
            step,
            room,
        }
    })
}

/// One thing that is changed. The index chooses where.
pub(super) type Mutation = fn(&mut Image, Index);

pub(super) const MUTATIONS: [(&str, Mutation); 19] = [
    ("a byte", |image, at| {
        file(image, at, |content, at| match content.is_empty() {
            true => content.push(b'x'),
            false => *at.get_mut(content) ^= 1,
        });
    }),
    ("one byte more", |image, at| file(image, at, |content, _| content.push(0))),
    ("a moved byte", |image, at| {
        two_files(image, at, |one, other| {
            if let Some(byte) = one.pop() {
                other.insert(0, byte);
            }
        });
    }),
    ("contents of two files", |image, at| two_files(image, at, std::mem::swap)),
    ("a mode", |image, at| {
        let has_mode = |node: &Node| !matches!(node, Node::Link { .. });
        entry(image, at, has_mode, |node, _| match node {
            Node::File { mode, .. } => *mode ^= 0o111,
            Node::Directory { mode } => *mode ^= 0o1000,
            Node::Link { .. } => {}
        });
    }),
    ("a special bit", |image, at| {
        entry(image, at, is_file, |node, _| {
            if let Node::File { mode, .. } = node {
                *mode ^= 0o4000;
            }
        });
    }),
    ("a link's target", |image, at| {
        let is_link = |node: &Node| matches!(node, Node::Link { .. });
        entry(image, at, is_link, |node, _| {
            if let Node::Link { target } = node {
                *target = if *target == "a" { "b" } else { "a" };
            }
        });
    }),
    ("the kind of an entry", |image, at| {
        entry(
            image,
            at,
            |_| true,
            |node, _| {
                *node = match node {
                    Node::File { .. } => Node::Directory { mode: 0o755 },
                    Node::Directory { .. } => Node::Link { target: "a" },
                    Node::Link { target } => {
                        Node::File { content: target.as_bytes().to_vec(), mode: 0o644 }
                    }
                };
            },
        );
    }),
    ("a name", |image, at| {
        let free: Vec<_> =
            NAMES.into_iter().filter(|name| !image.tree.contains_key(name)).collect();
        if let Some(node) = take(image, at) {
            image.tree.insert(*at.get(&free), node);
        }
    }),
    ("an entry less", |image, at| drop(take(image, at))),
    (".dockerignore", |image, at| other(&mut image.ignore, IGNORES.len(), at)),
    ("an instruction", |image, at| {
        let line = *at.get(&BODY);
        match image.body.is_empty() {
            true => image.body.push(line),
            false => *at.get_mut(&mut image.body) = line,
        }
    }),
    ("the order of instructions", |image, _| image.body.reverse()),
    ("a value", |image, at| {
        image.arguments.insert(*at.get(&["A", "AB"]), (*at.get(&VALUES)).to_owned());
    }),
    ("the bound of two values", |image, _| {
        let mut of = |name: &str| image.arguments.remove(name).unwrap_or_default();
        let (mut one, other) = (of("A"), of("AB"));
        let moved: String = one.pop().into_iter().collect();
        image.arguments = [("A", one), ("AB", moved + &other)].into();
    }),
    ("a base image", |image, at| *at.get_mut(&mut image.digests) += 4),
    ("base images that change places", |image, at| {
        let first = at.index(2);
        image.digests.swap(first, first + 1);
    }),
    ("the platform", |image, at| image.platform = *at.get(&PLATFORMS)),
    ("the builder", |image, at| match at.index(2) {
        0 => other(&mut image.settings, SETTINGS.len(), at),
        _ => other(&mut image.template, TEMPLATES.len(), at),
    }),
];

fn other(number: &mut usize, of: usize, at: Index) {
    *number = (*number + 1 + at.index(of - 1)) % of;
}

fn is_file(node: &Node) -> bool {
    matches!(node, Node::File { .. })
}

fn entry(
    image: &mut Image,
    at: Index,
    is_one: fn(&Node) -> bool,
    change: impl FnOnce(&mut Node, Index),
) {
    let mut some: Vec<_> = image.tree.values_mut().filter(|node| is_one(node)).collect();
    if !some.is_empty() {
        let one: &mut &mut Node = at.get_mut(&mut some[..]);
        change(one, at);
    }
}

fn take(image: &mut Image, at: Index) -> Option<Node> {
    let names: Vec<_> = image.tree.keys().copied().collect();
    if names.is_empty() { None } else { image.tree.remove(at.get(&names)) }
}

fn file(image: &mut Image, at: Index, change: impl FnOnce(&mut Vec<u8>, Index)) {
    entry(image, at, is_file, |node, at| {
        if let Node::File { content, .. } = node {
            change(content, at);
        }
    });
}

fn two_files(image: &mut Image, at: Index, change: fn(&mut Vec<u8>, &mut Vec<u8>)) {
    let files = image.tree.values_mut().filter_map(|node| match node {
        Node::File { content, .. } => Some(content),
        Node::Link { .. } | Node::Directory { .. } => None,
    });
    let mut files: Vec<_> = files.collect();
    if files.len() > 1 {
        let bound = 1 + at.index(files.len() - 1);
        let (before, after) = files.split_at_mut(bound);
        let (one, other): (&mut &mut Vec<u8>, &mut &mut Vec<u8>) =
            (at.get_mut(before), at.get_mut(after));
        change(one, other);
    }
}
