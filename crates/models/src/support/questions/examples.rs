//! Windows as a network learns from them: some without some of their behaviors, several in a tile.

use std::collections::BTreeMap;

use forecart_data::{ItemIdx, Questions};
use forecart_nn::DropoutKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::network::{Network, Workspace};
use super::rest::{Fate, Rest};
use super::windows::{Window, Windows};

/// Tokens of a tile: its activations stay in an L2 cache. A longer window is a tile of its own. Not to be changed without notice, since sums
/// are made in the order of tiles.
pub(super) const TILE_TOKENS: usize = 128;

/// Share of the events of behaviors that are left out that are blank.
const BLANK: f64 = 0.125;

/// A window as it is passed through the network.
#[derive(Debug, Clone)]
pub(super) struct Example<'w> {
    window: &'w Window,
    /// What becomes of each of its events, where not all are kept.
    fates: Option<Vec<Fate>>,
}

impl<'w> Example<'w> {
    pub(super) fn whole(window: &'w Window) -> Self {
        Self { window, fates: None }
    }

    /// The window, or what is left of it without some of its behaviors: see [`SequenceConfig::behavior_dropout`](super::SequenceConfig::behavior_dropout).
    ///
    /// Some of their events are blank, as the newest one of an explanation is. Which, is drawn: that nothing came after the newest of a window before its part ended, says that nothing
    /// was asked, and what is blank would come to stand for that.
    pub(super) fn thinned(
        window: &'w Window,
        questions: &Questions,
        dropout: f64,
        key: DropoutKey,
    ) -> Self {
        if dropout == 0.0 {
            return Self::whole(window);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(key.to_seed());
        let history = questions.history(window.user).slice(window.events.clone());
        let share = rng.random::<f64>() * dropout;
        let mut kept: BTreeMap<(u8, u32), bool> = BTreeMap::new();
        let pairs = history.events.iter().zip(history.items);
        let fate = |(event, item): (&u8, &ItemIdx)| {
            let is_kept =
                *kept.entry((*event, item.0)).or_insert_with(|| rng.random::<f64>() >= share);
            match is_kept {
                true => Fate::Kept,
                false if rng.random::<f64>() < BLANK => Fate::Blank,
                false => Fate::Gone,
            }
        };
        Self { window, fates: Some(pairs.map(fate).collect()) }
    }

    fn is_there(&self, place: usize) -> bool {
        self.fates.as_ref().is_none_or(|fates| fates[place] != Fate::Gone)
    }

    /// The moments that are left, each with its place among the events that are.
    pub(super) fn moments<'m>(
        &'m self,
        all: &'m Windows,
    ) -> impl Iterator<Item = (usize, &'m [u32])> {
        let (mut n_before, mut next) = (0, 0);
        let left = all.moments(self.window).filter(|(place, _)| self.is_there(*place));
        left.map(move |(place, asked)| {
            n_before += (next..place).filter(|place| self.is_there(*place)).count();
            next = place;
            (n_before, asked)
        })
    }
}

/// Windows that are passed through the network together.
pub(super) struct Tile<'w> {
    examples: Vec<Example<'w>>,
    /// Events in the tiles before it.
    pub(super) first_row: usize,
}

/// Windows in their order, as many a tile as [`TILE_TOKENS`] holds.
pub(super) fn tiles<'w>(examples: impl Iterator<Item = Example<'w>>) -> Vec<Tile<'w>> {
    let mut tiles: Vec<Tile<'w>> = Vec::new();
    let (mut n_in_tile, mut n_before) = (0, 0);
    for example in examples {
        let n = example.window.events.len();
        if tiles.is_empty() || n_in_tile + n > TILE_TOKENS {
            tiles.push(Tile { examples: Vec::new(), first_row: n_before });
            n_in_tile = 0;
        }
        if let Some(tile) = tiles.last_mut() {
            tile.examples.push(example);
        }
        n_in_tile += n;
        n_before += n;
    }
    tiles
}

/// Puts the windows of a tile into the buffers.
pub(super) fn fill(
    network: &Network,
    questions: &Questions,
    all: &Windows,
    tile: &Tile<'_>,
    mut keep: impl FnMut(u32) -> bool,
    ws: &mut Workspace,
) {
    ws.clear();
    for example in &tile.examples {
        let Window { user, events, .. } = example.window;
        let history = questions.history(*user).slice(events.clone());
        match &example.fates {
            None => network.push(history, example.moments(all), &mut keep, ws),
            Some(fates) => {
                let rest = Rest::of(history, |place| fates[place]);
                network.push(rest.history(), example.moments(all), &mut keep, ws);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_are_left_keep_their_questions_and_move_up() {
        let all = Windows::of_one(5);
        let window = &all.as_slice()[0];
        let moments = |example: &Example<'_>| -> Vec<(usize, u32)> {
            example.moments(&all).map(|(place, asked)| (place, asked[0])).collect()
        };
        let whole = Example::whole(window);
        assert_eq!(moments(&whole), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        use Fate::{Blank, Gone, Kept};
        let thinned = Example { window, fates: Some(vec![Gone, Kept, Gone, Blank, Kept]) };
        assert_eq!(moments(&thinned), [(0, 1), (1, 3), (2, 4)]);
        let nothing = Example { window, fates: Some(vec![Gone; 5]) };
        assert_eq!(moments(&nothing), []);
    }

    #[test]
    fn a_tile_is_full_at_its_tokens_and_says_what_came_before() {
        let (short, long) = (Windows::of_one(50), Windows::of_one(200));
        let windows = [&short, &short, &short, &long].map(|own| &own.as_slice()[0]);
        let tiles = tiles(windows.into_iter().map(Example::whole));
        let found: Vec<(usize, usize)> =
            tiles.iter().map(|tile| (tile.examples.len(), tile.first_row)).collect();
        assert_eq!(found, [(2, 0), (1, 100), (1, 150)]);
    }
}
