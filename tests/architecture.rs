//! The plan of the house: which room may use which, and how large its parts may grow.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the code must fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use rules::{is_test, is_test_file, repository, sources};

/// The rooms of the daemon, from the top down: each may use those on the lines below its own.
const ROOMS: [&[&str]; 13] = [
    &["main"],
    &["app", "build_command", "doctor", "supervisor"],
    &["rpc"],
    &["hooks"],
    &["placement"],
    &["context"],
    &["build"],
    &["workload"],
    &["stepd", "work_volume", "forward", "policy"],
    &["objects"],
    &["session", "endpoint", "runner", "install", "dockerfile"],
    &["cluster", "registry"],
    // The ground.
    &[
        "beneath", "blocking", "config", "error", "ids", "logs", "metrics", "names", "traces",
        "yaml",
    ],
];
/// Uses within one line of [`ROOMS`].
const BESIDE: [(&str, &str); 8] = [
    ("blocking", "error"),
    ("names", "ids"),
    ("config", "error"),
    ("metrics", "error"),
    ("traces", "error"),
    ("traces", "metrics"),
    ("logs", "metrics"),
    ("logs", "traces"),
];

/// Lines that a file may have.
const MOST_LINES: usize = 350;
/// Lines that a function may have.
const MOST_FUNCTION_LINES: usize = 60;
/// Letters that the name of a test may have.
const MAX_TEST_NAME: usize = 60;

/// What a file names of its own crate: the first two modules behind `crate::`.
#[derive(Default)]
struct Uses(BTreeSet<(String, String)>);

impl Uses {
    fn of(syntax: &syn::File) -> Self {
        let mut uses = Self::default();
        uses.visit_file(syntax);
        uses
    }

    fn rooms(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(room, _)| room.as_str()).collect()
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if let syn::Item::Mod(module) = item
            && is_test(&module.attrs)
        {
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        if path.ident == "crate" {
            for (room, more) in branches(&path.tree) {
                let parts = more.map_or_else(|| vec![(String::new(), None)], branches);
                self.0.extend(parts.into_iter().map(|(part, _)| (room.clone(), part)));
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let [first, room, more @ ..] = names.as_slice()
            && first == "crate"
        {
            self.0.insert((room.clone(), more.first().cloned().unwrap_or_default()));
        }
        visit::visit_path(self, path);
    }
}

/// The names at the root of a tree, and what stands behind each.
fn branches(tree: &syn::UseTree) -> Vec<(String, Option<&syn::UseTree>)> {
    match tree {
        syn::UseTree::Path(path) => vec![(path.ident.to_string(), Some(&path.tree))],
        syn::UseTree::Name(name) => vec![(name.ident.to_string(), None)],
        syn::UseTree::Rename(name) => vec![(name.ident.to_string(), None)],
        syn::UseTree::Group(group) => group.items.iter().flat_map(branches).collect(),
        syn::UseTree::Glob(_) => vec![("*".to_owned(), None)],
    }
}

/// The room of a file: its directory, or its own name.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn level(room: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&room))
}

/// Why `from` may not use `to`; nothing if it may.
fn forbidden(from: &str, to: &str) -> Option<String> {
    let (Some(above), Some(below)) = (level(from), level(to)) else {
        return Some(format!("{from} or {to} is in no room"));
    };
    let allowed = from == to || above < below || BESIDE.contains(&(from, to));
    (!allowed).then(|| format!("{from} uses {to}, which is not below it"))
}

#[test]
fn rooms_of_the_daemon_use_only_those_below_them() {
    let mut wrong = Vec::new();
    for source in sources("daemon/src") {
        let from = room(&source.path);
        if from == "lib" || is_test_file(&source.path) {
            continue;
        }
        let uses = Uses::of(&source.syntax);
        let found = uses.rooms().into_iter().filter_map(|to| forbidden(&from, to));
        wrong.extend(found.map(|reason| format!("{}: {reason}", source.path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_that_leads_up_is_found() {
    let text = "use crate::{error::Failure, hooks::PrepareJob};\n\
                #[cfg(test)]\nmod tests { use crate::rpc::Service; }\n\
                fn of() -> crate::registry::Lookup { todo() }\n";
    let uses = Uses::of(&syn::parse_file(text).unwrap());
    let found: Vec<_> =
        uses.rooms().into_iter().filter_map(|to| forbidden("cluster", to)).collect();
    assert_eq!(
        found,
        [
            "cluster uses hooks, which is not below it",
            "cluster uses registry, which is not below it",
        ]
    );
}

/// The parts of a room, and which of them each uses.
type Parts = BTreeMap<String, BTreeSet<String>>;

/// A part that leads back to itself, by way of others of its room.
fn circle(parts: &Parts) -> Option<String> {
    parts.keys().find_map(|start| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(next) = open.pop() {
            for used in parts.get(next).into_iter().flatten() {
                if used == start && next != start {
                    return Some(format!("{next} uses {start}, which leads to {next}"));
                }
                if seen.insert(used) {
                    open.push(used);
                }
            }
        }
        None
    })
}

#[test]
fn parts_of_a_room_do_not_use_each_other_in_circles() {
    let mut rooms: BTreeMap<String, Parts> = BTreeMap::new();
    for source in sources("daemon/src") {
        let mut path = source.path.components().map(|part| part.as_os_str().to_str().unwrap());
        let (Some(room), Some(part)) = (path.next(), path.next()) else { continue };
        if is_test_file(&source.path) || part == "mod.rs" {
            continue;
        }
        let uses = Uses::of(&source.syntax).0;
        let uses = uses.into_iter().filter(|(used, _)| used == room).map(|(_, part)| part);
        let parts = rooms.entry(room.to_owned()).or_default();
        parts.entry(part.trim_end_matches(".rs").to_owned()).or_default().extend(uses);
    }
    let circles: Vec<_> = rooms
        .iter()
        .filter_map(|(room, parts)| Some(format!("{room}: {}", circle(parts)?)))
        .collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_of_three_parts_is_found() {
    let parts = |pairs: &[(&str, &str)]| {
        let mut parts = Parts::new();
        for (part, used) in pairs {
            parts.entry((*part).to_owned()).or_default().insert((*used).to_owned());
        }
        parts
    };
    assert!(circle(&parts(&[("a", "b"), ("b", "c"), ("c", "a")])).is_some());
    assert_eq!(circle(&parts(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
}

/// Functions, with their lines and their parameters.
#[derive(Default)]
struct Functions {
    long: Vec<String>,
    tuples: Vec<String>,
}

impl Functions {
    fn look(&mut self, signature: &syn::Signature, lines: usize) {
        if lines > MOST_FUNCTION_LINES {
            self.long.push(format!("{} has {lines} lines", signature.ident));
        }
        let is_tuple = |input: &syn::FnArg| match input {
            syn::FnArg::Typed(typed) => matches!(*typed.pat, syn::Pat::Tuple(_)),
            syn::FnArg::Receiver(_) => false,
        };
        if signature.inputs.iter().any(is_tuple) {
            self.tuples.push(format!("{} takes a tuple", signature.ident));
        }
    }
}

fn lines(of: &impl Spanned) -> usize {
    of.span().end().line + 1 - of.span().start().line
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.look(&item.sig, lines(item) - item.attrs.len());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.look(&item.sig, lines(item) - item.attrs.len());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        if let syn::Item::Mod(module) = item
            && is_test(&module.attrs)
        {
            return;
        }
        visit::visit_item(self, item);
    }
}

#[test]
fn files_and_functions_stay_small_and_take_no_tuples() {
    let mut wrong = BTreeMap::new();
    for program in ["daemon/src", "client/src", "agent/src"] {
        for source in sources(program) {
            let path = format!("{program}/{}", source.path.display());
            let text = fs::read_to_string(repository().join(&path));
            let count = text.unwrap().lines().count();
            if count > MOST_LINES {
                wrong.entry(path.clone()).or_insert_with(Vec::new).push(format!("{count} lines"));
            }
            if is_test_file(&source.path) {
                continue;
            }
            let mut functions = Functions::default();
            functions.visit_file(&source.syntax);
            let found = functions.long.into_iter().chain(functions.tuples);
            found.for_each(|reason| wrong.entry(path.clone()).or_default().push(reason));
        }
    }
    let wrong: Vec<_> =
        wrong.iter().map(|(path, reasons)| format!("{path}: {}", reasons.join(", "))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The one file that may choose by a reason: it maps each to a gRPC code.
const MAPS_REASONS: &str = "rpc/status.rs";

/// Lines at which code matches or compares a `Reason::` of an error.
#[derive(Default)]
struct Decisions(Vec<usize>);

/// True if a path in what is visited ends in `Reason::` and one more name.
#[derive(Default)]
struct NamesReason(bool);

impl<'ast> Visit<'ast> for NamesReason {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parents = path.segments.iter().rev().skip(1);
        self.0 |= parents.take(1).any(|parent| parent.ident == "Reason");
        visit::visit_path(self, path);
    }
}

impl<'ast> Visit<'ast> for Decisions {
    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        let mut names = NamesReason::default();
        names.visit_pat(pattern);
        self.0.extend(names.0.then(|| pattern.span().start().line));
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let mut names = NamesReason::default();
        if matches!(binary.op, syn::BinOp::Eq(_) | syn::BinOp::Ne(_)) {
            names.visit_expr(&binary.left);
            names.visit_expr(&binary.right);
        }
        self.0.extend(names.0.then(|| binary.span().start().line));
        visit::visit_expr_binary(self, binary);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let decides =
            call.path.is_ident("matches") && call.tokens.to_string().contains("Reason ::");
        self.0.extend(decides.then(|| call.span().start().line));
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        if let syn::Item::Mod(module) = item
            && is_test(&module.attrs)
        {
            return;
        }
        visit::visit_item(self, item);
    }
}

#[test]
fn code_acts_on_typed_errors_and_not_on_reasons() {
    let mut wrong = Vec::new();
    for source in sources("daemon/src") {
        if is_test_file(&source.path) || source.path == Path::new(MAPS_REASONS) {
            continue;
        }
        let mut decisions = Decisions::default();
        decisions.visit_file(&source.syntax);
        let path = source.path.display();
        wrong.extend(decisions.0.into_iter().map(|line| format!("{path}:{line}")));
    }
    assert!(wrong.is_empty(), "match the error, not its reason:\n{}", wrong.join("\n"));
}

#[test]
fn a_decision_by_reason_is_found() {
    let text = "fn of(error: &E) -> Reason {\n\
                    if error.reason == Reason::Internal { return Reason::Internal }\n\
                    if matches!(error.reason, Reason::Evicted | Reason::StepLost) { f() }\n\
                    match error.reason {\n\
                        error::Reason::Cancelled => Reason::Cancelled,\n\
                        _ => error.reason(),\n\
                    }\n\
                }\n";
    let mut decisions = Decisions::default();
    decisions.visit_file(&syn::parse_file(text).unwrap());
    assert_eq!(decisions.0, [2, 3, 5]);
}

/// Names of tests that are too long.
#[derive(Default)]
struct LongTests(Vec<String>);

impl<'ast> Visit<'ast> for LongTests {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().segments.last().is_some_and(|last| last.ident == "test")
        };
        let name = item.sig.ident.to_string();
        if item.attrs.iter().any(is_test) && name.len() > MAX_TEST_NAME {
            self.0.push(name);
        }
    }
}

#[test]
fn names_of_tests_are_short() {
    let mut long = LongTests::default();
    let packages = ["agent", "client", "daemon", "tests"];
    let all = packages.into_iter().flat_map(sources);
    all.for_each(|source| long.visit_file(&source.syntax));
    assert!(long.0.is_empty(), "longer than {MAX_TEST_NAME}: {:#?}", long.0);
}

#[test]
fn the_architecture_page_names_files_that_exist() {
    let root = repository();
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let named = page.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs"));
    let named: BTreeSet<_> =
        named.filter(|name| name.contains('/') && !name.contains('<')).collect();
    assert!(named.len() > 30, "{named:?}");
    let exists =
        |name: &&str| root.join(name).exists() || root.join("daemon/src").join(name).exists();
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
