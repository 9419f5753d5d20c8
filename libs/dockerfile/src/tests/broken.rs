//! What Docker stops at.

use crate::parse;

/// The first error, as (line, column, rule).
fn first(text: &str) -> (u32, u32, &'static str) {
    let error = parse(text).errors.into_iter().next();
    let error = error.unwrap_or_else(|| panic!("nothing is wrong with {text:?}"));
    (error.line, error.column, error.rule)
}

// covers R52
#[test]
fn what_docker_stops_at_is_named_by_its_line() {
    for (text, line, column) in [
        ("FROM a b\n", 1, 6),
        ("FROM a AS 1b\n", 1, 6),
        ("FROM alpine # the base\n", 1, 6),
        ("FROM --platfrom=x alpine\n", 1, 6),
        ("FROM a\nCOPY a\n", 2, 6),
        ("FROM a\nCOPY --form=b a /\n", 2, 6),
        ("FROM a\nCOPY --from a /\n", 2, 6),
        ("FROM a\nCOPY --from=$B a /\n", 2, 6),
        ("FROM a\nCOPY --from=1 a /\n", 2, 6),
        ("FROM a\nCOPY --from=b a /\nFROM c AS b\n", 2, 6),
        ("FROM a\nCOPY a <<EOF\nEOF\n", 2, 6),
        ("FROM a\nRUN \\\n  --mount=type=bnd x\n", 3, 3),
        ("FROM a\nRUN --mount=target x\n", 2, 5),
        ("FROM a\nRUN --mount=form=a x\n", 2, 5),
        ("FROM a\nRUN --mount=from=$B x\n", 2, 5),
        ("FROM a\nRUN --network=hots x\n", 2, 5),
        ("FROM a\nRUN <<EOF\nx\n", 2, 5),
        ("FROM a\nRUN --network=none --network=none x\n", 2, 20),
        ("FROM a\nENV A\n", 2, 5),
        ("FROM a\nENV A=1 B\n", 2, 5),
        ("FROM a\nENV A=1 # B\n", 2, 5),
        ("FROM a\nENV A='1\n", 2, 5),
        ("FROM a\nENV =1\n", 2, 5),
        ("FROM a\nARG\n", 2, 1),
        ("FROM a\nARG =1\n", 2, 5),
        ("FROM a\nLABEL\n", 2, 1),
        ("FROM a\nWORKDIR ${A\n", 2, 9),
        ("FROM a\nWORKDIR\n", 2, 1),
        ("FROM a\nCMD [1]\n", 2, 5),
        ("FROM a\nVOLUME [\"\"]\n", 2, 8),
        ("FROM a\nSHELL bash -c\n", 2, 7),
        ("FROM a\nSHELL []\n", 2, 7),
        ("FROM a\nONBUILD ONBUILD RUN x\n", 2, 9),
        ("FROM a\nONBUILD FROM x\n", 2, 9),
        ("FROM a\nHEALTHCHECK x\n", 2, 13),
        ("FROM a\nHEALTHCHECK CMD\n", 2, 13),
        ("FROM a\nHEALTHCHECK NONE x\n", 2, 13),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x\n", 2, 13),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x\n", 2, 13),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x\n", 2, 13),
        ("# escape=x\nFROM a\n", 1, 1),
        ("# escape=`\n# escape=`\nFROM a\n", 2, 1),
    ] {
        assert_eq!(first(text), (line, column, "SyntaxError"), "{text:?}");
    }
    for (text, line, rule) in [
        ("", 1, "MissingFrom"),
        ("# only this\n\n", 3, "MissingFrom"),
        ("ARG A\n", 1, "MissingFrom"),
        ("ARG A\nRUN x\nFROM a\n", 2, "MissingFrom"),
        ("FROM a\nRNU x\n", 2, "UnknownInstruction"),
        ("FROM a\nRUN x && \n  y\n", 3, "UnknownInstruction"),
        ("FROM a\n\\\n", 2, "UnknownInstruction"),
    ] {
        let (found_line, _, found) = first(text);
        assert_eq!((found_line, found), (line, rule), "{text:?}");
    }
    let long = format!("FROM a\nRUN {}\n", "x".repeat(70_000));
    assert_eq!(first(&long), (2, 1, "SyntaxError"));
    let many = "ENV A=1\n".repeat(20_000);
    assert_eq!(first(&format!("FROM a\n{many}")), (10_001, 1, "SyntaxError"));
}

// covers R52
#[test]
fn docker_reads_the_whole_before_it_looks_at_what_it_says() {
    // The first is known only when all lines are read, and the second stops the reading.
    assert_eq!(first("FROM a\nRNU x\nENV A\n").0, 3);
    assert_eq!(first("FROM a\nWORKDIR ${A\nRNU x\n").0, 3);
    let all: Vec<u32> = parse("FROM a\nRNU x\nENV A\nCOPY a\n")
        .errors
        .iter()
        .map(|error| error.line)
        .collect();
    assert_eq!(all, [3, 2, 4], "all of them are told");
}

// covers R52
#[test]
fn a_misspelt_word_is_recognised() {
    for (text, hint) in [
        ("FORM a\n", "did you mean FROM?"),
        ("FROM a\nENTRYPIONT x\n", "did you mean ENTRYPOINT?"),
        ("FROM a\nCOPY --form=b a /\n", "did you mean from?"),
        ("FROM a\nRUN --mount=type=bimd x\n", "did you mean bind?"),
        ("FROM a\nRUN --mount=traget=/a x\n", "did you mean target?"),
        (
            "FROM a # b\n",
            "a remark goes on a line of its own: behind an instruction it is an argument",
        ),
        (
            "FROM a\nENV A=1 # B\n",
            "a remark goes on a line of its own: behind an instruction it is an argument",
        ),
    ] {
        assert_eq!(parse(text).errors[0].hint, hint, "{text:?}");
    }
}

#[test]
fn what_docker_takes_is_no_error() {
    for text in [
        "from a\nrun\n",
        "FROM a AS B\nRUN x\n",
        "FROM a AS b\nFROM c\nCOPY --from=B / /\n",
        "FROM a\nCOPY --from=other/image:1 / /\n",
        "FROM a\nRUN --mount=type=secret,id=x,required cat /run/secrets/x\n",
        "FROM a\nRUN --mount=\"type=bind,from=b,target=/x\" --mount=ro x\n",
        "FROM a\nRUN [ -f x ] && echo \"<<EOF\"\n",
        "FROM a\nCMD ['a']\n",
        "FROM a\nHEALTHCHECK --interval=0 --timeout=1.5h --start-period= CMD x\n",
        "FROM a\nENV A=${B:?x} C=\"#\"\n",
        "FROM a\nONBUILD RNU x\n",
        "FROM a\nSTOPSIGNAL --x 9\n",
        "FROM a\nRUN x \\\n\n\n  y\n",
    ] {
        assert_eq!(parse(text).errors, [], "{text:?}");
    }
}
