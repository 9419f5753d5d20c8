//! `cooper image build`: starts a build, or joins the one that runs, and follows it.

use super::{credentials, lint};
use crate::{
    cli::{BuildArgs, Pair},
    client::{Session, Shell, request_id},
    failure::{Exit, Failure},
    follow::{Following, conclude},
    reference::{Reference, Version},
};
use proto::builder::v1::{Build, BuildOptions, GetBuildRequest, StartBuildRequest, StartBuildResponse};

pub(crate) async fn build(shell: &Shell, args: BuildArgs) -> Result<(), Failure> {
    let credentials = credentials::read(&args.credentials)?;
    let session = shell.session().await?;
    let image = session.locate(&args.image).await?;
    let request = StartBuildRequest {
        request_id: request_id(),
        image: image.clone(),
        expected_revision: args.expect_revision,
        options: Some(BuildOptions {
            no_cache: args.no_cache,
            pull: args.pull,
            build_args: pairs(&args.args),
            tags: args.tags,
        }),
        credentials: Some(credentials),
        if_changed: args.if_changed,
    };
    let name = &args.image.image;
    lint::say_of_saved(shell, &session, &image, name).await;
    let build = match start(&session, request).await {
        Err(failure) if failure.is("BUILD_RUNNING") && args.attach => {
            let running = failure
                .fact(&["build", "build_id", "id"])
                .unwrap_or_default()
                .to_owned();
            let build = get(&session, &image, running).await?;
            shell
                .output
                .notice(format!("{} is running already, and this is it", build.id));
            build
        }
        Err(failure) => return Err(advise(failure, &args.image)),
        Ok(started) if started.unchanged => {
            let build = started.build.unwrap_or_default();
            shell.output.notice(format!("nothing changed since {}", build.id));
            return conclude(shell, &session, name, &build).await;
        }
        Ok(started) => started_build(started)?,
    };
    if args.detach {
        return detached(shell, name, &build);
    }
    follow(shell, &session, name, build).await
}

pub(crate) fn pairs(given: &[Pair]) -> std::collections::BTreeMap<String, String> {
    given
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone()))
        .collect()
}

pub(crate) async fn start(session: &Session, request: StartBuildRequest) -> Result<StartBuildResponse, Failure> {
    session
        .change(async || session.builds().start_build(request.clone()).await)
        .await
}

pub(crate) fn started_build(started: StartBuildResponse) -> Result<Build, Failure> {
    started
        .build
        .ok_or_else(|| Failure::new(Exit::Internal, "the server did not say which build it started"))
}

/// A build by its id, or the newest.
pub(crate) async fn get(session: &Session, image: &str, build: String) -> Result<Build, Failure> {
    let request = GetBuildRequest {
        image: image.to_owned(),
        build,
    };
    let answer = session
        .call(async || session.builds().get_build(request.clone()).await)
        .await?;
    answer
        .build
        .ok_or_else(|| Failure::new(Exit::NotFound, "no such build"))
}

/// What the user of this command can type about a refusal.
pub(crate) fn advise(failure: Failure, reference: &Reference) -> Failure {
    let Reference { image, version, .. } = reference;
    if failure.is("BUILD_RUNNING") {
        failure.advising(format!(
            "`cooper image build {image} --attach`, `cooper image cancel {image}`"
        ))
    } else if failure.is("NOTHING_SAVED") {
        failure.advising(format!(
            "`cooper image edit {image}`, `cooper image save {image} -f Dockerfile`"
        ))
    } else if failure.is("STALE_REVISION") {
        failure.advising(format!("`cooper image diff {image}`"))
    } else if failure.is("NOT_PUBLISHED") {
        failure.advising(match version {
            Version::Primary => format!("`cooper image build {image}`"),
            Version::Tag(_) | Version::Digest(_) => format!("`cooper image tags {image}`"),
        })
    } else {
        failure
    }
}

pub(crate) fn detached(shell: &Shell, image: &str, build: &Build) -> Result<(), Failure> {
    shell
        .output
        .notice(format!("`cooper image logs -f {image} {}` follows it", build.id));
    shell.output.answer(build, &build.id, &build.id)
}

pub(crate) async fn follow(shell: &Shell, session: &Session, image: &str, build: Build) -> Result<(), Failure> {
    let ended = Following::new(shell, session, image, build).finish().await?;
    conclude(shell, session, image, &ended).await
}
