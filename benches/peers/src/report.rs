//! Prints tables for people, and lines for programs that read the numbers.

use std::fmt::Display;

use crate::contenders::Skipped;

#[derive(Default)]
pub struct Report {
    figures: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    /// Keeps a number for the lines at the end.
    pub fn figure(&mut self, name: impl Display, value: f64, unit: &str) {
        self.figures.push(format!("figure {name} {value:.3} {unit}"));
    }

    /// Keeps a number that is counted.
    pub fn count(&mut self, name: impl Display, value: impl Display, unit: &str) {
        self.figures.push(format!("figure {name} {value} {unit}"));
    }

    /// Keeps a line as it is.
    pub fn line(&mut self, line: &str) {
        self.figures.push(line.to_owned());
    }

    /// Keeps who could not be measured, and at what.
    pub fn skip(&mut self, row: &str, skipped: &Skipped) {
        self.skipped.push(format!("skipped {}: {} ({row})", skipped.name, skipped.reason));
    }

    pub fn print(&self) {
        println!();
        self.skipped.iter().chain(&self.figures).for_each(|line| println!("{line}"));
    }
}

/// Prints a table. The first column is text, the others are numbers.
pub fn table<const N: usize>(title: &str, head: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    println!("\n{title}\n");
    print_row(&head.map(str::to_owned), &widths);
    println!("{}", widths.map(|width| "-".repeat(width)).join("  "));
    rows.iter().for_each(|row| print_row(row, &widths));
}

/// Nanoseconds, as people read them.
pub fn nanos(nanos: f64) -> String {
    if nanos.abs() < 1e4 { format!("{nanos:.0} ns") } else { format!("{:.1} us", nanos / 1e3) }
}

fn print_row<const N: usize>(row: &[String; N], widths: &[usize; N]) {
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        if column == 0 {
            line += &format!("{cell:width$}");
        } else {
            line += &format!("  {cell:>width$}");
        }
    }
    println!("{}", line.trim_end());
}
