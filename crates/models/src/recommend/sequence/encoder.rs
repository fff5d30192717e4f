//! From sequences of items to one vector a token: forward and backward over a tile of whole sequences.

use forecart_data::{History, ItemIdx};
use forecart_nn::{
    Dropout, Embedding, Init, LayerNorm, LayerNormCache, Matrix, NnError, Pass, Ragged, scaled_sum,
};
use rand_chacha::ChaCha8Rng;

use super::block::{Block, BlockWorkspace, Context, Dropped, Scratch};
use super::config::{Objective, SequenceConfig};

/// Standard deviation of new vectors.
pub(crate) const INIT: Init = Init::TruncatedNormal { std_dev: 0.02 };

/// The token that stands for an item that is asked for; no item has this index.
pub(super) const MASK: u32 = u32::MAX;

/// Everything that is learned but the items' vectors.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    /// Row `k` is added to the token `k` steps before the newest, `[max_tokens, d]`.
    positions: Option<Embedding>,
    /// Row `e` is added to tokens of event `e`, `[n_event_rows, d]`.
    events: Option<Embedding>,
    /// Row `e` is added to tokens before an event `e`, or to the newest if `e` is asked for, `[n_event_rows, d]`.
    next_events: Option<Embedding>,
    asked_event: u8,
    blocks: Vec<Block>,
    norm: LayerNorm,
    /// In place of an item's vector, `[1, d]`.
    mask: Option<Matrix>,
    dropout: Dropout,
    /// Factor of the items' vectors on their way in.
    scale: f32,
}

forecart_nn::trainable!(
    Encoder,
    /// Gradients of an [`Encoder`].
    pub(crate) struct EncoderGradients {
        positions: Option<Embedding>,
        events: Option<Embedding>,
        next_events: Option<Embedding>,
        blocks: Vec<Block>,
        norm: LayerNorm,
        mask: Option<Matrix>,
    }
);

/// Some whole sequences, end to end, and their activations.
#[derive(Debug, Default)]
pub(crate) struct Tile {
    offsets: Vec<usize>,
    pub(crate) items: Vec<u32>,
    times_ms: Vec<i64>,
    positions: Vec<u32>,
    /// Of each token, and of what comes next; 0 where nothing is known.
    events: Vec<u32>,
    next_events: Vec<u32>,
    /// Input of each block and output of the last, `[n_tokens, d]`.
    x: Vec<Matrix>,
    blocks: Vec<BlockWorkspace>,
    norm: LayerNormCache,
    /// Output, `[n_tokens, d]`.
    pub(crate) hidden: Matrix,
    /// Its gradient, filled by the loss.
    pub(crate) d_hidden: Matrix,
    d_x: Matrix,
    scratch: Scratch,
}

impl Tile {
    /// Empties the tile for new sequences.
    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.items.clear();
        self.times_ms.clear();
        self.positions.clear();
        self.events.clear();
        self.next_events.clear();
    }

    /// Adds a sequence, oldest first, and a mask after it if asked to; items past the table are the unknown item. What comes
    /// next is of event `next`, 0 if nobody knows.
    pub(crate) fn push(
        &mut self,
        history: History<'_>,
        n_item_rows: usize,
        next: u8,
        ends_in_mask: bool,
    ) {
        let first = self.events.len();
        self.events.extend(history.events.iter().map(|event| u32::from(*event)));
        self.events.resize(first + history.items.len(), 0);
        if ends_in_mask {
            self.events.push(next.into());
        }
        self.next_events.extend_from_slice(&self.events[(first + 1).min(self.events.len())..]);
        self.next_events.resize(self.events.len(), next.into());
        let n_tokens = history.items.len() + usize::from(ends_in_mask);
        let known = |item: &ItemIdx| if item.row() < n_item_rows { item.0 } else { 0 };
        self.items.extend(history.items.iter().map(known));
        self.items.extend(ends_in_mask.then_some(MASK));
        self.times_ms.extend_from_slice(history.timestamps_ms);
        self.times_ms.resize(self.items.len(), 0);
        self.positions.extend((0..n_tokens as u32).rev());
        self.offsets.push(self.items.len());
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.items.len()
    }

    /// The row of the newest token of each sequence; sequences must not be empty.
    pub(super) fn newest(&self) -> impl Iterator<Item = usize> {
        self.offsets[1..].iter().map(|end| end - 1)
    }
}

/// `[n_event_rows, d]`; nothing is added where the event is not known.
fn event_table(n_event_rows: usize, d: usize, rng: &mut ChaCha8Rng) -> Result<Embedding, NnError> {
    let mut table = INIT.matrix(n_event_rows, d, rng)?;
    table.row_mut(0).fill(0.0);
    Embedding::from_table(table)
}

impl Encoder {
    pub(crate) fn new(
        config: &SequenceConfig,
        has_time: bool,
        n_event_rows: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d = config.d_model.get() as usize;
        let positions = config.positions.then(|| Embedding::new(config.max_tokens(), d, INIT, rng));
        let positions = positions.transpose()?;
        let is_masked = config.objective == Objective::Masked;
        let has_events = config.events && n_event_rows > 0;
        let events = has_events.then(|| event_table(n_event_rows, d, rng)).transpose()?;
        // A mask is of the event that is asked for.
        let has_next = has_events && config.asked_event > 0 && !is_masked;
        let next_events = has_next.then(|| event_table(n_event_rows, d, rng)).transpose()?;
        let blocks = (0..config.n_layers.get()).map(|_| Block::new(config, has_time, rng));
        let blocks = blocks.collect::<Result<_, _>>()?;
        Ok(Self {
            positions,
            events,
            next_events,
            asked_event: config.asked_event,
            blocks,
            mask: is_masked.then(|| INIT.matrix(1, d, rng)).transpose()?,
            norm: LayerNorm::new(d),
            dropout: Dropout::new(config.dropout() as f32)?,
            scale: config.input_scale as f32,
        })
    }

    /// The event that is asked for when a history is scored, 0 for any.
    pub(super) fn asked_event(&self) -> u8 {
        self.asked_event
    }

    /// Whether a history ends in a mask when it is scored.
    pub(super) fn asks_by_mask(&self) -> bool {
        self.mask.is_some()
    }

    /// Fills `tile.hidden`.
    pub(crate) fn forward(
        &self,
        items: &Matrix,
        pass: Pass,
        tile: &mut Tile,
    ) -> Result<(), NnError> {
        let Tile { offsets, x, blocks, events, next_events, .. } = tile;
        let context = Context { batch: Ragged::new(offsets)?, times_ms: &tile.times_ms, pass };
        x.resize_with(self.blocks.len() + 1, Matrix::default);
        blocks.resize_with(self.blocks.len(), BlockWorkspace::default);
        x[0].reshape(tile.items.len(), items.cols());
        let positions = self.positions.as_ref().map(Embedding::table);
        for (row, (item, position)) in tile.items.iter().zip(&tile.positions).enumerate() {
            let vector = match &self.mask {
                Some(mask) if *item == MASK => mask.row(0),
                _ => items.row(*item as usize),
            };
            let x = x[0].row_mut(row);
            match positions {
                Some(table) => scaled_sum(self.scale, vector, table.row(*position as usize), x),
                None => x.iter_mut().zip(vector).for_each(|(x, v)| *x = self.scale * v),
            }
        }
        for (table, events) in [(&self.events, events), (&self.next_events, next_events)] {
            let Some(table) = table.as_ref().map(Embedding::table) else { continue };
            for (row, event) in events.iter_mut().enumerate() {
                // Another dataset's event.
                *event = if (*event as usize) < table.rows() { *event } else { 0 };
                let values = x[0].row_mut(row).iter_mut().zip(table.row(*event as usize));
                values.for_each(|(x, value)| *x += value);
            }
        }
        context.drop(self.dropout, Dropped::Input, &mut x[0]);
        for (index, (block, ws)) in self.blocks.iter().zip(blocks).enumerate() {
            let (before, after) = x.split_at_mut(index + 1);
            block.forward(&before[index], &mut after[0], context.of_layer(index), ws)?;
        }
        self.norm.forward(&x[self.blocks.len()], &mut tile.hidden, &mut tile.norm)
    }

    /// Turns summed gradients into those of the parameters.
    pub(crate) fn finish(&self, gradients: &mut EncoderGradients) -> Result<(), NnError> {
        let mut blocks = self.blocks.iter().zip(&mut gradients.blocks);
        blocks.try_for_each(|(block, gradients)| block.finish(gradients))
    }

    /// Carries `tile.d_hidden` back and adds to `gradients`, whose sum is to be [finished](Self::finish); `of_input` is given the gradient of each input item's
    /// vector.
    pub(crate) fn backward(
        &self,
        pass: Pass,
        tile: &mut Tile,
        gradients: &mut EncoderGradients,
        mut of_input: impl FnMut(u32, &[f32], f32),
    ) -> Result<(), NnError> {
        let Tile { offsets, x, blocks, d_x, d_hidden, scratch, .. } = tile;
        let context = Context { batch: Ragged::new(offsets)?, times_ms: &tile.times_ms, pass };
        let last = self.blocks.len();
        self.norm.backward(&x[last], d_hidden, d_x, &tile.norm, &mut gradients.norm)?;
        let layers = self.blocks.iter().zip(blocks).zip(&mut gradients.blocks).enumerate();
        for (index, ((block, ws), gradients)) in layers.rev() {
            block.backward(&x[index], d_x, context.of_layer(index), ws, scratch, gradients)?;
        }
        context.drop(self.dropout, Dropped::Input, d_x);
        if let (Some(positions), Some(gradients)) = (&self.positions, &mut gradients.positions) {
            positions.backward(&tile.positions, d_x, gradients)?;
        }
        let of_events = (&self.events, &mut gradients.events, &tile.events);
        let of_next = (&self.next_events, &mut gradients.next_events, &tile.next_events);
        for (table, gradients, events) in [of_events, of_next] {
            if let (Some(table), Some(gradients)) = (table, gradients) {
                table.backward(events, d_x, gradients)?;
            }
        }
        for (row, item) in tile.items.iter().enumerate() {
            match &mut gradients.mask {
                Some(mask) if *item == MASK => {
                    let sums = mask.as_mut_slice().iter_mut();
                    sums.zip(d_x.row(row)).for_each(|(sum, d)| *sum += self.scale * d);
                }
                _ => of_input(*item, d_x.row(row), self.scale),
            }
        }
        Ok(())
    }
}
