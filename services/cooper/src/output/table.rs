//! Rows in columns, as wide as they need to be; on a terminal the last one is cut at its edge.

use super::{Style, Tone};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

const GAP: &str = "   ";
/// What is left of the last column on a narrow terminal.
const LAST_COLUMN_MIN: usize = 16;

/// A word in a table, and what its colour says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    pub(crate) fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            text: plain(text.as_ref()),
            tone: Some(tone),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: plain(text.as_ref()),
            tone: None,
        }
    }
}

/// Text from elsewhere without what would steer the terminal, on one line.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
    keys: Vec<String>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|title| Cell::new(Tone::Faint, title)).collect(),
            ..Self::default()
        }
    }

    /// Adds a row. The key is what `-q` prints of it.
    pub(crate) fn row(&mut self, key: impl Into<String>, cells: impl IntoIterator<Item = Cell>) {
        self.keys.push(key.into());
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    pub(crate) fn render(&self, style: Style, width: Option<usize>) -> String {
        let lines = || self.rows.iter().chain((!self.head.is_empty()).then_some(&self.head));
        let columns = lines().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                lines()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.text.width())
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
        let last = width.map(|width| width.saturating_sub(before).max(LAST_COLUMN_MIN));

        let mut text = String::new();
        let head = (!self.head.is_empty()).then_some(&self.head);
        for row in head.into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let is_last = column + 1 == columns;
                let shown = match last {
                    Some(last) if is_last => cut(&cell.text, last),
                    _ => cell.text.clone(),
                };
                let missing = if is_last {
                    0
                } else {
                    widths[column].saturating_sub(shown.width())
                };
                line += &match cell.tone {
                    Some(tone) if !shown.is_empty() => style.paint(tone, &shown),
                    _ => shown,
                };
                if !is_last {
                    line += &" ".repeat(missing);
                    line += GAP;
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or_default();
        used < width
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles() -> Table {
        let mut table = Table::new(&["NAME", "STATUS", "DESCRIPTION"]);
        table.row(
            "img_1",
            ["tool".into(), Cell::new(Tone::Good, "built"), "what it is for".into()],
        );
        table.row(
            "img_2",
            ["team/other".into(), Cell::new(Tone::Bad, "not built"), "".into()],
        );
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_words() {
        let text = tiles().render(Style::PLAIN, None);
        assert_eq!(
            text,
            "NAME         STATUS      DESCRIPTION\n\
             tool         built       what it is for\n\
             team/other   not built\n"
        );
    }

    #[test]
    fn the_last_column_ends_at_the_edge_of_the_terminal() {
        let mut table = Table::new(&[]);
        table.row("", ["a".into(), "0123456789 0123456789".into()]);
        assert_eq!(table.render(Style::PLAIN, Some(22)), "a   0123456789 012345…\n");
        assert_eq!(table.render(Style::PLAIN, Some(25)), "a   0123456789 0123456789\n");
        // Wide characters take two columns.
        let mut wide = Table::new(&[]);
        wide.row("", ["桶".repeat(20).into()]);
        assert_eq!(wide.render(Style::PLAIN, Some(17)), format!("{}…\n", "桶".repeat(8)));
    }

    // covers R12, R13, R14
    #[test]
    fn a_colour_does_not_move_the_columns() {
        let text = tiles().render(Style::COLOURED, None);
        assert!(
            text.contains("tool         \x1b[32mbuilt\x1b[0m       what"),
            "{text:?}"
        );
        assert!(text.contains("\x1b[31mnot built\x1b[0m\n"), "{text:?}");
    }

    #[test]
    fn text_from_elsewhere_does_not_steer_the_terminal() {
        assert_eq!(Cell::from("a\x1b[2Jb\nc").text, "a [2Jb c");
    }

    #[test]
    fn quiet_prints_the_keys() {
        assert_eq!(tiles().keys().collect::<Vec<_>>(), ["img_1", "img_2"]);
    }
}
