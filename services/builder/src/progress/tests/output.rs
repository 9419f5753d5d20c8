//! Output that comes too fast, writes over itself, or is meant for a terminal.

use super::*;

// covers R31, E3
#[test]
fn a_flood_is_cut_and_told_and_everything_else_is_there() {
    let (run, other) = ("[1/2] RUN yes", "[2/2] RUN echo over");
    let rate = 1 << 20;
    let mut plain = Plain::new(rate);
    let mut text = plain.render(&vertexes([vertex(run, 0)]));
    let chunk = "y\n".repeat(16 * 1024);
    // 300 MiB in 3 s.
    for n in 0..9_600 {
        text += &plain.render(&log(run, n * 3_000 / 9_600, chunk.as_str()));
    }
    text += &plain.render(&vertexes([done(run, 0, 3_000)]));
    text += &plain.render(&vertexes([done(other, 3_000, 3_010)]));
    let shown = text.matches(" y\n").count() * 2;
    assert!((4 << 20..8 << 20).contains(&shown), "{shown} bytes");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("dropped")).collect();
    assert!((1..=4).contains(&told.len()), "{told:?}");
    assert!(
        told[0].starts_with("#1 ... ") && told[0].ends_with("MB dropped: it came too fast"),
        "{told:?}"
    );
    assert!(text.ends_with(&format!("#1 DONE 3.0s\n\n#2 {other}\n#2 DONE 0.0s\n")));
}

// covers R31, E3
#[test]
fn a_flood_that_ends_with_its_build_is_told_too() {
    let run = "[1/1] RUN yes";
    let mut plain = Plain::new(10);
    plain.render(&vertexes([vertex(run, 0)]));
    for _ in 0..3 {
        plain.render(&log(run, 1, "0123456789012345678901234567890123456789\n"));
    }
    assert_eq!(plain.finish(), "#1 ... 82B dropped: it came too fast\n");
}

// covers R31
#[test]
fn who_writes_over_a_line_has_a_line_for_each() {
    let run = "[1/1] RUN fetch";
    let text = text(&[
        vertexes([vertex(run, 0)]),
        log(run, 10, "\r10 %\r20 %\r"),
        log(run, 20, "\n\r30 %\r\n"),
        log(run, 30, "done\r\n"),
    ]);
    assert_eq!(
        text,
        format!("#1 {run}\n#1 0.010 10 %\n#1 0.010 20 %\n#1 0.020 30 %\n#1 0.030 done\n")
    );
}

// covers R31
#[test]
fn nothing_that_a_build_is_called_moves_a_cursor() {
    let run = "[1/1] RUN \x1b]0;title\x07x\x1b[31m\x1b[2Jy";
    let error = "process \"\u{202e}x\" did not complete successfully: exit code: 1\x1b[1A";
    let failed = Vertex {
        error: error.to_owned(),
        ..done(run, 0, 10)
    };
    let mut plain = Plain::new(RATE);
    let mut text = plain.render(&vertexes([vertex(run, 0)]));
    text += &plain.render(&log(run, 5, "\x1b[31mred\n\x1b]52;c;x"));
    text += &plain.render(&log(run, 6, "\x07still\x1b[m\n"));
    text += &plain.render(&vertexes([failed]));
    text += &plain.finish();
    let red = "0.005 \x1b[31mred\x1b[0m";
    let still = "0.005 \x1b[31mstill\x1b[m";
    let error = "process \"x\" did not complete successfully: exit code: 1";
    assert_eq!(
        text,
        format!(
            "#1 [1/1] RUN xy\n#1 {red}\n#1 {still}\n#1 ERROR: {error}\n------\n > [1/1] RUN xy:\n{red}\n{still}\n------\n"
        )
    );
    assert_eq!(plain.steps()[0].error, error);
}
