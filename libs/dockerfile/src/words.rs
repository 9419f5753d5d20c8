//! How the arguments of an instruction fall into words. After BuildKit's `split_command.go` and `line_parsers.go`.

use std::{iter::Peekable, ops::Range, str::CharIndices};

/// A word without what only held it together, and where it is in the joined line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) at: Range<usize>,
}

/// The space that parts words; a line end is none, and neither is what else Unicode calls a space.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Where in a text a part of it is that was cut off from its ends.
pub(crate) fn trimmed(text: &str, at: Range<usize>) -> Range<usize> {
    let part = &text[at.clone()];
    let start = at.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// The keyword, and what follows it.
pub(crate) fn split(text: &str) -> (Range<usize>, Range<usize>) {
    let whole = trimmed(text, 0..text.len());
    let line = &text[whole.clone()];
    let end = whole.start + line.find(is_blank).unwrap_or(line.len());
    let rest = &text[end..whole.end];
    let start = end + (rest.len() - rest.trim_start_matches(is_blank).len());
    (whole.start..end, start..whole.end)
}

/// The words that begin with `--`, and where the arguments begin. The engine goes byte by byte here, so that parts
/// of a letter may count as a space; so does this.
pub(crate) fn flags(text: &str, at: Range<usize>, escape: char) -> (Vec<Word>, Range<usize>) {
    let bytes = &text.as_bytes()[..at.end];
    let is_space = |byte: u8| char::from(byte).is_whitespace();
    let mut flags = Vec::new();
    let mut next = at.start;
    loop {
        while bytes.get(next).is_some_and(|byte| is_space(*byte)) {
            next += 1;
        }
        if !bytes[next..].starts_with(b"--") {
            break;
        }
        let start = next;
        let (mut word, mut quote, mut is_quoted) = (String::new(), None, false);
        while let Some(&byte) = bytes.get(next) {
            let c = char::from(byte);
            if quote.is_none() && is_space(byte) {
                break;
            }
            next += 1;
            if quote == Some(c) {
                quote = None;
            } else if quote.is_none() && matches!(c, '\'' | '"') {
                (quote, is_quoted) = (Some(c), true);
            } else if c == escape {
                // At the end of the line it escapes nothing.
                word.extend(bytes.get(next).map(|escaped| char::from(*escaped)));
                next += 1;
            } else {
                word.push(c);
            }
        }
        next = next.min(bytes.len());
        if word == "--" {
            break;
        }
        if is_quoted || !word.is_empty() {
            flags.push(Word {
                text: word,
                at: start..next,
            });
        }
    }
    // A letter whose last byte is a space there is not one here.
    while !text.is_char_boundary(next) {
        next += 1;
    }
    (flags, trimmed(text, next..at.end))
}

/// Words with their quotes and escapes still in them.
pub(crate) fn quoted(text: &str, at: Range<usize>, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = text[at.clone()].char_indices().peekable();
    while let Some((start, _)) = next_word(&mut chars) {
        let (mut word, mut quote) = (String::new(), None);
        let mut has_quotes = false;
        let mut end = at.end - at.start;
        while let Some((place, c)) = chars.next() {
            if quote.is_none() && c.is_whitespace() {
                end = place;
                break;
            }
            if c == escape && quote != Some('\'') {
                let Some((_, escaped)) = chars.next() else { break };
                word.extend([c, escaped]);
                continue;
            }
            if quote == Some(c) {
                quote = None;
            } else if quote.is_none() && matches!(c, '\'' | '"') {
                (quote, has_quotes) = (Some(c), true);
            }
            word.push(c);
        }
        if has_quotes || !word.is_empty() {
            words.push(Word {
                text: word,
                at: at.start + start..at.start + end,
            });
        }
    }
    words
}

/// Stands before a word, or answers none.
fn next_word(chars: &mut Peekable<CharIndices<'_>>) -> Option<(usize, char)> {
    while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    chars.peek().copied()
}

/// Words between blanks, whatever they are.
pub(crate) fn plain(text: &str, at: Range<usize>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = at.start;
    for word in text[at].split(is_blank) {
        if !word.is_empty() {
            words.push(Word {
                text: word.to_owned(),
                at: start..start + word.len(),
            });
        }
        start += word.len() + 1;
    }
    words
}

/// The strings of a JSON array; none: it is not one, so it is meant for a shell.
pub(crate) fn json(text: &str) -> Result<Option<Vec<String>>, NotStrings> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(NotStrings),
    });
    strings.collect::<Result<Vec<String>, NotStrings>>().map(Some)
}

/// An array with something else in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStrings;

/// The fields of one line of comma-separated values, as `--mount` has them.
pub(crate) fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, more) = rest
                .split_once(',')
                .map_or((rest, None), |(field, more)| (field, Some(more)));
            if field.contains('"') {
                return None;
            }
            fields.push(field.to_owned());
            match more {
                Some(more) => rest = more,
                None => return Some(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut chars = quoted.char_indices().peekable();
        let end = loop {
            match chars.next()? {
                (_, '"') if chars.next_if(|(_, c)| *c == '"').is_some() => field.push('"'),
                (end, '"') => break end + 1,
                (_, c) => field.push(c),
            }
        };
        fields.push(field);
        match &quoted[end..] {
            "" => return Some(fields),
            more => rest = more.strip_prefix(',')?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(|word| word.text.as_str()).collect()
    }

    #[test]
    fn flags_end_where_the_arguments_begin() {
        for (line, expected, rest) in [
            (
                "--from=a --chown='1 2' x --y",
                &["--from=a", "--chown=1 2"][..],
                "x --y",
            ),
            ("--mount=a\\ b -- --c", &["--mount=a b"], "--c"),
            ("-- x", &[], "x"),
            ("x", &[], "x"),
            ("--a", &["--a"], ""),
            ("--a=\"", &["--a="], ""),
            ("--a\\", &["--a"], ""),
            // The second byte of the letter is a space to the engine.
            ("--a=\u{e0}--from=b x", &["--a=\u{c3}", "--from=b"], "x"),
        ] {
            let (flags, at) = flags(line, 0..line.len(), '\\');
            assert_eq!((texts(&flags).as_slice(), &line[at]), (expected, rest), "{line}");
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        for (line, expected) in [
            ("a=1 b='2 3' c=\"4 \\\" 5\"", &["a=1", "b='2 3'", "c=\"4 \\\" 5\""][..]),
            ("a=b\\ c d", &["a=b\\ c", "d"]),
            ("  '' x\\", &["''", "x"]),
        ] {
            let words = quoted(line, 0..line.len(), '\\');
            assert_eq!(texts(&words), expected, "{line}");
        }
        let words = quoted("ab  cd", 0..6, '\\');
        assert_eq!(words[1].at, 4..6);
    }

    #[test]
    fn an_array_of_strings_is_told_from_what_looks_like_one() {
        assert_eq!(json("[\"a\", \"b\"]"), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(json("['a']"), Ok(None));
        assert_eq!(json("[ -f x ]"), Ok(None));
        assert_eq!(json("[1]"), Err(NotStrings));
    }

    #[test]
    fn a_mount_is_a_line_of_comma_separated_values() {
        let found = |text| fields(text).unwrap_or_else(|| vec!["malformed".to_owned()]);
        assert_eq!(found("type=bind,from=a"), ["type=bind", "from=a"]);
        assert_eq!(found("\"from=a,b\",x"), ["from=a,b", "x"]);
        assert_eq!(found("\"a\"\"b\""), ["a\"b"]);
        for malformed in ["a\"b", "\"a", "\"a\"b"] {
            assert_eq!(fields(malformed), None, "{malformed}");
        }
    }
}
