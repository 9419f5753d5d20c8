//! What a build of a Dockerfile would use, given its arguments: images, and values of variables. After BuildKit's
//! `frontend/dockerfile/dockerfile2llb/convert.go`.

mod scope;

use crate::{
    diagnostic::Problem,
    directives::repository,
    instruction::{Instruction, Keyword, shortened},
    parse::{Dockerfile, Stage},
    shell::{self, Budget, Expanded, Malformed, Unset, Variables},
};
pub(crate) use scope::Scope;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

/// What an image is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    From,
    CopyFrom,
    MountFrom,
}

/// An image that a build takes something of; a stage of the same file is none, and `scratch` is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub line: u32,
    /// The number of the stage that needs it, from 0.
    pub stage: usize,
    pub used: Use,
    /// As it is written.
    pub written: String,
    /// With the values of its variables, otherwise as it is written: not normalised.
    /// None: it can't be told for sure, because it is no reference. Docker refuses it, and so should who asks.
    pub reference: Option<String>,
    /// With the values of its variables; None: the build's own.
    pub platform: Option<String>,
}

/// The arguments that the engine sets by itself for a platform such as `linux/arm64/v8`.
pub fn platform_arguments(platform: &str) -> BTreeMap<String, String> {
    let mut parts = platform.splitn(3, '/');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let values = [
        ("PLATFORM", platform.to_owned()),
        ("OS", part()),
        ("ARCH", part()),
        ("VARIANT", part()),
    ];
    let named = |whose: &str| values.clone().map(|(name, value)| (format!("{whose}{name}"), value));
    named("TARGET").into_iter().chain(named("BUILD")).collect()
}

impl Dockerfile {
    /// The images of all stages, in the order of the file. `arguments` are the build's, and those of its platform: see
    /// [`platform_arguments`].
    pub fn bases(&self, arguments: &BTreeMap<String, String>) -> Vec<Base> {
        Evaluation::of(self, arguments).bases
    }
}

/// Letters that no reference has may be lost on the way to an engine: it would take another image than the one judged.
pub(crate) fn as_reference(text: String) -> Option<String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "._-/:@+[]".contains(c);
    (!repository(&text).is_empty() && text.chars().all(is_letter)).then_some(text)
}

/// A variable that is used and has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undefined {
    pub(crate) instruction: usize,
    pub(crate) name: String,
}

/// One stage, run through.
#[derive(Debug, Default)]
pub(crate) struct Evaluated {
    /// What its FROM is after its variables; None: not to be told.
    pub(crate) base: Option<String>,
    /// The stage that it begins with.
    pub(crate) parent: Option<usize>,
    /// Whether nothing but this file says what is in it.
    pub(crate) is_from_scratch: bool,
    directory: String,
    scope: Scope,
}

impl Evaluated {
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// A Dockerfile, run through without running anything.
pub(crate) struct Evaluation<'a> {
    dockerfile: &'a Dockerfile,
    arguments: &'a BTreeMap<String, String>,
    budget: Budget,
    pub(crate) globals: Scope,
    pub(crate) stages: Vec<Evaluated>,
    pub(crate) bases: Vec<Base>,
    /// (instruction, directory as it is once it was run)
    pub(crate) directories: Vec<(usize, String)>,
    pub(crate) undefined: Vec<Undefined>,
    /// It would take more memory than anything that is meant: nothing is sure.
    pub(crate) is_too_much: bool,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn of(dockerfile: &'a Dockerfile, arguments: &'a BTreeMap<String, String>) -> Self {
        let mut evaluation = Self {
            dockerfile,
            arguments,
            budget: Budget::default(),
            globals: Scope::default(),
            stages: Vec::new(),
            bases: Vec::new(),
            directories: Vec::new(),
            undefined: Vec::new(),
            is_too_much: false,
        };
        evaluation.global_arguments();
        let names: HashSet<&str> = dockerfile.stages.iter().map(|stage| stage.name.as_str()).collect();
        let mut numbers = HashMap::new();
        for (number, stage) in dockerfile.stages.iter().enumerate() {
            evaluation.stage(number, stage, &names, &numbers);
            if !stage.name.is_empty() {
                numbers.insert(stage.name.as_str(), number);
            }
        }
        evaluation
    }

    /// What goes wrong is no value, and too much is remembered.
    fn sure<T>(&mut self, result: Result<T, Malformed>) -> Option<T> {
        self.is_too_much |= matches!(result, Err(Malformed::TooMuch));
        result.ok()
    }

    fn expanded(&mut self, instruction: usize, word: &str, scope: &Scope) -> Option<String> {
        let expanded = shell::expand(word, self.dockerfile.escape, scope, &mut self.budget);
        let Expanded { text, unset } = self.sure(expanded)?;
        let unset = unset.into_iter().filter(|name| !scope.declares(name));
        self.undefined.extend(unset.map(|name| Undefined { instruction, name }));
        Some(text)
    }

    fn set(&mut self, scope: &mut Scope, name: &str, value: String) {
        let set = scope.set(name, value, &mut self.budget);
        self.sure(set);
    }

    fn declare(&mut self, scope: &mut Scope, name: &str) {
        let declared = scope.declare(name, &mut self.budget);
        self.sure(declared);
    }

    fn global_arguments(&mut self) {
        let mut globals = Scope::default();
        let own = platform_arguments("").into_keys().chain([
            "TARGETOSVERSION".to_owned(),
            "BUILDOSVERSION".to_owned(),
            "TARGETSTAGE".to_owned(),
        ]);
        for name in own {
            let value = self.arguments.get(&name).cloned().unwrap_or_default();
            self.set(&mut globals, &name, value);
        }
        for (index, instruction) in self.dockerfile.global_arguments().iter().enumerate() {
            for pair in &instruction.pairs {
                let given = self.arguments.get(&pair.name).cloned();
                let default = |this: &mut Self| this.expanded(index, pair.value.as_deref()?, &globals);
                match given.or_else(|| default(self)) {
                    Some(value) => self.set(&mut globals, &pair.name, value),
                    None => self.declare(&mut globals, &pair.name),
                }
            }
        }
        self.globals = globals;
    }

    fn stage(&mut self, number: usize, stage: &Stage, names: &HashSet<&str>, numbers: &HashMap<&str, usize>) {
        let from = stage.instructions.start;
        let globals = self.globals.clone();
        let base = self.expanded(from, &stage.base, &globals);
        let platform = stage
            .platform
            .as_deref()
            .and_then(|platform| self.expanded(from, platform, &globals));
        let parent = base.as_deref().and_then(|base| numbers.get(base).copied());
        let mut evaluated = match parent.and_then(|parent| self.stages.get(parent)) {
            Some(parent) => Evaluated {
                is_from_scratch: parent.is_from_scratch,
                directory: parent.directory.clone(),
                scope: parent.scope.clone(),
                ..Evaluated::default()
            },
            None => Evaluated {
                is_from_scratch: base.as_deref() == Some("scratch"),
                directory: "/".to_owned(),
                ..Evaluated::default()
            },
        };
        if parent.is_none() && !evaluated.is_from_scratch {
            let reference = base.clone().and_then(as_reference);
            let line = self.dockerfile.instructions.get(from).map_or(0, |from| from.first_line);
            self.bases.push(Base {
                line,
                stage: number,
                used: Use::From,
                written: stage.base.clone(),
                reference,
                platform: platform.clone(),
            });
        }
        evaluated.base = base;
        evaluated.parent = parent;
        let dockerfile = self.dockerfile;
        for (index, instruction) in (from..).zip(dockerfile.of_stage(stage)).skip(1) {
            self.instruction(index, instruction, &mut evaluated);
            for (used, at, written) in images(instruction) {
                if !is_stage(&written, used, names, self.dockerfile.stages.len()) {
                    self.bases.push(Base {
                        line: instruction.written.line(at.start),
                        stage: number,
                        used,
                        reference: as_reference(written.clone()),
                        written,
                        platform: None,
                    });
                }
            }
        }
        self.stages.push(evaluated);
    }

    fn instruction(&mut self, index: usize, instruction: &Instruction, stage: &mut Evaluated) {
        match instruction.keyword {
            Keyword::Arg => {
                for pair in &instruction.pairs {
                    let value = match (self.arguments.get(&pair.name), &pair.value) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(default)) => self.expanded(index, default, &stage.scope),
                        (None, None) => self.globals.get(&pair.name).map(str::to_owned),
                    };
                    if let Some(value) = value {
                        self.set(&mut stage.scope, &pair.name, value);
                    } else {
                        self.declare(&mut stage.scope, &pair.name);
                    }
                }
            }
            Keyword::Env => {
                let before = stage.scope.clone();
                let pairs = instruction.pairs.iter();
                let values: Vec<_> = pairs
                    .map(|pair| {
                        let name = self.expanded(index, &pair.name, &before);
                        (
                            name,
                            self.expanded(index, pair.value.as_deref().unwrap_or_default(), &before),
                        )
                    })
                    .collect();
                // Let go of it, so that what follows is no copy.
                drop(before);
                for (name, value) in values {
                    if let (Some(name), Some(value)) = (name, value) {
                        self.set(&mut stage.scope, &name, value);
                    }
                }
            }
            Keyword::Workdir => {
                let path = instruction
                    .arguments
                    .first()
                    .and_then(|path| self.expanded(index, path, &stage.scope));
                if let Some(path) = path {
                    stage.directory = resolved(&stage.directory, &path);
                    self.directories.push((index, stage.directory.clone()));
                }
            }
            Keyword::Onbuild => {
                let trigger = instruction.trigger.as_deref();
                if let Some(trigger) = trigger.filter(|trigger| trigger.keyword == Keyword::Workdir) {
                    let path = resolved(&stage.directory, trigger.text());
                    self.directories.push((index, path));
                }
            }
            Keyword::Add | Keyword::Copy | Keyword::Expose | Keyword::Stopsignal | Keyword::User | Keyword::Volume => {
                for argument in &instruction.arguments {
                    self.expanded(index, argument, &stage.scope);
                }
            }
            Keyword::Label => {
                for value in instruction.pairs.iter().filter_map(|pair| pair.value.as_deref()) {
                    self.expanded(index, value, &stage.scope);
                }
            }
            _ => (),
        }
    }
}

/// As the engine joins a directory and a path, without `.`, `..` and double slashes.
fn resolved(directory: &str, path: &str) -> String {
    const BYTES_MAX: usize = 4_096;
    let mut parts: Vec<&str> = Vec::new();
    let from = if path.starts_with('/') { "" } else { directory };
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => (),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut whole = format!("/{}", parts.join("/"));
    // Longer is no path, and would grow with every line.
    whole.truncate(whole.floor_char_boundary(BYTES_MAX));
    whole
}

/// The images or stages that an instruction takes files of, also those that ONBUILD keeps: a later stage of the same
/// file may run them.
fn images(instruction: &Instruction) -> Vec<(Use, Range<usize>, String)> {
    let instruction = instruction.trigger.as_deref().unwrap_or(instruction);
    let copy = instruction
        .flag("from")
        .filter(|_| instruction.keyword == Keyword::Copy)
        .into_iter();
    let copy = copy.filter_map(|flag| Some((Use::CopyFrom, flag.at.clone(), flag.value.clone()?)));
    let mounts = instruction
        .mount_fields(&["from"])
        .map(|(flag, value)| (Use::MountFrom, flag.at.clone(), value));
    copy.chain(mounts).filter(|(.., written)| !written.is_empty()).collect()
}

fn is_stage(written: &str, used: Use, names: &HashSet<&str>, stages: usize) -> bool {
    let is_number = || written.parse::<usize>().is_ok_and(|number| number < stages);
    written == "scratch" || names.contains(written.to_lowercase().as_str()) || (used == Use::CopyFrom && is_number())
}

/// Takes from stages that are not there, or come later.
pub(crate) fn misplaced(stages: &[Stage], instructions: &[Instruction]) -> Vec<Problem> {
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    for (number, stage) in stages.iter().enumerate() {
        first_of.entry(&stage.name).or_insert(number);
    }
    let mut problems = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let own = instructions.get(stage.instructions.clone()).unwrap_or_default();
        for instruction in own.iter().filter(|instruction| instruction.trigger.is_none()) {
            for (used, at, written) in images(instruction) {
                let at = instruction.place(&at);
                let mut refused = |message: String, hint: &str| {
                    problems.push(Problem::error("SyntaxError", at.clone(), message, hint));
                };
                let name = shortened(&written);
                if used == Use::CopyFrom
                    && shell::expand(&written, '\\', &Unset, &mut Budget::default()).map(|word| word.text)
                        != Ok(written.clone())
                {
                    let hint = "give that image a stage of its own, FROM ... AS name, and write --from=name";
                    refused("COPY --from takes no variables".to_owned(), hint);
                    continue;
                }
                let named = match (used, written.parse::<i64>()) {
                    (Use::CopyFrom, Ok(index)) => match usize::try_from(index) {
                        Ok(index) if index < stages.len() => Some(index),
                        _ => {
                            refused(format!("there is no stage {name}"), "stages count from 0");
                            continue;
                        }
                    },
                    _ => first_of.get(written.to_lowercase().as_str()).copied(),
                };
                if named.is_some_and(|named| named >= number) {
                    refused(
                        format!("stage {name} is not before this one"),
                        "move it up, above this stage's FROM",
                    );
                }
            }
        }
    }
    problems
}
