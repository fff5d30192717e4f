//! One tower over the rows of a batch, in tiles on all threads.

use forecart_nn::{
    Dropout, DropoutKey, Gradients, Matrix, Mlp, MlpGradients, MlpWorkspace, NnError, Pass,
    Trainable, dot,
};
use rayon::prelude::*;

/// Rows that one thread works on at a time; not to be changed without notice, since results depend on it in the last bits.
pub(super) const TILE_ROWS: usize = 64;

/// The dropout layer of the input, past those of the hidden layers.
const INPUT_DROPOUT: usize = 1 << 20;

/// What a tower does beside its layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Adds the first columns of the input to the output of the layers.
    pub(super) residual: bool,
    /// Brings outputs to length 1.
    pub(super) normalize: bool,
    /// Of the input.
    pub(super) dropout: f32,
}

/// Buffers of a forward and a backward pass over a batch, reused between steps.
#[derive(Debug, Default)]
pub(super) struct TowerPass {
    tiles: Vec<Tile>,
}

#[derive(Debug, Default)]
struct Tile {
    x: Matrix,
    dx: Matrix,
    /// `[n, d]`, at its length.
    y: Matrix,
    /// Length of each row before it became 1.
    norms: Vec<f32>,
    dy: Matrix,
    layers: MlpWorkspace,
    gradients: Option<MlpGradients>,
}

impl TowerPass {
    /// Writes `y: [n, n_out]` for `x: [n, n_in]`.
    pub(super) fn forward(
        &mut self,
        (layers, shape): (&Mlp, Shape),
        x: &Matrix,
        pass: Option<DropoutKey>,
        y: &mut Matrix,
    ) -> Result<(), NnError> {
        let (n_in, n_out) = (x.cols(), layers.n_out());
        y.reshape(x.rows(), n_out);
        let n_tiles = x.rows().div_ceil(TILE_ROWS);
        if self.tiles.len() < n_tiles {
            self.tiles.resize_with(n_tiles, Tile::default);
        }
        let inputs = x.as_slice().par_chunks(TILE_ROWS * n_in);
        let outputs = y.as_mut_slice().par_chunks_mut(TILE_ROWS * n_out);
        let tiles = self.tiles[..n_tiles].par_iter_mut().with_max_len(1);
        tiles.zip(inputs.zip(outputs)).enumerate().try_for_each(|(place, (tile, (x, y)))| {
            tile.x.reshape(x.len() / n_in, n_in);
            tile.x.as_mut_slice().copy_from_slice(x);
            let pass = pass.map_or(Pass::Inference, |key| Pass::Training {
                key,
                first_row: place * TILE_ROWS,
            });
            tile.forward((layers, shape), pass)?;
            y.copy_from_slice(tile.y.as_slice());
            Ok(())
        })
    }

    /// Writes `dx` and adds to `gradients`, tile by tile; of the forward pass that came before.
    pub(super) fn backward(
        &mut self,
        (layers, shape): (&Mlp, Shape),
        pass: Option<DropoutKey>,
        dy: &Matrix,
        dx: &mut Matrix,
        gradients: &mut MlpGradients,
    ) -> Result<(), NnError> {
        let (n_in, n_out) = (layers.n_in(), dy.cols());
        dx.reshape(dy.rows(), n_in);
        let n_tiles = dy.rows().div_ceil(TILE_ROWS);
        let inputs = dx.as_mut_slice().par_chunks_mut(TILE_ROWS * n_in);
        let outputs = dy.as_slice().par_chunks(TILE_ROWS * n_out);
        let tiles = self.tiles[..n_tiles].par_iter_mut().with_max_len(1);
        tiles.zip(inputs.zip(outputs)).enumerate().try_for_each(|(place, (tile, (dx, dy)))| {
            tile.dy.reshape(dy.len() / n_out, n_out);
            tile.dy.as_mut_slice().copy_from_slice(dy);
            let pass = pass.map_or(Pass::Inference, |key| Pass::Training {
                key,
                first_row: place * TILE_ROWS,
            });
            tile.backward((layers, shape), pass)?;
            dx.copy_from_slice(tile.dx.as_slice());
            Ok(())
        })?;
        // In the order of the tiles, whoever computed them.
        let tiles = self.tiles[..n_tiles].iter().filter_map(|tile| tile.gradients.as_ref());
        tiles.into_iter().try_for_each(|tile| gradients.add(tile))
    }
}

impl Tile {
    fn forward(&mut self, (layers, shape): (&Mlp, Shape), pass: Pass) -> Result<(), NnError> {
        let Self { x, y, norms, layers: workspace, .. } = self;
        drop_input(shape, pass, x)?;
        y.copy_from(layers.forward(x, pass, workspace)?);
        norms.clear();
        for row in 0..x.rows() {
            let y = y.row_mut(row);
            if shape.residual {
                y.iter_mut().zip(x.row(row)).for_each(|(sum, value)| *sum += value);
            }
            if shape.normalize {
                let norm = dot(y, y).sqrt().max(f32::MIN_POSITIVE);
                y.iter_mut().for_each(|value| *value /= norm);
                norms.push(norm);
            }
        }
        Ok(())
    }

    fn backward(&mut self, (layers, shape): (&Mlp, Shape), pass: Pass) -> Result<(), NnError> {
        let Self { x, dx, y, norms, dy, layers: workspace, gradients } = self;
        for (row, norm) in norms.iter().enumerate() {
            // Of `y / |y|`: what points along it changes nothing.
            let (y, dy) = (y.row(row), dy.row_mut(row));
            let along = dot(y, dy);
            dy.iter_mut().zip(y).for_each(|(slope, y)| *slope = (*slope - along * y) / norm);
        }
        let gradients = gradients.get_or_insert_with(|| layers.new_gradients());
        gradients.clear();
        layers.backward(x, dy, Some(dx), workspace, gradients)?;
        if shape.residual {
            for row in 0..dx.rows() {
                let sums = dx.row_mut(row).iter_mut().zip(dy.row(row));
                sums.for_each(|(sum, value)| *sum += value);
            }
        }
        drop_input(shape, pass, dx)
    }
}

fn drop_input(shape: Shape, pass: Pass, x: &mut Matrix) -> Result<(), NnError> {
    if let Pass::Training { key, first_row } = pass {
        Dropout::new(shape.dropout)?.apply(key.layer(INPUT_DROPOUT), first_row, x);
    }
    Ok(())
}
