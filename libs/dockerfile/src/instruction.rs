//! One instruction: its flags, its arguments and its heredocs.

use crate::{
    diagnostic::Problem,
    lines::Joined,
    shell,
    words::{self, NotStrings, Word},
};
use std::ops::Range;

macro_rules! keywords {
    ($($name:ident $text:literal,)*) => {
        /// What an instruction begins with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Keyword {
            $($name,)*
            /// None that the engine knows.
            Unknown,
        }

        impl Keyword {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "",
                }
            }
        }
    };
}

keywords! {
    Add "ADD",
    Arg "ARG",
    Cmd "CMD",
    Copy "COPY",
    Entrypoint "ENTRYPOINT",
    Env "ENV",
    Expose "EXPOSE",
    From "FROM",
    Healthcheck "HEALTHCHECK",
    Label "LABEL",
    Maintainer "MAINTAINER",
    Onbuild "ONBUILD",
    Run "RUN",
    Shell "SHELL",
    Stopsignal "STOPSIGNAL",
    User "USER",
    Volume "VOLUME",
    Workdir "WORKDIR",
}

impl Keyword {
    fn of(word: &str) -> Self {
        let known = Self::ALL
            .iter()
            .find(|keyword| keyword.name().eq_ignore_ascii_case(word));
        known.copied().unwrap_or(Self::Unknown)
    }

    fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }
}

/// `--name=value`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    pub name: String,
    pub value: Option<String>,
    /// In the joined line.
    pub(crate) at: Range<usize>,
}

/// A name and a value, as ARG, ENV and LABEL have them; quotes and variables are still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    /// None: an ARG without a default.
    pub value: Option<String>,
    /// In the joined line.
    pub(crate) at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Whether variables in it are replaced.
    pub expands: bool,
    /// Whether tabs at the beginning of its lines are none of its content.
    pub strips_tabs: bool,
    pub content: String,
}

#[derive(Debug, Clone)]
pub struct Instruction {
    pub keyword: Keyword,
    /// From 1; a heredoc is part of it.
    pub first_line: u32,
    pub last_line: u32,
    pub flags: Vec<Flag>,
    /// As words, as the strings of the JSON form, or as one text where it is for a shell or is a single value.
    /// HEALTHCHECK has its kind before them.
    pub arguments: Vec<String>,
    pub is_json: bool,
    /// Of ARG, ENV and LABEL.
    pub pairs: Vec<Pair>,
    /// `ENV name value`, the old form.
    pub(crate) is_legacy: bool,
    pub heredocs: Vec<Heredoc>,
    /// What ONBUILD keeps for a build upon this one.
    pub trigger: Option<Box<Instruction>>,
    pub(crate) written: Joined,
    /// The keyword, and the arguments behind the flags, in the joined line.
    pub(crate) keyword_at: Range<usize>,
    pub(crate) arguments_at: Range<usize>,
    /// Where each of the words is, where the arguments are words.
    pub(crate) words_at: Vec<Range<usize>>,
}

impl Instruction {
    /// What a flag that is given once says.
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// The whole text behind the flags, as the engine joins its lines; without heredocs.
    pub fn text(&self) -> &str {
        &self.written.text[self.arguments_at.clone()]
    }

    /// The keyword as it is written.
    pub(crate) fn keyword_text(&self) -> &str {
        &self.written.text[self.keyword_at.clone()]
    }

    pub(crate) fn place(&self, at: &Range<usize>) -> Range<usize> {
        self.written.place(at.clone())
    }

    /// Where the nth of the words is; the arguments as a whole, where they are no words.
    pub(crate) fn word_place(&self, word: usize) -> Range<usize> {
        self.place(self.words_at.get(word).unwrap_or(&self.arguments_at))
    }

    /// The fields of its `--mount` flags that have this key.
    pub(crate) fn mount_fields<'a>(&'a self, keys: &'a [&str]) -> impl Iterator<Item = (&'a Flag, String)> + 'a {
        let mounts = self
            .flags
            .iter()
            .filter(|flag| self.keyword == Keyword::Run && flag.name == "mount");
        mounts.flat_map(move |flag| {
            let fields = flag.value.as_deref().and_then(words::fields).unwrap_or_default();
            fields.into_iter().filter_map(move |field| {
                let (key, value) = field.split_once('=')?;
                let key = key.to_ascii_lowercase();
                keys.contains(&key.as_str()).then(|| (flag, value.to_owned()))
            })
        })
    }
}

/// An instruction in one line, and why Docker stops at it already here.
pub(crate) fn read(written: Joined, escape: char, problems: &mut Vec<Problem>) -> Instruction {
    let (keyword_at, rest) = words::split(&written.text);
    let keyword = Keyword::of(&written.text[keyword_at.clone()]);
    let (flags, arguments_at) = words::flags(&written.text, rest, escape);
    let mut read = Instruction {
        keyword,
        first_line: written.lines.0,
        last_line: written.lines.1,
        flags: flags.into_iter().map(flag).collect(),
        arguments: Vec::new(),
        is_json: false,
        pairs: Vec::new(),
        is_legacy: false,
        heredocs: Vec::new(),
        trigger: None,
        written,
        keyword_at,
        arguments_at,
        words_at: Vec::new(),
    };
    if let Err((message, hint)) = arguments(&mut read, escape, problems) {
        problems.push(Problem::error(
            "SyntaxError",
            read.place(&read.arguments_at),
            message,
            hint,
        ));
    }
    read
}

fn flag(word: Word) -> Flag {
    let (name, value) = match word.text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word.text.as_str(), None),
    };
    Flag {
        name: name.trim_start_matches("--").to_owned(),
        value,
        at: word.at,
    }
}

type Stop = (String, &'static str);

fn arguments(read: &mut Instruction, escape: char, problems: &mut Vec<Problem>) -> Result<(), Stop> {
    if read.arguments_at.is_empty() {
        return Ok(());
    }
    let at = read.arguments_at.clone();
    let text = read.text().to_owned();
    match read.keyword {
        Keyword::Unknown => (),
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Shell => {
            read.is_json = command(&text, &mut read.arguments)?;
        }
        Keyword::Add | Keyword::Copy | Keyword::Volume => match words::json(&text).map_err(not_strings)? {
            Some(strings) => (read.arguments, read.is_json) = (strings, true),
            None => take_words(read, words::plain(&read.written.text, at)),
        },
        Keyword::From | Keyword::Expose => take_words(read, words::plain(&read.written.text, at)),
        Keyword::Maintainer | Keyword::Stopsignal | Keyword::User | Keyword::Workdir => read.arguments.push(text),
        Keyword::Healthcheck => {
            let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
            read.arguments.push(kind.to_owned());
            read.is_json = command(rest.trim_start(), &mut read.arguments)?;
        }
        Keyword::Arg => {
            take_words(read, words::quoted(&read.written.text, at, escape));
            let words = read.arguments.iter().zip(&read.words_at);
            read.pairs = words.map(|(word, at)| pair(word, at)).collect();
        }
        Keyword::Env | Keyword::Label => pairs(read, &text, escape)?,
        Keyword::Onbuild => {
            let written = read.written.behind(at.start);
            // A chain is refused, and may be long: one of it is enough to see that.
            let (keyword, _) = words::split(&written.text);
            let trigger = Keyword::of(&written.text[keyword.clone()]);
            read.arguments.push(written.text[keyword].to_owned());
            if trigger != Keyword::Onbuild {
                read.trigger = Some(Box::new(self::read(written, escape, problems)));
            }
        }
    }
    Ok(())
}

fn not_strings(_: NotStrings) -> Stop {
    let message = "the JSON form takes strings only".to_owned();
    (message, "put everything in double quotes, as in [\"sleep\", \"5\"]")
}

fn take_words(read: &mut Instruction, words: Vec<Word>) {
    (read.arguments, read.words_at) = words.into_iter().map(|word| (word.text, word.at)).unzip();
}

/// The JSON form, or a text for a shell.
fn command(text: &str, arguments: &mut Vec<String>) -> Result<bool, Stop> {
    if text.is_empty() {
        return Ok(false);
    }
    let strings = words::json(text).map_err(not_strings)?;
    let is_json = strings.is_some();
    arguments.extend(strings.unwrap_or_else(|| vec![text.to_owned()]));
    Ok(is_json)
}

fn pair(word: &str, at: &Range<usize>) -> Pair {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    Pair {
        name: name.to_owned(),
        value,
        at: at.clone(),
    }
}

fn pairs(read: &mut Instruction, text: &str, escape: char) -> Result<(), Stop> {
    let words = words::quoted(&read.written.text, read.arguments_at.clone(), escape);
    let Some(first) = words.first() else { return Ok(()) };
    if !first.text.contains('=') {
        let Some((name, value)) = text.split_once(words::is_blank) else {
            let message = format!("{} {text} has no value", read.keyword.name());
            return Err((message, "write NAME=VALUE"));
        };
        read.is_legacy = true;
        read.pairs.push(Pair {
            name: name.to_owned(),
            value: Some(value.trim_start_matches(words::is_blank).to_owned()),
            at: read.arguments_at.clone(),
        });
        return Ok(());
    }
    if let Some(word) = words.iter().find(|word| !word.text.contains('=')) {
        let message = format!("`{}` is not NAME=VALUE", shortened(&word.text));
        let hint = if word.text.starts_with('#') {
            "a remark goes on a line of its own: behind an instruction it is an argument"
        } else {
            "put a value with spaces in double quotes"
        };
        return Err((message, hint));
    }
    read.pairs = words.iter().map(|word| pair(&word.text, &word.at)).collect();
    Ok(())
}

/// A word of a message: what is far too long is cut.
pub(crate) fn shortened(word: &str) -> String {
    const LETTERS: usize = 60;
    let mut letters = word.chars();
    let mut text: String = letters
        .by_ref()
        .take(LETTERS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if letters.next().is_some() {
        text.push('…');
    }
    text
}

impl Instruction {
    /// The heredocs that its line announces, without their content; or why Docker stops at one.
    pub(crate) fn announced(&self) -> Result<Vec<Heredoc>, Stop> {
        let holder = self.trigger.as_deref().unwrap_or(self);
        if !holder.keyword.takes_heredocs() || holder.is_json || !self.written.text.contains("<<") {
            return Ok(Vec::new());
        }
        // What can't be read as words announces nothing, there as here.
        let words = shell::words(&self.written.text, true, true).unwrap_or_default();
        let mut heredocs = Vec::new();
        for word in &words {
            heredocs.extend(heredoc(word)?);
        }
        Ok(heredocs)
    }
}

/// `^(\d*)<<(-?)\s*([^<]*)$`, with one word at the end.
pub(crate) fn heredoc(word: &str) -> Result<Option<Heredoc>, Stop> {
    let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else {
        return Ok(None);
    };
    let (strips_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches(|c: char| words::is_blank(c) && c != '\x0b');
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let malformed = |_| {
        let message = format!("`{}` does not name a heredoc", shortened(word));
        (message, "write <<EOF, and EOF on a line of its own at the end")
    };
    let [name] = &shell::words(rest, false, false).map_err(malformed)?[..] else {
        return Ok(None);
    };
    let raw = shell::words(rest, true, false).map_err(malformed)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        expands: raw.first().is_some_and(|raw| quotes(raw) == quotes(name)),
        strips_tabs,
        content: String::new(),
    }))
}
