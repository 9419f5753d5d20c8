//! Words against the reference of Dockerfiles.

use super::*;
use std::collections::HashMap;

impl Variables for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<&str> {
        HashMap::get(self, name).copied()
    }
}

fn expanded(word: &str) -> Result<String, Malformed> {
    let variables = HashMap::from([("A", "one"), ("EMPTY", ""), ("PATH", "/a/b/a.tar.gz")]);
    expand(word, '\\', &variables, &mut Budget::default()).map(|expanded| expanded.text)
}

#[test]
fn variables_have_values_as_the_reference_says() {
    for (word, expected) in [
        ("$A", "one"),
        ("${A}two", "onetwo"),
        ("$Atwo", ""),
        ("$A-two", "one-two"),
        ("'$A'", "$A"),
        ("\"$A\"", "one"),
        ("\\$A", "$A"),
        ("\"\\$A\\n\"", "$A\\n"),
        ("${B:-x}", "x"),
        ("${B-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${A:+x}", "x"),
        ("${B+x}", ""),
        ("${B:-${A}}", "one"),
        ("${B:-\"x y\"}", "x y"),
        ("${A:?is needed}", "one"),
        ("${PATH#*/}", "a/b/a.tar.gz"),
        ("${PATH##*/}", "a.tar.gz"),
        ("${PATH%.*}", "/a/b/a.tar"),
        ("${PATH%%.*}", "/a/b/a"),
        ("${PATH/a/x}", "/x/b/a.tar.gz"),
        ("${PATH//a/x}", "/x/b/x.txr.gz"),
        ("${PATH/\\//x}", "xa/b/a.tar.gz"),
        ("${A#?n}", "e"),
        ("${A#x}", "one"),
        ("${A%n*}", "o"),
        ("${A//?/xy}", "xyxyxy"),
        ("${A//*/x}", "x"),
        ("${A/e/}", "on"),
        ("${EMPTY/*/x}", "x"),
        ("$", "$"),
        ("a$", "a$"),
        ("$1", ""),
        ("<<EOF", "<<EOF"),
    ] {
        assert_eq!(expanded(word).as_deref(), Ok(expected), "{word}");
    }
    for word in [
        "'", "\"", "${", "${}", "${A", "${A:", "${A:x}", "${A!}", "${A/x}", "${A#\\x}",
    ] {
        assert!(matches!(expanded(word), Err(Malformed::Syntax(_))), "{word}");
    }
    assert_eq!(expanded("${B:?is needed}"), Err(Malformed::Required));
    assert_eq!(expanded(&"${B:-".repeat(1_000)), Err(Malformed::TooMuch));
}

#[test]
fn what_is_not_set_is_told_unless_it_has_a_default() {
    let unset = |word| expand(word, '\\', &Unset, &mut Budget::default()).unwrap().unset;
    assert_eq!(unset("$A${B}"), ["A", "B"]);
    assert_eq!(unset("${A:-x}${B+x}"), [""; 0]);
    assert_eq!(unset("${A#x}"), ["A"]);
}

#[test]
fn a_line_has_the_words_that_may_be_heredocs() {
    let words = words("cat <<EOF >a 3<<-\"E F\" << X; $A '<<Y'", true, true).unwrap();
    assert_eq!(words, ["cat", "<<EOF", ">a", "3<<-\"E F\"", "<< X;", "$A", "'<<Y'"]);
}
