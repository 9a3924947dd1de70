//! The images and the last warnings: two lists, one below the other, that one pair of keys scrolls.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::{App, View};
use crate::action::Action;
use crate::model::target::{Image, ImageState, Targets};
use crate::model::{Effect, Time};
use crate::text::sanitize;

/// Warnings that are kept.
const KEPT: usize = 200;
/// Characters that are kept of a warning; the longest has two paths.
const LONGEST: usize = 1000;
/// Lines of the view that are in neither list: the headings of both, and the totals.
const HEADINGS: usize = 3;

/// Something that went wrong, or that the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// When it was last told.
    pub time: Time,
    /// Safe to show.
    pub text: String,
    /// How often it was told, one time after the other.
    pub count: usize,
}

/// A line of the upper list.
#[derive(Clone, Copy, Debug)]
pub enum ImageLine<'a> {
    /// An image.
    Image(&'a Image),
    /// Below it, why nothing is attached, though a process may want it.
    Why(&'a Image),
}

/// What is scrolled, and how far.
#[derive(Clone, Debug)]
pub struct Images {
    /// The view that this one goes back to.
    from: View,
    /// Newest first.
    warnings: VecDeque<Warning>,
    /// Told since the view was last looked at.
    unseen: usize,
    /// Lines above the first image, and above the first warning, that are shown.
    skip: (usize, usize),
    /// Lines that each list has room for.
    room: (usize, usize),
    /// Lines that the upper list has.
    image_lines: usize,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            from: View::Sessions,
            warnings: VecDeque::new(),
            unseen: 0,
            skip: (0, 0),
            room: (0, 0),
            image_lines: 0,
        }
    }
}

impl Images {
    /// Warnings that were told since the view was last looked at.
    pub fn unseen(&self) -> usize {
        self.unseen
    }

    /// How many warnings are kept.
    pub fn warning_count(&self) -> usize {
        self.warnings.len()
    }

    /// The warnings to show, newest first.
    pub fn warnings(&self) -> impl ExactSizeIterator<Item = &Warning> {
        self.warnings.iter().skip(self.skip.1).take(self.room.1)
    }

    /// The lines of images to show.
    pub fn lines<'a>(&self, targets: &'a Targets) -> impl ExactSizeIterator<Item = ImageLine<'a>> {
        lines(targets).into_iter().skip(self.skip.0).take(self.room.0)
    }

    /// Lines that are above and below the images that are shown.
    pub fn hidden_images(&self) -> (usize, usize) {
        (self.skip.0, self.image_lines.saturating_sub(self.skip.0 + self.room.0))
    }

    /// Warnings that are above and below those that are shown.
    pub fn hidden_warnings(&self) -> (usize, usize) {
        (self.skip.1, self.warnings.len().saturating_sub(self.skip.1 + self.room.1))
    }

    /// Keeps a warning. What is shown stays where it is when it was scrolled to.
    pub(super) fn warn(&mut self, time: Time, text: &str) {
        let text: String = sanitize(text).chars().take(LONGEST).collect();
        self.unseen = (self.unseen + 1).min(KEPT);
        if let Some(last) = self.warnings.front_mut().filter(|last| last.text == text) {
            *last = Warning { time, count: last.count.saturating_add(1), text };
            return;
        }
        self.warnings.push_front(Warning { time, text, count: 1 });
        self.warnings.truncate(KEPT);
        if self.skip.1 > 0 {
            self.skip.1 += 1;
        }
    }

    fn ends(&self) -> (usize, usize) {
        (
            self.image_lines.saturating_sub(self.room.0),
            self.warnings.len().saturating_sub(self.room.1),
        )
    }

    /// First the warnings, then the images.
    fn up(&mut self, lines: usize) {
        let here = lines.min(self.skip.1);
        self.skip.1 -= here;
        self.skip.0 = self.skip.0.saturating_sub(lines - here);
    }

    /// First the images, then the warnings.
    fn down(&mut self, lines: usize) {
        let ends = self.ends();
        let here = lines.min(ends.0.saturating_sub(self.skip.0));
        self.skip.0 += here;
        self.skip.1 = (self.skip.1 + lines - here).min(ends.1);
    }

    /// Shares out the lines of the view: to the images what they need, but at least a third to the warnings.
    pub(super) fn settle(&mut self, targets: &Targets, height: usize, is_shown: bool) {
        if !is_shown {
            return;
        }
        self.unseen = 0;
        self.image_lines = lines(targets).len();
        let room = height.saturating_sub(HEADINGS);
        let warnings = self.warnings.len().max(1).min(room.div_ceil(3));
        let images = self.image_lines.min(room - warnings);
        self.room = (images, room - images);
        let ends = self.ends();
        self.skip = (self.skip.0.min(ends.0), self.skip.1.min(ends.1));
    }
}

/// Every image, those first that something is the matter with, then those that are attached, then by path.
fn lines(targets: &Targets) -> Vec<ImageLine<'_>> {
    let mut images: Vec<&Image> = targets.images.values().collect();
    let users = targets.users();
    images.sort_by_key(|image| {
        let rank = match image.state {
            ImageState::Failed(_) => 0,
            ImageState::Attaching | ImageState::Attached { .. } => 1,
            ImageState::Idle => 2,
        };
        (rank, Reverse(users.contains_key(&image.id)), &image.path, image.id)
    });
    let mut lines = Vec::with_capacity(images.len());
    for image in images {
        lines.push(ImageLine::Image(image));
        let failed = matches!(image.state, ImageState::Failed(_));
        if failed || !image.plan.is_captured(targets.selection.ways) {
            lines.push(ImageLine::Why(image));
        }
    }
    lines
}

impl App {
    /// Opens the view, from which [`Action::Back`] leads to the present one.
    pub(super) fn open_images(&mut self) {
        self.ui.images.from = self.ui.view;
        self.ui.images.skip = (0, 0);
        self.ui.view = View::Images;
    }

    pub(super) fn act_in_images(&mut self, now: Time, action: Action) -> Vec<Effect> {
        let images = &mut self.ui.images;
        let page = self.ui.pages.images.saturating_sub(HEADINGS).max(1);
        match action {
            Action::Up => images.up(1),
            Action::Down => images.down(1),
            Action::PageUp => images.up(page),
            Action::PageDown => images.down(page),
            Action::First => images.skip = (0, 0),
            Action::Last => images.skip = images.ends(),
            Action::Back | Action::Images => self.ui.view = images.from,
            _ => return self.act_in_every_view(now, action),
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Msg;
    use crate::model::fixture::{app, at, everything};
    use crate::model::target::Selection;
    use crate::model::ui::Pages;

    /// Nine lines: the images of the fixture need five, of six that are no heading two stay for warnings.
    const PAGES: Pages = Pages {
        sessions: 5,
        picker: 5,
        detail_past: 0,
        columns: crate::model::ui::Columns::ALL,
        detail: 5,
        images: 9,
        help: 5,
        help_lines: 5,
        too_small: false,
    };

    fn act(app: &mut App, action: Action) {
        app.act(at(10), action);
        app.settle(PAGES);
    }

    fn warn(app: &mut App, number: usize) {
        app.receive(at(number as u64), Msg::Warning(format!("number {number}\x1b[2J")));
        app.settle(PAGES);
    }

    fn shown(app: &App) -> Vec<&str> {
        app.ui.images.warnings().map(|warning| warning.text.as_str()).collect()
    }

    #[test]
    fn it_goes_back_to_where_it_was_opened_from() {
        for (selection, view) in
            [(everything(), View::Sessions), (Selection::default(), View::Picker)]
        {
            let mut app = app(selection);
            act(&mut app, Action::Images);
            assert_eq!(app.ui.view, View::Images);
            act(&mut app, Action::Images);
            assert_eq!(app.ui.view, view);
            act(&mut app, Action::Images);
            act(&mut app, Action::Back);
            assert_eq!(app.ui.view, view);
        }
    }

    #[test]
    fn warnings_are_counted_until_they_were_looked_at() {
        let mut app = app(everything());
        warn(&mut app, 1);
        warn(&mut app, 2);
        assert_eq!(app.ui.images.unseen(), 2);
        act(&mut app, Action::Images);
        assert_eq!(app.ui.images.unseen(), 0);
        assert_eq!(shown(&app), ["number 2\\x1b[2J", "number 1\\x1b[2J"]);
        warn(&mut app, 3);
        act(&mut app, Action::Back);
        assert_eq!(app.ui.images.unseen(), 0);
    }

    #[test]
    fn warnings_are_bounded_and_equal_ones_are_one() {
        let mut app = app(everything());
        for number in 0..1000 {
            warn(&mut app, number);
            warn(&mut app, number);
        }
        assert_eq!((app.ui.images.warning_count(), app.ui.images.unseen()), (KEPT, KEPT));
        let newest = &app.ui.images.warnings[0];
        assert_eq!((newest.count, newest.time), (2, at(999)));
        app.receive(at(1), Msg::Warning("\x07".repeat(5000)));
        assert_eq!(app.ui.images.warnings[0].text.len(), LONGEST);
    }

    #[test]
    fn the_images_are_scrolled_first_and_then_the_warnings() {
        let mut app = app(everything());
        for number in 0..10 {
            warn(&mut app, number);
        }
        act(&mut app, Action::Images);
        assert_eq!(app.ui.images.room, (4, 2));
        assert_eq!(app.ui.images.hidden_images(), (0, 1));
        act(&mut app, Action::Down);
        assert_eq!(app.ui.images.skip, (1, 0));
        act(&mut app, Action::Down);
        assert_eq!(app.ui.images.skip, (1, 1));
        // What was scrolled to stays.
        let before = shown(&app)[0].to_owned();
        warn(&mut app, 77);
        assert_eq!((shown(&app)[0], app.ui.images.skip), (&*before, (1, 2)));
        act(&mut app, Action::Last);
        assert_eq!(app.ui.images.hidden_warnings(), (9, 0));
        act(&mut app, Action::PageUp);
        act(&mut app, Action::Up);
        act(&mut app, Action::PageUp);
        assert_eq!(app.ui.images.skip, (0, 0));
        act(&mut app, Action::PageDown);
        assert_eq!(app.ui.images.skip, (1, 5));
    }

    #[test]
    fn every_secret_of_an_image_is_an_event() {
        use crate::model::target::ImageId;
        let mut app = app(everything());
        crate::model::fixture::add_sessions(&mut app);
        assert_eq!(app.model.stats.events, [(ImageId(1), 12)].into());
        app.receive(at(20), Msg::Scanned(crate::model::target::Scan::default()));
        assert!(app.model.stats.events.is_empty(), "images that are gone take no room");
    }
}
