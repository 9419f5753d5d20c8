//! `cooper build`: from a directory to a published image in one command, as `docker build` does it.

use super::{
    build::{advise, detached, follow, start, started_build},
    credentials,
    image::say_inherited,
    lint,
    save::Prepared,
};
use crate::{
    cli::{BuildDirectory, SpecArgs},
    client::{Session, Shell, request_id},
    failure::{Exit, Failure},
    output::name_of,
    reference::{Reference, Version},
};
use proto::{
    builder::v1::{BuildOptions, StartBuildRequest},
    catalog::v1::{CreateImageRequest, Image},
};
use std::path::{Path, PathBuf};

// covers R80
pub(crate) async fn build(shell: &Shell, args: BuildDirectory) -> Result<(), Failure> {
    let (reference, tags) = named(&args.tags)?;
    let spec = spec_of(&args);
    if args.credentials.password_stdin && (args.context == "-" || args.file.as_deref() == Some(Path::new("-"))) {
        let sentence = "only one thing can come from stdin: give the Dockerfile and the files as files";
        return Err(Failure::new(Exit::Usage, sentence));
    }
    let credentials = credentials::read(&args.credentials)?;
    let mut prepared = Prepared::read(shell, &spec)?;
    if spec.git.is_none() && !prepared.has_dockerfile() {
        let sentence = format!(
            "there is no Dockerfile in {}: write one, or name it with -f",
            args.context
        );
        return Err(Failure::new(Exit::Invalid, sentence));
    }
    // As with `docker build`, the command line says all there is; what was saved before goes.
    prepared.whole = true;

    let session = shell.session().await?;
    let image = found_or_made(shell, &session, reference, &prepared).await?;
    let saved = Box::pin(prepared.save(shell, &session, &image.id, None)).await?;
    shell.output.notice(if saved.created {
        format!("revision {} is saved", saved.revision)
    } else {
        format!("nothing changed since revision {}", saved.revision)
    });
    lint::say(shell, &reference.image, &saved.diagnostics);
    let request = StartBuildRequest {
        request_id: request_id(),
        image: image.id.clone(),
        expected_revision: Some(saved.revision),
        options: Some(BuildOptions {
            no_cache: args.no_cache,
            pull: args.pull,
            tags,
            ..BuildOptions::default()
        }),
        credentials: Some(credentials),
        if_changed: false,
    };
    let started = start(&session, request).await;
    let build = started_build(started.map_err(|failure| advise(failure, reference))?)?;
    if args.detach {
        return detached(shell, &reference.image, &build);
    }
    Box::pin(follow(shell, &session, &reference.image, build)).await
}

/// The one image that all the names are of, and their tags.
fn named(names: &[Reference]) -> Result<(&Reference, Vec<String>), Failure> {
    let wrong = |sentence: &str| Err(Failure::new(Exit::Usage, sentence));
    let Some(first) = names.first() else {
        return wrong("an image needs a name: give it with -t");
    };
    let mut tags = Vec::new();
    for name in names {
        if name.image != first.image || name.workspace != first.workspace {
            return wrong("all the names given with -t must be of one image: build the others on their own");
        }
        match &name.version {
            Version::Primary => {}
            Version::Tag(tag) => tags.push(tag.clone()),
            Version::Digest(_) => return wrong("a digest comes out of a build, so -t takes none"),
        }
    }
    Ok((first, tags))
}

fn spec_of(args: &BuildDirectory) -> SpecArgs {
    let is_address = args.context.contains("://") || args.context.starts_with("git@");
    SpecArgs {
        file: args.file.clone(),
        context: (!is_address).then(|| PathBuf::from(&args.context)),
        git: is_address.then(|| args.context.clone()),
        build_args: args.build_args.clone(),
        labels: args.labels.clone(),
        target: args.target.clone(),
        platforms: args.platforms.clone(),
        ..SpecArgs::default()
    }
}

async fn found_or_made(
    shell: &Shell,
    session: &Session,
    reference: &Reference,
    prepared: &Prepared<'_>,
) -> Result<Image, Failure> {
    let located = session.locate(reference).await?;
    match session.image(&located).await {
        Err(failure) if failure.exit() == Exit::NotFound => {}
        found => return found,
    }
    prepared.check(session).await?;
    let request = CreateImageRequest {
        request_id: request_id(),
        id: String::new(),
        workspace: session.workspace(shell).await?,
        name: reference.image.clone(),
        description: String::new(),
    };
    let made = session
        .change(async || session.images().create_image(request.clone()).await)
        .await?;
    let image = session.image(&made.id).await?;
    shell.output.notice(format!("image {} is made", name_of(&image)));
    say_inherited(shell, &made);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<Reference> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn several_names_are_tags_of_one_image() {
        let given = names(&["team/tool", "team/tool:1", "team/tool:1.2"]);
        let (image, tags) = named(&given).unwrap();
        assert_eq!(
            (image.image.as_str(), tags),
            ("team/tool", vec!["1".to_owned(), "1.2".to_owned()])
        );
    }

    #[test]
    fn names_of_several_images_and_digests_are_wrong_usage() {
        for given in [&["tool", "other"][..], &["tool@sha256:00"]] {
            assert_eq!(named(&names(given)).unwrap_err().exit(), Exit::Usage, "{given:?}");
        }
    }
}
