//! `cooper image save`: new revisions, and the flags that other commands share with it.

use super::{build::advise, diff::say_overtaken, lint};
use crate::{
    cli::{Pair, SaveArgs, SpecArgs},
    client::{Session, Shell, request_id},
    failure::{Exit, Failure},
    upload::{Source, read_text, upload},
};
use proto::editor::v1::{BuildSpec, ContextKind, GitSource, SaveSpecRequest, SaveSpecResponse, UploadedContext};
use std::{collections::BTreeMap, io::Read as _, path::Path};

/// How often a save begins again when somebody else was faster.
const ATTEMPTS: u32 = 8;

pub(crate) async fn save(shell: &Shell, args: SaveArgs) -> Result<(), Failure> {
    let prepared = Prepared::read(shell, &args.spec)?;
    let session = shell.session().await?;
    let image = session.locate(&args.image).await?;
    let saved = match Box::pin(prepared.save(shell, &session, &image, args.expect_revision)).await {
        Err(failure) => {
            say_overtaken(shell, &session, &image, args.expect_revision, &failure).await;
            return Err(advise(failure, &args.image));
        }
        Ok(saved) => saved,
    };
    answer(shell, &args.image.image, &saved)
}

pub(super) fn answer(shell: &Shell, image: &str, saved: &SaveSpecResponse) -> Result<(), Failure> {
    let revision = saved.revision;
    lint::say(shell, image, &saved.diagnostics);
    let sentence = if saved.created {
        format!("revision {revision} of {image} is saved: next, `cooper image build {image}`")
    } else {
        format!("nothing changed: {image} is still at revision {revision}")
    };
    shell.output.answer(saved, &revision.to_string(), &sentence)
}

/// The flags of a save, with everything read that they name.
pub(crate) struct Prepared<'a> {
    args: &'a SpecArgs,
    dockerfile: Option<String>,
    source: Option<Source>,
    /// What is not given goes, instead of staying.
    pub(crate) whole: bool,
}

impl<'a> Prepared<'a> {
    pub(crate) fn read(shell: &Shell, args: &'a SpecArgs) -> Result<Self, Failure> {
        let stdin = Path::new("-");
        if args.file.as_deref() == Some(stdin) && args.context.as_deref() == Some(stdin) {
            let sentence = "the Dockerfile and the files can't both come from stdin: give one of them as a file";
            return Err(Failure::new(Exit::Usage, sentence));
        }
        let source = args.context.as_deref().map(Source::of).transpose()?;
        let dockerfile = match (&args.file, &source) {
            (Some(file), _) => Some(read_dockerfile(file)?),
            (None, Some(source)) => {
                let found = source.dockerfile()?;
                if found.is_some() {
                    shell.output.notice("the Dockerfile is the one that is among the files");
                }
                found
            }
            (None, None) => None,
        };
        Ok(Self {
            args,
            dockerfile,
            source,
            whole: false,
        })
    }

    pub(crate) fn has_dockerfile(&self) -> bool {
        self.dockerfile.is_some()
    }

    /// Whether the server would take this as a first revision, and whether the files can be read: asked before an
    /// image is made for it.
    pub(crate) async fn check(&self, session: &Session) -> Result<(), Failure> {
        let draft = BuildSpec {
            // What the server begins with is right.
            dockerfile: "FROM scratch\n".to_owned(),
            ..BuildSpec::default()
        };
        let request = SaveSpecRequest {
            spec: Some(self.over(draft, None)?),
            note: self.args.note.clone().unwrap_or_default(),
            validate_only: true,
            ..SaveSpecRequest::default()
        };
        session
            .call(async || session.editor().save_spec(request.clone()).await)
            .await?;
        match &self.source {
            Some(source) => source.check().await,
            None => Ok(()),
        }
    }

    /// Saves over the current revision. Without an expectation it begins again when somebody else was faster.
    pub(crate) async fn save(
        &self,
        shell: &Shell,
        session: &Session,
        image: &str,
        expected: Option<u32>,
    ) -> Result<SaveSpecResponse, Failure> {
        let context = match &self.source {
            Some(source) => Some(upload(shell, session, image, source).await?),
            None => None,
        };
        let mut attempt = 1;
        loop {
            let current = session.revision(image, None).await?;
            let request = SaveSpecRequest {
                request_id: request_id(),
                image: image.to_owned(),
                spec: Some(self.over(current.spec.unwrap_or_default(), context.as_ref())?),
                note: self.args.note.clone().unwrap_or_default(),
                expected_revision: Some(expected.unwrap_or(current.number)),
                validate_only: false,
            };
            match session
                .change(async || session.editor().save_spec(request.clone()).await)
                .await
            {
                Err(failure) if failure.is("STALE_REVISION") && expected.is_none() && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    /// A spec with what the flags change.
    fn over(&self, mut spec: BuildSpec, context: Option<&UploadedContext>) -> Result<BuildSpec, Failure> {
        let args = self.args;
        if self.whole {
            spec = BuildSpec {
                dockerfile: spec.dockerfile,
                git: spec.git,
                context_kind: spec.context_kind,
                ..BuildSpec::default()
            };
        }
        if let Some(dockerfile) = &self.dockerfile {
            spec.dockerfile.clone_from(dockerfile);
        }
        if args.no_context {
            spec.context = None;
        }
        if let Some(context) = context {
            spec.context = Some(context.clone());
        }
        if let Some(url) = &args.git {
            spec.git = Some(GitSource {
                url: url.clone(),
                r#ref: args.git_ref.clone().unwrap_or_default(),
                directory: args.git_dir.clone().unwrap_or_default(),
            });
            spec.set_context_kind(ContextKind::GitRepository);
        } else if args.git_ref.is_some() || args.git_dir.is_some() {
            let Some(git) = &mut spec.git else {
                let sentence = "--ref and --dir are of a git repository, and this image has none: name it with --git";
                return Err(Failure::new(Exit::Usage, sentence));
            };
            if let Some(name) = &args.git_ref {
                git.r#ref.clone_from(name);
            }
            if let Some(directory) = &args.git_dir {
                git.directory.clone_from(directory);
            }
            spec.set_context_kind(ContextKind::GitRepository);
        } else if self.dockerfile.is_some() || context.is_some() || spec.context_kind() == ContextKind::Unspecified {
            spec.set_context_kind(ContextKind::LocalFolder);
        }
        change(&mut spec.build_args, &args.build_args, &args.remove_build_args);
        change(&mut spec.labels, &args.labels, &args.remove_labels);
        if let Some(target) = &args.target {
            spec.target.clone_from(target);
        }
        if !args.platforms.is_empty() {
            spec.platforms.clone_from(&args.platforms);
        }
        Ok(spec)
    }
}

fn change(known: &mut BTreeMap<String, String>, given: &[Pair], removed: &[String]) {
    for key in removed {
        known.remove(key);
    }
    known.extend(given.iter().map(|pair| (pair.key.clone(), pair.value.clone())));
}

pub(super) fn read_dockerfile(file: &Path) -> Result<String, Failure> {
    if file != Path::new("-") {
        return read_text(file);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(Exit::Invalid, format!("the Dockerfile on stdin can't be read: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> BuildSpec {
        BuildSpec {
            context_kind: ContextKind::GitRepository.into(),
            dockerfile: "FROM old\n".to_owned(),
            git: Some(GitSource::default()),
            build_args: [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())].into(),
            ..BuildSpec::default()
        }
    }

    fn prepared<'a>(args: &'a SpecArgs, dockerfile: Option<&str>) -> Prepared<'a> {
        Prepared {
            args,
            dockerfile: dockerfile.map(str::to_owned),
            source: None,
            whole: false,
        }
    }

    fn over(args: &SpecArgs, dockerfile: Option<&str>) -> BuildSpec {
        let prepared = prepared(args, dockerfile);
        prepared.over(spec(), None).unwrap()
    }

    // covers R24, R25, R26
    #[test]
    fn what_is_given_changes_and_the_rest_stays() {
        let args = SpecArgs {
            build_args: vec!["B=3".parse().unwrap(), "C=4".parse().unwrap()],
            remove_build_args: vec!["A".to_owned()],
            ..SpecArgs::default()
        };
        let changed = over(&args, None);
        assert_eq!(
            changed.build_args,
            [("B".to_owned(), "3".to_owned()), ("C".to_owned(), "4".to_owned())].into()
        );
        assert_eq!(changed.context_kind(), ContextKind::GitRepository);
        assert_eq!(changed.dockerfile, "FROM old\n");
    }

    // covers R24
    #[test]
    fn a_dockerfile_switches_to_the_local_folder_and_keeps_the_repository() {
        let changed = over(&SpecArgs::default(), Some("FROM new\n"));
        assert_eq!(changed.context_kind(), ContextKind::LocalFolder);
        assert_eq!(
            (changed.dockerfile.as_str(), changed.git),
            ("FROM new\n", Some(GitSource::default()))
        );
    }

    // covers R35, R36
    #[test]
    fn a_repository_switches_to_git_and_keeps_the_dockerfile() {
        let args = SpecArgs {
            git: Some("https://example.org/a.git".to_owned()),
            git_dir: Some("docker".to_owned()),
            ..SpecArgs::default()
        };
        let changed = over(&args, None);
        assert_eq!(changed.context_kind(), ContextKind::GitRepository);
        assert_eq!(changed.git.unwrap().directory, "docker");
        assert_eq!(changed.dockerfile, "FROM old\n");

        let only_directory = SpecArgs {
            git_dir: Some("docker".to_owned()),
            ..SpecArgs::default()
        };
        let saved = GitSource {
            url: "https://example.org/a.git".to_owned(),
            r#ref: "v1".to_owned(),
            ..GitSource::default()
        };
        let before = BuildSpec {
            git: Some(saved.clone()),
            ..spec()
        };
        let prepared = prepared(&only_directory, None);
        let directory = "docker".to_owned();
        assert_eq!(
            prepared.over(before, None).unwrap().git,
            Some(GitSource { directory, ..saved })
        );
        let refused = prepared.over(BuildSpec::default(), None).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
    }
}
