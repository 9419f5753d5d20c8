//! `cooper image ...`

use super::{CheckGitArgs, CredentialArgs, OneImage, Pair, SpecArgs};
use crate::reference::Reference;
use clap::{Args, Subcommand, ValueEnum};
use proto::catalog::v1::ImageStatus;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make an image; with a Dockerfile, files or a git repository its first revision is saved too.
    Create(Box<CreateArgs>),
    /// List images: the tiles.
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show an image: name, status, who changed and built it, what it is built from.
    Show(OneImage),
    /// Give an image another name.
    Rename {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// [REGISTRY/]PATH[:TAG], as for `image create`.
        #[arg(value_name = "NEW")]
        name: String,
    },
    /// Give an image another description.
    Describe {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// At most 4,096 characters.
        #[arg(value_name = "TEXT")]
        text: String,
    },
    /// Delete an image; its history stays, and without --purge what is in the registry.
    Delete {
        /// By name, address or id; with --purge, also of an image that was deleted without it.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// Remove all that is in the registry under this name, also what earlier images of the name left there, and
        /// give the name back.
        #[arg(long)]
        purge: bool,
    },
    /// Tell whether a name is free.
    Check {
        /// [REGISTRY/]PATH[:TAG], as for `image create`.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List the branches and tags of a git repository, and its directories that hold a Dockerfile.
    CheckGit(CheckGitArgs),

    /// Save a new revision: what is given changes, the rest stays.
    Save(Box<SaveArgs>),
    /// Edit the Dockerfile in $EDITOR; saves when it changed.
    Edit(OneImage),
    /// Tell what Docker would stop at, what is forbidden here, and what could be better.
    Lint(LintArgs),
    /// List the revisions, newest first.
    Revisions {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        #[command(flatten)]
        newest: Newest,
    },
    /// Write the Dockerfile.
    Dockerfile {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// Of this revision [default: the current one].
        #[arg(long, value_name = "N")]
        revision: Option<u32>,
    },
    /// Show what changed from revision A to revision B.
    Diff {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// [default: the one before B]
        #[arg(value_name = "A")]
        from: Option<u32>,
        /// [default: the current one]
        #[arg(value_name = "B")]
        to: Option<u32>,
    },
    /// Go back to an older revision, by saving it again.
    Restore {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// By its number.
        #[arg(value_name = "REVISION")]
        revision: u32,
        /// Only if this is the current revision.
        #[arg(long, value_name = "N")]
        expect_revision: Option<u32>,
    },

    /// Build the saved revision, follow the log, and write the reference by digest.
    Build(Box<BuildArgs>),
    /// The journal: list the builds, newest first.
    Builds {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        #[command(flatten)]
        newest: Newest,
    },
    /// Write the log of a build.
    Logs(LogsArgs),
    /// Build once more what a build was made of, and tell whether the same came out.
    Rebuild(Box<RebuildArgs>),
    /// Cancel a build.
    Cancel(OfBuild),
    /// Try a failed push again, without building.
    PushRetry(OfBuild),
    /// List the builds that wait and run.
    Queue,

    /// List the tags, one full reference each.
    Tags(OneImage),
    /// Show layers, default command, environment and the rest of the configuration.
    Inspect(OneImage),
    /// Write the digest.
    Digest(OneImage),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// [REGISTRY/]PATH[:TAG], lower case; unique on the whole platform.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What the image is for, at most 4,096 characters.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Of all workspaces, and what is shared with you.
    #[arg(long)]
    pub(crate) all_workspaces: bool,
    /// Only those of others that are shared with you.
    #[arg(long, conflicts_with_all = ["all_workspaces", "watch"])]
    pub(crate) shared: bool,
    /// Only those with this status; can be given several times.
    #[arg(long, value_enum)]
    pub(crate) status: Vec<StatusWord>,
    /// Only those whose name matches a regular expression.
    #[arg(long, value_name = "REGEX")]
    pub(crate) name: Option<regex::Regex>,
    /// Stay, and show every change.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusWord {
    Built,
    NotBuilt,
    Modified,
}

impl From<StatusWord> for ImageStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Built => Self::Built,
            StatusWord::NotBuilt => Self::NotBuilt,
            StatusWord::Modified => Self::Modified,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// By name, address or id.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
    /// Only if this is the current revision.
    #[arg(long, value_name = "N")]
    pub(crate) expect_revision: Option<u32>,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// What is saved; with -f, the file is read as this image's, with its build arguments.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<Reference>,
    /// A Dockerfile, saved or not; `-` reads it from stdin [default without IMAGE: ./Dockerfile].
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) file: Option<std::path::PathBuf>,
}

/// How much of a long list.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Newest {
    /// Only the N newest; 0 for all [default: 25, all with --output json and -q].
    #[arg(short = 'n', long = "last", value_name = "N")]
    pub(crate) last: Option<usize>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags are")]
pub(crate) struct BuildArgs {
    /// By name, address or id.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
    /// Only if this is the current revision.
    #[arg(long, value_name = "N")]
    pub(crate) expect_revision: Option<u32>,
    /// A tag to move besides the image's own.
    #[arg(short, long = "tag", value_name = "T")]
    pub(crate) tags: Vec<String>,
    /// Run every step anew.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Fetch base images even if the engine has them.
    #[arg(long)]
    pub(crate) pull: bool,
    /// A name=value for this build, over the saved ones.
    #[arg(long = "build-arg", value_name = "K=V")]
    pub(crate) args: Vec<Pair>,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// Only if the revision, the files, the arguments or a base image is another than in what is published.
    #[arg(long)]
    pub(crate) if_changed: bool,
    /// Say which build it is, and do not wait for it.
    #[arg(long, conflicts_with = "attach")]
    pub(crate) detach: bool,
    /// Follow the build that runs, if one does.
    #[arg(long)]
    pub(crate) attach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) of: OfBuild,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OfBuild {
    /// By name, address or id.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
    /// By its id, bld_... [default: the newest]
    #[arg(value_name = "BUILD", default_value = "", hide_default_value = true)]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) of: OfBuild,
    /// Stay until the build has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin at this byte.
    #[arg(long, value_name = "OFFSET", default_value_t = 0, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) from: i64,
}
