//! The language as a whole: what rules mean, what they refuse, and that no text breaks them.

use super::*;
