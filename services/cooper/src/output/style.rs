//! Colours, on terminals that want them.

use std::{env, io::IsTerminal};

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Green: as it should be.
    Good,
    /// Red: it is not.
    Bad,
    /// Orange: something is to be done.
    Changed,
    /// Under way.
    Busy,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) terminal: bool,
    colours: Colours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    None,
    Eight,
    /// With a true orange.
    Many,
}

impl Style {
    /// As <https://no-color.org> says: any non-empty `NO_COLOR` switches colours off.
    pub(crate) fn of(stream: &impl IsTerminal, no_color: bool) -> Self {
        let terminal = stream.is_terminal();
        let term = env::var("TERM").unwrap_or_default();
        let unwanted = no_color || env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || term == "dumb";
        let colours = if !terminal || unwanted {
            Colours::None
        } else if term.contains("256color") || env::var_os("COLORTERM").is_some() {
            Colours::Many
        } else {
            Colours::Eight
        };
        Self { terminal, colours }
    }

    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self {
        terminal: false,
        colours: Colours::None,
    };

    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self {
        terminal: true,
        colours: Colours::Eight,
    };

    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self.colours, tone) {
            (Colours::None, _) => return text.to_owned(),
            (_, Tone::Good) => "32",
            (_, Tone::Bad) => "31",
            (Colours::Eight, Tone::Changed) => "33",
            (Colours::Many, Tone::Changed) => "38;5;208",
            (_, Tone::Busy) => "36",
            (_, Tone::Faint) => "2",
            (_, Tone::Strong) => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The columns of the terminal; none in a pipe, where nothing is cut.
    pub(crate) fn width(self) -> Option<usize> {
        if !self.terminal {
            return None;
        }
        let set = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        set.or_else(|| terminal_size::terminal_size().map(|(columns, _)| usize::from(columns.0)))
    }
}
