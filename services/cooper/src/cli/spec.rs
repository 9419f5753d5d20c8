//! What is built: the flags that `image create`, `image save` and `build` share.

use clap::Args;
use std::{path::PathBuf, str::FromStr};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What is built")]
pub(crate) struct SpecArgs {
    /// The Dockerfile; `-` reads it from stdin [default with --context: DIR/Dockerfile].
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Attach the files of a directory, of a tar file, or of a tar on stdin (`-`).
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    pub(crate) context: Option<PathBuf>,
    /// Detach the attached files.
    #[arg(long, conflicts_with_all = ["context", "git"])]
    pub(crate) no_context: bool,
    /// Build from a git repository: URL, URL#REF:DIR, or a forge's /tree/REF/DIR address.
    #[arg(long, value_name = "URL")]
    pub(crate) git: Option<String>,
    /// A branch, a tag or a commit [default: the repository's own]. Without --git, of the repository that is saved.
    #[arg(long = "ref", value_name = "R", conflicts_with = "context")]
    pub(crate) git_ref: Option<String>,
    /// The directory in the repository that has the Dockerfile [default: its root]; like --ref.
    #[arg(long = "dir", value_name = "D", conflicts_with = "context")]
    pub(crate) git_dir: Option<String>,
    /// A name=value that the Dockerfile's ARG takes; K alone takes the value of your variable K.
    #[arg(long = "build-arg", value_name = "K=V")]
    pub(crate) build_args: Vec<Pair>,
    /// Forget a build argument.
    #[arg(long = "remove-build-arg", value_name = "K")]
    pub(crate) remove_build_args: Vec<String>,
    /// A label of the built image.
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<Pair>,
    /// Forget a label.
    #[arg(long = "remove-label", value_name = "K")]
    pub(crate) remove_labels: Vec<String>,
    /// The stage to build; empty for the last.
    #[arg(long, value_name = "S")]
    pub(crate) target: Option<String>,
    /// What to build for, as in linux/amd64; replaces what was there.
    #[arg(long = "platform", value_name = "P")]
    pub(crate) platforms: Vec<String>,
    /// Why: a note in the list of revisions.
    #[arg(short = 'm', long = "note", value_name = "NOTE")]
    pub(crate) note: Option<String>,
}

impl SpecArgs {
    /// Whether there is anything to save.
    pub(crate) fn is_empty(&self) -> bool {
        self.file.is_none()
            && self.context.is_none()
            && !self.no_context
            && self.git.is_none()
            && self.git_ref.is_none()
            && self.git_dir.is_none()
            && self.build_args.is_empty()
            && self.remove_build_args.is_empty()
            && self.labels.is_empty()
            && self.remove_labels.is_empty()
            && self.target.is_none()
            && self.platforms.is_empty()
    }
}

/// `K=V`, or `K` for the value of the variable of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum MalformedPair {
    #[error("expected NAME=VALUE")]
    Nameless,
    #[error("it has no value: write {0}=VALUE, or set the variable {0}")]
    Valueless(String),
}

impl FromStr for Pair {
    type Err = MalformedPair;

    fn from_str(text: &str) -> Result<Self, MalformedPair> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => (
                text,
                std::env::var(text).map_err(|_| MalformedPair::Valueless(text.to_owned()))?,
            ),
        };
        if key.is_empty() {
            return Err(MalformedPair::Nameless);
        }
        Ok(Self {
            key: key.to_owned(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_empty_and_have_equals_signs() {
        let pair = |key: &str, value: &str| {
            Ok(Pair {
                key: key.to_owned(),
                value: value.to_owned(),
            })
        };
        assert_eq!("A=b=c".parse::<Pair>(), pair("A", "b=c"));
        assert_eq!("A=".parse::<Pair>(), pair("A", ""));
        assert_eq!("=b".parse::<Pair>(), Err(MalformedPair::Nameless));
        let absent = "COOPERAGE_TEST_ABSENT";
        assert_eq!(absent.parse::<Pair>(), Err(MalformedPair::Valueless(absent.to_owned())));
    }
}
