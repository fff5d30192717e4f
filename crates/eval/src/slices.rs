//! Which slice an item falls into: how popular it is, and its category.

use forecart_data::Dataset;
use forecart_data::event::folded;

/// Categories that have a slice of their own: the most popular ones.
const N_CATEGORIES: usize = 10;
/// Attributes that are taken for the category, the first that the catalog has.
const CATEGORY_COLUMNS: &[&str] = &[
    "category",
    "categories",
    "productcategory",
    "department",
    "genre",
    "genres",
    "type",
    "group",
];

/// Slices of the items; the same for every evaluation of a dataset.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ItemSlices {
    /// Tenth of the items by how often they are chosen in training, by the event that is to be predicted: 1 the least popular to
    /// 10; 0 if never. By item row.
    pub(crate) decile: Vec<u8>,
    /// The attribute that is the category, empty if there is none.
    pub(crate) attribute: String,
    /// Names of the categories, the most popular first.
    pub(crate) categories: Vec<String>,
    /// For each category whether an item row has it.
    pub(crate) has_category: Vec<Vec<bool>>,
}

impl ItemSlices {
    pub(crate) fn new(dataset: &Dataset) -> Self {
        let choices = dataset.training_choices();
        let mut slices = Self { decile: deciles(&choices), ..Self::default() };
        slices.find_categories(dataset, &choices);
        slices
    }

    fn find_categories(&mut self, dataset: &Dataset, choices: &[u64]) {
        let features = &dataset.item_features;
        let names: Vec<_> = features.names.sparse.iter().map(|name| name.split_once('=')).collect();
        let attribute = CATEGORY_COLUMNS.iter().find_map(|wanted| {
            let attributes = names.iter().flatten().map(|(attribute, _)| *attribute);
            attributes.into_iter().find(|attribute| folded(attribute) == *wanted)
        });
        let Some(attribute) = attribute else { return };
        self.attribute = attribute.to_owned();
        let mut n_events = vec![0u64; names.len()];
        for (row, count) in choices.iter().enumerate().skip(1) {
            for column in features.sparse_row(row) {
                n_events[*column as usize] += count;
            }
        }
        let is_special = |value: &str| value.starts_with('<');
        let mut columns: Vec<(usize, &str)> = names
            .iter()
            .enumerate()
            .filter_map(|(column, name)| {
                let (own, value) = (*name)?;
                (own == attribute && !is_special(value)).then_some((column, value))
            })
            .collect();
        columns.sort_by_key(|(column, _)| std::cmp::Reverse(n_events[*column]));
        columns.truncate(N_CATEGORIES);
        for (column, value) in columns {
            let has = |row: usize| features.sparse_row(row).contains(&(column as u32));
            self.categories.push(value.to_owned());
            self.has_category.push((0..dataset.items.len()).map(has).collect());
        }
    }
}

/// Tenths of the items that training has, by how often they were chosen; equal counts in the order of the vocabulary.
fn deciles(choices: &[u64]) -> Vec<u8> {
    let chosen = choices.iter().enumerate().filter(|(_, count)| **count > 0);
    let mut order: Vec<(u64, usize)> = chosen.map(|(row, count)| (*count, row)).collect();
    order.sort_unstable();
    let mut decile = vec![0; choices.len()];
    for (place, (_, row)) in order.iter().enumerate() {
        decile[*row] = (place * 10 / order.len()) as u8 + 1;
    }
    decile
}
