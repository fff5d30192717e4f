//! Neural layers with explicit forward and backward passes, losses and optimizers.
//!
//! Here are numbers and their derivatives alone: no shop, no file format, no clock, no async. There is no tape and
//! no graph: a model calls the `forward` of its layers in order and their `backward` in reverse, and owns the
//! buffers between them, so a training step allocates nothing once its buffers have grown.
//!
//! Start reading at [`Linear`] (one layer), [`Mlp`] (layers composed, with a doctest that trains), then
//! [`DataParallel`] (a batch over threads).
//!
//! | module | holds |
//! |---|---|
//! | [`Matrix`] | the container of all weights, activations and gradients |
//! | [`Ragged`] | sequences of different lengths, laid end to end |
//! | [`Parameters`], [`Trainable`], [`Gradients`], [`Values`] | parameters under stable names; what an optimizer and a model file walk over |
//! | [`Embedding`], [`Bags`], [`RowGradients`], [`RowTerms`] | tables with sparse gradients; single lookups and ragged bags |
//! | [`Bf16Table`] | a table in half the memory, for lookup and scoring |
//! | [`Precision`] | products in f32 or in bfloat16 |
//! | [`PositiveDefinite`], [`invert`], [`gram`], [`multiply`] | least squares: products, Cholesky factors, inverses |
//! | [`Linear`], [`Activation`], [`Dropout`], [`Mlp`] | dense layers |
//! | [`LayerNorm`], [`RmsNorm`] | normalization of rows |
//! | [`Attention`], [`RelativeBias`], [`FoldedHead`] | attention within the sequences of a ragged batch |
//! | [`SwiGlu`], [`GatedResidual`] | gated feed-forward layer and gated residual connection |
//! | [`Gru`], [`Lstm`], [`Recurrent`] | recurrent layers over ragged sequences, either way |
//! | [`Conv1dMaxPool`] | convolution over ragged sequences with max pooling over time |
//! | [`CrossNetwork`], [`FactorizationMachine`], [`FieldAwareMachine`] | explicit interactions of features |
//! | [`TargetAttention`] | a history as a target item sees it |
//! | [`loss`] | binary, softmax, full softmax over items in blocks, sampled softmax |
//! | [`loss::OwnNegatives`] | sampled BCE and gBCE, BPR and sampled softmax with negatives of each row's own |
//! | [`Optimizer`], [`optim`] | SGD, AdaGrad, Adam and AdamW, dense and by lazy rows |
//! | [`trainable!`] | a layer made of layers |
//! | [`RowWiseAdaGrad`] | AdaGrad with one accumulator a row, for large tables |
//! | [`optim::Schedule`] | warm-up, linear and cosine decay of the learning rate |
//! | [`ParameterState`] | the state of an optimizer, to save and restore to the bit |
//! | [`DataParallel`] | tiles of a batch on all threads, summed in tile order |
//! | [`gradient_check`] | finite differences, for tests |
//!
//! # Contracts
//! - **Shapes** are checked on entry and reported as [`NnError::Shape`]; nothing panics on data.
//! - **NaN and infinity** in a loss or in the norm of the gradients are [`NnError::NonFinite`], before a parameter
//!   is changed.
//! - **Backward adds** to gradients of parameters and overwrites those of inputs.
//! - **The same seed gives the same bytes** on any number of threads: random numbers come from a passed
//!   generator or a hash of positions, tiles have a fixed size, and sums a fixed order.
//!
//! # Where a GPU will stand
//! [`Parameters`], [`Trainable`] and [`Gradients`] do not say where values are: they are traits over the type of the values
//! ([`Values`]; [`Matrix`] where none is named), and what saves, loads or compares a model goes through
//! [`Values::to_host`] and [`Values::copy_from_host`] alone. The test `tests/it/far.rs` trains and saves a layer whose
//! memory cannot be reached otherwise.
//!
//! Everything else here is for the host: [`Matrix`] is host memory, layers, losses and optimizer rules work on
//! it directly, and models lay out their tiles by its rows. A CUDA implementation is therefore a module beside these,
//! behind the feature `cuda`: a device matrix that is `Values`, and for each layer, loss and rule that runs there a type of
//! its own with the method names, parameter names and shapes of the one here, held to it by a parity test. Products are
//! cuBLASLt's, element-wise work is in kernels compiled by NVRTC when the program runs, both by way of `cudarc`, which needs no
//! toolkit to build. What a model does between its layers by rows (gathering embeddings, gates,
//! positions) has to become a layer there first.

mod error;
mod kernels;

mod matrix;
mod parameters;
mod positive_definite;
mod precision;
mod ragged;
mod row_gradients;
mod row_terms;

mod init;
mod reduce;

mod activation;
mod attention;
mod bf16_table;
mod conv1d;
mod cross;
mod dropout;
mod embedding;
mod embedding_bag;
mod factorization_machine;
mod field_aware_machine;
mod gated_residual;
mod gru;
mod int8_table;
mod layer_norm;
mod linear;
mod lstm;
mod mlp;
mod recurrent;
mod rms_norm;
mod swiglu;
mod target_attention;
mod time_steps;

pub mod loss;
pub mod optim;

mod composite;
mod gradient_check;
mod parallel;

pub use activation::{Activation, sigmoid};
pub use attention::{
    Attention, AttentionOutput, AttentionWorkspace, FoldedHead, RelativeBias,
    RelativeBiasGradients, Weighting,
};
pub use bf16_table::Bf16Table;
pub use conv1d::{Conv1dConfig, Conv1dGradients, Conv1dMaxPool, Conv1dWorkspace, Padding};
pub use cross::{
    CrossConfig, CrossGradients, CrossLayer, CrossLayerGradients, CrossNetwork, CrossWorkspace,
};
pub use dropout::{Dropout, DropoutKey};
pub use embedding::Embedding;
pub use embedding_bag::{BagMode, Bags};
pub use error::NnError;
pub use factorization_machine::FactorizationMachine;
pub use field_aware_machine::FieldAwareMachine;
pub use gated_residual::{GatedResidual, GatedResidualGradients, GatedResidualWorkspace};
pub use gradient_check::{GradientReport, gradient_check};
pub use gru::{Gru, GruCell};
pub use init::Init;
pub use int8_table::{Int8Table, RowSearch};
pub use kernels::{InstructionSet, dot, prefetch, scaled_sum};
pub use layer_norm::{LayerNorm, LayerNormCache, LayerNormGradients};
pub use linear::{Linear, LinearGradients};
pub use lstm::{Lstm, LstmCell};
pub use matrix::Matrix;
pub use mlp::{Mlp, MlpConfig, MlpGradients, MlpWorkspace, Pass};
pub use optim::{AdaGrad, Adam, Optimizer, ParameterState, RowWiseAdaGrad, Rule, Sgd};
pub use parallel::DataParallel;
pub use parameters::{Gradient, Gradients, Name, Parameters, Trainable, Values};
pub use positive_definite::{
    ConjugateGradient, PositiveDefinite, WeightedRows, gram, invert, multiply,
};
pub use precision::Precision;
pub use ragged::Ragged;
pub use recurrent::{
    CellGradients, CellState, CellStateMut, Direction, Recurrent, RecurrentCell, RecurrentWeights,
    RecurrentWorkspace,
};
pub use rms_norm::{RmsNorm, RmsNormCache, RmsNormGradients};
pub use row_gradients::RowGradients;
pub use row_terms::{RowTerms, RowTermsPart};
pub use swiglu::{SwiGlu, SwiGluGradients, SwiGluWorkspace};
pub use target_attention::{
    TargetAttention, TargetAttentionConfig, TargetAttentionGradients, TargetAttentionInputs,
    TargetAttentionWorkspace,
};
