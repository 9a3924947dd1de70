//! What keys do in the picker.

use super::Confirmed;
use crate::action::Action;
use crate::model::ui::{App, Level, Purpose, View};
use crate::model::{Effect, Msg, Time};

impl App {
    pub(in crate::model::ui) fn act_in_picker(&mut self, now: Time, action: Action) -> Vec<Effect> {
        let targets = &self.model.targets;
        let picker = &mut self.ui.picker;
        picker.refresh_unseen(targets);
        match action {
            Action::Up => picker.up(targets, 1),
            Action::Down => picker.down(targets, 1),
            Action::PageUp => picker.up(targets, self.ui.pages.picker),
            Action::PageDown => picker.down(targets, self.ui.pages.picker),
            Action::First => picker.go_to(targets, 0),
            Action::Last => picker.go_to(targets, usize::MAX),
            Action::Tree => picker.toggle_tree(),
            Action::Mark => {
                if let Err(why) = picker.toggle(targets) {
                    self.tell(now, Level::Warning, &why);
                }
            }
            Action::Confirm => return self.confirm_picker(now),
            Action::Rescan => {
                self.tell(now, Level::Info, "looking at the processes again");
                return vec![Effect::Rescan];
            }
            Action::Processes => self.ui.view = View::Sessions,
            Action::Back if !picker.search_text().is_empty() => {
                picker.begin_search();
                picker.set_search(targets, "");
            }
            Action::Back => {
                picker.forget_marks();
                self.ui.view = View::Sessions;
            }
            Action::Search => {
                picker.begin_search();
                let text = picker.search_text().to_owned();
                self.open_prompt(Purpose::Search, text);
            }
            _ => return self.act_in_every_view(now, action),
        }
        Vec::new()
    }

    fn confirm_picker(&mut self, now: Time) -> Vec<Effect> {
        let Confirmed { msgs, ended } = match self.ui.picker.confirm(&self.model.targets) {
            Ok(confirmed) => confirmed,
            Err(why) => {
                self.tell(now, Level::Warning, &why);
                return Vec::new();
            }
        };
        let changed = !msgs.is_empty();
        let drops = |msg: &Msg| matches!(msg, Msg::ChooseAll(false) | Msg::ChoosePid(_, false));
        let only_drops = msgs.iter().all(drops);
        let effects = msgs.into_iter().flat_map(|msg| self.receive(now, msg)).collect();
        if changed {
            let selection = &self.model.targets.selection;
            let mut text = match (selection.all, selection.pids.len()) {
                (true, _) if !selection.excluded.pids.is_empty() => {
                    match selection.excluded.pids.len() {
                        1 => "attaching to everything but 1 process".to_owned(),
                        count => format!("attaching to everything but {count} processes"),
                    }
                }
                (true, _) => "attaching to everything, now and in future".to_owned(),
                (false, 0) if selection.is_empty() => "nothing is attached any more".to_owned(),
                (false, 0) => "attaching to what the command line names".to_owned(),
                (false, 1) if only_drops => "detached; 1 process stays".to_owned(),
                (false, count) if only_drops => format!("detached; {count} processes stay"),
                (false, 1) => "attaching to 1 process".to_owned(),
                (false, count) => format!("attaching to {count} processes"),
            };
            match ended {
                0 => {}
                1 => text.push_str("; 1 that was marked has ended"),
                count => text.push_str(&format!("; {count} that were marked have ended")),
            }
            self.tell(now, Level::Info, &text);
        }
        self.ui.view = View::Sessions;
        effects
    }
}
