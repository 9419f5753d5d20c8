//! Where the programs are that `cooper up` runs beside itself.

use crate::failure::{Exit, Failure};
use std::{
    env,
    ffi::OsStr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The first program of one of these names in the folder that COOPERAGE_TOOLS names, in `.tools/bin` of the project
/// that this program was built in, or in the PATH.
pub(super) fn find(names: &[&str], advice: &str) -> Result<PathBuf, Failure> {
    let built_in = env::current_exe().unwrap_or_default();
    let folders = env::var_os("COOPERAGE_TOOLS")
        .map(PathBuf::from)
        .into_iter()
        .chain(built_in.ancestors().map(|folder| folder.join(".tools/bin")))
        .chain(path());
    let found = folders
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|file| is_program(file));
    // Whole, because it is started in another directory.
    found.and_then(|file| std::path::absolute(file).ok()).ok_or_else(|| {
        let sentence = format!(
            "there is no {} here: {advice}, or name its folder in COOPERAGE_TOOLS",
            names[0]
        );
        Failure::new(Exit::Unavailable, sentence)
    })
}

/// A program of the machine.
pub(super) fn in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = Path::new(name.as_ref());
    path().map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.into_iter().chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}
