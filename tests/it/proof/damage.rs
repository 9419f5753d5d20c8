//! A log on a real server, changed behind its back: by publishing it again into a new stream, and in its files.

use async_nats::jetstream::Context;
use bytes::Bytes;
use eventlog::{Append, EventLog as _, LogError, RawEntry, StreamId, Which};
use futures::{TryStreamExt as _, future::try_join_all};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tests::NatsServer;
use transparency::{Audit, Checkpoint, Hash, SigningKey, Wrong, leaf};

const ENTRIES: u64 = 60;

async fn filled(server: &NatsServer) -> Vec<RawEntry> {
    let log = server.connect("catalog").await.unwrap().log().await.unwrap();
    for n in 0..ENTRIES {
        let stream = StreamId::new("image", format!("img_{}", n % 5));
        let append = Append {
            expected: log.version(&stream).await.unwrap(),
            stream,
            bytes: Bytes::from(format!("entry {n} {}", "x".repeat(usize::try_from(n).unwrap()))),
        };
        log.append(vec![append]).await.unwrap();
    }
    stored(server).await
}

async fn stored(server: &NatsServer) -> Vec<RawEntry> {
    let log = server.connect("catalog").await.unwrap().log().await.unwrap();
    log.stored(Which::All).await.unwrap().try_collect().await.unwrap()
}

fn leaves(entries: &[RawEntry]) -> Vec<Hash> {
    entries.iter().map(|entry| leaf(&entry.stream, &entry.bytes)).collect()
}

fn signed(entries: &[RawEntry]) -> Vec<Checkpoint> {
    let key = SigningKey::from_seed(&[1; 32]);
    let mut tree = transparency::Frontier::default();
    let mut checkpoints = Vec::new();
    for leaf in leaves(entries) {
        tree.push(leaf);
        if tree.size() % 25 == 0 || tree.size() == ENTRIES {
            checkpoints.push(key.sign(tree.size(), tree.root(), jiff::Timestamp::UNIX_EPOCH));
        }
    }
    checkpoints
}

fn audit(entries: &[RawEntry], checkpoints: &[Checkpoint]) -> Result<(), Box<Wrong>> {
    let mut audit = Audit::new(checkpoints.iter().cloned());
    for entry in entries {
        audit.entry(entry.position.0, &entry.stream, &entry.bytes)?;
    }
    audit.end().map(drop)
}

/// What the audit says, with the leaves that the service keeps.
fn first_wrong(entries: &[RawEntry], checkpoints: &[Checkpoint], kept: &[Hash]) -> Option<u64> {
    let wrong = audit(entries, checkpoints).err()?;
    let range = wrong.wanted().unwrap();
    wrong.locate(&kept[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()])
}

/// Makes the log again, of other entries.
async fn publish(root: &Context, server: &NatsServer, entries: &[(String, Bytes)]) {
    root.delete_stream("LOG").await.unwrap();
    server.connect("catalog").await.unwrap();
    let mut acks = Vec::new();
    for (stream, bytes) in entries {
        acks.push(root.publish(format!("log.{stream}"), bytes.clone()).await.unwrap());
    }
    try_join_all(acks.into_iter().map(IntoFuture::into_future))
        .await
        .unwrap();
}

// covers E11
#[tokio::test]
async fn a_log_that_is_published_again_with_a_change_is_found_and_the_position_named() {
    let server = NatsServer::with_operator().await.unwrap();
    let original = filled(&server).await;
    let (kept, checkpoints) = (leaves(&original), signed(&original));
    assert!(audit(&original, &checkpoints).is_ok());
    let root = server.operator().await.unwrap();
    let plain: Vec<(String, Bytes)> = original
        .iter()
        .map(|entry| (entry.stream.clone(), entry.bytes.clone()))
        .collect();
    publish(&root, &server, &plain).await;
    assert!(
        audit(&stored(&server).await, &checkpoints).is_ok(),
        "the same is the same"
    );
    for round in 0..40 {
        let mut changed = plain.clone();
        let at = rand::random_range(0..plain.len());
        match round % 5 {
            0 => {
                let mut bytes = changed[at].1.to_vec();
                let byte = rand::random_range(0..bytes.len());
                bytes[byte] ^= 1 << rand::random_range(0..8);
                changed[at].1 = bytes.into();
            }
            1 => drop(changed.remove(at)),
            2 => changed.insert(at, ("image.img_1".to_owned(), Bytes::from("never written"))),
            3 => {
                let other = (at + 1) % plain.len();
                changed.swap(at, other);
            }
            _ => changed.truncate(at),
        }
        let first = changed
            .iter()
            .zip(&plain)
            .take_while(|(one, other)| one == other)
            .count() as u64
            + 1;
        publish(&root, &server, &changed).await;
        let entries = stored(&server).await;
        assert_eq!(entries.len(), changed.len());
        assert_eq!(
            first_wrong(&entries, &checkpoints, &kept),
            Some(first),
            "round {round} at {at}"
        );
    }
}

fn blocks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(blocks(&path));
        } else if path.extension().is_some_and(|extension| extension == "blk")
            && path.components().any(|part| part.as_os_str() == "LOG")
        {
            found.push(path);
        }
    }
    found
}

// covers E11
#[tokio::test]
async fn whatever_is_damaged_in_the_files_of_a_log_is_found() {
    let mut server = NatsServer::start().await.unwrap();
    let original = filled(&server).await;
    let (kept, checkpoints) = (leaves(&original), signed(&original));
    server.stop().unwrap();
    let backup = TempDir::new().unwrap();
    NatsServer::copy_store(&server.store(), backup.path()).unwrap();
    for round in 0..24 {
        NatsServer::copy_store(backup.path(), &server.store()).unwrap();
        let block = blocks(&server.store()).pop().unwrap();
        let mut bytes = fs::read(&block).unwrap();
        // A server that lost its index reads the blocks again. One that has it does not start any more when the length
        // of a record is another, so there only texts are changed.
        let (is_cut, has_index) = (round % 3 == 2, round % 2 == 1);
        let at = if is_cut || !has_index {
            rand::random_range(0..bytes.len())
        } else {
            let text = format!("entry {} ", rand::random_range(0..ENTRIES));
            let is_there = |window: &[u8]| window == text.as_bytes();
            bytes.windows(text.len()).position(is_there).unwrap()
        };
        match round % 3 {
            0 => bytes[at] ^= 1 << rand::random_range(0..8),
            1 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = !*byte),
            _ => bytes.truncate(at),
        }
        fs::write(&block, bytes).unwrap();
        if !has_index {
            fs::remove_file(block.with_file_name("index.db")).unwrap();
        }
        server.restart().await.unwrap();
        let entries = stored(&server).await;
        let first = first_wrong(&entries, &checkpoints, &kept);
        let expected = original
            .iter()
            .zip(&entries)
            .take_while(|(one, other)| one == other)
            .count() as u64
            + 1;
        assert_eq!(first, Some(expected), "round {round} at {at}");
        if !is_cut && entries.last() == original.last() {
            // Whoever reads one thing of it can't see what is missing, and is told.
            let log = server.connect("catalog").await.unwrap().log().await.unwrap();
            let missing = original.iter().find(|entry| !entries.contains(entry)).unwrap();
            let (_, key) = missing.stream.split_once('.').unwrap();
            let read = async { log.stored(Which::Key(key)).await?.try_collect::<Vec<_>>().await };
            let refused = read.await.err();
            assert!(
                matches!(refused, Some(LogError::Incomplete { .. })),
                "{refused:?}, round {round} at {at}"
            );
        }
        server.stop().unwrap();
    }
}
