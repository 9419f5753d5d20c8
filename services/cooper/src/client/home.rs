//! What this user's `cooper` remembers about one server between invocations: a token, and how far it has seen its log.
//!
//! Forgetting all of it costs a login and nothing else.

use super::Server;
use nix::fcntl::{Flock, FlockArg};
use std::{
    env, fs,
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// `$XDG_CONFIG_HOME/cooperage/HOST:PORT`
#[derive(Debug, Clone)]
pub(crate) struct Home {
    folder: PathBuf,
}

impl Home {
    /// None on an account without a home.
    pub(crate) fn of(server: &Server) -> Option<Self> {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        Some(Self::in_folder(&base.join("cooperage"), server))
    }

    pub(super) fn in_folder(folder: &Path, server: &Server) -> Self {
        Self {
            folder: folder.join(server.key()),
        }
    }

    pub(crate) fn token(&self) -> Option<String> {
        read_word(&self.folder.join("token"))
    }

    pub(crate) fn keep_token(&self, token: &str) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        service::auth::write_private(&self.folder.join("token"), token.as_bytes())
    }

    /// Answers whether there was one.
    pub(crate) fn forget_token(&self) -> io::Result<bool> {
        match fs::remove_file(self.folder.join("token")) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The highest position of the server's log that any invocation has seen; 0 for none.
    pub(crate) fn position(&self) -> u64 {
        read_word(&self.folder.join("position"))
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }

    /// Remembers a position. It never goes back, also when several invocations write at once.
    pub(crate) fn saw(&self, position: u64) -> io::Result<()> {
        self.change_position(|known| known.max(position))
    }

    /// Begins again: the log that had these positions is gone.
    pub(crate) fn forget_position(&self) -> io::Result<()> {
        self.change_position(|_| 0)
    }

    fn change_position(&self, change: impl Fn(u64) -> u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join("position");
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| io::Error::from(error))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let known = text.trim().parse().ok();
        let position = change(known.unwrap_or_default());
        if known != Some(position) {
            // Readers take no lock. Written over and then cut, the file is a number at every moment.
            let digits = position.to_string();
            file.rewind()?;
            file.write_all(digits.as_bytes())?;
            file.set_len(digits.len() as u64)?;
        }
        Ok(())
    }
}

fn read_word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let word = text.trim();
    (!word.is_empty()).then(|| word.to_owned())
}

/// Where the server of this machine may keep its data: as configured here, or as it announced.
pub(crate) fn data_folders(home: Option<&Home>) -> impl Iterator<Item = PathBuf> {
    let configured = service::Config::load().ok().map(|config| config.data);
    let announced = home
        .and_then(|home| read_word(&home.folder.join("data")))
        .map(PathBuf::from);
    [configured, announced].into_iter().flatten()
}

/// The token that `cooper up` made for this machine's user, in its data folder.
pub(crate) fn local_token(home: Option<&Home>) -> Option<String> {
    data_folders(home).find_map(|folder| read_word(&folder.join("local.token")))
}

/// Lets this user's `cooper` find the data folder, and with it the token, of a server on this machine from any directory.
pub(crate) fn announce(address: std::net::SocketAddr, data: &Path) -> anyhow::Result<()> {
    let home = Server::parse(&address.to_string())
        .ok()
        .and_then(|server| Home::of(&server));
    if let Some(home) = home {
        fs::create_dir_all(&home.folder)?;
        fs::write(
            home.folder.join("data"),
            fs::canonicalize(data)?.as_os_str().as_encoded_bytes(),
        )?;
    }
    Ok(())
}

/// Takes back what [`announce`] said, so that servers that come and go leave nothing behind.
pub(crate) fn withdraw(address: std::net::SocketAddr) {
    let home = Server::parse(&address.to_string())
        .ok()
        .and_then(|server| Home::of(&server));
    if let Some(home) = home {
        // It may be gone by now, and a folder with something else in it stays.
        let _ = fs::remove_file(home.folder.join("data")).and_then(|()| fs::remove_dir(&home.folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn server(text: &str) -> Server {
        Server::parse(text).unwrap()
    }

    #[test]
    fn the_highest_position_is_remembered_per_server() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::in_folder(folder.path(), &server("http://127.0.0.1:7070"));
        assert_eq!(home.position(), 0);
        home.saw(8).unwrap();
        home.saw(12).unwrap();
        home.saw(9).unwrap();
        assert_eq!(home.position(), 12);

        let other = Home::in_folder(folder.path(), &server("http://127.0.0.1:7080"));
        assert_eq!(other.position(), 0);
        let same = Home::in_folder(folder.path(), &server("127.0.0.1:7070/"));
        assert_eq!(same.position(), 12);

        home.forget_position().unwrap();
        assert_eq!(same.position(), 0);
    }

    #[test]
    fn of_many_writers_at_once_the_highest_position_stays() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::in_folder(folder.path(), &server("http://127.0.0.1:7070"));
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let home = &home;
                scope.spawn(move || (0..50).for_each(|turn| home.saw(turn * 8 + writer).unwrap()));
            }
        });
        assert_eq!(home.position(), 49 * 8 + 7);
    }

    #[test]
    fn a_file_of_nonsense_is_no_position() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::in_folder(folder.path(), &server("http://127.0.0.1:7070"));
        home.saw(3).unwrap();
        fs::write(home.folder.join("position"), "\u{0}\u{0}nonsense").unwrap();
        assert_eq!(home.position(), 0);
        home.saw(4).unwrap();
        assert_eq!(home.position(), 4);
    }

    #[test]
    fn a_token_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::in_folder(folder.path(), &server("http://127.0.0.1:7070"));
        assert_eq!(home.token(), None);
        home.keep_token("secret").unwrap();
        assert_eq!(home.token().as_deref(), Some("secret"));
        let mode = fs::metadata(home.folder.join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(home.forget_token().unwrap());
        assert!(!home.forget_token().unwrap());
    }
}
