//! Cleaning of one user's lines, in the order of time: duplicates, codes that are no products,
//! cancellations, repeats, the cap, sessions.

use rustc_hash::{FxHashMap, FxHashSet};

use super::config::OverCap;
use super::line::Line;
use super::report::{Reached, Step};
use super::spool::Row;

/// What cleaning needs to know.
#[derive(Debug)]
pub(super) struct Rules {
    /// Whether equal lines are one; false for logs without times.
    pub(super) drop_duplicates: bool,
    /// Whether equal lines lie side by side, because lines are sorted by time.
    pub(super) by_time: bool,
    /// Items that are no products.
    pub(super) non_products: Vec<bool>,
    /// Codes of `purchase` and `refund`, where refunds are set against purchases.
    pub(super) purchase_and_refund: Option<(u8, u8)>,
    pub(super) merge_order_lines: bool,
    pub(super) merge_consecutive: bool,
    pub(super) max_user_events: Option<u32>,
    pub(super) over_cap: OverCap,
    /// `None` if lines have no times.
    pub(super) session_gap_ms: Option<i64>,
}

/// How many lines were dropped, by reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) duplicates: u64,
    pub(super) non_products: u64,
    /// Purchases that were cancelled as a whole.
    pub(super) cancelled: u64,
    /// Refunds that cancelled a purchase as a whole.
    pub(super) refunds: u64,
    /// Refunds that took a part of a purchase.
    pub(super) partial_refunds: u64,
    /// Refunds without a purchase that they could cancel.
    pub(super) refunds_alone: u64,
    pub(super) order_lines: u64,
    pub(super) consecutive: u64,
    pub(super) over_cap: u64,
    pub(super) users_over_cap: u64,
}

/// Cleans users one after the other.
#[derive(Debug)]
pub(super) struct Cleaner {
    rules: Rules,
    pub(super) dropped: Dropped,
    pub(super) reached: Reached,
    seen: FxHashSet<(u32, u8, i64, u128)>,
    keep: Vec<bool>,
}

impl Cleaner {
    /// `reached`: how far the scan found that users and items came.
    pub(super) fn new(rules: Rules, reached: Reached) -> Self {
        Self {
            rules,
            dropped: Dropped::default(),
            reached,
            seen: FxHashSet::default(),
            keep: Vec::new(),
        }
    }

    /// Cleans the lines of one user in place and appends what is left to `rows`.
    pub(super) fn clean(&mut self, lines: &mut Vec<Line>, rows: &mut Vec<Row>) {
        if self.rules.drop_duplicates {
            self.duplicates(lines);
        }
        let n = lines.len();
        lines.retain(|line| !self.rules.non_products[line.item as usize]);
        self.dropped.non_products += (n - lines.len()) as u64;
        self.mark(lines, Step::NonProducts);
        if let Some((purchase, refund)) = self.rules.purchase_and_refund
            && lines.iter().any(|line| line.event == refund)
        {
            self.cancellations(lines, purchase, refund);
        }
        self.mark(lines, Step::Cancellations);
        if self.rules.merge_order_lines {
            self.order_lines(lines);
        }
        if self.rules.merge_consecutive {
            let n = lines.len();
            lines.dedup_by(|next, kept| (next.item, next.event) == (kept.item, kept.event));
            self.dropped.consecutive += (n - lines.len()) as u64;
        }
        self.cap(lines);
        self.mark(lines, Step::Cap);
        self.sessions(lines, rows);
    }

    fn mark(&mut self, lines: &[Line], step: Step) {
        lines.iter().for_each(|line| self.reached.mark(Some(line.user), Some(line.item), step));
    }

    /// Of lines that agree in everything, the one with the lowest position stays.
    fn duplicates(&mut self, lines: &mut Vec<Line>) {
        self.keep.clear();
        self.keep.resize(lines.len(), true);
        let mut start = 0;
        while start < lines.len() {
            let time = lines[start].timestamp_ms;
            let rest = &lines[start..];
            let n = if self.rules.by_time {
                rest.iter().take_while(|line| line.timestamp_ms == time).count()
            } else {
                rest.len()
            };
            if n > 1 {
                self.seen.clear();
                for (line, keep) in rest[..n].iter().zip(&mut self.keep[start..]) {
                    *keep = self.seen.insert((line.item, line.event, line.timestamp_ms, line.rest));
                }
            }
            start += n;
        }
        self.dropped.duplicates += retain(lines, &self.keep);
    }

    /// A refund of `q` units cancels the latest earlier purchase of the same item with at least
    /// `q` units that are not cancelled yet. Where the log has no quantities, every line is one
    /// unit.
    fn cancellations(&mut self, lines: &mut Vec<Line>, purchase: u8, refund: u8) {
        let units = |line: &Line| if line.quantity.is_nan() { 1.0 } else { line.quantity.abs() };
        self.keep.clear();
        self.keep.resize(lines.len(), true);
        // Purchases of each item that have units left, oldest first.
        let mut open: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
        let mut left: Vec<f64> = lines.iter().map(units).collect();
        for (i, line) in lines.iter().enumerate() {
            if line.event == purchase {
                open.entry(line.item).or_default().push(i);
            } else if line.event == refund {
                self.keep[i] = false;
                let orders = open.entry(line.item).or_default();
                let Some(at) = orders.iter().rposition(|order| left[*order] >= units(line)) else {
                    self.dropped.refunds_alone += 1;
                    continue;
                };
                let order = orders[at];
                left[order] -= units(line);
                if left[order] > 0.0 {
                    self.dropped.partial_refunds += 1;
                } else {
                    self.keep[order] = false;
                    orders.remove(at);
                    self.dropped.refunds += 1;
                    self.dropped.cancelled += 1;
                }
            }
        }
        // A purchase keeps the share of its value that did not come back.
        for (line, left) in lines.iter_mut().zip(left).filter(|(line, left)| *left < units(line)) {
            line.value = (f64::from(line.value) * left / units(line)) as f32;
        }
        retain(lines, &self.keep);
    }

    /// Several lines of an item in one order, by the same event, are the first of them.
    fn order_lines(&mut self, lines: &mut Vec<Line>) {
        if lines.len() < 2 || lines.iter().all(|line| line.order == 0) {
            return;
        }
        self.seen.clear();
        let n = lines.len();
        lines.retain(|line| {
            line.order == 0 || self.seen.insert((line.item, line.event, 0, u128::from(line.order)))
        });
        self.dropped.order_lines += (n - lines.len()) as u64;
    }

    fn cap(&mut self, lines: &mut Vec<Line>) {
        let Some(max) = self.rules.max_user_events.map(|max| max as usize) else { return };
        if lines.len() <= max {
            return;
        }
        let n_dropped = match self.rules.over_cap {
            OverCap::Drop => lines.len(),
            OverCap::Newest => lines.len() - max,
        };
        lines.drain(..n_dropped);
        self.dropped.over_cap += n_dropped as u64;
        self.dropped.users_over_cap += 1;
    }

    /// Numbers sessions from 0: by the tracker's id where a line has one, else a pause longer than
    /// the gap starts a new one.
    fn sessions(&mut self, lines: &[Line], rows: &mut Vec<Row>) {
        let mut by_id: FxHashMap<u64, u32> = FxHashMap::default();
        let mut n_sessions = 0;
        // The last line without an id: its time and session.
        let mut last: Option<(i64, u32)> = None;
        for line in lines {
            let session = if line.session != 0 {
                *by_id.entry(line.session).or_insert_with(|| {
                    n_sessions += 1;
                    n_sessions - 1
                })
            } else {
                let session = match (last, self.rules.session_gap_ms) {
                    (Some((_, session)), None) => session,
                    (Some((time, session)), Some(gap))
                        if line.timestamp_ms.saturating_sub(time) <= gap =>
                    {
                        session
                    }
                    _ => {
                        n_sessions += 1;
                        n_sessions - 1
                    }
                };
                last = Some((line.timestamp_ms, session));
                session
            };
            rows.push(Row {
                timestamp_ms: line.timestamp_ms,
                item: line.item,
                session,
                value: line.value,
                event: u32::from(line.event),
            });
        }
    }
}

/// Keeps the lines whose flag is set and returns how many went.
fn retain(lines: &mut Vec<Line>, keep: &[bool]) -> u64 {
    let n = lines.len();
    let mut flags = keep.iter();
    lines.retain(|_| *flags.next().expect("a flag for each line"));
    (n - lines.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUY: u8 = 0;
    const REFUND: u8 = 1;
    const MINUTE: i64 = 60_000;

    fn rules() -> Rules {
        Rules {
            drop_duplicates: true,
            by_time: true,
            non_products: vec![false; 10],
            purchase_and_refund: Some((BUY, REFUND)),
            merge_order_lines: true,
            merge_consecutive: false,
            max_user_events: None,
            over_cap: OverCap::Drop,
            session_gap_ms: Some(30 * MINUTE),
        }
    }

    fn line(minute: i64, item: u32, event: u8, quantity: f64) -> Line {
        Line {
            user: 0,
            timestamp_ms: minute * MINUTE,
            row: 0,
            item,
            event,
            value: 1.0,
            session: 0,
            order: 0,
            quantity,
            rest: 0,
        }
    }

    /// Items and sessions that are left, and what was dropped.
    fn clean(rules: Rules, mut lines: Vec<Line>) -> (Vec<u32>, Vec<u32>, Dropped) {
        let (mut cleaner, mut rows) = (Cleaner::new(rules, Reached::default()), Vec::new());
        let n = lines.len() as u64;
        cleaner.clean(&mut lines, &mut rows);
        let d = cleaner.dropped;
        let gone = d.duplicates
            + d.non_products
            + d.cancelled
            + d.refunds
            + d.partial_refunds
            + d.refunds_alone
            + d.order_lines
            + d.consecutive
            + d.over_cap;
        assert_eq!(rows.len() as u64, n - gone, "every row that went has a reason");
        (rows.iter().map(|r| r.item).collect(), rows.iter().map(|r| r.session).collect(), d)
    }

    #[test]
    fn equal_lines_are_one_and_a_difference_in_any_column_keeps_both() {
        let other = Line { rest: 1, ..line(5, 1, BUY, 1.0) };
        let lines = vec![
            line(5, 1, BUY, 1.0),
            line(5, 2, BUY, 1.0),
            line(5, 1, BUY, 1.0),
            other,
            line(6, 1, BUY, 1.0),
        ];
        let (items, _, dropped) = clean(rules(), lines.clone());
        assert_eq!((items, dropped.duplicates), (vec![1, 2, 1, 1], 1));
        let (items, ..) = clean(Rules { drop_duplicates: false, ..rules() }, lines);
        assert_eq!(items.len(), 5);
    }

    #[test]
    fn duplicates_are_found_in_the_order_of_the_file_too() {
        let lines = vec![line(5, 1, BUY, 1.0), line(3, 2, BUY, 1.0), line(5, 1, BUY, 1.0)];
        let (items, _, dropped) = clean(Rules { by_time: false, ..rules() }, lines);
        assert_eq!((items, dropped.duplicates), (vec![1, 2], 1));
    }

    #[test]
    fn a_refund_cancels_the_latest_order_that_is_large_enough() {
        // 12 bought, then 3 bought; 5 go back: of the 12. Then 3: the second. Then 8: none left
        // with that many but the first, which has 7.
        let lines = vec![
            line(0, 1, BUY, 12.0),
            line(1, 1, BUY, 3.0),
            line(2, 1, REFUND, -5.0),
            line(3, 1, REFUND, -3.0),
            line(4, 1, REFUND, -8.0),
            line(5, 2, REFUND, -1.0),
            line(6, 2, BUY, 1.0),
        ];
        let (items, _, d) = clean(rules(), lines);
        assert_eq!(items, [1, 2]);
        assert_eq!((d.partial_refunds, d.refunds, d.cancelled, d.refunds_alone), (1, 1, 1, 2));
    }

    #[test]
    fn a_purchase_keeps_the_share_of_its_value_that_did_not_come_back() {
        let worth = |value, line| Line { value, ..line };
        let mut lines = vec![
            worth(12.0, line(0, 1, BUY, 12.0)), // its units
            worth(30.0, line(1, 2, BUY, 3.0)),  // what it cost
            line(2, 1, REFUND, -4.0),
            line(3, 1, REFUND, -1.0),
            line(4, 2, REFUND, -1.0),
            worth(5.0, line(5, 1, BUY, 5.0)),
        ];
        let mut rows = Vec::new();
        Cleaner::new(rules(), Reached::default()).clean(&mut lines, &mut rows);
        assert_eq!(rows.iter().map(|row| row.value).collect::<Vec<_>>(), [7.0, 20.0, 5.0]);
    }

    #[test]
    fn without_quantities_a_refund_cancels_one_purchase() {
        let lines = vec![
            line(0, 1, BUY, f64::NAN),
            line(1, 1, BUY, f64::NAN),
            line(2, 1, REFUND, f64::NAN),
        ];
        let (items, _, d) = clean(rules(), lines);
        assert_eq!((items, d.cancelled), (vec![1], 1));
    }

    #[test]
    fn lines_of_an_order_are_merged_by_item_and_repeats_of_other_orders_are_kept() {
        let of = |minute, item, order| Line { order, ..line(minute, item, BUY, 1.0) };
        let mut lines = vec![of(0, 1, 7), of(0, 2, 7), of(0, 1, 7), of(9, 1, 8)];
        lines[2].rest = 5; // another line of the order, not a duplicate
        let (items, _, d) = clean(rules(), lines.clone());
        assert_eq!((items, d.order_lines), (vec![1, 2, 1], 1));
        let (items, ..) = clean(Rules { merge_order_lines: false, ..rules() }, lines);
        assert_eq!(items, [1, 2, 1, 1]);
    }

    #[test]
    fn repeats_in_a_row_are_kept_unless_asked_for() {
        let lines = vec![
            line(0, 1, BUY, 1.0),
            line(1, 1, BUY, 1.0),
            line(2, 2, BUY, 1.0),
            line(3, 1, BUY, 1.0),
        ];
        assert_eq!(clean(rules(), lines.clone()).0, [1, 1, 2, 1]);
        let (items, _, d) = clean(Rules { merge_consecutive: true, ..rules() }, lines);
        assert_eq!((items, d.consecutive), (vec![1, 2, 1], 1));
    }

    #[test]
    fn the_cap_drops_the_user_or_keeps_the_newest() {
        let lines: Vec<_> = (0..4).map(|i| line(i, i as u32, BUY, 1.0)).collect();
        let capped = |over_cap| Rules { max_user_events: Some(3), over_cap, ..rules() };
        assert_eq!(clean(capped(OverCap::Drop), lines.clone()).0, [0u32; 0]);
        let (items, _, d) = clean(capped(OverCap::Newest), lines);
        assert_eq!((items, d.over_cap, d.users_over_cap), (vec![1, 2, 3], 1, 1));
    }

    #[test]
    fn a_pause_longer_than_the_gap_starts_a_session_and_ids_win() {
        let minutes = [0, 30, 61, 62];
        let mut lines: Vec<_> = minutes.iter().map(|m| line(*m, 1, BUY, 1.0)).collect();
        assert_eq!(clean(rules(), lines.clone()).1, [0, 0, 1, 1]);
        for (line, id) in lines.iter_mut().zip([9, 8, 9, 8]) {
            line.session = id;
        }
        assert_eq!(clean(rules(), lines.clone()).1, [0, 1, 0, 1]);
        let no_times = Rules { session_gap_ms: None, ..rules() };
        lines.iter_mut().for_each(|line| line.session = 0);
        assert_eq!(clean(no_times, lines).1, [0, 0, 0, 0]);
    }

    #[test]
    fn items_that_are_no_products_go() {
        let mut non_products = vec![false; 10];
        non_products[3] = true;
        let lines = vec![line(0, 3, BUY, 1.0), line(1, 4, BUY, 1.0)];
        let (items, _, d) = clean(Rules { non_products, ..rules() }, lines);
        assert_eq!((items, d.non_products), (vec![4], 1));
    }
}
