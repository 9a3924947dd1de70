//! What is or would be done to capture a process, and with which library.

use ratatui::style::Style;

use super::Theme;
use super::paint::width;
use crate::model::CatchUpState;
use crate::model::selection::{Choice, Exclusion};
use crate::model::target::{Image, ImageState, Target, Targets};
use crate::model::ui::App;
use crate::target::plan::{ImagePlan, Ways};
use crate::text::sanitize;

/// The images of a process, those that matter most first.
fn images<'a>(target: &Target, targets: &'a Targets) -> Vec<&'a Image> {
    let mut images: Vec<_> = target.images.iter().filter_map(|id| targets.images.get(id)).collect();
    let ways = targets.selection.ways;
    images.sort_by_key(|image| match &image.state {
        ImageState::Failed(_) => 0,
        _ if image.plan.is_captured(ways) => 1,
        _ => 2,
    });
    images
}

/// `OpenSSL 3.0.17`, `OpenSSL 3.0.17 +1`.
pub(super) fn library(target: &Target, targets: &Targets) -> String {
    match images(target, targets).as_slice() {
        [] => "?".to_owned(),
        [image] => image.library(),
        [image, others @ ..] => format!("{} +{}", image.library(), others.len()),
    }
}

/// The longest form that has room, or the last.
pub(super) fn capture(target: &Target, app: &App, room: u16, theme: &Theme) -> (String, Style) {
    let (forms, style) = forms(target, app, theme);
    let shortest = forms.last().cloned().unwrap_or_default();
    let fits = forms.into_iter().find(|form| width(form) <= room);
    (fits.unwrap_or(shortest), style)
}

/// What is said, from long to short.
fn forms(target: &Target, app: &App, theme: &Theme) -> (Vec<String>, Style) {
    let targets = &app.model.targets;
    let images = images(target, targets);
    let Some(image) = images.first() else { return (Vec::new(), Style::new()) };
    let choice = targets.selection.choice(&target.process);
    let chosen = !matches!(choice, Choice::No | Choice::Excluded(_));
    let ways = targets.selection.ways;
    match &image.state {
        ImageState::Attached { probes } if chosen => {
            let why = why(choice).map_or_else(String::new, |why| format!(", {why}"));
            let (mut forms, style) =
                attached(method(&image.plan, ways), *probes, target, app, theme);
            let (first, short) = (forms[0].clone(), "attached");
            if !why.is_empty() {
                forms.splice(..0, [format!("{first}{why}"), format!("{short}{why}")]);
            }
            (forms, style)
        }
        ImageState::Attaching if chosen => (vec!["attaching…".to_owned()], theme.caution),
        ImageState::Failed(reason) => {
            // The path is that of the library beside it.
            let reason = sanitize(reason);
            let path = format!("{}: ", image.path);
            let reason = reason.strip_prefix(&path).unwrap_or(&reason);
            (vec![format!("failed: {reason}")], theme.bad)
        }
        _ => match targets.obstacle(target) {
            Some(why) => (vec![format!("cannot: {}", sanitize(&why))], theme.faint),
            None if matches!(choice, Choice::Excluded(_)) => {
                let why = why(choice).unwrap_or_default();
                (vec![why, "excluded".to_owned()], theme.faint)
            }
            None => {
                let how = format!(
                    "{}, {}",
                    method(&image.plan, ways),
                    probes(image.plan.steady_probes(ways))
                );
                let open = if image.plan.can_catch_up(ways) { "yes" } else { "no" };
                let long = format!("{how}; open connections: {open}");
                (vec![long, format!("{how}; open: {open}"), how], Style::new())
            }
        },
    }
}

/// By which rule a process is chosen, where the mark does not say it; or excluded.
fn why(choice: Choice) -> Option<String> {
    Some(match choice {
        Choice::No | Choice::Pid | Choice::Everything => return None,
        Choice::Child(pid) => format!("child of {pid}"),
        Choice::Command => "of the command".to_owned(),
        Choice::Name => "by name".to_owned(),
        Choice::Container => "by container".to_owned(),
        Choice::Excluded(Exclusion::Pid) => "excluded".to_owned(),
        Choice::Excluded(Exclusion::Child(pid)) => format!("excluded, child of {pid}"),
        Choice::Excluded(Exclusion::Name) => "excluded by name".to_owned(),
        Choice::Excluded(Exclusion::Container) => "excluded by container".to_owned(),
    })
}

fn attached(
    method: &str,
    count: usize,
    target: &Target,
    app: &App,
    theme: &Theme,
) -> (Vec<String>, Style) {
    let what = format!("attached: {method}, {}", probes(count));
    let catching_up = match app.model.catching_up.of(target.process.pid, app.model.now) {
        None => {
            let short = format!("attached, {}", probes(count));
            return (vec![what, short, "attached".to_owned()], theme.good);
        }
        Some(CatchUpState::Waiting) => "catching up soon".to_owned(),
        Some(CatchUpState::Looking(left)) => format!("catching up, {} s", left.as_secs()),
    };
    let forms =
        vec![format!("{what}; {catching_up}"), format!("attached; {catching_up}"), catching_up];
    (forms, theme.good)
}

fn method(plan: &ImagePlan, ways: Ways) -> &'static str {
    if plan.taps_for(ways).is_empty() { "walk" } else { "tap" }
}

/// `1 probe`.
pub(super) fn probes(count: usize) -> String {
    match count {
        1 => "1 probe".to_owned(),
        count => format!("{count} probes"),
    }
}
