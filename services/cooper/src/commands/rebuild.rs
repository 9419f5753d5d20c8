//! `cooper image rebuild`: builds once more what a build was made of, and tells whether the same came out.

use super::{
    build::{advise, get},
    credentials,
};
use crate::{
    cli::RebuildArgs,
    client::{Shell, request_id},
    failure::{Exit, Failure},
    follow::{Following, conclude},
    output::{Tone, plural},
};
use proto::{
    builder::v1::{Build, RepeatBuildRequest},
    catalog::v1::BuildOutcome,
};
use std::collections::BTreeMap;

// covers E12
pub(crate) async fn rebuild(shell: &Shell, args: RebuildArgs) -> Result<(), Failure> {
    let credentials = credentials::read(&args.credentials)?;
    let session = shell.session().await?;
    let image = session.locate(&args.of.image).await?;
    let before = get(&session, &image, args.of.id).await?;
    let request = RepeatBuildRequest {
        request_id: request_id(),
        image: image.clone(),
        build: before.id.clone(),
        credentials: Some(credentials),
    };
    let started = session
        .change(async || session.builds().repeat_build(request.clone()).await)
        .await
        .map_err(|failure| advise(failure, &args.of.image))?;
    let name = &args.of.image.image;
    let started = started.build.unwrap_or_default();
    let ended = Following::new(shell, &session, name, started).finish().await?;
    conclude(shell, &session, name, &ended).await?;
    if ended.outcome() == BuildOutcome::Succeeded && ended.digest == before.digest {
        shell
            .output
            .toned_notice(Tone::Good, format!("same digest as {}", before.id));
        return Ok(());
    }
    // Of a build that was just followed the steps may not be known yet.
    let now = get(&session, &image, ended.id).await?;
    let sentence = format!(
        "another digest than {}: {}",
        before.id,
        differences(&before, &now).join("; ")
    );
    Err(Failure::new(Exit::Failed, sentence))
}

fn differences(before: &Build, now: &Build) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |what: &str, before: &str, now: &str| {
        if before != now {
            let known = |text: &str| {
                if text.is_empty() {
                    "unknown".to_owned()
                } else {
                    text.to_owned()
                }
            };
            found.push(format!("{what} was {}, is {}", known(before), known(now)));
        }
    };
    differs("the commit", &before.commit, &now.commit);
    differs("the tree", &before.tree, &now.tree);
    differs("the engine", &before.engine_version, &now.engine_version);
    let digests = |build: &Build| -> BTreeMap<String, String> {
        // One that is pinned stands there with its digest only.
        let bases = build.bases.iter();
        bases
            .map(|base| (base.reference.clone(), base.digest.clone()))
            .collect()
    };
    let (old, new) = (digests(before), digests(now));
    for reference in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let of = |digests: &BTreeMap<String, String>| digests.get(reference).cloned().unwrap_or_default();
        differs(reference, &of(&old), &of(&new));
    }
    let again = now.steps.iter().filter(|step| !step.cached).count();
    if again > 0 {
        let steps = plural(i64::try_from(again).unwrap_or(i64::MAX), "step");
        let all = now.steps.len();
        found.push(format!(
            "{steps} of {all} ran again, and what they write has the time of now"
        ));
    }
    if found.is_empty() {
        found.push("nothing that is recorded differs".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::builder::v1::{BaseImage, BuildStep};

    fn build(digest: &str, cached: bool) -> Build {
        Build {
            commit: "c0ffee".to_owned(),
            engine_version: "28.5".to_owned(),
            bases: vec![BaseImage {
                reference: "docker.io/library/debian:12".to_owned(),
                digest: digest.to_owned(),
            }],
            steps: vec![BuildStep {
                cached,
                ..BuildStep::default()
            }],
            ..Build::default()
        }
    }

    // covers E12
    #[test]
    fn what_differs_is_told() {
        let before = build("sha256:a", false);
        assert_eq!(
            differences(&before, &build("sha256:a", true)),
            ["nothing that is recorded differs"]
        );
        let mut now = build("sha256:b", false);
        now.commit.clear();
        assert_eq!(
            differences(&before, &now),
            [
                "the commit was c0ffee, is unknown",
                "docker.io/library/debian:12 was sha256:a, is sha256:b",
                "1 step of 1 ran again, and what they write has the time of now",
            ]
        );
    }
}
