//! What is left of a history without some of its events.

use forecart_data::{History, ItemIdx};

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there.
    Kept,
    /// An event of no name and no object stands at its time.
    Blank,
    /// It is not there.
    Gone,
}

/// What is left of a history.
#[derive(Debug, Default)]
pub(super) struct Rest {
    items: Vec<ItemIdx>,
    timestamps_ms: Vec<i64>,
    events: Vec<u8>,
}

impl Rest {
    /// By the fate of the event at each place.
    pub(super) fn of(history: History<'_>, fate: impl Fn(usize) -> Fate) -> Self {
        let mut rest = Self::default();
        for place in 0..history.items.len() {
            let (item, event) = match fate(place) {
                Fate::Kept => (history.items[place], history.events[place]),
                Fate::Blank => (ItemIdx::UNKNOWN, 0),
                Fate::Gone => continue,
            };
            rest.items.push(item);
            rest.events.push(event);
            rest.timestamps_ms.push(history.timestamps_ms[place]);
        }
        rest
    }

    /// The events whose places `keep` keeps, as they are read for the moment of the newest: a moment is the place of an event and its time, so that the
    /// newest is blank where it is left out.
    pub(super) fn at_newest(history: History<'_>, keep: impl Fn(usize) -> bool) -> Self {
        let n_events = history.items.len();
        Self::of(history, |place| match keep(place) {
            true => Fate::Kept,
            false if place + 1 == n_events => Fate::Blank,
            false => Fate::Gone,
        })
    }

    pub(super) fn history(&self) -> History<'_> {
        let Self { items, timestamps_ms, events } = self;
        History { items, timestamps_ms, events, values: &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_time_though_its_event_is_left_out() {
        let items = [ItemIdx(1), ItemIdx(2), ItemIdx(1)];
        let history = History {
            items: &items,
            timestamps_ms: &[10, 20, 30],
            events: &[1, 2, 1],
            values: &[],
        };
        let Rest { items, timestamps_ms, events } = Rest::at_newest(history, |place| place == 1);
        assert_eq!(
            (items, timestamps_ms, events),
            (vec![ItemIdx(2), ItemIdx(0)], vec![20, 30], vec![2, 0])
        );
        let Rest { items, timestamps_ms, .. } = Rest::at_newest(history, |place| place != 1);
        assert_eq!((items, timestamps_ms), (vec![ItemIdx(1); 2], vec![10, 30]));
    }
}
