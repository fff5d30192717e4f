//! One process that answers over HTTP and learns of new events.
