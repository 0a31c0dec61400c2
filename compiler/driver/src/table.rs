//! Columns of text, and numbers as people read them.

/// Rows under a heading, columns padded to the widest cell; two spaces in front and between. Cells of columns whose
/// heading starts with `>` (not printed) are flush right.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let titles: Vec<&str> = heading.iter().map(|title| title.trim_start_matches('>')).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if heading[column].starts_with('>') {
                format!("  {cell:>width$}")
            } else {
                format!("  {cell:width$}")
            }
        });
        let line: String = padded.collect();
        format!("{}\n", line.trim_end())
    };
    let mut text = if titles.iter().all(|title| title.is_empty()) { String::new() } else { line(&titles) };
    for row in rows {
        text += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

/// `13571234` as `13 571 234`.
pub fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Bytes with the unit that leaves one to four digits, and exactly below 10 KiB.
pub fn bytes(count: usize) -> String {
    match count {
        0..10_240 => format!("{} bytes", grouped(count as u128)),
        10_240..10_485_760 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// Seconds with the unit that leaves one to three digits before the point, and three to four in all.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    match value {
        v if v < 100.0 => format!("{v:.2} {unit}"),
        v => format!("{v:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "5".to_owned()]];
        assert_eq!(table(&["name", ">n"], &rows), "  name   n\n  a     10\n  long   5\n");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567u64), "1 234 567");
        assert_eq!(grouped(12u64), "12");
        assert_eq!(bytes(1_234), "1 234 bytes");
        assert_eq!(bytes(65_536), "64.0 KiB");
        assert_eq!(bytes(14_680_064), "14.0 MiB");
        assert_eq!(time(1.5e-6), "1.50 µs");
        assert_eq!(time(0.123_456), "123.5 ms");
        assert_eq!(time(2.0), "2.00 s");
    }
}
