//! The words of the command line.

mod access;
mod as_of;
mod check_git;
mod credentials;
mod history;
mod image;
mod spec;
mod token;
mod verify;

pub(crate) use access::{AclCommand, RightWord, ShareArgs, Who};
pub(crate) use as_of::AsOf;
pub(crate) use check_git::{CheckGitArgs, GitLogin};
pub(crate) use credentials::{CredentialArgs, SecretFrom};
pub(crate) use history::{AuditArgs, HistoryArgs};
pub(crate) use image::{
    BuildArgs, CreateArgs, ImageCommand, LintArgs, LogsArgs, LsArgs, Newest, OfBuild, RebuildArgs, SaveArgs,
};
pub(crate) use spec::{Pair, SpecArgs};
pub(crate) use token::{KeyFolder, TokenCommand};
pub(crate) use verify::VerifyArgs;

use crate::{output::Format, reference::Reference, up};
use clap::{Args, Parser, Subcommand, ValueEnum};
use proto::catalog::v1::Role;
use std::path::PathBuf;

const FIRST_STEPS: &str = "\
First steps:
  cooper workspace create team              a workspace, in which you are an owner
  cooper build -t tool .                    an image from the Dockerfile of this directory
  cooper image ls                           the images, and whether they are built
  cooper resolve tool                       the exact reference for `docker run`

An IMAGE is a name (team/tool), an address (image:team/tool:1.2), a name with a digest, or
an id (img_...).
Exit codes: 0 done, 1 the build or the proof failed, 2 wrong usage, 65 invalid, 69 server not reachable,
72 not found, 73 exists already, 75 not now, 77 not allowed, 124 time-out, 130 interrupted.";

/// Cooperage: builds, keeps and publishes container images.
#[derive(Debug, Parser)]
#[command(name = "cooper", version, after_help = FIRST_STEPS, max_term_width = 120)]
#[command(propagate_version = false, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The server to talk to.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "COOPERAGE_SERVER",
        default_value = "http://127.0.0.1:7070"
    )]
    #[arg(hide_env_values = true)]
    pub(crate) server: String,
    /// The workspace, by name or id; not needed while you are in only one.
    #[arg(
        long,
        global = true,
        value_name = "W",
        env = "COOPERAGE_WORKSPACE",
        hide_env_values = true
    )]
    pub(crate) workspace: Option<String>,
    /// Write for people, or as JSON for programs: answers to stdout, an error as one object to stderr.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Write only ids and names.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Write without colours, as NO_COLOR does.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole platform here, with a log and a registry of its own.
    Up(up::Options),
    /// Build a directory into an image, which is created if it is not there yet.
    Build(Box<BuildDirectory>),
    /// Make, change, build and read images.
    #[command(subcommand)]
    Image(Box<ImageCommand>),
    /// Make workspaces, and say who is in them.
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Share an image with a user, a workspace or everyone.
    Share(ShareArgs),
    /// Say whom an image is shared with.
    #[command(subcommand)]
    Acl(AclCommand),
    /// Write the exact reference by digest that nodes pull.
    Resolve(OneImage),
    /// Tell what happened to an image, newest first.
    History(HistoryArgs),
    /// Prove that nothing of the history was changed since it was signed.
    Verify(VerifyArgs),
    /// Tell what happened on the platform, as far as you may see it, newest first.
    Audit(AuditArgs),
    /// Tell what happens, as it happens.
    Events(EventsArgs),
    /// Keep a token for the server.
    Login(LoginArgs),
    /// Forget the token for the server.
    Logout,
    /// Tell who you are to the server.
    Whoami,
    /// Make tokens and take them back, with a key on this machine.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Operate the platform.
    #[command(subcommand)]
    Admin(AdminCommand),
}

#[derive(Debug, Args)]
pub(crate) struct OneImage {
    /// By name, address or id.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
}

#[derive(Debug, Args)]
pub(crate) struct BuildDirectory {
    /// The image's name, as in NAME or NAME:TAG; each further one of the same name is another tag.
    #[arg(short, long = "tag", value_name = "NAME", required = true)]
    pub(crate) tags: Vec<Reference>,
    /// The Dockerfile; `-` reads it from stdin [default: DIR/Dockerfile].
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A name=value that the Dockerfile's ARG takes; K alone takes the value of your variable K.
    #[arg(long = "build-arg", value_name = "K=V")]
    pub(crate) build_args: Vec<Pair>,
    /// A label of the image.
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<Pair>,
    /// The stage to build.
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// What to build for, as in linux/amd64.
    #[arg(long = "platform", value_name = "OS/ARCH")]
    pub(crate) platforms: Vec<String>,
    /// Run every step anew.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Fetch base images even if the engine has them.
    #[arg(long)]
    pub(crate) pull: bool,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// Say which build it is, and do not wait for it.
    #[arg(long)]
    pub(crate) detach: bool,
    /// A directory, a tar file, `-` for a tar on stdin, or the address of a git repository.
    #[arg(value_name = "DIR")]
    pub(crate) context: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Make a workspace, in which you are an owner.
    Create {
        /// 1 to 64 characters; you can't own two of one name.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List your workspaces.
    #[command(visible_alias = "list")]
    Ls,
    /// Show a workspace and its members.
    Show {
        /// By name or id [default: --workspace].
        #[arg(value_name = "WORKSPACE")]
        workspace: Option<String>,
    },
    /// Say who is in a workspace.
    #[command(subcommand)]
    Member(MemberCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Let a user in.
    Add {
        /// As their token calls them.
        #[arg(value_name = "USER")]
        user: String,
        /// What they may do.
        #[arg(value_name = "ROLE", value_enum, default_value_t = RoleWord::Participant)]
        role: RoleWord,
    },
    /// Give a member another role.
    Set {
        /// As their token calls them.
        #[arg(value_name = "USER")]
        user: String,
        /// What they may do from now on.
        #[arg(value_name = "ROLE", value_enum)]
        role: RoleWord,
    },
    /// Let a member go.
    Rm {
        /// As their token calls them.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// List the members.
    #[command(visible_alias = "list")]
    Ls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleWord {
    /// Sees and edits the images.
    Participant,
    /// Builds, deletes, and decides who is a member.
    Owner,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Participant => Self::Participant,
            RoleWord::Owner => Self::Owner,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Stay for what is to come.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only events of this image.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<Reference>,
    /// Only events of this type, as in image.published.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Begin at this position of the log [default: at the beginning; with --follow, now].
    #[arg(long, value_name = "POSITION")]
    pub(crate) from: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Read the token from stdin instead of asking for it.
    #[arg(long)]
    pub(crate) token_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Tell whether each service of the server works.
    Status,
    /// List what each process computed from the log, and how far it is.
    Views {
        #[command(subcommand)]
        command: Option<ViewsCommand>,
    },
    /// Make what services that run apart need to trust each other: accounts of the NATS server, a key for tokens.
    NatsConfig(NatsConfigArgs),
    /// Let the log and the build output grow to where COOPERAGE_NATS__LOG_BYTES_MAX and ..OUTPUT_BYTES_MAX say.
    NatsLimits,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ViewsCommand {
    /// List what each process computed from the log, and how far it is.
    Ls,
    /// Compute a view anew beside the live one, compare the two, and put the live one right if it differs.
    Rebuild {
        /// As `cooper admin views` lists it [default: each of them].
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NatsConfigArgs {
    /// Where to write it. Secrets that are there stay as they are.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Make all secrets anew. Whoever has the old ones is let in no more.
    #[arg(long)]
    pub(crate) force: bool,
    /// Give what services read to the user with this number, as which they run. Takes root.
    #[arg(long, value_name = "UID")]
    pub(crate) owner: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_words_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_word_has_help() {
        fn walk(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.get_about().is_none() {
                silent.push(path.clone());
            }
            for word in command.get_arguments().filter(|word| word.get_help().is_none()) {
                silent.push(format!("{path} {}", word.get_id()));
            }
            for below in command.get_subcommands() {
                walk(below, &path, silent);
            }
        }
        let mut silent = Vec::new();
        walk(&Cli::command(), "", &mut silent);
        assert_eq!(silent, [""; 0]);
    }

    #[test]
    fn global_words_stand_anywhere() {
        for words in [
            ["cooper", "--output", "json", "image", "ls", "-q"],
            ["cooper", "image", "-q", "ls", "--output", "json"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert!(cli.global.quiet && cli.global.output == Format::Json);
        }
    }

    #[test]
    fn wrong_usage_ends_with_two() {
        for words in [
            &["cooper", "image", "shwo", "tool"][..],
            &["cooper"],
            &["cooper", "image", "show", "image:"],
        ] {
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }
}
