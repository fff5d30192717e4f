//! What will be bought: how many units of each item.
//!
//! Whether a session or a user will buy is not here yet.
//!
//! Start reading at [`demand`].

pub mod demand;
