//! Messages as `BuildKit` sends them, and the text that Docker makes of them.

mod output;

use bollard_buildkit_proto::{
    google::protobuf::Timestamp,
    moby::buildkit::v1::{Vertex, VertexLog, VertexStatus},
    pb::ProgressGroup,
};

use super::*;

/// Bytes of output per second: more than any test has.
const RATE: u64 = 1 << 30;

/// Milliseconds after some time.
fn time(ms: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(ms % 1000 * 1_000_000).ok()?;
    Some(Timestamp {
        seconds: 1_700_000_000 + ms / 1000,
        nanos,
    })
}

fn vertex(name: &str, started: i64) -> Vertex {
    Vertex {
        digest: name.to_owned(),
        name: name.to_owned(),
        started: time(started),
        ..Vertex::default()
    }
}

fn done(name: &str, started: i64, completed: i64) -> Vertex {
    Vertex {
        completed: time(completed),
        ..vertex(name, started)
    }
}

fn vertexes<const N: usize>(vertexes: [Vertex; N]) -> StatusResponse {
    StatusResponse {
        vertexes: vertexes.into(),
        ..StatusResponse::default()
    }
}

fn log(vertex: &str, ms: i64, text: impl Into<Vec<u8>>) -> StatusResponse {
    let log = VertexLog {
        vertex: vertex.to_owned(),
        timestamp: time(ms),
        stream: 1,
        msg: text.into(),
    };
    StatusResponse {
        logs: vec![log],
        ..StatusResponse::default()
    }
}

fn status(vertex: &str, id: &str, ms: i64, current: i64, total: i64, completed: bool) -> StatusResponse {
    let status = VertexStatus {
        id: id.to_owned(),
        vertex: vertex.to_owned(),
        current,
        total,
        timestamp: time(ms),
        started: time(0),
        completed: completed.then(|| time(ms)).flatten(),
        ..VertexStatus::default()
    };
    StatusResponse {
        statuses: vec![status],
        ..StatusResponse::default()
    }
}

fn text(messages: &[StatusResponse]) -> String {
    let mut plain = Plain::new(RATE);
    messages.iter().map(|message| plain.render(message)).collect()
}

#[test]
fn a_build_reads_as_docker_prints_it() {
    // covers R31
    let load = "[internal] load build definition from Dockerfile";
    let run = "[2/3] RUN make";
    let cached = Vertex {
        cached: true,
        ..done("[1/3] FROM docker.io/library/base:1", 60, 60)
    };
    let text = text(&[
        vertexes([vertex(load, 0)]),
        status(load, "transferring dockerfile:", 20, 32, 0, true),
        vertexes([done(load, 0, 30)]),
        vertexes([cached]),
        vertexes([vertex(run, 100)]),
        log(run, 223, "cc -c a.c\ncc -c b.c\n"),
        vertexes([done(run, 100, 1400)]),
    ]);
    assert_eq!(
        text,
        "#1 [internal] load build definition from Dockerfile\n\
         #1 transferring dockerfile: 32B 0.0s done\n\
         #1 DONE 0.0s\n\
         \n\
         #2 [1/3] FROM docker.io/library/base:1\n\
         #2 CACHED\n\
         \n\
         #3 [2/3] RUN make\n\
         #3 0.123 cc -c a.c\n\
         #3 0.123 cc -c b.c\n\
         #3 DONE 1.3s\n"
    );
}

#[test]
fn a_failure_shows_its_error_and_repeats_its_last_lines() {
    let run = "[2/2] RUN false";
    let error = "process \"/bin/sh -c false\" did not complete successfully: exit code: 1";
    let failed = Vertex {
        error: error.to_owned(),
        ..done(run, 0, 500)
    };
    let mut plain = Plain::new(RATE);
    let mut text = plain.render(&vertexes([vertex(run, 0)]));
    text += &plain.render(&log(run, 12_345, "no such file\nsorry"));
    text += &plain.render(&vertexes([failed]));
    assert_eq!(
        text,
        format!("#1 {run}\n#1 12.35 no such file\n#1 12.35 sorry\n#1 ERROR: {error}\n")
    );
    assert_eq!(
        plain.finish(),
        format!("------\n > {run}:\n12.35 no such file\n12.35 sorry\n------\n")
    );
    assert_eq!(
        plain.finish(),
        format!("------\n > {run}:\n12.35 no such file\n12.35 sorry\n------\n")
    );
}

#[test]
fn part_of_a_line_is_shown_at_once_and_goes_on_where_it_stopped() {
    // covers R31
    let run = "[1/1] RUN x";
    let mut plain = Plain::new(RATE);
    plain.render(&vertexes([vertex(run, 0)]));
    assert_eq!(plain.render(&log(run, 10, "50 %")), "#1 0.010 50 %");
    assert_eq!(plain.render(&log(run, 20, "... 100")), "... 100");
    assert_eq!(plain.render(&log(run, 30, " %\nnext\n")), " %\n#1 0.030 next\n");
    assert_eq!(plain.render(&log(run, 40, "end")), "#1 0.040 end");
    assert_eq!(plain.render(&vertexes([done(run, 0, 50)])), "\n#1 DONE 0.1s\n");
}

#[test]
fn an_open_line_is_closed_before_another_step_is_shown_and_when_the_log_ends() {
    let (a, b) = ("[a 1/1] RUN a", "[b 1/1] RUN b");
    let mut plain = Plain::new(RATE);
    plain.render(&vertexes([vertex(a, 0)]));
    plain.render(&log(a, 10, "half"));
    assert_eq!(
        plain.render(&vertexes([done(b, 20, 30)])),
        format!("\n#1 ...\n\n#2 {b}\n#2 DONE 0.0s\n")
    );
    assert_eq!(
        plain.render(&log(a, 40, " whole\n")),
        format!("\n#1 {a}\n#1 0.010 half whole\n")
    );
    plain.render(&log(a, 50, "lost"));
    assert_eq!(plain.finish(), "\n");
}

#[test]
fn a_character_that_comes_in_two_messages_is_shown_whole() {
    let run = "[1/1] RUN x";
    let (first, second) = "naïve".as_bytes().split_at(3);
    let text = text(&[
        vertexes([vertex(run, 0)]),
        log(run, 0, first),
        log(run, 0, second),
        log(run, 0, b"\xff\n"),
    ]);
    assert_eq!(text, format!("#1 {run}\n#1 0.000 naïve\u{fffd}\n"));
}

#[test]
fn output_without_line_ends_is_not_kept() {
    let run = "[1/1] RUN yes";
    let mut plain = Plain::new(RATE);
    plain.render(&vertexes([vertex(run, 0)]));
    let chunk = "y".repeat(40_000);
    let lengths: Vec<usize> = (0..4)
        .map(|_| plain.render(&log(run, 0, chunk.as_str())).len())
        .collect();
    assert_eq!(lengths, [9 + 40_000, 40_000 + 1, 9 + 40_000, 40_000 + 1]);
}

#[test]
fn steps_in_parallel_take_turns_without_flicker() {
    let (a, b) = ("[a 1/1] RUN a", "[b 1/1] RUN b");
    let text = text(&[
        vertexes([vertex(a, 0), vertex(b, 0)]),
        log(a, 100, "a1\n"),
        log(b, 200, "b1\n"),
        log(a, 300, "a2\n"),
        log(b, 400, "b2\n"),
        vertexes([done(a, 0, 500)]),
    ]);
    assert_eq!(
        text,
        format!(
            "#1 {a}\n#1 0.100 a1\n#1 0.300 a2\n#1 DONE 0.5s\n\n\
             #2 {b}\n#2 0.200 b1\n#2 0.400 b2\n"
        )
    );
}

#[test]
fn a_download_is_shown_now_and_then() {
    let pull = "[1/2] FROM docker.io/library/base:1";
    let layer = |ms, current, completed| status(pull, "sha256:abc", ms, current, 2_100_000, completed);
    let text = text(&[
        vertexes([vertex(pull, 0)]),
        layer(10, 0, false),
        layer(20, 1000, false),
        layer(200, 1_048_576, false),
        layer(400, 2_100_000, true),
        vertexes([done(pull, 0, 400)]),
    ]);
    assert_eq!(
        text,
        format!(
            "#1 {pull}\n#1 sha256:abc 0B / 2.10MB\n#1 sha256:abc 1.05MB / 2.10MB 0.2s\n\
             #1 sha256:abc 2.10MB / 2.10MB 0.4s done\n#1 DONE 0.4s\n"
        )
    );
}

#[test]
fn what_is_done_is_shown_again_only_with_news() {
    let from = "[1/2] FROM docker.io/library/base:1";
    let mut plain = Plain::new(RATE);
    assert_eq!(
        plain.render(&vertexes([done(from, 0, 10)])),
        format!("#1 {from}\n#1 DONE 0.0s\n")
    );
    assert_eq!(plain.render(&vertexes([vertex(from, 20)])), "");
    assert_eq!(plain.render(&vertexes([done(from, 20, 30)])), "");
    plain.render(&vertexes([vertex(from, 40)]));
    assert_eq!(
        plain.render(&status(from, "extracting", 50, 0, 0, true)),
        format!("\n#1 {from}\n#1 extracting 0.1s done\n")
    );
}

#[test]
fn a_group_is_shown_as_one() {
    let part = |digest: &str, vertex: Vertex| Vertex {
        digest: digest.to_owned(),
        progress_group: Some(ProgressGroup {
            id: "g".to_owned(),
            name: "[2/2] ADD x y".to_owned(),
            weak: false,
        }),
        ..vertex
    };
    let text = text(&[
        vertexes([part("1", done("x", 0, 100)), part("2", vertex("y", 50))]),
        log("2", 60, "copying\n"),
        vertexes([part("2", done("y", 50, 200))]),
    ]);
    assert_eq!(text, "#1 [2/2] ADD x y\n#1 0.060 copying\n#1 DONE 0.2s\n");
}

#[test]
fn the_journal_has_the_steps_that_a_user_wrote() {
    // covers R30
    let mut plain = Plain::new(RATE);
    let failed = Vertex {
        error: "exit code: 1".to_owned(),
        ..done("[build 2/3] RUN b", 100, 1600)
    };
    let cancelled = Vertex {
        error: "context canceled".to_owned(),
        ..done("[stage-1 2/2] RUN c", 100, 200)
    };
    let never = Vertex {
        started: None,
        ..vertex("[build 3/3] RUN d", 0)
    };
    plain.render(&vertexes([
        done("[internal] load .dockerignore", 0, 10),
        Vertex {
            cached: true,
            ..done("[build 1/3] FROM base", 20, 20)
        },
        failed,
        cancelled,
        never,
        vertex("exporting to image", 0),
    ]));
    let step = |name: &str, cached, ms, error: &str| Step {
        name: name.to_owned(),
        cached,
        duration: Duration::from_millis(ms),
        error: error.to_owned(),
    };
    let expected = [
        step("[build 1/3] FROM base", true, 0, ""),
        step("[stage-1 2/2] RUN c", false, 100, "cancelled"),
        step("[build 2/3] RUN b", false, 1500, "exit code: 1"),
    ];
    assert_eq!(plain.steps(), expected);
}

// covers E3
#[test]
fn a_step_is_shown_at_once_after_an_end_that_the_engine_lost() {
    let mut plain = Plain::new(RATE);
    for message in [vertex("load", 0), vertex("load", 10), done("load", 10, 20)] {
        plain.render(&vertexes([message]));
    }
    plain.render(&vertexes([vertex("[1/1] RUN x", 30)]));
    let shown = plain.render(&log("[1/1] RUN x", 40, "said\n"));
    assert!(shown.contains("said"), "{shown}");
}
