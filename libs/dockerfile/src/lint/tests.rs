//! Each rule, with what it finds and what it leaves alone.

use super::*;

fn told(text: &str) -> Vec<(u32, &'static str)> {
    let found = lint(text, &LintOptions::default());
    found
        .into_iter()
        .map(|diagnostic| (diagnostic.line, diagnostic.rule))
        .collect()
}

/// Text in which only the one rule finds something, and text in which it finds nothing.
#[track_caller]
fn rule(name: &str, found: &[(&str, u32)], silent: &[&str]) {
    for (text, line) in found {
        assert_eq!(told(text), [(*line, name)], "{text}");
    }
    for text in silent {
        assert_eq!(told(text), [], "{text}");
    }
}

// covers R52
#[test]
fn stages_are_written_so_that_they_are_found() {
    rule(
        "StageNameCasing",
        &[("FROM a:1 AS Build\n", 1)],
        &["FROM a:1 AS build\n"],
    );
    rule(
        "FromAsCasing",
        &[("FROM a:1 as build\n", 1), ("from a:1 AS build\n", 1)],
        &["from a:1 as build\n"],
    );
    rule(
        "ReservedStageName",
        &[("FROM a:1 AS context\n", 1)],
        &["FROM a:1 AS contexts\n"],
    );
    rule(
        "DuplicateStageName",
        &[("FROM a:1 AS b\nFROM c:1 AS b\n", 2)],
        &["FROM a:1 AS b\nFROM c:1 AS c\n"],
    );
    rule(
        "RedundantTargetPlatform",
        &[("FROM --platform=$TARGETPLATFORM a:1\n", 1)],
        &["FROM --platform=$BUILDPLATFORM a:1\n"],
    );
    rule(
        "FromPlatformFlagConstDisallowed",
        &[("FROM --platform=linux/arm64 a:1\n", 1)],
        &["FROM --platform=linux/arm64 a:1 AS arm64-tools\n"],
    );
}

// covers R52, R112
#[test]
fn a_base_is_named_with_its_version() {
    rule(
        "UnpinnedBase",
        &[
            ("FROM a\n", 1),
            ("FROM a:latest\n", 1),
            ("FROM localhost:5000/a\n", 1),
            ("ARG V=latest\nFROM a:$V\n", 2),
        ],
        &[
            "FROM a:1\n",
            "FROM a@sha256:b\n",
            "FROM scratch\n",
            "FROM a:1 AS b\nFROM b\n",
        ],
    );
    rule(
        "InvalidDefaultArgInFrom",
        &[("ARG V\nFROM a:$V\n", 2), ("ARG V\nFROM $V\n", 2)],
        &[
            "ARG V=1\nFROM a:$V\n",
            "ARG V\nFROM a:1${V:+-$V}\n",
            "ARG V\nFROM a:${V:-1}\n",
        ],
    );
    let found = lint("ARG VERSION=1\nFROM a:1$VERSOIN\n", &LintOptions::default());
    assert_eq!(
        (found[0].rule, found[0].hint.as_str()),
        ("UndefinedArgInFrom", "did you mean $VERSION?")
    );
}

// covers R52, R96
#[test]
fn instructions_are_written_so_that_they_do_what_they_say() {
    rule(
        "NoEmptyContinuation",
        &[("FROM a:1\nRUN x \\\n\n y\n", 3)],
        &["FROM a:1\nRUN x \\\n# c\n y\n"],
    );
    rule(
        "ConsistentInstructionCasing",
        &[
            ("FROM a:1\nrun x\n", 2),
            ("FROM a:1\nRun x\n", 2),
            ("from a:1\nrun x\nUSER y\n", 3),
        ],
        &["from a:1\nrun x\n"],
    );
    rule(
        "MaintainerDeprecated",
        &[("FROM a:1\nMAINTAINER me\n", 2)],
        &["FROM a:1\nLABEL maintainer=me\n"],
    );
    rule(
        "LegacyKeyValueFormat",
        &[("FROM a:1\nENV A 1\n", 2), ("FROM a:1\nLABEL A 1\n", 2)],
        &["FROM a:1\nENV A=1\n"],
    );
    rule(
        "MalformedJson",
        &[("FROM a:1\nRUN ['a', 'b']\n", 2), ("FROM a:1\nCOPY [\"a\" \"b\"]\n", 2)],
        &[
            "FROM a:1\nRUN [ -f x ]\n",
            "FROM a:1\nRUN [[ -f x ]]\n",
            "FROM a:1\nRUN [\"a\"]\n",
        ],
    );
    rule(
        "ExposeProtoCasing",
        &[("FROM a:1\nEXPOSE 80/TCP\n", 2)],
        &["FROM a:1\nEXPOSE 80/tcp 90\n"],
    );
    rule(
        "ExposeInvalidFormat",
        &[
            ("FROM a:1\nEXPOSE 80:80\n", 2),
            ("FROM a:1\nEXPOSE 1.2.3.4:80:80/tcp\n", 2),
        ],
        &["FROM a:1\nEXPOSE 80-90\n"],
    );
    rule(
        "WorkdirRelativePath",
        &[("FROM a:1\nWORKDIR app\nWORKDIR x\n", 2)],
        &[
            "FROM a:1\nWORKDIR /app\nWORKDIR x\n",
            "FROM a:1 AS b\nWORKDIR /app\nFROM b\nWORKDIR x\n",
        ],
    );
    rule(
        "MultipleInstructionsDisallowed",
        &[("FROM a:1\nCMD [\"a\"]\nCMD [\"b\"]\n", 2)],
        &["FROM a:1\nCMD [\"a\"]\nENTRYPOINT [\"b\"]\nFROM a:2\nCMD [\"a\"]\n"],
    );
    rule(
        "JSONArgsRecommended",
        &[("FROM a:1\nCMD top\n", 2), ("FROM a:1\nENTRYPOINT top\n", 2)],
        &[
            "FROM a:1\nCMD [\"top\"]\n",
            "FROM a:1\nSHELL [\"bash\", \"-c\"]\nCMD top\n",
            "FROM a:1\nCMD\n",
        ],
    );
    rule(
        "UnknownInstruction",
        &[("FROM a:1\nONBUILD RNU x\n", 2)],
        &["FROM a:1\nONBUILD RUN x\n"],
    );
}

// covers R52
#[test]
fn a_remark_behind_an_instruction_is_an_argument() {
    rule(
        "TrailingRemark",
        &[
            ("FROM a:1\nEXPOSE 80 # web\n", 2),
            ("FROM a:1\nWORKDIR /app # here\n", 2),
            ("FROM a:1\nCOPY a b # c\n", 2),
            ("FROM a:1\nARG A=1 # one\n", 2),
            ("FROM a:1\nRUN make # all\n", 2),
            ("FROM a:1\nRUN x \\\n  y # y \\\n  z\n", 3),
        ],
        &[
            "FROM a:1\n# a remark\nEXPOSE 80\n",
            "FROM a:1\nRUN echo '# a' \"# b\" c#d\n",
            "FROM a:1\nRUN [\"echo\", \"# a\"]\n",
            "FROM a:1\nRUN <<EOF\nx # y\nEOF\n",
        ],
    );
    let severity = |text| lint(text, &LintOptions::default())[0].severity;
    assert_eq!(
        severity("FROM a:1\nRUN make # all\n"),
        Severity::Info,
        "the shell knows remarks"
    );
    assert_eq!(
        severity("FROM a:1\nRUN make # all \\\n && x\n"),
        Severity::Warning,
        "but not where they end"
    );
}

// covers R52
#[test]
fn variables_are_declared_where_they_are_used() {
    rule(
        "UndefinedVar",
        &[
            ("ARG V=1\nFROM a:$V\nRUN echo $V ${V}\n", 3),
            ("FROM a:1\nRUN echo $TARGETARCH\n", 2),
            ("ARG V=1\nFROM a:$V\nLABEL v=$V\n", 3),
            ("FROM a:1\nENV NAME=x\nWORKDIR /$NAEM\n", 3),
            ("FROM scratch\nCOPY $ANY /\n", 2),
        ],
        &[
            "ARG V=1\nFROM a:$V\nARG V\nRUN echo $V\nLABEL v=$V\n",
            "FROM a:1\nRUN V=1; echo $V $HOME\n",
            "FROM a:1\nWORKDIR $OF_THE_BASE\n",
            "FROM scratch\nENV PATH=/bin:$PATH\n",
            "FROM a:1\nARG A\nENV B=$A C=${D:-x}\n",
        ],
    );
    rule(
        "SecretsUsedInArgOrEnv",
        &[
            ("FROM a:1\nARG GITHUB_TOKEN\n", 2),
            ("FROM a:1\nENV A=1 \\\n  DB_PASSWORD=x\n", 3),
            ("ARG ApiKey=x\nFROM a:1\n", 1),
        ],
        &[
            "FROM a:1\nENV PUBLIC_KEY=x TOKEN_FILE=/t KEYBOARD=us\n",
            "FROM a:1\nLABEL token=x\n",
        ],
    );
}

// covers R87
#[test]
fn deleting_in_a_later_layer_shrinks_nothing() {
    rule(
        "DeleteInLaterLayer",
        &[
            ("FROM a:1\nRUN make\nRUN rm -rf /src\n", 3),
            ("FROM a:1\nRUN set -e; apt-get clean\n", 2),
            ("FROM a:1\nRUN sudo apt-get purge -y gcc && rm -rf /x\n", 2),
            ("FROM a:1\nCOPY src /src\nRUN make -C /src && rm -rf /src\n", 3),
            ("FROM a:1\nRUN <<EOF\nrm -rf /src\nEOF\n", 2),
        ],
        &[
            "FROM a:1\nRUN curl -o /tmp/x && tar xf /tmp/x && rm /tmp/x\n",
            "FROM a:1\nCOPY src /src\nRUN make && rm -rf /tmp/x /\n",
            "FROM a:1\nRUN echo rm -rf /src\n",
        ],
    );
    rule(
        "AptGetWithoutCleanup",
        &[
            ("FROM a:1\nRUN apt-get update && apt-get install -y gcc\n", 2),
            ("FROM a:1\nRUN <<EOF\napt-get install -y gcc\nEOF\n", 2),
        ],
        &[
            "FROM a:1\nRUN apt-get install -y gcc && rm -rf /var/lib/apt/lists/*\n",
            "FROM a:1\nRUN --mount=type=cache,target=/var/lib/apt apt-get install -y gcc\n",
            "FROM a:1\nRUN apt-get update\n",
        ],
    );
}

// covers R90
#[test]
fn what_rarely_changes_goes_first() {
    rule(
        "CopyBeforeInstall",
        &[
            ("FROM a:1\nCOPY . /app\nRUN npm ci\n", 2),
            ("FROM a:1\nCOPY . /app\nRUN x && pip install -r requirements.txt\n", 2),
            ("FROM a:1\nADD ./ /app\nRUN apk add gcc\nRUN npm ci\n", 2),
        ],
        &[
            "FROM a:1\nCOPY package.json /app/\nRUN npm ci\nCOPY . /app\n",
            "FROM a:1\nCOPY . /app\nRUN make\n",
            "FROM a:1 AS b\nFROM a:2\nCOPY --from=b . /app\nRUN npm ci\n",
            "FROM a:1\nCOPY . /app\nFROM a:2\nRUN npm ci\n",
        ],
    );
    rule(
        "CdInsteadOfWorkdir",
        &[("FROM a:1\nRUN cd /app\n", 2), ("FROM a:1\nRUN cd /app && make\n", 2)],
        &["FROM a:1\nWORKDIR /app\n", "FROM a:1\nRUN make && cd /app\n"],
    );
}

#[test]
fn advice_can_be_silenced_and_errors_not() {
    assert_eq!(
        told("# check=skip=UnpinnedBase,TrailingRemark;error=true\nFROM a\nEXPOSE 80 # web\n"),
        []
    );
    assert_eq!(
        told("# check=skip=all\nFROM a\nRUN --network=host rm x\n"),
        [(3, "HostNetwork")]
    );
    assert_eq!(told("# check=skip=unpinnedbase\nFROM a\n"), []);
}

// covers R52
#[test]
fn everything_is_told_in_the_order_of_the_file_and_not_too_much_of_it() {
    let text = "# syntax=evil/x\nFROM a\nRUN cd /x # y\nWORKDIR /proc\nRNU z\n";
    let expected = [
        (1, "SyntaxFrontend"),
        (2, "UnpinnedBase"),
        (3, "CdInsteadOfWorkdir"),
        (3, "TrailingRemark"),
        (4, "HostDirectory"),
        (5, "UnknownInstruction"),
    ];
    assert_eq!(told(text), expected);
    let found = lint(text, &LintOptions::default());
    let place = |index: usize| {
        let found = &found[index];
        (found.line, found.column, found.end_line, found.end_column)
    };
    assert_eq!(
        (place(0), place(1), place(3)),
        ((1, 1, 1, 16), (2, 6, 2, 7), (3, 11, 3, 14))
    );
    // Columns are those that one sees.
    let accents = &lint("FROM a:1\nRUN \u{e9}\u{e9} # y\n", &LintOptions::default())[0];
    assert_eq!((accents.column, accents.end_column), (8, 11));

    let many = format!("FROM a:1\n{}RNU x\n", "EXPOSE 80 # web\n".repeat(500));
    let found = told(&many);
    assert_eq!(found.len(), 100);
    assert_eq!(
        found.last(),
        Some(&(502, "UnknownInstruction")),
        "no advice crowds out an error"
    );
}
