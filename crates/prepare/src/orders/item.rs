//! The purchases and refunds of one item.

use std::collections::HashMap;

/// A row of the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) period: u32,
    pub(super) time_ms: i64,
    pub(super) user: Option<String>,
    pub(super) order: Option<String>,
    /// As the log says; of a refund, of either sign, and one where it says nothing.
    pub(super) units: f64,
}

/// What the log says of one item, by time.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) purchases: Vec<Line>,
    pub(super) refunds: Vec<Line>,
}

/// What makes lines one order: a period, and an id or a user at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Order(u32, &'a str),
    Moment(u32, &'a str, i64),
}

impl Item {
    /// Takes out each purchase that a refund of the same user, units and period cancels: the latest before it. Returns how many.
    pub(super) fn cancel(&mut self) -> u64 {
        let mut is_taken_back = vec![false; self.purchases.len()];
        // Of each user, the places of purchases by time.
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        if !self.refunds.is_empty() {
            for (place, line) in self.purchases.iter().enumerate() {
                if let Some(user) = &line.user {
                    places.entry(user).or_default().push(place);
                }
            }
        }
        for refund in &self.refunds {
            let of_user = refund.user.as_deref().and_then(|user| places.get(user));
            let fits = |place: &&usize| {
                let line = &self.purchases[**place];
                !is_taken_back[**place]
                    && line.period == refund.period
                    && line.time_ms <= refund.time_ms
                    && line.units == refund.units.abs()
            };
            if let Some(place) = of_user.and_then(|places| places.iter().rev().find(fits)).copied()
            {
                is_taken_back[place] = true;
            }
        }
        let mut taken_back = is_taken_back.iter();
        let n_before = self.purchases.len();
        self.purchases.retain(|_| !taken_back.next().copied().unwrap_or_default());
        (n_before - self.purchases.len()) as u64
    }

    /// The period and the units of each order: of the lines of an order id, without one of a user at a moment, without a user of each
    /// line. An order that runs over the end of a period counts where its lines are.
    pub(super) fn orders(&self, out: &mut Vec<(u32, f64)>) {
        out.clear();
        let mut places: HashMap<Key<'_>, usize> = HashMap::new();
        for line in &self.purchases {
            let at = line.user.as_deref().map(|user| (user, line.time_ms));
            let key = match (&line.order, at) {
                (Some(order), _) => Key::Order(line.period, order),
                (None, Some((user, time_ms))) => Key::Moment(line.period, user, time_ms),
                (None, None) => {
                    out.push((line.period, line.units));
                    continue;
                }
            };
            let place = *places.entry(key).or_insert_with(|| {
                out.push((line.period, 0.0));
                out.len() - 1
            });
            out[place].1 += line.units;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(period: u32, time_ms: i64, user: &str, order: &str, units: f64) -> Line {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Line { period, time_ms, user: text(user), order: text(order), units }
    }

    #[test]
    fn a_refund_takes_back_the_latest_purchase_of_its_user_units_and_period() {
        let mut item = Item {
            purchases: vec![
                line(0, 1, "u", "1", 80_995.0),
                line(0, 2, "u", "2", 80_995.0),
                line(0, 3, "v", "3", 80_995.0),
                line(0, 4, "u", "4", 2.0),
                line(1, 9, "u", "5", 5.0),
            ],
            refunds: vec![
                line(0, 3, "u", "C2", -80_995.0),
                line(0, 5, "u", "C4", -1.0),  // a part
                line(1, 8, "u", "C5", -5.0),  // before it was bought
                line(2, 10, "u", "C6", -5.0), // in a later period
                line(0, 6, "", "C7", -2.0),   // whose?
            ],
        };
        assert_eq!(item.cancel(), 1);
        let orders: Vec<_> =
            item.purchases.iter().filter_map(|line| line.order.as_deref()).collect();
        assert_eq!(orders, ["1", "3", "4", "5"]);
    }

    #[test]
    fn lines_of_an_order_are_one_order() {
        let item = Item {
            purchases: vec![
                line(0, 1, "u", "1", 2.0),
                line(0, 1, "u", "1", 3.0),
                line(1, 9, "u", "1", 1.0),
                line(1, 9, "u", "", 4.0),
                line(1, 9, "u", "", 4.0),
                line(1, 10, "u", "", 4.0),
                line(1, 10, "", "", 1.0),
                line(1, 10, "", "", 1.0),
            ],
            refunds: Vec::new(),
        };
        let mut orders = vec![(9, 9.0)];
        item.orders(&mut orders);
        assert_eq!(orders, [(0, 5.0), (1, 1.0), (1, 8.0), (1, 4.0), (1, 1.0), (1, 1.0)]);
    }
}
