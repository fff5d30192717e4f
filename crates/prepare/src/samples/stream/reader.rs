//! How the rows of one input become features.

use forecart_data::encode::{HashSpace, SpaceSeed};
use forecart_data::samples::{ColumnKind, Role, SampleColumn};

use super::super::config::SamplesConfig;
use super::super::input::Input;
use super::super::label::LabelRule;
use super::super::rows::Slot;
use super::super::value::Reading;
use super::vw::VwLines;
use crate::config::{DataConfig, Format};

/// The largest importance of a row.
const MAX_IMPORTANCE: f64 = 1e6;

/// How the rows of one input become features.
#[derive(Debug)]
pub(super) enum Reader {
    Vw(VwLines),
    /// Lines of any sparse format; features of these spaces, and these columns of numbers, are passed over.
    Lines {
        rule: Option<LabelRule>,
        excluded: Vec<String>,
    },
    Cells(Vec<(usize, Action)>),
}

/// What becomes of a cell.
#[derive(Debug)]
pub(super) enum Action {
    Label(LabelRule),
    Number(Reading, u32),
    Texts(Reading, SpaceSeed),
}

impl Reader {
    /// `slots`: one for each of `columns`.
    pub(super) fn new(
        input: &Input,
        columns: &[SampleColumn],
        slots: &[Slot],
        space: HashSpace,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Self {
        let is_read = |column: &SampleColumn| {
            matches!(column.role, Role::Label | Role::Feature | Role::Position)
        };
        if input.layout.format.is_sparse() {
            let rule = slots.iter().find_map(|slot| match slot {
                Slot::Label(rule) => Some(rule.clone()),
                Slot::Value(_) => None,
            });
            let groups = columns.iter().filter(|column| !is_read(column));
            let mut excluded: Vec<String> = groups.map(|column| column.name.clone()).collect();
            excluded.extend(config.raw.ignore.iter().cloned());
            return match input.layout.format == Format::Vw && excluded.is_empty() {
                true => Self::Vw(VwLines::new(space, rule, data)),
                false => Self::Lines { rule, excluded },
            };
        }
        let mut actions = Vec::new();
        for (column, slot) in columns.iter().zip(slots).filter(|(column, _)| is_read(column)) {
            let source = input.layout.names.iter().position(|name| *name == column.name);
            let action = match slot {
                Slot::Label(rule) => Action::Label(rule.clone()),
                Slot::Value(reading) if reading.kind == ColumnKind::Number => {
                    Action::Number(reading.clone(), space.slot_of_numbers(&column.name))
                }
                Slot::Value(reading) if reading.kind == ColumnKind::Time => continue,
                Slot::Value(reading) => {
                    Action::Texts(reading.clone(), SpaceSeed::new(column.name.as_bytes()))
                }
            };
            actions.extend(source.map(|source| (source, action)));
        }
        Self::Cells(actions)
    }
}

/// The importance of a row as a weight.
pub(super) fn importance(written: f64) -> Result<f32, String> {
    match (0.0..=MAX_IMPORTANCE).contains(&written) {
        true => Ok(written as f32),
        false => Err(format!("importance {written} is not in 0..=1e6")),
    }
}
