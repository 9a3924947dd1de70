//! The tables, printed as they come and written as a whole.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Error, Result, ensure};

use crate::row::{HEADER, Row};

const BEGIN: &str = "<!-- figures: written by cargo xtask bench --update -->\n";
const END: &str = "<!-- /figures -->";

/// What was measured so far.
pub struct Report {
    text: String,
    goals: usize,
    missed: Vec<String>,
    /// What could not be measured.
    failed: Vec<String>,
}

impl Report {
    /// Begins with what it was measured on.
    pub fn new(machine: &str) -> Self {
        println!("{machine}");
        Self { text: format!("{machine}\n"), goals: 0, missed: Vec::new(), failed: Vec::new() }
    }

    /// A table under a heading, of all that could be measured of it.
    pub fn parts(&mut self, heading: &str, parts: impl IntoIterator<Item = Result<Vec<Row>>>) {
        let mut rows = Vec::new();
        for part in parts {
            match part {
                Ok(part) => rows.extend(part),
                Err(error) => {
                    eprintln!("bench: {heading}: {error:?}");
                    self.failed.push(format!("{heading}: {}", in_one_line(&error)));
                }
            }
        }
        self.table(heading, &rows);
    }

    /// A table under a heading.
    pub fn table(&mut self, heading: &str, rows: &[Row]) {
        let lines: Vec<String> = rows.iter().map(Row::markdown).collect();
        self.goals += rows.iter().filter(|row| row.is_met().is_some()).count();
        let missed = rows.iter().filter(|row| row.is_met() == Some(false));
        self.missed.extend(missed.map(|row| row.markdown()));
        self.any_table(heading, &format!("{HEADER}\n{}", lines.join("\n")));
    }

    /// Another table under a heading.
    pub fn any_table(&mut self, heading: &str, table: &str) {
        let section = format!("### {heading}\n\n{table}\n");
        println!("{section}");
        self.text += &section;
        self.text.push('\n');
    }

    /// What of the goals was met, at the end; and what could not be measured.
    pub fn verdict(&mut self) {
        let mut verdict = format!("{} of {} goals met", self.goals - self.missed.len(), self.goals);
        for failed in &self.failed {
            verdict += &format!("\n- could not be measured: {failed}");
        }
        println!("{verdict}");
        self.missed.iter().for_each(|row| println!("missed: {row}"));
        self.text += &format!("{verdict}\n");
    }

    /// Whether all could be measured.
    ///
    /// # Errors
    /// With what could not.
    pub fn is_whole(&self) -> Result<()> {
        ensure!(self.failed.is_empty(), "could not be measured: {}", self.failed.join("; "));
        Ok(())
    }

    /// Puts all of it between the marks of `file`.
    ///
    /// # Errors
    /// When the file cannot be read or written, or has no marks.
    pub fn update(&self, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let marks = || format!("{} has not both marks {BEGIN:?} and {END:?}", file.display());
        let (before, rest) = text.split_once(BEGIN).with_context(marks)?;
        let (_, after) = rest.split_once(END).with_context(marks)?;
        let figures = self.text.trim_end();
        fs::write(file, format!("{before}{BEGIN}\n{figures}\n\n{END}{after}"))
            .with_context(|| file.display().to_string())
    }
}

/// The beginning of an error, for a list: programs that fail tell long stories.
fn in_one_line(error: &Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Goal, Unit};

    #[test]
    fn an_update_leaves_the_rest_of_the_file() {
        let file = std::env::temp_dir().join(format!("tlskeytop-report-{}", std::process::id()));
        fs::write(&file, format!("before\n{BEGIN}old\n{END}\nafter\n")).unwrap();
        let mut report = Report::new("- a machine\n");
        report.table("heading", &[Row::one("what", Unit::Count, Goal::AtMost(0.0), 1.0)]);
        report.update(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with(&format!("{END}\nafter\n")));
        assert!(text.contains("| what | 1 |  | 1 | ≤ 0 | **no** |") && !text.contains("old"));
        assert_eq!((report.goals, report.missed.len()), (1, 1));
    }

    #[test]
    fn a_part_that_fails_is_told_and_the_others_stay() {
        let mut report = Report::new("- a machine\n");
        let row = Row::one("what", Unit::Count, Goal::AtMost(0.0), 0.0);
        report.parts("heading", [Err(anyhow::anyhow!("broken\nat length")), Ok(vec![row])]);
        report.verdict();
        assert!(report.text.contains("| what | 0 |  | 1 | ≤ 0 | yes |"));
        assert!(
            report.text.contains("1 of 1 goals met\n- could not be measured: heading: broken\n")
        );
        assert!(report.is_whole().is_err());
    }
}
