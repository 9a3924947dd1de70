//! A question in the middle of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Widget as _};

use super::Theme;
use super::layout::middle;
use super::paint::{clear, put, width};
use crate::action::{Action, Context};
use crate::keymap::Keymap;
use crate::model::ui::Question;

pub(super) fn draw(
    buf: &mut Buffer,
    area: Rect,
    question: &Question,
    keymap: &Keymap,
    theme: &Theme,
) {
    let [what, ask] = lines(question, keymap);
    let columns = width(&what).max(width(&ask));
    let area = middle(area, columns.saturating_add(4), 4);
    clear(buf, area);
    Block::bordered().border_style(theme.caution).render(area, buf);
    let inside = area.inner(Margin::new(2, 1));
    put(buf, inside, 0, 0, &what, Style::new());
    put(buf, inside, 0, 1, &ask, theme.heading);
}

/// What it is about, and what is asked.
pub(super) fn lines(question: &Question, keymap: &Keymap) -> [String; 2] {
    let what = match question {
        Question::Quit { unsaved: 1 } => {
            "1 session holds secrets that are not in the key log".to_owned()
        }
        Question::Quit { unsaved } => {
            format!("{unsaved} sessions hold secrets that are not in the key log")
        }
    };
    let key = |action| keymap.key_name(Context::Question, action);
    let (yes, no, save) = (key(Action::Confirm), key(Action::Back), key(Action::Save));
    [what, format!("quit? ({yes}/{no}, {save}: save and quit)")]
}
