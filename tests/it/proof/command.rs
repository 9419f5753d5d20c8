//! `cooper verify`, as people type it.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    str,
};
use tests::{NatsServer, Platform, Shape};

/// What a command answered, as (exit code, stdout, stderr).
fn ends(command: &mut Command) -> (i32, String, String) {
    let ended = command.output().unwrap();
    let text = |bytes: &[u8]| str::from_utf8(bytes).unwrap().to_owned();
    (ended.status.code().unwrap(), text(&ended.stdout), text(&ended.stderr))
}

fn cooper(platform: &Platform, words: &[&str]) -> (i32, String, String) {
    ends(
        platform
            .cooper("ada")
            .unwrap()
            .args(["--workspace", "vision"])
            .args(words),
    )
}

fn done(platform: &Platform, words: &[&str]) -> String {
    let (code, said, complaint) = cooper(platform, words);
    assert_eq!(code, 0, "{words:?}: {complaint}");
    said
}

/// As an administrator.
fn whole(platform: &Platform, words: &[&str]) -> (i32, String, String) {
    let data = platform.data();
    let data = data.to_str().unwrap();
    let token = done(
        platform,
        &["token", "create", "--user", "root", "--admin", "--data", data],
    );
    let mut command = platform.cooper("root").unwrap();
    command.env("COOPERAGE_TOKEN", token.trim());
    ends(command.arg("verify").args(words))
}

fn offline(platform: &Platform, data: &Path, words: &[&str]) -> (i32, String, String) {
    let data = data.to_str().unwrap();
    cooper(platform, &[&["verify", "--data", data], words].concat())
}

/// A copy of the data folder, for who damages it.
fn copy(platform: &Platform, name: &str) -> PathBuf {
    let copy = platform.data().with_file_name(name);
    NatsServer::copy_store(&platform.data(), &copy).unwrap();
    copy
}

fn block(data: &Path) -> PathBuf {
    let streams = fs::read_dir(data.join("nats/jetstream"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut blocks = streams.map(|account| account.join("streams/LOG/msgs/1.blk"));
    blocks.find(|block| block.exists()).unwrap()
}

/// A platform with an image, whose every entry is signed, and the file elsewhere that the checkpoints go to.
async fn given(folder: &Path) -> (Platform, String) {
    let elsewhere = folder.join("elsewhere").to_str().unwrap().to_owned();
    let settings = [
        ("COOPERAGE_CATALOG__CHECKPOINT_ENTRIES", "1"),
        ("COOPERAGE_CATALOG__CHECKPOINTS_TO", elsewhere.as_str()),
    ];
    let platform = Platform::with(Shape::One, &settings).await.unwrap();
    done(&platform, &["workspace", "create", "vision"]);
    done(&platform, &["image", "create", "vision/tool"]);
    (platform, elsewhere)
}

fn describe(platform: &Platform, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        done(platform, &["image", "describe", "vision/tool", &text]);
    }
}

// covers E11
#[tokio::test]
async fn a_history_is_verified_and_what_was_done_to_its_files_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (mut platform, held) = given(folder.path()).await;
    let held = held.as_str();
    describe(&platform, (0..12).map(|n| format!("the text of {n}")));

    // A member, with what was seen before.
    let mut bob = platform.cooper("bob").unwrap();
    done(&platform, &["workspace", "member", "add", "bob"]);
    let (code, said, notice) = ends(bob.args(["verify", "vision/tool"]));
    assert_eq!(code, 0, "{notice}");
    assert!(
        said.starts_with("verified ") && said.contains(" of the image against the checkpoint of "),
        "{said}"
    );
    assert!(notice.contains("which the server shows for the first time"), "{notice}");
    done(&platform, &["verify", "vision/tool"]);
    let (code, said, notice) = cooper(
        &platform,
        &["verify", "vision/tool", "--output", "json", "--checkpoint", held],
    );
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &answer["verified"], notice.as_str()),
        (0, &Value::Bool(true), "")
    );
    let (code, _, complaint) = cooper(&platform, &["verify"]);
    assert_eq!(code, 77);
    assert!(complaint.contains("only an administrator"), "{complaint}");

    // The whole log, of a server and of a folder.
    let (code, said, complaint) = whole(&platform, &["--checkpoint", held]);
    assert_eq!(code, 0, "{complaint}");
    assert!(said.starts_with("verified the log up to position "), "{said}");
    platform.stop().unwrap();
    let data = copy(&platform, "whole");
    let (code, said, complaint) = offline(&platform, &data, &["--checkpoint", held]);
    assert_eq!(code, 0, "{complaint}");
    assert!(said.starts_with("verified the log up to position "), "{said}");

    // In the middle of its text an entry is another.
    let data = copy(&platform, "damaged");
    let mut bytes = fs::read(block(&data)).unwrap();
    let at = bytes.windows(13).position(|window| window == b"the text of 7").unwrap();
    bytes[at] ^= 1;
    fs::write(block(&data), bytes).unwrap();
    let (code, _, complaint) = offline(&platform, &data, &["--checkpoint", held]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("error: the entry at position ") && complaint.contains(" is missing"),
        "{complaint}"
    );

    // Its end is cut off.
    let data = copy(&platform, "cut");
    let bytes = fs::read(block(&data)).unwrap();
    fs::write(block(&data), &bytes[..at]).unwrap();
    fs::remove_file(block(&data).with_file_name("index.db")).unwrap();
    let (code, said, complaint) = offline(&platform, &data, &["--output", "json", "--checkpoint", held]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &answer["verified"]), (1, &Value::Bool(false)));
    assert!(answer["position"].as_u64().unwrap() > 10, "{answer}");
    assert!(
        complaint.contains("the log ends at ") && complaint.contains(", before the checkpoint of "),
        "{complaint}"
    );
}

// covers E11
#[tokio::test]
async fn a_log_that_was_put_back_is_found_out_and_so_is_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let (mut platform, held) = given(folder.path()).await;
    done(&platform, &["verify", "vision/tool"]);
    platform.stop().unwrap();
    let early = copy(&platform, "early");
    platform.go_on().await.unwrap();
    describe(&platform, (0..12).map(|n| format!("the text of {n}")));
    done(&platform, &["verify", "vision/tool"]);
    platform.stop().unwrap();
    fs::remove_dir_all(platform.data().join("views")).unwrap();
    NatsServer::copy_store(&early.join("nats"), &platform.data().join("nats")).unwrap();
    platform.go_on().await.unwrap();
    let (code, _, complaint) = cooper(&platform, &["verify", "vision/tool"]);
    assert_eq!(code, 1, "{complaint}");
    assert!(
        complaint.contains("the log's newest checkpoint tells of "),
        "{complaint}"
    );
    // More than the log had before.
    describe(&platform, (0..36).map(|n| format!("another text of {n}")));
    let (code, _, complaint) = cooper(&platform, &["verify", "vision/tool"]);
    assert_eq!(code, 1, "{complaint}");
    assert!(complaint.contains(" does not go on from "), "{complaint}");
    let (code, _, complaint) = whole(&platform, &["--checkpoint", &held]);
    assert_eq!(code, 1, "{complaint}");
    assert!(
        complaint.contains("is not the one that the checkpoint of "),
        "{complaint}"
    );

    // Another key signs now.
    let _ = platform.stop();
    for file in ["keys/checkpoint.key", "keys/checkpoint.pub"] {
        fs::remove_file(platform.data().join(file)).unwrap();
    }
    platform.go_on().await.unwrap();
    let (code, _, complaint) = cooper(&platform, &["verify", "vision/tool"]);
    assert_eq!(code, 1, "{complaint}");
    assert!(complaint.contains("the server signs with the key "), "{complaint}");
}
