//! What an image depends on, each time with one thing changed, through all that a key is computed by: the context
//! as it is sent, the Dockerfile as it is written for the builder, and the Job under the template.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config as Cases, TestRunner};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use super::mutations::{
    BUILDKIT, Chance, IGNORES, Image, MUTATIONS, ROOM, SETTINGS, TEMPLATES, chance, image,
};
use super::tree::write;
use crate::build::cache::BuildCache;
use crate::build::key::{BuildKey, Ingredients};
use crate::build::spec::BuildSpec;
use crate::build::{Build, BuildEnvironment, plan};
use crate::cluster::Cluster;
use crate::cluster::scripted::ApiServer;
use crate::config::Config;
use crate::names::origin::Origin;
use crate::registry::base_images::ResolvedImage;
use crate::runner::{HookTemplate, Runner};
use crate::session::remembered::RememberedSteps;
use crate::session::warnings::Warnings;

/// Images that are mutated, and mutants of each.
const IMAGES: u32 = 2_000;
const MUTANTS: usize = 7;

/// A runner that computes keys.
struct Bench {
    runtime: Runtime,
    work: TempDir,
    configs: Vec<Config>,
    templates: Vec<PathBuf>,
    cluster: Cluster,
    /// Expects no request.
    _api: ApiServer,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let work = tempfile::tempdir().unwrap();
        let path = work.path().to_str().unwrap();
        let own = ["--work-dir", path, "--registry-host", "r.test"];
        let configs = SETTINGS.iter().flat_map(|settings| {
            ROOM.map(|room| Config::of(&[&own[..], *settings, room].concat()))
        });
        let texts = TEMPLATES.iter().flat_map(|template| {
            ["", "tolerations: [{operator: Exists}]"]
                .map(|more| format!("spec:\n  {template}\n  {more}\n"))
        });
        let templates = texts.enumerate().map(|(number, text)| {
            let file = work.path().join(format!("template-{number}"));
            fs::write(&file, text).unwrap();
            file
        });
        let (configs, templates) = (configs.collect(), templates.collect());
        let entered = runtime.enter();
        let api = ApiServer::expecting([]);
        let cluster = Cluster::of(api.client());
        drop(entered);
        Self { runtime, work, configs, templates, cluster, _api: api }
    }

    fn spec(&self, directory: &Path, image: &Image, chance: &Chance) -> BuildSpec {
        let mut spec = BuildSpec::of(&directory.join("Dockerfile"));
        let given = image.arguments.iter();
        spec.options.arguments =
            given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        // BuildKit is sent all arguments.
        if chance.has_unused_argument && SETTINGS[image.settings] != BUILDKIT {
            spec.options.arguments.insert("UNUSED".to_owned(), "x".to_owned());
        }
        spec.options.platform = Some(image.platform.parse().unwrap());
        spec
    }

    fn key(&self, image: &Image, chance: &Chance) -> BuildKey {
        let directory = tempfile::tempdir_in(&self.work).unwrap();
        let directory = directory.path();
        let config = &self.configs[image.settings * ROOM.len() + chance.room];
        let template = self.templates[2 * image.template + usize::from(chance.is_tolerant)].clone();
        write(&image.tree, directory, chance.seconds, chance.has_setgid);
        let dockerfile = format!(
            "FROM one:1 AS x\nARG A\nARG AB\nARG TARGETPLATFORM\n{}\nFROM two:1\nCOPY --from=x /o /o\n\
             COPY --from=three:1 /p /p\nCOPY . /c\n",
            image.body.join("\n")
        );
        fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
        let is_left_out = IGNORES[image.ignore].contains(".dockerignore");
        let remark = if is_left_out && chance.has_remark { "# a remark\n" } else { "" };
        fs::write(directory.join(".dockerignore"), IGNORES[image.ignore].to_owned() + remark)
            .unwrap();
        fs::write(directory.join("keep.log"), "kept").unwrap();
        fs::write(directory.join("x.log"), [chance.ignored]).unwrap();
        fs::write(directory.join("ignored"), [chance.ignored; 2]).unwrap();
        let runner =
            Runner { name: "r".into(), hookd_image: "hookd@sha256:0".into(), ..Runner::default() };
        let (cache, warnings) = (BuildCache::default(), Warnings::default());
        let env = BuildEnvironment {
            config,
            cluster: &self.cluster,
            runner: &runner,
            template: HookTemplate::File(template),
            policy: None,
            cache: &cache,
            registry: None,
            built_tags: &RememberedSteps::new(directory, "tags"),
            warnings: &warnings,
            is_trusted: false,
            origin: Origin::default(),
        };
        let (spec, step) =
            (self.spec(directory, image, chance), chance.step.to_string().parse().unwrap());
        let destination = env.destination(&step, &spec.dockerfile).unwrap();
        let (dockerfile, call, repository) =
            (spec.dockerfile.as_path(), step.to_string(), OnceCell::new());
        let build = Build {
            env: &env,
            step: &step,
            spec: &spec,
            dockerfile,
            destination,
            call,
            repository,
        };
        self.runtime.block_on(key_of(&build, image.digests))
    }
}

/// As a lookup computes it (`Build::recipe`).
async fn key_of(build: &Build<'_>, digests: [u8; 3]) -> BuildKey {
    let (read, planned) = plan::of(build).await.unwrap();
    let context = build.reader().survey(read.source).await.unwrap();
    let named = read.images.iter().map(|image| image.reference.clone()).zip(digests);
    let bases: Vec<_> = named
        .map(|(reference, digit)| ResolvedImage {
            reference,
            digest: format!("sha256:{digit:064}"),
        })
        .collect();
    assert_eq!(bases.len(), digests.len());
    let endpoint = plan::scoped(build, planned.pinned(&bases), &context.names).unwrap();
    let job = plan::job(build, 0, None, &endpoint).unwrap().job;
    BuildKey::new(&Ingredients { context: &context.digest, bases: &bases, job: &job }).unwrap()
}

#[test]
fn ten_thousand_mutants_have_keys_of_their_own() {
    let bench = Bench::new();
    let (of_images, of_keys) = (RefCell::new(HashMap::new()), RefCell::new(HashMap::new()));
    let seen = RefCell::new(BTreeMap::<&str, u32>::new());
    // Of all images of this test: their keys are equal if and only if they are.
    let check = |image: &Image, chance: &Chance| {
        let key = bench.key(image, chance).hex().to_owned();
        let before = of_images.borrow_mut().insert(image.clone(), key.clone());
        prop_assert!(
            before.is_none_or(|before| before == key),
            "two keys of {image:?}, now with {chance:?}"
        );
        let before = of_keys.borrow_mut().insert(key, image.clone());
        prop_assert!(
            before.as_ref().is_none_or(|before| before == image),
            "one key of {image:?} and {before:?}"
        );
        Ok(())
    };
    let mutants = prop::collection::vec((select(&MUTATIONS[..]), any::<Index>()), MUTANTS);
    let mut runner = TestRunner::new(Cases { cases: IMAGES, ..Cases::default() });
    let ran =
        runner.run(&(image(), chance(), chance(), mutants), |(image, chance, other, mutants)| {
            check(&image, &chance)?;
            check(&image, &other)?;
            for ((name, mutate), at) in mutants {
                let mut mutant = image.clone();
                mutate(&mut mutant, at);
                check(&mutant, &chance)?;
                *seen.borrow_mut().entry(name).or_default() += u32::from(mutant != image);
            }
            Ok(())
        });
    ran.unwrap();
    let seen = seen.into_inner();
    assert!(seen.values().sum::<u32>() >= 10_000 && seen.len() == MUTATIONS.len(), "{seen:?}");
    assert!(seen.values().all(|number| *number > 100), "{seen:?}");
}
