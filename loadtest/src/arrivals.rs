//! When sends are offered, to which room and by whom: an open loop that never waits for the system under test.
//! Pure: randomness is seeded, time is counted.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::units::nanos;

/// How arrivals follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Exponential gaps, as from many independent people.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// Chooses ranks with weight `1 / rank^s`.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// Sums of the weights up to and including each rank.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// `ranks` ranks, at least one; `s = 0` is uniform.
    pub fn new(ranks: u32, s: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=ranks.max(1)).map(|rank| {
            sum += f64::from(rank).powf(-s);
            sum
        });
        Self {
            cumulative: weights.collect(),
        }
    }

    /// A rank, from 0.
    pub fn sample(&self, rng: &mut impl Rng) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let point = rng.random::<f64>() * total;
        self.cumulative
            .partition_point(|&sum| sum <= point)
            .min(self.cumulative.len() - 1)
    }

    /// The share of one rank.
    pub fn share(&self, rank: usize) -> f64 {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let below = if rank == 0 { 0.0 } else { self.cumulative[rank - 1] };
        (self.cumulative[rank] - below) / total
    }
}

/// One send that is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When it is meant to happen, nanoseconds since the first moment of the load.
    pub at: u64,
    /// The room.
    pub room: u32,
    /// Which of its members sends.
    pub member: u32,
}

/// The endless list of arrivals of a run. The same seed gives the same list.
#[derive(Debug)]
pub struct Arrivals {
    rng: SmallRng,
    zipf: Zipf,
    /// Members of each room, by rank.
    members: Vec<u32>,
    rate: f64,
    spacing: Spacing,
    at_s: f64,
}

impl Arrivals {
    /// `members` holds the number of members of each room, most popular first. The rate is per second.
    pub fn new(seed: u64, members: Vec<u32>, zipf_s: f64, rate: f64, spacing: Spacing) -> Self {
        let ranks = crate::units::index(members.len());
        Self {
            rng: SmallRng::seed_from_u64(seed),
            zipf: Zipf::new(ranks, zipf_s),
            members,
            rate,
            spacing,
            at_s: 0.0,
        }
    }

    /// The next arrival.
    pub fn advance(&mut self) -> Arrival {
        let gap = match self.spacing {
            Spacing::Constant => 1.0,
            Spacing::Poisson => -(1.0 - self.rng.random::<f64>()).ln(),
        };
        self.at_s += gap / self.rate;
        self.choose(nanos(Duration::from_secs_f64(self.at_s)))
    }

    /// An arrival outside of the schedule, for bursts.
    pub fn choose(&mut self, at: u64) -> Arrival {
        let rank = self.zipf.sample(&mut self.rng);
        let member = self.rng.random_range(0..self.members[rank].max(1));
        Arrival {
            at,
            room: crate::units::index(rank),
            member,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{S, as_f64, as_s, at};

    fn arrivals(spacing: Spacing, rate: f64) -> Arrivals {
        Arrivals::new(7, vec![8; 500], 1.0, rate, spacing)
    }

    #[test]
    fn the_rate_is_kept_by_both_spacings() {
        for spacing in [Spacing::Poisson, Spacing::Constant] {
            let mut arrivals = arrivals(spacing, 2_000.0);
            let last = (0..40_000).map(|_| arrivals.advance()).last().unwrap();
            assert!(
                (as_s(last.at) - 20.0).abs() < 0.4,
                "{spacing:?} {}",
                as_s(last.at)
            );
        }
    }

    #[test]
    fn poisson_gaps_are_exponential_and_constant_ones_equal() {
        let gaps = |spacing| {
            let mut arrivals = arrivals(spacing, 1_000.0);
            let times: Vec<u64> = (0..20_000).map(|_| arrivals.advance().at).collect();
            times
                .windows(2)
                .map(|pair| as_s(pair[1] - pair[0]) * 1_000.0)
                .collect::<Vec<f64>>()
        };
        // The mean gap is 1; of exponential gaps a share of 1/e is longer than that.
        let poisson = gaps(Spacing::Poisson);
        let longer = poisson.iter().filter(|&&gap| gap > 1.0).count();
        let share = as_f64(longer as u64) / as_f64(poisson.len() as u64);
        assert!((share - (-1.0_f64).exp()).abs() < 0.02, "{share}");
        assert!(gaps(Spacing::Constant).iter().all(|gap| (gap - 1.0).abs() < 0.01));
    }

    #[test]
    fn rooms_follow_zipf_and_members_are_equal() {
        let mut arrivals = arrivals(Spacing::Poisson, 1_000.0);
        let (mut rooms, mut members) = (vec![0_u64; 500], vec![0_u64; 8]);
        for _ in 0..100_000 {
            let arrival = arrivals.advance();
            rooms[at(arrival.room)] += 1;
            members[at(arrival.member)] += 1;
        }
        for rank in [0, 1, 9] {
            let expected = arrivals.zipf.share(rank) * 100_000.0;
            assert!((as_f64(rooms[rank]) - expected).abs() < expected * 0.1, "{rank}");
        }
        // H(500) = 6.79
        assert!((arrivals.zipf.share(0) - 1.0 / 6.792).abs() < 0.001);
        assert!(
            members.iter().all(|&count| (11_500..13_500).contains(&count)),
            "{members:?}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_list() {
        let list = || {
            let mut arrivals = arrivals(Spacing::Poisson, 100.0);
            (0..100).map(|_| arrivals.advance()).collect::<Vec<_>>()
        };
        assert_eq!(list(), list());
        assert!(list()[99].at < 10 * S);
    }

    #[test]
    fn uniform_is_a_zipf_without_exponent() {
        let zipf = Zipf::new(4, 0.0);
        assert!((0..4).all(|rank| (zipf.share(rank) - 0.25).abs() < 1e-9));
    }
}
