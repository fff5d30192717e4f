//! The time of this machine.

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
