//! What is said about FROM and the stages.

use crate::{
    diagnostic::{Problem, Severity},
    directives::repository,
    evaluate::{Evaluation, Use, as_reference},
    instruction::shortened,
    parse::Dockerfile,
};
use std::collections::HashSet;

pub(super) fn rules(dockerfile: &Dockerfile, evaluation: &Evaluation<'_>, problems: &mut Vec<Problem>) {
    let mut names = HashSet::new();
    for (stage, evaluated) in dockerfile.stages.iter().zip(&evaluation.stages) {
        let Some(from) = dockerfile.instructions.get(stage.instructions.start) else {
            continue;
        };
        let mut warn = |rule, at, message: String, hint: &str| {
            problems.push(Problem::new(Severity::Warning, rule, at, message, hint));
        };
        if let [_, as_word, name] = from.arguments.as_slice() {
            let keyword = from.keyword_text();
            let lower = |text: &str| text == text.to_lowercase();
            let upper = |text: &str| text == text.to_uppercase();
            if !lower(name) {
                let message = format!("the stage name `{}` is not in lower case", shortened(name));
                warn(
                    "StageNameCasing",
                    from.word_place(2),
                    message,
                    "it is found by its lower-case form",
                );
            }
            if (lower(keyword) && !lower(as_word)) || (upper(keyword) && !upper(as_word)) {
                let message = format!("`{keyword}` and `{as_word}` are written differently");
                warn(
                    "FromAsCasing",
                    from.word_place(1),
                    message,
                    "write both in capitals, or neither",
                );
            }
            if matches!(stage.name.as_str(), "scratch" | "context") {
                let message = format!("`{}` means something else to Docker", stage.name);
                warn("ReservedStageName", from.word_place(2), message, "choose another name");
            }
            if !names.insert(stage.name.as_str()) {
                let message = format!("two stages are called `{}`", stage.name);
                warn(
                    "DuplicateStageName",
                    from.word_place(2),
                    message,
                    "the first can't be named any more: rename one",
                );
            }
        }
        if let Some((platform, flag)) = stage.platform.as_deref().zip(from.flag("platform")) {
            let at = from.place(&flag.at);
            if matches!(platform, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
                let message = "the platform of the build is what FROM takes anyway";
                warn(
                    "RedundantTargetPlatform",
                    at,
                    message.to_owned(),
                    "leave --platform out",
                );
            } else if !platform.contains('$') && !platform.split('/').any(|part| stage.name.contains(part)) {
                let message = format!("this stage is for {} whatever the build is for", shortened(platform));
                let hint = "leave --platform out, write $BUILDPLATFORM, or have the platform in the stage's name";
                warn("FromPlatformFlagConstDisallowed", at, message, hint);
            }
        }
        let base = evaluated.base.as_deref().unwrap_or_default();
        if stage.base.contains('$') && (as_reference(base.to_owned()).is_none() || base.ends_with([':', '@'])) {
            let message = format!("without arguments, `{}` is no image", shortened(&stage.base));
            let hint = "give the ARG a default, as in ARG VERSION=1.0";
            warn("InvalidDefaultArgInFrom", from.word_place(0), message, hint);
        }
    }
    for base in evaluation.bases.iter().filter(|base| base.used == Use::From) {
        let from = dockerfile
            .stages
            .get(base.stage)
            .and_then(|stage| dockerfile.instructions.get(stage.instructions.start));
        let (Some(from), Some(reference)) = (from, base.reference.as_deref()) else {
            continue;
        };
        let name = repository(reference);
        let what = match reference[name.len()..].strip_prefix(':') {
            None if name == reference => "has neither a tag nor a digest",
            Some("latest") => "is whatever is newest",
            _ => continue,
        };
        let message = format!(
            "the base `{}` {what}: a later build may get another",
            shortened(reference)
        );
        let hint = format!("name a version, as in {name}:1.2, or a digest");
        problems.push(Problem::new(
            Severity::Warning,
            "UnpinnedBase",
            from.word_place(0),
            message,
            hint,
        ));
    }
}
