//! `cooper image check-git`, and how a command gets what opens a private repository.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct CheckGitArgs {
    /// URL, URL#REF:DIR, or a forge's /tree/REF/DIR address.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// A branch, a tag or a commit [default: the repository's own].
    #[arg(long = "ref", value_name = "R", default_value = "", hide_default_value = true)]
    pub(crate) reference: String,
    /// Only directories at or below this one.
    #[arg(long = "dir", value_name = "D", default_value = "", hide_default_value = true)]
    pub(crate) directory: String,
    #[command(flatten)]
    pub(crate) login: GitLogin,
}

/// Never as a word of the command line, which other processes can read.
#[derive(Debug, Default, Args)]
pub(crate) struct GitLogin {
    /// Read a token for the repository from stdin; it is used once.
    #[arg(long = "git-token-stdin")]
    pub(crate) token_stdin: bool,
    /// The private key for a repository over ssh; it is used once.
    #[arg(long = "git-ssh-key", value_name = "FILE", conflicts_with = "token_stdin")]
    pub(crate) ssh_key: Option<PathBuf>,
}
