//! Docker's own examples (the tables of moby/patternmatcher and Go's `filepath.Match`), and ours.

use super::*;

fn ignored(patterns: &[&str], path: &str) -> bool {
    Ignore::parse(&patterns.join("\n")).unwrap().ignores(path)
}

#[test]
fn one_pattern_matches_as_in_docker() {
    // covers R80
    let cases = [
        ("**", "file", true),
        ("**/", "file", true),
        ("**", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**file", "dir/xfile", true),
        ("**/file", "dir/xfile", false),
        ("**/file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        (r"a\\", r"a\", true),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        (
            "dist/*.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        ("*c", "abc", true),
        ("a*", "ab/c", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        (r"a\*b", "a*b", true),
        (r"a\*b", "ab", false),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("a?b", "a/b", false),
        (r"[\]a]", "]", true),
        (r"[x\-]", "-", true),
        (r"[x\-]", "z", false),
    ];
    for (pattern, path, expected) in cases {
        assert_eq!(ignored(&[pattern], path), expected, "{pattern} on {path}");
    }
}

#[test]
fn the_last_match_wins_and_a_directory_speaks_for_its_files() {
    // covers R80
    assert!(ignored(&["!file.go", "*.go"], "file.go"));
    assert!(!ignored(&["*.go", "!file.go"], "file.go"));
    for docs in ["docs", "docs/", "/docs", "./docs", "docs/*", "x/../docs"] {
        assert!(ignored(&[docs], "docs/a/b.md"), "{docs}");
        assert!(!ignored(&[docs, "!docs/README.md"], "docs/README.md"), "{docs}");
    }
    assert!(!ignored(&["**", "!util/docker/web"], "util/docker/web/foo"));
    assert!(ignored(
        &["**", "!util/docker/web", "util/docker/web/foo"],
        "util/docker/web/foo"
    ));
}

#[test]
fn comments_blanks_and_a_byte_order_mark_are_no_patterns() {
    let ignore = Ignore::parse("\u{feff}# a\n\n   \n  !keep.o  \n*.o\r\n ! keep.o\n").unwrap();
    assert!(ignore.ignores("x.o"));
    assert!(!ignore.ignores("keep.o"));
    assert!(!ignore.ignores("# a"));
    // not a comment: Docker looks at the first column only
    assert!(ignored(&[" #x"], "#x"));
}

#[test]
fn the_dockerfile_always_stays_in() {
    assert!(!ignored(&["*"], "Dockerfile"));
    assert!(ignored(&["**"], ".dockerignore"));
    assert!(ignored(&["**"], "sub/Dockerfile"));
}

#[test]
fn what_is_not_a_pattern_is_named_by_its_line() {
    for bad in [
        "[", "[^", "[^bc", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "\\", "!",
    ] {
        assert!(Ignore::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(
        Ignore::parse("ok\n[").unwrap_err().to_string(),
        "'[' in line 2 of .dockerignore is not a pattern; correct it"
    );
}

#[test]
fn an_ignored_directory_is_skipped_only_where_nothing_can_come_back() {
    let keep = |patterns: &str, directory| Ignore::parse(patterns).unwrap().may_keep_below(directory);
    assert!(!keep("node_modules", "node_modules"));
    assert!(!keep("*\n!src/main.rs", "target"));
    assert!(keep("*\n!src/main.rs", "src"));
    assert!(keep("*\n!**/*.md", "target"));
    assert!(keep("*\n!src/*.rs", "src"));
    assert!(!keep("*\n!src/*.rs", "target"));
}

#[test]
fn a_hostile_pattern_is_still_quick() {
    let pattern = "*a".repeat(200) + "b";
    assert!(!ignored(&[&pattern], &"a".repeat(4000)));
}
