//! What users allow: lists of their own, that models learn from them, that they are in experiments.
//!
//! Consent stands in a user's attributes, `"consent": {"personalization": false}`. What differs from the default of the configuration is held in
//! memory, by a hash of the id: a request looks it up without asking the store. Where other processes write to the store, changes are followed
//! every second.

use std::sync::{Mutex, PoisonError, RwLock};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::store::{self, Store, StoreError, UserRecord};

/// The attribute of users that consent stands in.
pub(crate) const CONSENT: &str = "consent";
/// Users of one page.
const PAGE: usize = 5_000;
/// How alike a name must be to one of ours to be taken for a slip (Jaro-Winkler).
const SLIP: f64 = 0.9;

/// What a user may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// That history and attributes shape lists, questions and predictions.
    Personalization,
    /// That models learn from the user's events.
    Training,
    /// That the user is in experiments.
    Experiments,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Personalization, Self::Training, Self::Experiments];

    /// As users' attributes name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Personalization => "personalization",
            Self::Training => "training",
            Self::Experiments => "experiments",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What holds of users who have said nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentDefault {
    /// All is allowed until it is withheld.
    #[default]
    Granted,
    /// Nothing is allowed until it is granted.
    Asked,
}

/// A consent that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConsentError {
    /// `consent`, or `consent.training`.
    pub field: String,
    /// For people, with the fix.
    pub message: String,
}

/// Checks what attributes say of consent. Purposes of the shop's own are kept, but not a slip of ours: what is withheld by a name that nobody reads
/// would be granted.
///
/// # Errors
/// [`ConsentError`] names the field.
pub fn check_consent(attributes: &Map<String, Value>) -> Result<(), ConsentError> {
    let Some(consent) = attributes.get(CONSENT) else { return Ok(()) };
    let Value::Object(consent) = consent else {
        let message = "consent is an object: {\"personalization\": false}".to_owned();
        return Err(ConsentError { field: CONSENT.to_owned(), message });
    };
    for (name, value) in consent {
        let wrong = |message: String| ConsentError { field: format!("{CONSENT}.{name}"), message };
        let is_known = Purpose::ALL.iter().any(|purpose| purpose.name() == name);
        let alike = Purpose::ALL.iter().find(|own| strsim::jaro_winkler(own.name(), name) >= SLIP);
        if let (false, Some(meant)) = (is_known, alike) {
            let message = format!("{name:?} is no purpose: did you mean {:?}?", meant.name());
            return Err(wrong(message));
        }
        if !value.is_boolean() {
            return Err(wrong(format!("{CONSENT}.{name} is true or false")));
        }
    }
    Ok(())
}

/// What users allow.
#[derive(Debug, Default)]
pub struct Consents {
    default: ConsentDefault,
    /// Purposes, as bits, that users say otherwise of than the default; those of whom there are none are not here.
    otherwise: RwLock<FxHashMap<u128, u8>>,
    /// Who was forgotten while users are read; `None` while they are not.
    forgotten_meanwhile: Mutex<Option<Vec<u128>>>,
}

impl Consents {
    /// Of nobody yet.
    pub fn new(default: ConsentDefault) -> Self {
        Self { default, ..Self::default() }
    }

    /// What all users of a store allow.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub async fn read(store: &dyn Store, default: ConsentDefault) -> Result<Self, StoreError> {
        let consents = Self::new(default);
        consents.follow(store, 0).await?;
        Ok(consents)
    }

    /// Whether a user allows it.
    pub fn allows(&self, user_id: &str, purpose: Purpose) -> bool {
        let otherwise = self.otherwise.read().unwrap_or_else(PoisonError::into_inner);
        // Where nobody has said anything, no id is hashed.
        let said = match otherwise.is_empty() {
            true => 0,
            false => otherwise.get(&key(user_id)).copied().unwrap_or(0),
        };
        (self.default == ConsentDefault::Granted) == (said & purpose.bit() == 0)
    }

    /// Whether attributes say anything else than the default.
    pub(crate) fn says_otherwise(&self, attributes: &Map<String, Value>) -> bool {
        self.said_otherwise(attributes) != 0
    }

    /// Takes what users said since a moment.
    pub(crate) async fn follow(&self, store: &dyn Store, since_ms: i64) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let page = store::in_time(store, 0, store.users(since_ms, &after, PAGE)).await?;
            self.take(&page);
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.user_id),
                _ => return Ok(()),
            }
        }
    }

    /// Takes what users said just now.
    pub(crate) fn take(&self, users: &[UserRecord]) {
        let mut otherwise = self.otherwise.write().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            match self.said_otherwise(&user.attributes) {
                0 => drop(otherwise.remove(&key(&user.user_id))),
                said => drop(otherwise.insert(key(&user.user_id), said)),
            }
        }
    }

    /// What a user said is gone with the user.
    pub(crate) fn forget(&self, user_id: &str) {
        let key = key(user_id);
        if let Some(forgotten) = &mut *self.forgotten_meanwhile() {
            forgotten.push(key);
        }
        self.otherwise.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Users are read from the store from now on: who is forgotten meanwhile may be among them.
    pub(crate) fn begin_reading(&self) {
        *self.forgotten_meanwhile() = Some(Vec::new());
    }

    /// What was read is taken: who was forgotten meanwhile is forgotten again.
    pub(crate) fn end_reading(&self) {
        let forgotten = self.forgotten_meanwhile().take().unwrap_or_default();
        let mut otherwise = self.otherwise.write().unwrap_or_else(PoisonError::into_inner);
        for key in forgotten {
            otherwise.remove(&key);
        }
    }

    fn forgotten_meanwhile(&self) -> std::sync::MutexGuard<'_, Option<Vec<u128>>> {
        self.forgotten_meanwhile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes another one.
    pub(crate) fn replace(&self, other: Self) {
        let other = other.otherwise.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.otherwise.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    fn said_otherwise(&self, attributes: &Map<String, Value>) -> u8 {
        let Some(consent) = attributes.get(CONSENT) else { return 0 };
        let is_otherwise = |purpose: &Purpose| {
            // What is neither true nor left out is no consent: rows of before consent was checked may hold anything.
            let is_granted = match consent.get(purpose.name()) {
                None if consent.is_object() => return false,
                said => said.and_then(Value::as_bool).unwrap_or(false),
            };
            is_granted != (self.default == ConsentDefault::Granted)
        };
        let otherwise = Purpose::ALL.iter().filter(|purpose| is_otherwise(purpose));
        otherwise.map(|purpose| purpose.bit()).sum()
    }
}

/// Stands for an id: half of its SHA-256, so that ids of any length take the same room.
fn key(user_id: &str) -> u128 {
    let hash: [u8; 32] = Sha256::digest(user_id).into();
    u128::from_le_bytes(hash[..16].try_into().expect("sixteen bytes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(attributes: Value) -> UserRecord {
        let Value::Object(attributes) = attributes else { panic!("no object") };
        UserRecord { user_id: "u".to_owned(), attributes, changed_ms: 0 }
    }

    fn allowed(default: ConsentDefault, attributes: Value) -> [bool; 3] {
        let consents = Consents::new(default);
        consents.take(&[user(attributes)]);
        Purpose::ALL.map(|purpose| consents.allows("u", purpose))
    }

    #[test]
    fn what_is_said_comes_before_the_default() {
        let said = json!({"consent": {"personalization": false, "experiments": true}});
        assert_eq!(allowed(ConsentDefault::Granted, said.clone()), [false, true, true]);
        assert_eq!(allowed(ConsentDefault::Asked, said), [false, false, true]);
        assert_eq!(allowed(ConsentDefault::Granted, json!({"country": "CN"})), [true; 3]);
        assert_eq!(allowed(ConsentDefault::Asked, json!({"consent": {"ads": true}})), [false; 3]);
        // Of before consent was checked.
        assert_eq!(allowed(ConsentDefault::Granted, json!({"consent": "no"})), [false; 3]);
        let odd = json!({"consent": {"training": "no", "personalization": 1}});
        assert_eq!(allowed(ConsentDefault::Granted, odd), [false, false, true]);
    }

    #[test]
    fn what_is_said_again_replaces_what_was_said() {
        let consents = Consents::new(ConsentDefault::Granted);
        consents.take(&[user(json!({"consent": {"training": false}}))]);
        assert!(
            !consents.allows("u", Purpose::Training) && consents.allows("v", Purpose::Training)
        );
        consents.take(&[user(json!({"consent": {"training": true}}))]);
        assert!(consents.allows("u", Purpose::Training));
        consents.take(&[user(json!({"consent": {"training": false}}))]);
        consents.forget("u");
        assert!(consents.allows("u", Purpose::Training));
        // One page was read before the user was forgotten, and is taken after it.
        consents.begin_reading();
        consents.forget("u");
        consents.take(&[user(json!({"consent": {"training": false}}))]);
        assert!(!consents.allows("u", Purpose::Training));
        consents.end_reading();
        assert!(consents.allows("u", Purpose::Training));
    }

    #[test]
    fn a_slip_is_refused_and_a_purpose_of_the_shop_is_kept() {
        let check = |consent: Value| {
            let attributes = json!({"consent": consent});
            check_consent(attributes.as_object().unwrap()).map_err(|error| error.field)
        };
        assert_eq!(check(json!({"ads": true, "training": false})), Ok(()));
        assert_eq!(check(json!({"ads": 1})), Err("consent.ads".to_owned()));
        assert_eq!(check(json!({"training": "no"})), Err("consent.training".to_owned()));
        assert_eq!(check(json!({"training": null})), Err("consent.training".to_owned()));
        assert_eq!(
            check(json!({"personalisation": false})),
            Err("consent.personalisation".to_owned())
        );
        assert_eq!(check(json!(true)), Err("consent".to_owned()));
    }
}
