//! What this user's `cooper` remembers about one server between invocations: a token, and how far it has seen its log.
//!
//! Forgetting all of it costs a login and nothing else.

use super::Server;
use nix::fcntl::{Flock, FlockArg};
use std::{
    convert::Infallible,
    env, fs,
    io::{self, Read as _, Seek as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often a server that runs says so.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(5);

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

    /// What a command keeps for the next one, by name.
    pub(crate) fn kept(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    pub(crate) fn keep(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        service::auth::write_private(&self.folder.join(name), text.as_bytes())
    }

    /// Where that lies, for who wants to forget it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The data folder of a server on this machine.
    fn announced(&self) -> Option<PathBuf> {
        read_word(&self.folder.join("data")).map(PathBuf::from)
    }

    /// Whether the server of this machine is away for a moment only: its process lives, or did until just now.
    pub(crate) fn is_coming_back(&self) -> bool {
        let Some(data) = self.announced() else {
            return false;
        };
        let said = fs::metadata(self.folder.join("data")).and_then(|facts| facts.modified());
        let since = said.ok().and_then(|at| at.elapsed().ok());
        let process = read_word(&data.join("lock")).map(|process| Path::new("/proc").join(process));
        since.is_some_and(|since| since < ANNOUNCED_EVERY * 3) || process.is_some_and(|process| process.exists())
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

/// Where the server of this machine may keep its data: as it announced, or as configured here.
pub(crate) fn data_folders(home: Option<&Home>) -> impl Iterator<Item = PathBuf> {
    let announced = home.and_then(Home::announced);
    let configured = service::Config::load().ok().map(|config| config.data);
    [announced, configured].into_iter().flatten()
}

/// The token that `cooper up` made for this machine's user, in its data folder.
pub(crate) fn local_token(home: Option<&Home>) -> Option<String> {
    data_folders(home).find_map(|folder| read_word(&folder.join("local.token")))
}

/// Lets this user's `cooper` find the data folder, and with it the token, of a server on this machine from any directory.
/// It is taken back at the end, so that servers that come and go leave nothing behind.
pub(crate) struct Announcement {
    home: Option<Home>,
    data: PathBuf,
}

impl Announcement {
    pub(crate) fn new(address: SocketAddr, data: &Path) -> Self {
        let server = Server::parse(&address.to_string()).ok();
        let announcement = Self {
            home: server.as_ref().and_then(Home::of),
            data: data.to_owned(),
        };
        announcement.say();
        announcement
    }

    /// Says so again and again: of a word from long ago nobody hopes that the server comes back.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(ANNOUNCED_EVERY).await;
            self.say();
        }
    }

    fn say(&self) {
        let Some(home) = &self.home else { return };
        let word = self.data.as_os_str().as_encoded_bytes();
        let said = fs::create_dir_all(&home.folder).and_then(|()| fs::write(home.folder.join("data"), word));
        if let Err(error) = said {
            tracing::debug!("only commands in this directory find the local token: {error}");
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // It may be gone by now, and a folder with something else in it stays.
            let _ = fs::remove_file(home.folder.join("data")).and_then(|()| fs::remove_dir(&home.folder));
        }
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
    fn announced(folder: &Path, data: &Path) -> (Home, Announcement) {
        let home = Home::in_folder(folder, &server("http://127.0.0.1:7070"));
        let announcement = Announcement {
            home: Some(home.clone()),
            data: data.to_owned(),
        };
        announcement.say();
        (home, announcement)
    }

    #[test]
    fn what_the_server_announced_goes_before_what_is_configured_here() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (home, announcement) = announced(folder.path(), data.path());
        assert_eq!(data_folders(Some(&home)).next().unwrap(), data.path());
        assert_eq!(data_folders(Some(&home)).count(), 2);
        drop(announcement);
        assert_eq!(data_folders(Some(&home)).count(), 1);
        assert!(!home.folder.exists());
    }

    #[test]
    fn a_server_comes_back_that_lives_or_did_until_just_now() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (home, announcement) = announced(folder.path(), data.path());
        assert!(home.is_coming_back());

        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let word = fs::File::options().write(true).open(home.folder.join("data")).unwrap();
        word.set_modified(long_ago).unwrap();
        assert!(!home.is_coming_back());
        fs::write(data.path().join("lock"), std::process::id().to_string()).unwrap();
        assert!(home.is_coming_back());

        drop(announcement);
        assert!(!home.is_coming_back());
    }
}
