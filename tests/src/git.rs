//! A git host on this machine: a real repository behind git's own http back end, and the ways a host can misbehave.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
    routing::any,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    sync::oneshot,
};
use tokio_util::io::ReaderStream;

/// Opens the private repository, with the user that forges take for any token.
pub const TOKEN: &str = "glpat-of-the-tests";

/// Ends with its value.
pub struct GitServer {
    directory: TempDir,
    address: SocketAddr,
    visits: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GitServer {
    /// Serves one empty repository.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let root = directory.path().to_path_buf();
        // a thread of its own, so that blocking tests can use it, too
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = visits.clone();
        let thread = thread::spawn(move || serve(listener, Host { root, visits: counted }, stopped));
        let server = Self {
            directory,
            address,
            visits,
            stop: Some(stop),
            thread: Some(thread),
        };
        fs::create_dir(server.repository()).expect("a folder");
        server.git(&["init", "--quiet", "--initial-branch=main"]);
        server
    }

    pub fn url(&self) -> String {
        self.at("repository")
    }

    /// The same repository, for whoever has [`TOKEN`].
    pub fn private_url(&self) -> String {
        self.at("private/repository")
    }

    /// How often somebody came to the private one.
    pub fn private_visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// Answers with a redirect to the same repository on the same host, as some forges do.
    pub fn moved_url(&self) -> String {
        self.at("moved/repository")
    }

    /// Answers with a redirect to the same repository under another host name.
    pub fn redirecting_url(&self) -> String {
        self.at("elsewhere/repository")
    }

    /// Takes the request and never answers.
    pub fn silent_url(&self) -> String {
        self.at("silent/repository")
    }

    /// Answers one byte at a time, for ever.
    pub fn dripping_url(&self) -> String {
        self.at("drip/repository")
    }

    /// A web page.
    pub fn page_url(&self) -> String {
        self.at("page/repository")
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Where files can be put that `commit` then takes: links, executables.
    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    /// Writes the files, commits all that is there, and answers the commit's id.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.repository().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the repository: `git.git(&["tag", "v1"])`.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = git(&self.repository()).args(arguments).output().expect("git runs");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Without the configuration of whoever runs the tests.
fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    for (name, value) in [
        ("NAME", "tester"),
        ("EMAIL", "tester@example.org"),
        ("DATE", "2024-01-02T03:04:05Z"),
    ] {
        command
            .env(format!("GIT_AUTHOR_{name}"), value)
            .env(format!("GIT_COMMITTER_{name}"), value);
    }
    command
}

#[derive(Clone)]
struct Host {
    root: PathBuf,
    visits: Arc<AtomicUsize>,
}

fn serve(listener: TcpListener, host: Host, stopped: oneshot::Receiver<()>) {
    let app = Router::new()
        .route("/private/{*path}", any(private))
        .route("/moved/{*path}", any(moved))
        .route("/elsewhere/{*path}", any(redirect))
        .route("/silent/{*path}", any(std::future::pending::<()>))
        .route("/drip/{*path}", any(drip))
        .route("/page/{*path}", any(|| async { "<html>" }))
        .fallback(backend)
        .with_state(host);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        // not gracefully: silent requests never end
        tokio::select! {
            served = async { axum::serve(listener, app).await } => served.expect("a server"),
            _ = stopped => {}
        }
    });
}

async fn private(State(host): State<Host>, request: Request) -> Response<Body> {
    host.visits.fetch_add(1, Ordering::Relaxed);
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")));
    let given = request.headers().get(header::AUTHORIZATION);
    if given.is_none_or(|given| given != &expected) {
        let challenge = ("www-authenticate", "Basic realm=\"git\"".to_owned());
        return answer(StatusCode::UNAUTHORIZED, &[challenge], Body::empty());
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let uri = path.trim_start_matches("/private").parse().expect("a path");
    let (mut parts, body) = request.into_parts();
    parts.uri = uri;
    backend(State(host), Request::from_parts(parts, body)).await
}

async fn moved(request: Request) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let location = path.trim_start_matches("/moved").to_owned();
    answer(StatusCode::MOVED_PERMANENTLY, &[("location", location)], Body::empty())
}

async fn redirect(request: Request) -> Response<Body> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str())
        .trim_start_matches("/elsewhere");
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let location = format!("http://{}{path}", host.replace("127.0.0.1", "localhost"));
    answer(StatusCode::FOUND, &[("location", location)], Body::empty())
}

async fn drip() -> Response<Body> {
    // the length of a long line, and then the line, too slowly to ever end
    let bytes = stream::unfold("fff0", |bytes| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, io::Error>(Bytes::from_static(bytes.as_bytes())), "0"))
    });
    let kind = "application/x-git-upload-pack-advertisement".to_owned();
    answer(StatusCode::OK, &[("content-type", kind)], Body::from_stream(bytes))
}

/// CGI, as far as `git http-backend` needs it.
async fn backend(State(host): State<Host>, request: Request) -> Response<Body> {
    let root = host.root;
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut command = tokio::process::Command::from(git(&root));
    let mut child = command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("git runs");
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a request");
    let mut stdin = child.stdin.take().expect("a pipe");
    // one that does not want the body closes the pipe
    let _ = stdin.write_all(&body).await;
    drop(stdin);
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut headers = Vec::new();
    let mut status = None;
    loop {
        let mut line = String::new();
        output.read_line(&mut line).await.expect("the headers");
        match line.trim_end().split_once(": ") {
            Some(("Status", value)) => status = value[..3].parse().ok(),
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    // the process ends with its answer, or with whoever stops reading it
    let body = ReaderStream::new(output).map(move |bytes| {
        let _ = &child;
        bytes
    });
    let headers: Vec<(&str, String)> = headers.iter().map(|(name, value)| (&**name, value.clone())).collect();
    answer(status.unwrap_or(StatusCode::OK), &headers, Body::from_stream(body))
}

fn answer(status: StatusCode, headers: &[(&str, String)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).expect("a header"));
    }
    response
}

#[cfg(test)]
mod tests;
