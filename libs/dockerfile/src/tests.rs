//! Whole Dockerfiles.

mod broken;
mod judged;

use crate::{Dockerfile, Keyword, LintOptions, lint, parse, parse_without_heredocs};
use proptest::prelude::*;

fn keywords(dockerfile: &Dockerfile) -> Vec<(Keyword, u32, u32)> {
    let instructions = dockerfile.instructions.iter();
    instructions
        .map(|instruction| (instruction.keyword, instruction.first_line, instruction.last_line))
        .collect()
}

fn sound(text: &str) -> Dockerfile {
    let dockerfile = parse(text);
    assert_eq!(dockerfile.errors, [], "{text}");
    dockerfile
}

// covers R52, R82, R96
#[test]
fn everything_of_the_reference_is_understood() {
    let text = "\u{feff}# syntax=docker/dockerfile:1\r
# check=skip=StageNameCasing\r
# escape=\\\r
\r
ARG VERSION=3.20\r
FROM --platform=$BUILDPLATFORM alpine:${VERSION} AS build\r
ARG VERSION\r
ENV A=1 B=\"two words\" \\\r
  # a comment among them\r
    C='$A'\r
ENV OLD form with spaces\r
RUN --mount=type=cache,target=/root/.cache --network=none \\\r
    make && \\\r
    echo done\r
RUN <<EOF\r
set -e\r
FROM is no instruction here\r
EOF\r
COPY --chown=1:1 <<-\"A\" <<B /etc/\r
\tone\r
\tA\r
two\r
B\r
ADD [\"a b\", \"/c\"]\r
FROM scratch\r
COPY --from=build /a /b\r
COPY --from=0 /a /b\r
HEALTHCHECK --interval=1m30s --retries=3 CMD [\"true\"]\r
HEALTHCHECK none\r
ONBUILD COPY . /src\r
onbuild run <<X\r
make\r
X\r
EXPOSE 80/tcp 443\r
STOPSIGNAL SIGTERM\r
USER 1000:1000\r
VOLUME /data /more\r
VOLUME [\"/x\"]\r
LABEL a=b \"c d\"=e\r
SHELL [\"/bin/sh\", \"-c\"]\r
WORKDIR /a b\r
MAINTAINER me\r
ENTRYPOINT exec top -b\r
CMD [\"a\", \"b\"]";
    let dockerfile = sound(text);
    assert_eq!(
        (dockerfile.escape, dockerfile.check.as_deref()),
        ('\\', Some("skip=StageNameCasing"))
    );
    assert_eq!(dockerfile.syntax[0].reference, "docker/dockerfile:1");
    let found = keywords(&dockerfile);
    assert_eq!(found.len(), 27);
    for (index, expected) in [
        (0, (Keyword::Arg, 5, 5)),
        (3, (Keyword::Env, 8, 10)),
        (5, (Keyword::Run, 12, 14)),
        (6, (Keyword::Run, 15, 18)),
        (7, (Keyword::Copy, 19, 23)),
        (8, (Keyword::Add, 24, 24)),
        (15, (Keyword::Onbuild, 31, 33)),
        (26, (Keyword::Cmd, 44, 44)),
    ] {
        assert_eq!(found[index], expected);
    }
    let stages: Vec<_> = dockerfile
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), stage.base.as_str()))
        .collect();
    assert_eq!(stages, [("build", "alpine:${VERSION}"), ("", "scratch")]);
    let instructions = &dockerfile.instructions;
    let pairs: Vec<_> = instructions[3]
        .pairs
        .iter()
        .map(|pair| (pair.name.as_str(), pair.value.as_deref()))
        .collect();
    assert_eq!(
        pairs,
        [("A", Some("1")), ("B", Some("\"two words\"")), ("C", Some("'$A'"))]
    );
    assert_eq!(instructions[4].pairs[0].value.as_deref(), Some("form with spaces"));
    assert_eq!(instructions[5].text(), "make &&     echo done");
    assert_eq!(instructions[5].flag("network").unwrap().value.as_deref(), Some("none"));
    assert_eq!(
        instructions[6].heredocs[0].content,
        "set -e\r\nFROM is no instruction here\r\n"
    );
    let heredocs: Vec<_> = instructions[7]
        .heredocs
        .iter()
        .map(|heredoc| (heredoc.name.as_str(), heredoc.expands, heredoc.strips_tabs))
        .collect();
    assert_eq!(heredocs, [("A", false, true), ("B", true, false)]);
    assert_eq!(
        (instructions[8].is_json, &instructions[8].arguments[..]),
        (true, &["a b".to_owned(), "/c".to_owned()][..])
    );
    assert_eq!(instructions[15].trigger.as_ref().unwrap().keyword, Keyword::Run);
    assert_eq!(instructions[15].heredocs[0].content, "make\r\n");
}

// covers R96
#[test]
fn the_escape_character_is_the_one_that_is_chosen() {
    let dockerfile = sound("# escape=`\nFROM scratch\nCOPY a `\n c:\\\nRUN x\n");
    assert_eq!(keywords(&dockerfile)[1], (Keyword::Copy, 3, 4));
    assert_eq!(dockerfile.instructions[1].arguments, ["a", "c:\\"]);
    // Twice means itself, and a remark between lines ends nothing.
    assert_eq!(
        sound("FROM scratch\nRUN a \\\\\nRUN b \\\n# c\n\nd\n")
            .instructions
            .len(),
        3
    );
    // After a comment or an empty line it is a comment.
    assert_eq!(sound("\n# escape=`\nFROM scratch\nRUN a \\\n b\n").escape, '\\');
}

// covers R52
#[test]
fn an_old_engine_takes_the_lines_of_a_heredoc_for_instructions() {
    let text = "FROM scratch\nRUN <<\"RUN true\"\nCOPY --from=other/image /a /b\nRUN true\n";
    assert_eq!(keywords(&sound(text)).len(), 2);
    let old = parse_without_heredocs(text);
    assert_eq!((keywords(&old).len(), old.errors.len()), (4, 0));
    assert_eq!(old.bases(&LintOptions::default().arguments)[0].written, "other/image");
}

/// Pieces that mean something, in any order.
fn nonsense() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("FROM "),
        Just("RUN "),
        Just("COPY "),
        Just("ONBUILD "),
        Just("ENV "),
        Just("ARG "),
        Just("WORKDIR "),
        Just("\n"),
        Just("\r\n"),
        Just("\\\n"),
        Just("`"),
        Just("\\"),
        Just("# escape=`\n"),
        Just("# syntax="),
        Just("#"),
        Just("\""),
        Just("'"),
        Just("$"),
        Just("${"),
        Just("}"),
        Just(":-"),
        Just("#*"),
        Just("/"),
        Just("<<EOF"),
        Just("EOF\n"),
        Just("<<-"),
        Just("--mount="),
        Just("--from="),
        Just("type=bind,"),
        Just("["),
        Just("]"),
        Just(","),
        Just("="),
        Just(" AS "),
        Just("a"),
        Just("scratch"),
        Just("\u{e0}"),
        Just("\u{feff}"),
        Just("\u{2028}"),
        Just("\t"),
        Just("0"),
        Just("cd /"),
        Just("&&"),
    ];
    let pieces = prop::collection::vec(
        prop_oneof![9 => piece.prop_map(str::to_owned), 1 => any::<String>()],
        0..60,
    );
    pieces.prop_map(|pieces| pieces.concat())
}

proptest! {
    // covers R52
    #[test]
    fn no_text_is_too_strange(text in nonsense()) {
        let lines = u32::try_from(text.lines().count()).unwrap() + 1;
        for dockerfile in [parse(&text), parse_without_heredocs(&text)] {
            for instruction in &dockerfile.instructions {
                prop_assert!(instruction.first_line <= instruction.last_line && instruction.last_line <= lines);
            }
        }
        for diagnostic in lint(&text, &LintOptions::default()) {
            prop_assert!((1..=lines).contains(&diagnostic.line), "{diagnostic:?}");
            prop_assert!((diagnostic.line, diagnostic.column) <= (diagnostic.end_line, diagnostic.end_column), "{diagnostic:?}");
        }
    }

    // covers R52
    #[test]
    fn line_ends_and_a_byte_order_mark_change_nothing(text in nonsense()) {
        let text = text.replace(['\r', '\u{feff}'], "");
        let told = |text: &str| {
            let dockerfile = parse(text);
            (keywords(&dockerfile), dockerfile.errors.iter().map(|error| (error.line, error.rule)).collect::<Vec<_>>())
        };
        let marked = format!("\u{feff}{text}");
        prop_assert_eq!(told(&text), told(&marked));
    }
}

#[test]
fn values_that_grow_with_each_line_are_not_written_out() {
    let grows = "ENV A=${A}${A}x\n".repeat(60);
    let dockerfile = sound(&format!("FROM scratch\n{grows}"));
    let forbidden = dockerfile.forbidden(&LintOptions::default().arguments, &[""; 0]);
    assert_eq!(forbidden[0].rule, "TooLarge", "{forbidden:?}");
}
