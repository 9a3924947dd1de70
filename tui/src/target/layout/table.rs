//! The tables of measured offsets (`tui/layouts/*.tsv`): tab separated, the first line names the columns.

/// One table. Reading it never fails: a cell that is not there or not a number is absent.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

/// A number in a table: `424/1`, or `424` where the table gives no size, or `164/1 b0:1` for one bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Bytes from the start of the structure.
    pub offset: u32,
    /// Bytes of the field; 0 where the table does not say it.
    pub size: u32,
}

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'t> {
    table: &'t Table,
    cells: &'t [&'static str],
}

impl Table {
    /// Reads a table.
    pub fn parse(text: &'static str) -> Self {
        let mut lines = text.lines().map(|line| line.split('\t').map(str::trim).collect());
        let columns = lines.next().unwrap_or_default();
        Self { columns, rows: lines.filter(|row: &Vec<_>| row.len() > 1).collect() }
    }

    /// The lines after the first.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { table: self, cells })
    }

    /// The names of the columns.
    #[cfg(test)]
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }
}

impl Row<'_> {
    /// What stands in `column`; empty if there is nothing.
    pub fn text(&self, column: &str) -> &'static str {
        let index = self.table.columns.iter().position(|name| *name == column);
        index.and_then(|index| self.cells.get(index)).copied().unwrap_or_default()
    }

    /// The number in `column`.
    pub fn cell(&self, column: &str) -> Option<Cell> {
        let text = self.text(column).split(' ').next().unwrap_or_default();
        let (offset, size) = text.split_once('/').unwrap_or((text, "0"));
        Some(Cell { offset: offset.parse().ok()?, size: size.parse().ok()? })
    }

    /// The offset in `column`.
    pub fn offset(&self, column: &str) -> Option<u32> {
        self.cell(column).map(|cell| cell.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cells_are_read_and_blank_ones_are_absent() {
        let table = Table::parse("name\ta\tb\tc\nrow\t424/1\t164/1 b0:1\t\nshort\t7\n\n");
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].text("name"), "row");
        assert_eq!(rows[0].cell("a"), Some(Cell { offset: 424, size: 1 }));
        assert_eq!(rows[0].cell("b"), Some(Cell { offset: 164, size: 1 }));
        assert_eq!(rows[0].cell("c"), None);
        assert_eq!(rows[1].cell("a"), Some(Cell { offset: 7, size: 0 }));
        assert_eq!(rows[1].cell("b"), None);
        assert_eq!(rows[1].cell("no such column"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(a|1|9|/| |-|\t|\n){0,80}") {
            let table = Table::parse(Box::leak(text.into_boxed_str()));
            for row in table.rows() {
                for column in table.columns() {
                    let _ = row.cell(column);
                }
            }
        }
    }
}
