//! `cooper image show`: one image with all its details.

use crate::{
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{
        Cell, Table, Tone, ago, bytes, moment, name_of, now, object, object_of, outcome_word, plural, standing, status,
        took,
    },
    reference::Reference,
};
use proto::{
    builder::v1::{Build, GetBuildRequest},
    catalog::v1::{Image, Mark, Right},
    editor::v1::{ContextKind, GetSpecRequest, Revision},
};

// covers R16, R20
pub(crate) async fn show(shell: &Shell, reference: &Reference) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.image(&session.locate(reference).await?).await?;
    if shell.output.quiet && !shell.output.is_json() {
        return shell.output.line(&image.id);
    }
    let spec = session.revision(&image.id, None).await?;
    let build = newest_build(&session, &image).await?;
    if shell.output.is_json() {
        let mut fields = object_of(&image);
        fields.insert("revision".to_owned(), object(&spec));
        if let Some(build) = &build {
            fields.insert("build".to_owned(), object(build));
        }
        return shell.output.value(&fields.into());
    }
    let workspace = session
        .workspace_called(&image.workspace)
        .await
        .map(|workspace| workspace.name);
    let workspace = workspace.unwrap_or_else(|_| image.workspace.clone());
    let facts = facts(&image, &workspace, &spec, build.as_ref());
    shell.output.facts(&facts)
}

impl Session {
    /// A saved revision, or the current one, or the draft of an image in which nothing is saved.
    pub(crate) async fn revision(&self, image: &str, revision: Option<u32>) -> Result<Revision, Failure> {
        let request = GetSpecRequest {
            image: image.to_owned(),
            revision,
        };
        let answer = self
            .call(async || self.editor().get_spec(request.clone()).await)
            .await?;
        Ok(answer.revision.unwrap_or_default())
    }
}

/// The build that runs, or else the last.
async fn newest_build(session: &Session, image: &Image) -> Result<Option<Build>, Failure> {
    let last = image
        .last_build
        .as_ref()
        .map(|build| build.id.clone())
        .unwrap_or_default();
    let build = if image.active_build.is_empty() {
        last
    } else {
        image.active_build.clone()
    };
    if build.is_empty() {
        return Ok(None);
    }
    let request = GetBuildRequest {
        image: image.id.clone(),
        build,
    };
    match session
        .call(async || session.builds().get_build(request.clone()).await)
        .await
    {
        Ok(answer) => Ok(answer.build),
        Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(super) fn facts(image: &Image, workspace: &str, revision: &Revision, build: Option<&Build>) -> Table {
    let mut facts = Table::new(&[]);
    let mut fact = |title: &str, value: Cell| facts.row("", [Cell::new(Tone::Faint, title), value]);
    fact("name", Cell::new(Tone::Strong, name_of(image)));
    fact("status", status(image));
    if !image.description.is_empty() {
        fact("description", (&image.description).into());
    }
    fact("id", (&image.id).into());
    fact("workspace", workspace.into());
    fact("reference", (&image.reference).into());
    if let Some(published) = &image.published {
        fact("published", (&published.reference).into());
    }
    for (title, mark) in [
        ("created", &image.created),
        ("modified", &image.modified),
        ("built", &image.built),
    ] {
        if let Some(mark) = mark {
            fact(title, marked(mark).into());
        }
    }
    fact("revision", revisions(image).into());
    for (title, value) in source(revision) {
        fact(title, value.into());
    }
    if let Some(build) = build {
        fact("last build", build_line(build));
        if !build.cause.is_empty() {
            fact("", (&build.cause).into());
        }
    }
    if image.my_rights() != Right::Unspecified {
        fact("you may", may(image.my_rights()).into());
    }
    facts
}

fn marked(mark: &Mark) -> String {
    format!(
        "{} by {} ({})",
        moment(mark.time.as_ref()),
        mark.actor,
        ago(mark.time.as_ref(), now())
    )
}

fn revisions(image: &Image) -> String {
    match (image.current_revision, image.built_revision) {
        (0, _) => "nothing is saved yet".to_owned(),
        (current, 0) => current.to_string(),
        (current, built) if current == built => format!("{current}, which is built"),
        (current, built) => format!("{current}; {built} is built"),
    }
}

fn source(revision: &Revision) -> Vec<(&'static str, String)> {
    let spec = revision.spec.clone().unwrap_or_default();
    let mut facts = Vec::new();
    if let (ContextKind::GitRepository, Some(git)) = (spec.context_kind(), &spec.git) {
        facts.push(("git", git.url.clone()));
        let or = |text: &str, default: &str| {
            if text.is_empty() {
                default.to_owned()
            } else {
                text.to_owned()
            }
        };
        facts.push((
            "",
            format!(
                "{}, directory {}",
                or(&git.r#ref, "its own default"),
                or(&git.directory, "/")
            ),
        ));
    } else {
        let lines = spec.dockerfile.lines().count();
        facts.push(("dockerfile", plural(i64::try_from(lines).unwrap_or(i64::MAX), "line")));
        if let Some(context) = &spec.context {
            let files = plural(i64::from(context.files), "file");
            facts.push(("attached", format!("{files}, {}", bytes(context.size_bytes))));
        }
    }
    let pairs = |pairs: &std::collections::BTreeMap<String, String>| {
        pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (title, value) in [
        ("build args", pairs(&spec.build_args)),
        ("target", spec.target.clone()),
        ("platforms", spec.platforms.join(" ")),
        ("labels", pairs(&spec.labels)),
        ("note", revision.note.clone()),
    ] {
        if !value.is_empty() {
            facts.push((title, value));
        }
    }
    facts
}

fn build_line(build: &Build) -> Cell {
    let (tone, _) = outcome_word(build.outcome());
    let took = took(build.duration.as_ref());
    let took = if took.is_empty() {
        String::new()
    } else {
        format!(" ({took})")
    };
    Cell::new(
        tone,
        format!(
            "{}{took}, revision {}, {}",
            standing(build).text(),
            build.revision,
            build.id
        ),
    )
}

fn may(right: Right) -> &'static str {
    match right {
        Right::Read => "read",
        Right::Write => "read and change it",
        Right::Manage => "read, change and share it",
        Right::Owner => "do everything, also build it",
        Right::Unspecified => "see that it is there",
    }
}
