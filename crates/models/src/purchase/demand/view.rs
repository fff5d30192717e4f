//! What a forecast may know: the orders before a moment.

use forecart_data::OrderTable;
use forecart_data::orders::Orders;

/// An order table up to the end of a period. It hands out no later order, so that no forecast sees what it is measured on.
#[derive(Debug, Clone, Copy)]
pub struct DemandView<'a> {
    table: &'a OrderTable,
    end: u32,
}

impl<'a> DemandView<'a> {
    /// The orders before period `end`; before its own end, if that is past the table.
    pub fn new(table: &'a OrderTable, end: u32) -> Self {
        Self { table, end: end.min(table.n_periods()) }
    }

    /// Number of items, those without an order so far included.
    pub fn n_items(self) -> usize {
        self.table.n_items()
    }

    /// The first period that is not known.
    pub fn end(self) -> u32 {
        self.end
    }

    /// The orders of an item so far.
    pub fn orders(self, item: usize) -> Orders<'a> {
        self.table.orders(item).before(self.end)
    }

    /// Units in each period from that of the first order; none if there is no order.
    pub fn units(self, item: usize) -> Vec<f64> {
        let orders = self.orders(item);
        let Some(first) = orders.first_period() else { return Vec::new() };
        orders.units_by_period(self.end).split_off(first as usize)
    }
}
