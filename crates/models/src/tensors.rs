//! Named arrays: what a fitted model hands to the model file and is read back from.

use std::collections::BTreeMap;

use forecart_nn::{Name, Parameters};

use crate::error::ModelError;

/// The values of a [`Tensor`], by type.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// Bytes: texts and vocabularies.
    U8(Vec<u8>),
    /// Indices.
    U32(Vec<u32>),
    /// Offsets and counts.
    U64(Vec<u64>),
    /// Weights and scores; never NaN or infinite.
    F32(Vec<f32>),
}

impl TensorData {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as the little-endian bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::U8(values) => values.clone(),
            Self::U32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::U64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// Values with a shape, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Length of each axis; their product is the number of values.
    pub shape: Vec<usize>,
    /// The values.
    pub data: TensorData,
}

/// Tensors by name, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    /// Adds a vector.
    pub fn insert(&mut self, name: impl Into<String>, data: TensorData) {
        let shape = vec![data.len()];
        self.0.insert(name.into(), Tensor { shape, data });
    }

    /// Adds a matrix of `cols` columns.
    ///
    /// # Panics
    /// If the values are not whole rows: a mistake of the model that is saved.
    pub fn insert_matrix(&mut self, name: impl Into<String>, values: Vec<f32>, cols: usize) {
        self.insert_rows(name, TensorData::F32(values), cols);
    }

    /// Adds a matrix of `cols` columns with values of any type.
    ///
    /// # Panics
    /// If the values are not whole rows: a mistake of the model that is saved.
    pub fn insert_rows(&mut self, name: impl Into<String>, data: TensorData, cols: usize) {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "a matrix has whole rows");
        self.0.insert(name.into(), Tensor { shape: vec![rows, cols], data });
    }

    /// Adds all weights of `network` under their names.
    pub fn insert_parameters(&mut self, network: &impl Parameters) {
        network.visit(&Name::root(), &mut |name, value| {
            // The shape as it is: a matrix without columns still has rows.
            let tensor =
                Tensor { shape: value.shape().to_vec(), data: TensorData::F32(value.to_host()) };
            self.0.insert(name.to_string(), tensor);
        });
    }

    /// Adds a tensor whose shape and number of values were checked by the caller.
    pub(crate) fn insert_checked(&mut self, name: String, tensor: Tensor) {
        self.0.insert(name, tensor);
    }

    /// Adds all tensors of `others` under `prefix.name`.
    pub fn extend(&mut self, prefix: &str, others: Self) {
        let renamed =
            others.0.into_iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor));
        self.0.extend(renamed);
    }

    /// Removes and returns the tensors whose names begin with `prefix.`, without it.
    pub fn split(&mut self, prefix: &str) -> Self {
        let prefix = format!("{prefix}.");
        let names: Vec<String> =
            self.0.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        let moved = names.into_iter().filter_map(|name| {
            let tensor = self.0.remove(&name)?;
            Some((name[prefix.len()..].to_owned(), tensor))
        });
        Self(moved.collect())
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|(other, _)| other == name)
    }

    /// Number of values of all tensors.
    pub fn n_values(&self) -> usize {
        self.0.values().map(|tensor| tensor.data.len()).sum()
    }

    /// Rows of the tensor of this name, if there is one.
    pub fn n_rows(&self, name: &str) -> Option<usize> {
        self.0.get(name).and_then(|tensor| tensor.shape.first().copied())
    }

    /// Tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn take(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Tensor, ModelError> {
        let tensor = self
            .0
            .remove(name)
            .ok_or_else(|| ModelError::damaged(format!("tensor {name:?} is missing")))?;
        let fits = tensor.shape.len() == shape.len()
            && shape.iter().zip(&tensor.shape).all(|(want, got)| want.is_none_or(|n| n == *got));
        if !fits {
            let reason = format!("tensor {name:?} has the shape {:?}", tensor.shape);
            return Err(ModelError::damaged(reason));
        }
        Ok(tensor)
    }

    /// Takes a vector of finite numbers; `len` is what the model needs, if it is known.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if it is missing or has another type, length or a value that is not
    /// finite.
    pub fn take_f32(&mut self, name: &str, len: Option<usize>) -> Result<Vec<f32>, ModelError> {
        finite(name, self.take(name, &[len])?)
    }

    /// Takes a matrix of finite numbers.
    ///
    /// # Errors
    /// As [`Self::take_f32`].
    pub fn take_matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Vec<f32>, ModelError> {
        finite(name, self.take(name, &[Some(rows), Some(cols)])?)
    }

    /// Sets all weights of `network` to those that [`Self::insert_parameters`] added.
    ///
    /// # Errors
    /// As [`Self::take_f32`]; weights before the one at fault are set then.
    pub fn take_parameters(
        &mut self,
        network: &mut impl Parameters,
        model: &'static str,
    ) -> Result<(), ModelError> {
        let mut damaged = None;
        let taken = network.visit_mut(&Name::root(), &mut |name, value| {
            let [rows, cols] = value.shape();
            match self.take_matrix(&name.to_string(), rows, cols) {
                Ok(values) => value.copy_from_host(&values),
                Err(error) => {
                    damaged.get_or_insert(error);
                    Ok(())
                }
            }
        });
        match damaged {
            Some(error) => Err(error),
            None => taken.map_err(ModelError::training(model, None)),
        }
    }

    /// Takes a vector of `u32`.
    ///
    /// # Errors
    /// As [`Self::take_f32`].
    pub fn take_u32(&mut self, name: &str, len: Option<usize>) -> Result<Vec<u32>, ModelError> {
        match self.take(name, &[len])?.data {
            TensorData::U32(values) => Ok(values),
            _ => Err(wrong_type(name, "U32")),
        }
    }

    /// Takes a vector of `u64`.
    ///
    /// # Errors
    /// As [`Self::take_f32`].
    pub fn take_u64(&mut self, name: &str, len: Option<usize>) -> Result<Vec<u64>, ModelError> {
        match self.take(name, &[len])?.data {
            TensorData::U64(values) => Ok(values),
            _ => Err(wrong_type(name, "U64")),
        }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// As [`Self::take_f32`].
    pub fn take_u8(&mut self, name: &str) -> Result<Vec<u8>, ModelError> {
        match self.take(name, &[None])?.data {
            TensorData::U8(values) => Ok(values),
            _ => Err(wrong_type(name, "U8")),
        }
    }

    /// Refuses to make a network of `n` weights by a header to which these tensors do not belong: they hold fewer.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(crate) fn expect_at_least(&self, n: u128) -> Result<(), ModelError> {
        match self.n_values() as u128 >= n {
            true => Ok(()),
            false => Err(ModelError::damaged(format!(
                "it has {} weights, and its hyperparameters ask for {n} or more",
                self.n_values()
            ))),
        }
    }

    /// Refuses tensors that nobody took.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] names the first.
    pub fn expect_empty(&self) -> Result<(), ModelError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(ModelError::damaged(format!("tensor {name:?} belongs to no part"))),
        }
    }
}

fn finite(name: &str, tensor: Tensor) -> Result<Vec<f32>, ModelError> {
    match tensor.data {
        TensorData::F32(values) if values.iter().all(|value| value.is_finite()) => Ok(values),
        TensorData::F32(_) => {
            Err(ModelError::damaged(format!("tensor {name:?} holds a value that is not finite")))
        }
        _ => Err(wrong_type(name, "F32")),
    }
}

fn wrong_type(name: &str, want: &str) -> ModelError {
    ModelError::damaged(format!("tensor {name:?} is not of type {want}"))
}
