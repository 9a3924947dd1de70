//! The tables, printed as they come and written as a whole.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::row::{HEADER, Row};

const BEGIN: &str = "<!-- figures: written by cargo xtask bench --update -->\n";
const END: &str = "<!-- /figures -->";

/// What was measured so far.
pub struct Report {
    text: String,
    goals: usize,
    missed: Vec<String>,
}

impl Report {
    /// Begins with what it was measured on.
    pub fn new(machine: &str) -> Self {
        println!("{machine}");
        Self { text: format!("{machine}\n"), goals: 0, missed: Vec::new() }
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

    /// Prints what of the goals was met.
    pub fn verdict(&self) {
        println!("{} of {} goals met", self.goals - self.missed.len(), self.goals);
        self.missed.iter().for_each(|row| println!("missed: {row}"));
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
}
