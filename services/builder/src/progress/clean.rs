//! What a build says, as a terminal may be given it: text and colours. Whatever else a terminal obeys (titles, links, the
//! clipboard, the cursor) is left out, and so are characters that turn others around.
//!
//! The end of a line ends every sequence and every colour: no line changes another one. A colour goes on in the next line
//! of the same step, though.

use anstyle_parse::state::{Action, State, state_change};
use std::borrow::Cow;

/// A longer sequence is no colour.
const SEQUENCE_MAX: usize = 64;
/// Colours that add up to more are forgotten at the end of the line.
const STYLE_MAX: usize = 256;
const ESCAPE: u8 = 0x1b;
const RESET: &str = "\x1b[0m";

#[derive(Debug, Default)]
pub(super) struct Clean {
    state: State,
    /// The parameters of the sequence that has begun.
    sequence: String,
    /// The colours that are on.
    style: String,
    /// Colours, too, are left out.
    is_plain: bool,
}

/// Text alone: for what stands in an event, and in lines of our own.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_special = |c: char| c != '\n' && is_special(c);
    if !text.contains(is_special) {
        return text.into();
    }
    let mut clean = Clean {
        is_plain: true,
        ..Clean::default()
    };
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        clean.text(line, &mut out);
        clean.end_line(&mut out);
        if line.ends_with('\n') {
            out.push('\n');
        }
    }
    out.into()
}

impl Clean {
    pub(super) fn begin_line(&self, out: &mut String) {
        out.push_str(&self.style);
    }

    /// Part of a line. Line ends in it count as nothing.
    pub(super) fn text(&mut self, mut text: &str, out: &mut String) {
        while !text.is_empty() {
            if self.state == State::Ground {
                let plain = text.find(is_special).unwrap_or(text.len());
                out.push_str(&text[..plain]);
                text = &text[plain..];
            }
            let mut rest = text.chars();
            if let Some(c) = rest.next() {
                self.character(c, out);
            }
            text = rest.as_str();
        }
    }

    pub(super) fn end_line(&mut self, out: &mut String) {
        self.state = State::Ground;
        self.interrupt(out);
        if self.style.len() > STYLE_MAX {
            self.style.clear();
        }
    }

    /// What follows is not of this step.
    pub(super) fn interrupt(&self, out: &mut String) {
        if !self.style.is_empty() {
            out.push_str(RESET);
        }
    }

    fn character(&mut self, c: char, out: &mut String) {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => self.byte(byte, out),
            // Of the same meaning as two characters.
            Ok(byte) if c.is_control() => {
                self.byte(ESCAPE, out);
                self.byte(byte - 0x40, out);
            }
            _ if self.is_in_string() => (),
            _ => {
                self.state = State::Ground;
                if !is_special(c) {
                    out.push(c);
                }
            }
        }
    }

    fn byte(&mut self, byte: u8, out: &mut String) {
        let (next, action) = state_change(self.state, byte);
        match action {
            Action::Print if byte != 0x7f => out.push(char::from(byte)),
            Action::Execute if byte == b'\t' => out.push('\t'),
            Action::Param | Action::Collect if self.sequence.len() < SEQUENCE_MAX => {
                self.sequence.push(char::from(byte));
            }
            Action::CsiDispatch if byte == b'm' => self.tone(out),
            _ => (),
        }
        if next == State::Escape {
            self.sequence.clear();
        }
        if next != State::Anywhere {
            self.state = next;
        }
    }

    /// The end of a sequence that is a colour, or looks like one.
    fn tone(&mut self, out: &mut String) {
        let is_parameter = |c: char| c.is_ascii_digit() || matches!(c, ';' | ':');
        let parameters = &self.sequence;
        if self.is_plain || parameters.len() >= SEQUENCE_MAX || !parameters.chars().all(is_parameter) {
            return;
        }
        let tone = format!("\x1b[{parameters}m");
        out.push_str(&tone);
        if parameters.split(';').any(|one| one.trim_start_matches('0').is_empty()) {
            self.style.clear();
        }
        if parameters.chars().any(|c| matches!(c, '1'..='9')) {
            self.style.push_str(&tone);
        }
    }

    fn is_in_string(&self) -> bool {
        matches!(
            self.state,
            State::OscString
                | State::SosPmApcString
                | State::DcsEntry
                | State::DcsIgnore
                | State::DcsIntermediate
                | State::DcsParam
                | State::DcsPassthrough
        )
    }
}

/// A control character, a direction, or a line end of another kind.
fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> String {
        let (mut clean, mut out) = (Clean::default(), String::new());
        clean.text(text, &mut out);
        clean.end_line(&mut out);
        out
    }

    // covers R31
    #[test]
    fn colours_stay() {
        for text in [
            "\x1b[31mred\x1b[0m",
            "\x1b[1;38;5;200mpink\x1b[m",
            "\x1b[38:2::1:2:3mx\x1b[0m",
            "a\tb",
            "naïve 日本 👩‍👩‍👧",
        ] {
            assert_eq!(line(text), text);
        }
        assert_eq!(line("\x1b[32mopen"), "\x1b[32mopen\x1b[0m");
        assert_eq!(plain("\x1b[31mred\x1b[0m\nnext\n"), "red\nnext\n");
    }

    // covers R31
    #[test]
    fn a_colour_goes_on_in_the_next_line_until_it_is_ended() {
        let (mut clean, mut out) = (Clean::default(), String::new());
        for text in ["\x1b[1mbold\x1b[31m", "red", "\x1b[0mplain", "text"] {
            clean.begin_line(&mut out);
            clean.text(text, &mut out);
            clean.end_line(&mut out);
            out.push('\n');
        }
        let expected = "\x1b[1mbold\x1b[31m\x1b[0m\n\x1b[1m\x1b[31mred\x1b[0m\n\x1b[1m\x1b[31m\x1b[0mplain\ntext\n";
        assert_eq!(out, expected);
    }

    // covers R31, E3
    #[test]
    fn what_else_a_terminal_obeys_is_left_out() {
        for (text, shown) in [
            // the clipboard, a link, a title, ended in both ways
            ("a\x1b]52;c;c2VjcmV0\x07b", "ab"),
            ("a\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]2;日本\x1b\\b", "ab"),
            // the cursor, the screen, modes, a report, keys
            ("a\x1b[2J\x1b[1;1H\x1b[10A\x1b[Kb", "ab"),
            ("a\x1b[?1049h\x1b[?25l\x1b[6n\x1bcb", "ab"),
            ("a\x1b[>4;2mb", "ab"),
            ("a\x1b7\x1b8\x1bM\x1b(0b", "ab"),
            // device control, privacy, application and other strings
            ("a\x1bP1$r0m\x1b\\b", "ab"),
            ("a\x1b^x\x1b\\\x1b_y\x1b\\\x1bXz\x1b\\b", "ab"),
            // the same in one character
            ("a\u{9d}52;c;x\u{9c}b\u{9b}2Jc\u{90}q\u{9c}d", "abcd"),
            // backspaces, bells, and what turns text around
            ("a\x08\x08\x07\x00\x0b\x0c\x7fb", "ab"),
            ("a\u{202e}b\u{2066}c\u{2069}d\u{200f}e\u{2028}f", "abcdef"),
            // nothing that is not ended reaches beyond its line
            ("a\x1b]52;c;", "a"),
            ("a\x1b[3", "a"),
            ("a\x1b[31\x18b", "ab"),
            // markup is text
            (
                "<script>alert(1)</script>\"><img onerror=x></pre>",
                "<script>alert(1)</script>\"><img onerror=x></pre>",
            ),
        ] {
            assert_eq!(line(text), shown, "{text:?}");
            assert_eq!(plain(text), shown, "{text:?}");
        }
        let long = format!("a\x1b[{}mb", "1;".repeat(1_000));
        assert_eq!(line(&long), "ab");
        assert_eq!(plain("a\x1b]0;\nb"), "a\nb");
    }

    proptest! {
        // covers E3
        #[test]
        fn only_colours_are_left_and_cutting_changes_nothing(
            text in "([a-c]|\\PC|\u{1b}|\u{1b}\\[|\u{1b}\\]|[0-9;:?m]|\u{7}|\u{9b}|\u{9c}|\u{202e}){0,40}",
            cut in 0_usize..40,
        ) {
            let whole = line(&text);
            let cut = text.floor_char_boundary(cut);
            let (mut clean, mut out) = (Clean::default(), String::new());
            clean.text(&text[..cut], &mut out);
            clean.text(&text[cut..], &mut out);
            clean.end_line(&mut out);
            prop_assert_eq!(&out, &whole);
            let mut rest = &*whole;
            while let Some(at) = rest.find(is_special) {
                prop_assert!(rest[at..].starts_with("\x1b["), "{whole:?}");
                let parameters = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit() || ";:".contains(c));
                prop_assert!(parameters.starts_with('m'), "{whole:?}");
                rest = parameters;
            }
            prop_assert_eq!(line(&whole), whole);
        }
    }
}
