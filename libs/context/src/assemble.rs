//! Joins the editor's Dockerfile and the stored files to the archive that the engine gets, as it streams.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{
    DOCKERFILE,
    archive::{END, Writer},
};

/// Large, so that an upload is few frames.
const CHUNK: usize = 256 * 1024;

/// `stored` is what [`canonicalize`](super::canonicalize) wrote, or `tokio::io::empty()`.
pub fn assemble<R>(dockerfile: &str, stored: R) -> impl Stream<Item = io::Result<Bytes>> + Send + use<R>
where
    R: AsyncRead + Send,
{
    let mut head = Vec::with_capacity(dockerfile.len() + 2048);
    // into memory, which does not fail
    let written = Writer::new(&mut head).file(DOCKERFILE, 0o644, 0, dockerfile.len() as u64, dockerfile.as_bytes());
    stream::iter([written.map(|()| Bytes::from(head))])
        .chain(ReaderStream::with_capacity(stored, CHUNK))
        .chain(stream::iter([Ok(Bytes::from_static(&END))]))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{Limits, canonicalize};

    async fn names(dockerfile: &str, stored: &[u8]) -> Vec<(String, String)> {
        let chunks: Vec<_> = assemble(dockerfile, stored).collect().await;
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        entries.collect()
    }

    #[tokio::test]
    async fn the_dockerfile_comes_first_and_the_files_follow() {
        // covers R25
        let mut upload = Vec::new();
        let mut writer = Writer::new(&mut upload);
        writer.file(DOCKERFILE, 0o644, 0, 3, &b"old"[..]).unwrap();
        writer.file("a", 0o644, 0, 1, &b"1"[..]).unwrap();
        writer.finish().unwrap();
        let mut stored = Vec::new();
        canonicalize(&upload[..], &mut stored, &Limits::default()).unwrap();

        let expected = [
            ("Dockerfile".to_owned(), "FROM scratch\n".to_owned()),
            ("a".to_owned(), "1".to_owned()),
        ];
        assert_eq!(names("FROM scratch\n", &stored).await, expected);
        assert_eq!(names("FROM scratch\n", &[]).await, expected[..1]);
    }
}
