//! Which part of a history answers for which moment, and the moments of a part by these windows.

use std::ops::Range;

use forecart_data::{Part, Questions};

use super::labels::{column, each_moment};

/// The first event that a model sees of a history of `n` events, if it sees `max_history` at most: 0 until that is reached, and then moved on
/// by half of it at a time. So half of the events that it may see are there in any case, all moments between two moves are answered
/// in one pass over the same window, and what a moment is answered with is decided by its history alone.
pub(super) fn window_start(n: usize, max_history: usize) -> usize {
    let step = (max_history / 2).max(1);
    n.saturating_sub(max_history).div_ceil(step) * step
}

/// Some events of a user, and the moments among them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) user: usize,
    /// Places in the history.
    pub(super) events: Range<usize>,
    /// Places in the lists of [`Windows`].
    moments: Range<usize>,
}

/// The windows with the moments of a part, by user and time.
#[derive(Debug, Default)]
pub(super) struct Windows {
    windows: Vec<Window>,
    /// Of each moment: its place in its window, and the end of its intents in `asked`.
    places: Vec<u32>,
    ends: Vec<u32>,
    asked: Vec<u32>,
}

impl Windows {
    pub(super) fn of(questions: &Questions, part: Part, max_history: usize) -> Self {
        let mut all = Self::default();
        each_moment(questions, part, |user, place, asked| {
            let start = window_start(place + 1, max_history);
            let moment = all.places.len();
            match all.windows.last_mut() {
                Some(window) if window.user == user && window.events.start == start => {
                    window.events.end = place + 1;
                    window.moments.end = moment + 1;
                }
                _ => all.windows.push(Window {
                    user,
                    events: start..place + 1,
                    moments: moment..moment + 1,
                }),
            }
            all.places.push((place - start) as u32);
            all.asked.extend(asked.iter().filter_map(|row| column(*row)).map(|at| at as u32));
            all.ends.push(all.asked.len() as u32);
        });
        all
    }

    /// One window of so many events, each of which is a moment after which the intent of its place is asked.
    #[cfg(test)]
    pub(super) fn of_one(n_events: u32) -> Self {
        let n = n_events as usize;
        Self {
            windows: vec![Window { user: 0, events: 0..n, moments: 0..n }],
            places: (0..n_events).collect(),
            ends: (1..=n_events).collect(),
            asked: (0..n_events).collect(),
        }
    }

    pub(super) fn as_slice(&self) -> &[Window] {
        &self.windows
    }

    pub(super) fn n_moments(&self) -> usize {
        self.places.len()
    }

    /// The place in its window and the intents of each moment of a window.
    pub(super) fn moments(&self, window: &Window) -> impl Iterator<Item = (usize, &[u32])> {
        window.moments.clone().map(|moment| {
            let start = moment.checked_sub(1).map_or(0, |before| self.ends[before]);
            let asked = &self.asked[start as usize..self.ends[moment] as usize];
            (self.places[moment] as usize, asked)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_move_on_by_halves_and_end_with_the_history() {
        let starts = |max| (1..=12).map(|n| window_start(n, max)).collect::<Vec<_>>();
        assert_eq!(starts(4), [0, 0, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8]);
        assert_eq!(starts(1), (0..12).collect::<Vec<_>>());
        for max in 1..40 {
            for n in 1..200 {
                let seen = n - window_start(n, max);
                assert!(seen <= max && seen >= n.min(max.div_ceil(2)), "{max} {n} {seen}");
            }
        }
    }
}
