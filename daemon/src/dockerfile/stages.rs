//! The stages of a Dockerfile, and which of them the image needs.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::expand::{Expander, MOST_SEARCHES};
use super::lines::{self, Instruction, Parsed};
use super::options::BuildOptions;
use super::{DockerfileError, SCRATCH};

/// Stages that a Dockerfile may have.
const MOST_STAGES: usize = 1000;
/// Bytes of the instructions that ONBUILD may stand for, in all stages.
const MOST_TRIGGERED: usize = 4 << 20;
/// Bytes of an instruction beside its text.
const INSTRUCTION: usize = 400;
/// Stages that an error names.
const MOST_NAMED: usize = 20;

/// A stage.
#[derive(Debug)]
pub(super) struct Stage {
    /// Its FROM.
    pub(super) from: Instruction,
    /// What FROM names, with its arguments in place.
    pub(super) base: Base,
    /// The platform that FROM names, with its arguments in place.
    pub(super) platform: Option<String>,
    /// In lower case; empty: it has none.
    pub(super) name: String,
    /// What follows FROM, behind what the ONBUILD of its base stands for.
    pub(super) instructions: Vec<Instruction>,
    /// The image is made of it.
    pub(super) is_needed: bool,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(String),
}

/// A Dockerfile by its stages.
#[derive(Debug)]
pub(super) struct Stages {
    /// Arguments before the first FROM, which FROM and the ARG of a stage know; none has no value.
    pub(super) arguments: BTreeMap<String, Option<String>>,
    /// ARG instructions before the first FROM.
    pub(super) global: Vec<Instruction>,
    pub(super) all: Vec<Stage>,
    /// The name of the last one, as docker's argument TARGETSTAGE has it.
    target: String,
    /// Of the build.
    pub(super) options: BuildOptions,
    /// Bytes of the instructions that ONBUILD stands for.
    triggered: usize,
    /// Left of those that FROM and its arguments may make.
    searches: Cell<u32>,
}

impl Stages {
    /// Divides a Dockerfile.
    ///
    /// # Errors
    /// An instruction before the first FROM, no FROM, a FROM that docker refuses, and a target that is none
    /// of its stages.
    pub(super) fn of(parsed: &Parsed, options: &BuildOptions) -> Result<Self, DockerfileError> {
        let searches = Cell::new(MOST_SEARCHES);
        let (arguments, global, all) = (BTreeMap::new(), Vec::new(), Vec::new());
        let target = options.target.clone().unwrap_or_else(|| last_name(parsed));
        let options = options.clone();
        let mut stages = Self { arguments, global, all, target, options, searches, triggered: 0 };
        for instruction in &parsed.instructions {
            match (instruction.keyword.as_str(), stages.all.last_mut()) {
                ("from", _) => {
                    if stages.all.len() == MOST_STAGES {
                        let problem = format!("the Dockerfile has more than {MOST_STAGES} stages");
                        return Err(DockerfileError::new(instruction.line, problem));
                    }
                    let mut stage = stages.begin(instruction, parsed.escape)?;
                    stage.instructions = stages.triggers(&stage, parsed.escape)?;
                    stages.all.push(stage);
                }
                (_, Some(stage)) => stage.instructions.push(instruction.clone()),
                ("arg", None) => {
                    stages.argument(instruction, parsed.escape)?;
                    stages.global.push(instruction.clone());
                }
                (_, None) => {
                    let problem = "no build stage in current context: FROM comes first";
                    return Err(DockerfileError::new(instruction.line, problem));
                }
            }
        }
        if stages.all.is_empty() {
            return Err(DockerfileError::new(1, "the Dockerfile has no FROM"));
        }
        stages.check_order()?;
        stages.cut()?;
        stages.mark_needed();
        Ok(stages)
    }

    /// The stage that `COPY --from` or a mount names, of those before the stage `before`.
    pub(super) fn find(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let earlier = &self.all[..before];
        let named = earlier.iter().rposition(|stage| !stage.name.is_empty() && stage.name == name);
        named.or_else(|| name.parse().ok().filter(|at| *at < before))
    }

    /// The value that docker predefines or that stands before the first FROM.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let given = self.arguments.get(name).cloned();
        given.unwrap_or_else(|| match name {
            "TARGETSTAGE" => Some(self.target.clone()),
            _ => self.options.of_platform(name),
        })
    }

    /// The value that the build gives an argument.
    pub(super) fn given(&self, name: &str) -> Option<&String> {
        self.options.arguments.get(name)
    }

    /// A name stands for the last stage that has it, be it a later one (`findStateByName` in BuildKit's
    /// convert.go). A stage that needs itself is an error there too; a later one is none, but Kaniko takes its
    /// name for an image's.
    fn check_order(&self) -> Result<(), DockerfileError> {
        for (at, stage) in self.all.iter().enumerate() {
            // The names in an ONBUILD mean something in the stages that begin with this one.
            for instruction in &stage.instructions {
                for name in sources(instruction) {
                    let problem = match self.find(&name, self.all.len()) {
                        Some(found) if found == at => {
                            format!("circular dependency detected on stage: {name}")
                        }
                        Some(found) if found > at => {
                            format!(
                                "stage {name:?} comes later: put it before the stage that needs it"
                            )
                        }
                        _ => continue,
                    };
                    return Err(DockerfileError::new(instruction.line, problem));
                }
            }
        }
        Ok(())
    }

    /// Ends with the stage that is the image: a name goes before a number, and the last of several.
    fn cut(&mut self) -> Result<(), DockerfileError> {
        let Some(target) = &self.options.target else { return Ok(()) };
        let Some(at) = self.find(target, self.all.len()) else {
            let name = |(at, stage): (usize, &Stage)| match stage.name.as_str() {
                "" => at.to_string(),
                name => name.to_owned(),
            };
            let names = self.all.iter().enumerate().take(MOST_NAMED).map(name);
            let names = names.collect::<Vec<_>>().join(", ");
            let more = if self.all.len() > MOST_NAMED { ", …" } else { "" };
            let problem =
                format!("target stage {target:?} could not be found; the stages are {names}{more}");
            return Err(DockerfileError::new(self.all[0].from.line, problem));
        };
        self.all.truncate(at + 1);
        Ok(())
    }

    fn argument(&mut self, instruction: &Instruction, escape: char) -> Result<(), DockerfileError> {
        for word in lines::words(&instruction.rest, escape) {
            let (name, default) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let value = match (self.given(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(value)) => Some(self.expanded(value, instruction.line, escape)?),
                (None, None) => self.value(name),
            };
            self.arguments.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn begin(&self, from: &Instruction, escape: char) -> Result<Stage, DockerfileError> {
        let words: Vec<_> = from.rest.split_whitespace().collect();
        let (image, name) = match words[..] {
            [image] => (image, String::new()),
            [image, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
                (image, name.to_ascii_lowercase())
            }
            _ => {
                let problem = "FROM requires an image, and AS with a name if the stage has one";
                return Err(DockerfileError::new(from.line, problem));
            }
        };
        let image = self.expanded(image, from.line, escape)?;
        if let Some(flag) = from.flags.iter().find(|flag| !flag.starts_with("--platform=")) {
            let name = flag.split('=').next().unwrap_or_default();
            return Err(DockerfileError::new(from.line, format!("unknown flag: {name}")));
        }
        let flag = from.flags.iter().find_map(|flag| flag.strip_prefix("--platform="));
        let platform = flag.map(|value| self.expanded(value, from.line, escape)).transpose()?;
        // A number is none of a stage here.
        let named = |stage: &Stage| !stage.name.is_empty() && stage.name == image;
        let base = match self.all.iter().rposition(named) {
            Some(stage) => Base::Stage(stage),
            None if image == SCRATCH => Base::Scratch,
            None => Base::Image(image),
        };
        let (from, instructions) = (from.clone(), Vec::new());
        Ok(Stage { from, base, platform, name, instructions, is_needed: false })
    }

    /// What the ONBUILD of its base has the stage begin with.
    fn triggers(
        &mut self,
        stage: &Stage,
        escape: char,
    ) -> Result<Vec<Instruction>, DockerfileError> {
        let Base::Stage(base) = stage.base else { return Ok(Vec::new()) };
        let kept = self.all[base].instructions.iter().filter(|one| one.keyword == "onbuild");
        let sizes = kept.clone().map(|one| INSTRUCTION + one.size());
        self.triggered = sizes.fold(self.triggered, usize::saturating_add);
        if self.triggered > MOST_TRIGGERED {
            let problem =
                format!("ONBUILD stands for more than {MOST_TRIGGERED} bytes in all stages");
            return Err(DockerfileError::new(stage.from.line, problem));
        }
        let triggers: Vec<_> = kept.filter_map(|one| one.trigger(escape)).collect();
        let is_none =
            |one: &&Instruction| matches!(&*one.keyword, "from" | "maintainer" | "onbuild");
        if let Some(one) = triggers.iter().find(is_none) {
            let problem = format!("{} isn't allowed as an ONBUILD trigger", one.keyword);
            return Err(DockerfileError::new(one.line, problem));
        }
        Ok(triggers)
    }

    fn expanded(&self, text: &str, line: usize, escape: char) -> Result<String, DockerfileError> {
        let value = |name: &str| self.value(name);
        let problem = |error| format!("the value of {text:?} cannot be determined: {error}");
        Expander { value: &value, escape, searches: &self.searches }
            .expand(text)
            .map_err(|error| DockerfileError::new(line, problem(error)))
    }

    /// Docker builds the last stage, and of the others those that it needs.
    fn mark_needed(&mut self) {
        let mut open = vec![self.all.len() - 1];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut self.all[at].is_needed, true) {
                continue;
            }
            let stage = &self.all[at];
            if let Base::Stage(base) = stage.base {
                open.push(base);
            }
            for instruction in &stage.instructions {
                let names = sources(instruction);
                open.extend(names.iter().filter_map(|name| self.find(name, at)));
            }
        }
    }
}

/// The name of the last stage.
fn last_name(parsed: &Parsed) -> String {
    let from = parsed.instructions.iter().rfind(|one| one.keyword == "from");
    let name = from.and_then(|from| from.rest.split_whitespace().nth(2));
    name.map_or_else(|| "default".to_owned(), str::to_ascii_lowercase)
}

/// The stages and images that COPY and RUN name.
pub(super) fn sources(instruction: &Instruction) -> Vec<String> {
    let flags = instruction.flags.iter().filter_map(|flag| flag.split_once('='));
    let mut names = Vec::new();
    for (name, value) in flags {
        match (instruction.keyword.as_str(), name) {
            ("copy", "--from") => names.push(value.to_owned()),
            ("run", "--mount") => {
                let fields = value.split(',').filter_map(|field| field.split_once('='));
                let from = fields.filter(|(name, _)| name.trim() == "from");
                names.extend(from.map(|(_, value)| value.trim_matches('"').to_owned()));
            }
            _ => {}
        }
    }
    names
}
