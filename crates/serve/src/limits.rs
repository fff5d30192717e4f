//! How often a client may ask: each has a bucket of requests that fills at a steady rate (the generic cell rate algorithm).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// Clients that are remembered at once. Of 64 bytes or so each, a few megabytes.
const N_CLIENTS: usize = 65_536;

/// How many requests a client may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests a second that the bucket fills by; above 0.
    pub per_second: f64,
    /// Requests that a full bucket holds.
    pub burst: NonZeroU32,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Who holds the key of this id.
    Key(String),
    /// Who asks from an address where no key is needed.
    Address(IpAddr),
    /// Who asks from an address without a key that would do.
    Refused(IpAddr),
}

impl Client {
    /// What stands in metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Address(_) => "address",
            Self::Refused(_) => "no_key",
        }
    }
}

/// The address that a limit counts by: of IPv6 the network of 64 bits, all of which one machine may use.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 => v4,
    }
}

/// The limits of all clients.
pub(crate) struct Limits<C: Clock = DefaultClock> {
    limiter: RateLimiter<Client, Recent<Client>, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> std::fmt::Debug for Limits<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limits")
    }
}

impl Limits {
    pub(crate) fn new(rate: Rate) -> Self {
        Self::by(rate, N_CLIENTS, DefaultClock::default())
    }
}

impl<C: Clock> Limits<C> {
    fn by(rate: Rate, n_clients: usize, clock: C) -> Self {
        let period = Duration::from_secs_f64(rate.per_second.recip());
        let quota = Quota::with_period(period.max(Duration::from_nanos(1)))
            .expect("the period is not 0")
            .allow_burst(rate.burst);
        Self { limiter: RateLimiter::new(quota, Recent::new(n_clients), clock) }
    }

    /// Counts a request; one too many is told in how many seconds the next one may come.
    pub(crate) fn count(&self, client: &Client) -> Result<(), u32> {
        self.limiter.check_key(client).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            u32::try_from(secs.max(1)).unwrap_or(u32::MAX)
        })
    }
}

/// States of the clients that asked last, in two generations: when the young one is full it becomes the old one, and what was old is let go. A client
/// that is let go begins with a full bucket again.
///
/// governor's own map of states grows with every address until somebody cleans it, which walks all of it.
#[derive(Debug)]
struct Recent<K> {
    /// Of one generation.
    n_most: usize,
    generations: Mutex<Generations<K>>,
}

#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Nanos>,
    old: HashMap<K, Nanos>,
}

impl<K> Recent<K> {
    fn new(n_most: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { n_most: (n_most / 2).max(1), generations: Mutex::new(generations) }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Recent<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old } = &mut *generations;
        if let Some(state) = young.get_mut(key) {
            let (value, next) = measure(Some(*state))?;
            *state = next;
            return Ok(value);
        }
        let before = old.get(key).copied();
        let measured = measure(before);
        // Who is refused stays remembered too.
        let state = measured.as_ref().map_or(before, |(_, next)| Some(*next));
        if let Some(state) = state {
            if young.len() >= self.n_most {
                std::mem::swap(young, old);
                young.clear();
            }
            young.insert(key.clone(), state);
        }
        measured.map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limits(
        per_second: f64,
        burst: u32,
        n_clients: usize,
    ) -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = Rate { per_second, burst: NonZeroU32::new(burst).unwrap() };
        (Limits::by(rate, n_clients, clock.clone()), clock)
    }

    fn key(id: &str) -> Client {
        Client::Key(id.to_owned())
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_steadily() {
        let (limits, clock) = limits(2.0, 5, 100);
        let (one, other) = (key("one"), key("other"));
        for _ in 0..5 {
            assert_eq!(limits.count(&one), Ok(()));
        }
        assert_eq!(limits.count(&one), Err(1));
        // Nobody else is disturbed, also not the same text as another kind of client.
        assert_eq!(limits.count(&other), Ok(()));
        clock.advance(Duration::from_millis(499));
        assert_eq!(limits.count(&one), Err(1));
        clock.advance(Duration::from_millis(1));
        assert_eq!(limits.count(&one), Ok(()));
        assert_eq!(limits.count(&one), Err(1));
        clock.advance(Duration::from_secs(3600));
        let n = (0..100).take_while(|_| limits.count(&one).is_ok()).count();
        assert_eq!(n, 5, "a bucket holds no more than it holds");
    }

    #[test]
    fn slow_rates_say_how_long_to_wait() {
        let (limits, clock) = limits(0.1, 1, 100);
        assert_eq!(limits.count(&key("k")), Ok(()));
        assert_eq!(limits.count(&key("k")), Err(10));
        clock.advance(Duration::from_millis(2_500));
        assert_eq!(limits.count(&key("k")), Err(8));
    }

    #[test]
    fn memory_is_bounded_over_any_number_of_addresses() {
        let n_clients = 1_000;
        let store = Recent::<Client>::new(n_clients);
        let regular = key("regular");
        let of = |address: u32| Client::Address(Ipv4Addr::from(address).into());
        let mut n_regular = 0_u64;
        for address in 0..100_000 {
            let put = |_| Ok::<_, ()>(((), Nanos::from(u64::from(address))));
            store.measure_and_replace(&of(address), put).unwrap();
            if address % 100 == 0 {
                // Who goes on asking is never forgotten.
                let count = |state: Option<Nanos>| {
                    let n = state.map_or(0, |state| state.as_u64());
                    Ok::<_, ()>((n, Nanos::from(n + 1)))
                };
                assert_eq!(store.measure_and_replace(&regular, count), Ok(n_regular));
                n_regular += 1;
            }
        }
        let generations = store.generations.lock().unwrap();
        let n_kept = generations.young.len() + generations.old.len();
        assert!(n_kept <= n_clients && n_kept > n_clients / 2, "{n_kept}");
        assert!(generations.young.capacity() + generations.old.capacity() < 4 * n_clients);
        assert!(
            generations.young.contains_key(&of(99_999)) && !generations.old.contains_key(&of(5))
        );
    }

    #[test]
    fn who_is_refused_again_and_again_stays_refused_while_others_come() {
        let (limits, _clock) = limits(0.001, 1, 100);
        let one = Client::Refused(Ipv4Addr::LOCALHOST.into());
        assert_eq!(limits.count(&one), Ok(()));
        for address in 0..10_000_u32 {
            let _ = limits.count(&Client::Address(Ipv4Addr::from(address).into()));
            if address % 20 == 0 {
                assert!(limits.count(&one).is_err(), "forgotten after {address}");
            }
        }
    }

    #[test]
    fn one_machine_is_one_client() {
        let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
        assert_eq!(counted(v6("2001:db8:1:2:3:4:5:6")), counted(v6("2001:db8:1:2::1")));
        assert_ne!(counted(v6("2001:db8:1:2::1")), counted(v6("2001:db8:1:3::1")));
        assert_eq!(counted(v6("::ffff:192.0.2.7")), IpAddr::from([192, 0, 2, 7]));
        assert_ne!(counted(IpAddr::from([192, 0, 2, 7])), counted(IpAddr::from([192, 0, 2, 8])));
    }
}
