//! Ids that this program gives: to requests, jobs, receipts, and events that came without one.

/// A new id: no other process makes it again, and later ones sort after it.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
