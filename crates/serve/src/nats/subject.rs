//! Subjects: words with dots between; `*` is any one word, a last `>` is all that follows.

/// Whether a subject may be read.
pub(super) fn check(subject: &str) -> Result<(), String> {
    let n_words = subject.split('.').count();
    let is_good = |(n, word): (usize, &str)| {
        let is_open = word == "*" || (word == ">" && n + 1 == n_words);
        let is_word = !word.is_empty()
            && !word.contains(['*', '>'])
            && !word.chars().any(|own| own.is_whitespace() || own.is_control());
        is_open || is_word
    };
    if subject.split('.').enumerate().all(is_good) {
        return Ok(());
    }
    Err(format!(
        "{subject:?} is no subject: words with dots between, `*` for any one, a last `>` for all that follow"
    ))
}

/// Whether a subject of words alone is among those that another one names.
pub(super) fn covers(names: &str, subject: &str) -> bool {
    let mut words = subject.split('.');
    for name in names.split('.') {
        match (name, words.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (name, word) if word == Some(name) => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_subjects_cover_what_they_name() {
        for (names, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*.c", "a.b.c", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(covers(names, subject), expected, "{names} {subject}");
        }
    }

    #[test]
    fn subjects_are_words_with_dots_between() {
        for good in ["a", "a.b-c.1", "*.b", "a.>", ">"] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", ".", "a.", "a..b", "a b", "a.>.b", "a*", "a\n"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
