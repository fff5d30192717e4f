//! Which session an event belongs to.

/// Sessions of one user that are kept: a user may be on several devices at once.
const MAX_SESSIONS: usize = 4;

/// A session up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// Hash of its id; 0 where the log names none.
    id: u64,
    pub(super) start_ms: i64,
    pub(super) last_ms: i64,
    pub(super) n_events: u32,
}

/// The newest sessions of one user, with something kept for each. An event without a session id belongs to the session without one, unless
/// the pause before it is too long.
#[derive(Debug, Clone)]
pub(super) struct Sessions<T> {
    kept: Vec<(Session, T)>,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self { kept: Vec::new() }
    }
}

impl<T: Default> Sessions<T> {
    /// Where the session stands that an event of this moment would go on with.
    pub(super) fn place(&self, id: u64, time_ms: i64, gap_ms: i64) -> Option<usize> {
        self.kept.iter().position(|(session, _)| {
            session.id == id && (id != 0 || time_ms.saturating_sub(session.last_ms) <= gap_ms)
        })
    }

    /// The session that an event of this moment would go on with.
    pub(super) fn find(&self, id: u64, time_ms: i64, gap_ms: i64) -> Option<&(Session, T)> {
        self.place(id, time_ms, gap_ms).map(|place| &self.kept[place])
    }

    /// What is kept for the session at a place.
    pub(super) fn at_mut(&mut self, place: usize) -> &mut T {
        &mut self.kept[place].1
    }

    /// Counts an event into its session.
    pub(super) fn enter(&mut self, id: u64, time_ms: i64, gap_ms: i64) -> &mut (Session, T) {
        let place = self.place(id, time_ms, gap_ms).unwrap_or_else(|| {
            // A pause has ended the one without an id.
            self.kept.retain(|(session, _)| session.id != id);
            if self.kept.len() == MAX_SESSIONS {
                let oldest = self.kept.iter().enumerate().min_by_key(|(_, kept)| kept.0.last_ms);
                let oldest = oldest.map(|(place, _)| place).expect("there are some");
                self.kept.remove(oldest);
            }
            let new = Session { id, start_ms: time_ms, last_ms: time_ms, n_events: 0 };
            self.kept.push((new, T::default()));
            self.kept.len() - 1
        });
        let kept = &mut self.kept[place];
        kept.0.last_ms = time_ms;
        kept.0.n_events = kept.0.n_events.saturating_add(1);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_ids_part_sessions() {
        let mut sessions = Sessions::<()>::default();
        let mut enter = |id, time| {
            let session = sessions.enter(id, time, 30).0;
            (session.start_ms, session.n_events)
        };
        assert_eq!(enter(0, 0), (0, 1));
        assert_eq!(enter(0, 30), (0, 2));
        assert_eq!(enter(0, 61), (61, 1));
        // Two at once, by their ids, however long the pause.
        assert_eq!(enter(7, 62), (62, 1));
        assert_eq!(enter(8, 63), (63, 1));
        assert_eq!(enter(7, 500), (62, 2));
        for id in [9, 10, 11] {
            assert_eq!(enter(id, 501), (501, 1));
        }
        // The one that is longest untouched is forgotten.
        assert!(sessions.find(8, 502, 30).is_none());
        assert_eq!(sessions.find(7, 502, 30).unwrap().0.n_events, 2);
    }
}
