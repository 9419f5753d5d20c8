//! A secret that the build itself prints becomes `***`: as it is, and as base64, hexadecimal digits or part of a URL. A
//! build can always write it in yet another way, so this helps against accidents only.

use crate::credentials::values;
use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use proto::builder::v1::BuildCredentials;
use url::form_urlencoded::byte_serialize;

/// What is shorter stands everywhere.
const BYTES_MIN: usize = 4;
/// A longer line is looked for in parts.
const BYTES_MAX: usize = 1024;
/// Where programs break the lines of base64.
const BASE64_LINE: usize = 76;
/// Where they break those of hexadecimal digits.
const HEX_LINE: usize = 60;

#[derive(Default)]
pub(super) struct Mask {
    parts: Vec<String>,
    search: Option<AhoCorasick>,
    /// The end of what was printed, which may be the beginning of a secret.
    held: String,
}

impl Mask {
    pub(super) fn new(credentials: &BuildCredentials) -> Self {
        let mut parts: Vec<String> = values(credentials).flat_map(parts).collect();
        parts.sort_unstable();
        parts.dedup();
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&parts)
            .ok()
            .filter(|_| !parts.is_empty());
        Self {
            parts,
            search,
            held: String::new(),
        }
    }

    /// What can be shown by now.
    pub(super) fn hide(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let mut shown = self.hidden(&self.held);
        self.held = shown.split_off(self.begun(&shown));
        shown
    }

    /// The rest, and nothing comes after it.
    pub(super) fn finish(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let rest = std::mem::take(&mut self.held);
        self.hidden(&rest)
    }

    /// Of a text that stands for itself.
    pub(super) fn hidden(&self, text: &str) -> String {
        match &self.search {
            Some(search) => search.replace_all(text, &vec!["***"; self.parts.len()]),
            None => text.to_owned(),
        }
    }

    /// Where the beginning of a secret stands at the end of a text.
    fn begun(&self, text: &str) -> usize {
        let longest = self.parts.iter().map(String::len).max().unwrap_or(0);
        let line = text.rfind('\n').map_or(0, |end| end + 1);
        let from = text.ceil_char_boundary(line.max(text.len().saturating_sub(longest)));
        let begins = |end: &str| self.parts.iter().any(|part| part.starts_with(end));
        let mut places = text[from..].char_indices().map(|(at, _)| from + at);
        places.find(|&at| begins(&text[at..])).unwrap_or(text.len())
    }
}

/// What of a secret may stand in a line.
fn parts(secret: &[u8]) -> Vec<String> {
    let bare = secret.trim_ascii();
    let mut all = Vec::new();
    if let Ok(text) = std::str::from_utf8(bare) {
        for line in text.lines().map(str::trim) {
            all.extend(cut(line, BYTES_MAX));
        }
    }
    // A line end that was encoded with it changes the last letters.
    for encoded in [bare.to_vec(), [bare, b"\n"].concat()] {
        all.extend(cut(&STANDARD.encode(&encoded), BASE64_LINE));
        all.extend(cut(&URL_SAFE.encode(&encoded), BASE64_LINE));
    }
    all.extend(cut(&base16ct::lower::encode_string(bare), HEX_LINE));
    all.extend(cut(&byte_serialize(bare).collect::<String>(), BYTES_MAX));
    all.retain(|part| part.len() >= BYTES_MIN);
    all
}

fn cut(text: &str, bytes: usize) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (part, after) = rest.split_at(rest.floor_char_boundary(bytes));
        rest = after;
        (!part.is_empty()).then(|| part.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secret: &[u8]) -> Mask {
        Mask::new(&BuildCredentials {
            secrets: [("id".to_owned(), secret.to_vec().into())].into(),
            ..BuildCredentials::default()
        })
    }

    // covers E9
    #[test]
    fn a_secret_is_hidden_however_it_is_written_and_cut() {
        let secret = "s3cr/t value+\u{e9}";
        let line = format!("{secret}\n");
        let forms = [
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD.encode(&line),
            URL_SAFE.encode(secret),
            base16ct::lower::encode_string(secret.as_bytes()),
            byte_serialize(secret.as_bytes()).collect(),
        ];
        for form in &forms {
            let text = format!("#5 0.1 key={form}!\n#5 DONE\n");
            for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
                let mut mask = mask(line.as_bytes());
                let shown = [mask.hide(&text[..at]), mask.hide(&text[at..]), mask.finish("")].concat();
                assert!(shown.starts_with("#5 0.1 key=***"), "{shown}");
                assert!(shown.ends_with("!\n#5 DONE\n"), "{shown}");
                assert!(!shown.contains(&form[..8]), "{shown}");
            }
        }
    }

    // covers E9
    #[test]
    fn each_line_of_a_key_is_hidden() {
        let body = STANDARD.encode([42; 300]);
        let key = format!(
            "-----BEGIN KEY-----\n{}\n{}\n-----END KEY-----\n",
            &body[..64],
            &body[64..]
        );
        let mut mask = mask(key.as_bytes());
        let printed: Vec<String> = key.lines().map(|line| format!("#7 0.2 {line}\n")).collect();
        assert_eq!(mask.hide(&printed.concat()), "#7 0.2 ***\n".repeat(4));

        let folded = STANDARD
            .encode(&key)
            .as_bytes()
            .chunks(76)
            .map(|line| [line, b"\n"].concat())
            .collect::<Vec<_>>();
        let shown = mask.hide(&String::from_utf8(folded.concat()).unwrap());
        assert!(shown.lines().rev().skip(1).all(|line| line == "***"), "{shown}");
    }

    #[test]
    fn what_is_no_secret_is_shown_at_once() {
        let mut none = Mask::new(&BuildCredentials::default());
        assert_eq!(none.hide("all of it"), "all of it");
        let mut one = mask(b"canary");
        assert_eq!(one.hide("a cat, a can"), "a cat, a ");
        assert_eq!(one.hide(" of"), "can of");
        assert_eq!(one.hide("\na"), "\na");
        assert_eq!(one.hide("can\n"), "can\n");
        assert_eq!(one.finish("canar"), "canar");
        assert_eq!(
            mask(b"on").hide("on and on"),
            "on and on",
            "too short to be told from a word"
        );
    }
}
