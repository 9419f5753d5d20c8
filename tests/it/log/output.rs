//! What builds print: one text, whoever wrote it and however often.

use eventlog::{Output, OutputEnd};
use futures::TryStreamExt as _;
use tests::NatsServer;

async fn text(output: &Output) -> String {
    let chunks: Vec<_> = output
        .read("bld_1", 0, false)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let mut text = Vec::new();
    for chunk in chunks {
        assert_eq!(chunk.offset, text.len() as u64);
        text.extend_from_slice(&chunk.text);
    }
    assert_eq!(output.length("bld_1").await.unwrap(), text.len() as u64);
    String::from_utf8(text).unwrap()
}

async fn write(output: &Output, at: OutputEnd, attempt: u32, text: &'static str) -> Option<OutputEnd> {
    output.write("bld_1", at, attempt, text.into()).await.unwrap()
}

// covers E2, R31
#[tokio::test]
async fn an_attempt_that_is_over_writes_nothing_into_the_next() {
    let server = NatsServer::start().await.unwrap();
    let output = server.connect("builder").await.unwrap().output();
    let first = write(&output, OutputEnd::default(), 1, "a").await.unwrap();
    let first = write(&output, first, 1, "b").await.unwrap();
    // The second begins without knowing where, and the first does not know that it does.
    let second = write(&output, OutputEnd::default(), 2, "c").await.unwrap();
    assert_eq!(write(&output, first, 1, "late").await, None);
    let second = write(&output, second, 2, "d").await.unwrap();
    assert_eq!(second.offset, 4);
    assert_eq!(text(&output).await, "abcd");
}

// covers E2, R31
#[tokio::test]
async fn what_is_written_again_stands_there_once() {
    let server = NatsServer::start().await.unwrap();
    let output = server.connect("builder").await.unwrap().output();
    // As if the answers had been lost.
    let one = write(&output, OutputEnd::default(), 1, "a\n").await.unwrap();
    assert_eq!(write(&output, OutputEnd::default(), 1, "a\n").await, Some(one));
    let two = write(&output, one, 1, "a\n").await.unwrap();
    assert_eq!(write(&output, one, 1, "a\n").await, Some(two));
    // More has come up meanwhile.
    write(&output, one, 1, "a\nb\n").await.unwrap();
    assert_eq!(text(&output).await, "a\na\nb\n");
}
