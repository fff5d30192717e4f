//! Lists as a whole.
