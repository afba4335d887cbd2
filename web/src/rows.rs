//! Which rows of a long list are worth drawing, and where: pure arithmetic over row heights.
//!
//! Heights are estimated from the text until a row has been drawn and measured. Offsets are kept as running sums, so
//! that a scroll position finds its row by bisection.

/// Heights of all rows and where each begins, in CSS pixels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    heights: Vec<f64>,
    /// One more than rows; the last is the height of all.
    offsets: Vec<f64>,
}

impl Rows {
    /// Replaces all heights.
    pub(crate) fn set(&mut self, heights: Vec<f64>) {
        self.heights = heights;
        self.offsets = vec![0.0];
        self.sum_from(0);
    }

    /// Replaces some heights, by row; returns whether anything changed.
    pub(crate) fn correct(&mut self, measured: impl IntoIterator<Item = (usize, f64)>) -> bool {
        let mut first = usize::MAX;
        for (row, height) in measured {
            if let Some(known) = self.heights.get_mut(row)
                && (*known - height).abs() > 0.4
            {
                *known = height;
                first = first.min(row);
            }
        }
        if first == usize::MAX {
            return false;
        }
        self.sum_from(first);
        true
    }

    fn sum_from(&mut self, first: usize) {
        self.offsets.truncate(first + 1);
        let mut sum = self.offsets.last().copied().unwrap_or_default();
        for height in &self.heights[first..] {
            sum += height;
            self.offsets.push(sum);
        }
    }

    /// Where a row begins; past the last one, where the list ends.
    pub(crate) fn offset(&self, row: usize) -> f64 {
        self.offsets.get(row).or(self.offsets.last()).copied().unwrap_or_default()
    }

    /// The height of all rows.
    pub(crate) fn total(&self) -> f64 {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// The row at a position.
    pub(crate) fn at(&self, position: f64) -> usize {
        let after = self.offsets.partition_point(|offset| *offset <= position);
        after.saturating_sub(1).min(self.heights.len().saturating_sub(1))
    }

    /// First row to draw and the one after the last, for a view of `height` at `top` and as much again around it.
    pub(crate) fn window(&self, top: f64, height: f64) -> (usize, usize) {
        if self.heights.is_empty() {
            return (0, 0);
        }
        let margin = height.max(200.0);
        (self.at(top - margin), self.at(top + height + margin) + 1)
    }
}

/// How many lines a text takes at so many columns.
pub(crate) fn lines(text: &str, columns: usize) -> usize {
    let columns = columns.max(1);
    text.split('\n').map(|line| line.chars().count().max(1).div_ceil(columns)).sum::<usize>().max(1)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_view_draws_itself_and_one_screen_around_it() {
        let mut rows = Rows::default();
        rows.set(vec![20.0; 10_000]);
        assert_eq!(rows.total(), 200_000.0);
        let (first, last) = rows.window(100_000.0, 400.0);
        assert_eq!((first, last), (4_980, 5_041));
        assert_eq!(rows.window(0.0, 400.0).0, 0);
        assert_eq!(rows.window(199_600.0, 400.0).1, 10_000);
    }

    #[test]
    fn a_measured_row_moves_only_what_follows() {
        let mut rows = Rows::default();
        rows.set(vec![10.0; 5]);
        assert!(rows.correct([(2, 30.0)]));
        assert_eq!((rows.offset(2), rows.offset(3), rows.total()), (20.0, 50.0, 70.0));
        assert!(!rows.correct([(2, 30.1), (9, 1.0)]));
    }

    #[test]
    fn nothing_to_draw_is_an_empty_window() {
        assert_eq!(Rows::default().window(50.0, 100.0), (0, 0));
    }

    #[test]
    fn long_and_broken_lines_are_estimated() {
        assert_eq!(lines("", 10), 1);
        assert_eq!(lines("0123456789a\nb", 10), 3);
    }
}
