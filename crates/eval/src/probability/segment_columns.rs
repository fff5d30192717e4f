//! What parts rows: texts, numbers and times of a column.

/// What parts the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentColumn {
    /// The names of the segments.
    pub names: Vec<String>,
    /// For each row, which name.
    pub of_rows: Vec<u32>,
}

impl SegmentColumn {
    /// From the name of each row's segment; segments in the order of their names.
    ///
    /// ```
    /// let column = forecart_eval::probability::SegmentColumn::of_names(&["top", "side", "top"]);
    /// assert_eq!((column.names, column.of_rows), (vec!["side".into(), "top".into()], vec![1, 0, 1]));
    /// ```
    pub fn of_names(rows: &[impl AsRef<str>]) -> Self {
        let mut names: Vec<&str> = rows.iter().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.dedup();
        let place = |row: &_| names.partition_point(|name| *name < AsRef::as_ref(row)) as u32;
        Self {
            of_rows: rows.iter().map(place).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// The same parts of some of the rows, by their places.
    pub fn select(&self, places: &[usize]) -> Self {
        let of_rows = places.iter().map(|place| self.of_rows[*place]).collect();
        Self { names: self.names.clone(), of_rows }
    }

    /// From the text of each row, a code below `n_texts`: the `n_kept` most frequent ones, of equals the lower code, and one segment of all
    /// others together. `name` says what a code stands for.
    pub fn of_codes(
        rows: &[u32],
        n_texts: usize,
        n_kept: usize,
        name: impl Fn(usize) -> String,
    ) -> Self {
        let mut counts = vec![0u64; n_texts];
        rows.iter().for_each(|code| counts[*code as usize] += 1);
        let mut kept: Vec<usize> = (0..n_texts).filter(|code| counts[*code] > 0).collect();
        kept.sort_by_key(|code| (std::cmp::Reverse(counts[*code]), *code));
        let n_others = kept.len().saturating_sub(n_kept);
        kept.truncate(n_kept);
        let mut segment_of = vec![kept.len() as u32; n_texts];
        kept.iter().zip(0..).for_each(|(code, segment)| segment_of[*code] = segment);
        let mut names: Vec<String> = kept.into_iter().map(name).collect();
        if n_others > 0 {
            names.push(format!("{n_others} others"));
        }
        Self { names, of_rows: rows.iter().map(|code| segment_of[*code as usize]).collect() }
    }

    /// From the moment of each row, milliseconds UTC: [`Self::quarters`] of them, written as ISO 8601 writes dates and minutes.
    pub fn quarters_of_time(times: impl Iterator<Item = Option<i64>>) -> Self {
        let numbers: Vec<f64> = times.map(|time| time.map_or(f64::NAN, |ms| ms as f64)).collect();
        Self::quarters(&numbers, |ms| {
            jiff::Timestamp::from_millisecond(ms as i64)
                .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
        })
    }

    /// From a number of each row, NaN where there is none: quarters of the rows, as far as rows of one number, which are never parted, let
    /// them be, and those without a number. `write` makes a number a text.
    ///
    /// ```
    /// use forecart_eval::probability::SegmentColumn;
    ///
    /// let numbers = [1.0, 1.0, 1.0, 2.0, 7.0, 7.5, 8.0, f64::NAN];
    /// let column = SegmentColumn::quarters(&numbers, |number| number.to_string());
    /// assert_eq!(column.names, ["≤ 1", "≤ 2", "≤ 7.5", "> 7.5", "missing"]);
    /// assert_eq!(column.of_rows, [0, 0, 0, 1, 2, 2, 3, 4]);
    /// ```
    pub fn quarters(numbers: &[f64], write: impl Fn(f64) -> String) -> Self {
        let mut sorted: Vec<f64> =
            numbers.iter().copied().filter(|number| !number.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let cut = |quarter: usize| sorted.get((sorted.len() * quarter).div_ceil(4).max(1) - 1);
        let mut cuts: Vec<f64> = (1..4).filter_map(cut).copied().collect();
        cuts.dedup();
        cuts.retain(|cut| Some(cut) != sorted.last());
        let mut names: Vec<String> = cuts.iter().map(|cut| format!("≤ {}", write(*cut))).collect();
        names
            .push(cuts.last().map_or_else(|| "all".to_owned(), |cut| format!("> {}", write(*cut))));
        let missing = names.len() as u32;
        if sorted.len() < numbers.len() {
            names.push("missing".to_owned());
        }
        let segment = |number: &f64| match number.is_nan() {
            true => missing,
            false => cuts.partition_point(|cut| cut < number) as u32,
        };
        Self { names, of_rows: numbers.iter().map(segment).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_texts_and_all_others() {
        let rows = [3, 1, 3, 0, 1, 3, 5];
        let column = SegmentColumn::of_codes(&rows, 6, 2, |code| format!("t{code}"));
        assert_eq!(column.names, ["t3", "t1", "2 others"]);
        assert_eq!(column.of_rows, [0, 1, 0, 2, 1, 0, 2]);
        let all = SegmentColumn::of_codes(&rows, 6, 9, |code| format!("t{code}"));
        assert_eq!(all.names, ["t3", "t1", "t0", "t5"]);
    }

    #[test]
    fn times_are_written_as_dates() {
        let hour = 3_600_000;
        let times = [Some(0), Some(hour), None, Some(2 * hour), Some(26 * hour)];
        let column = SegmentColumn::quarters_of_time(times.into_iter());
        assert_eq!(column.names[1], "≤ 1970-01-01 01:00");
        assert_eq!(column.names.last().unwrap(), "missing");
    }

    #[test]
    fn quarters_of_equal_numbers_are_one_segment() {
        let column = SegmentColumn::quarters(&[2.0; 5], |number| number.to_string());
        assert_eq!((column.names, column.of_rows), (vec!["all".to_owned()], vec![0; 5]));
        let none = SegmentColumn::quarters(&[f64::NAN; 2], |number| number.to_string());
        assert_eq!(none.names[none.of_rows[1] as usize], "missing");
        let even: Vec<f64> = (0..8).map(f64::from).collect();
        let column = SegmentColumn::quarters(&even, |number| number.to_string());
        assert_eq!(column.of_rows, [0, 0, 1, 1, 2, 2, 3, 3]);
    }
}
