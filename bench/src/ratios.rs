//! What rounds are compared by: the median of each server, and of its ratios to the first server in the same round.

/// Lowest, median, highest; not a number if there is none.
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

/// What each server took in each round.
#[derive(Debug)]
pub struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    /// Runs `rounds` rounds of so many servers, another one first each time; `measure` is given the server's number.
    pub fn run<E>(
        servers: usize,
        rounds: usize,
        mut measure: impl FnMut(usize) -> Result<f64, E>,
    ) -> Result<Self, E> {
        let mut costs = vec![Vec::new(); servers];
        for round in 0..rounds {
            for place in 0..servers {
                let at = (place + round) % servers;
                costs[at].push(measure(at)?);
            }
        }
        Ok(Self(costs))
    }

    /// The median of a server.
    pub fn median(&self, server: usize) -> f64 {
        spread(&self.0[server]).1
    }

    /// Lowest, median and highest ratio of a server to the first one.
    pub fn ratio(&self, server: usize) -> (f64, f64, f64) {
        let pairs = self.0[server].iter().zip(&self.0[0]);
        spread(&pairs.map(|(own, first)| own / first).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns_in_being_first_and_are_paired_by_round() {
        let mut order = Vec::new();
        let rounds = Rounds::run(2, 3, |server| {
            order.push(server);
            // A machine that gets slower: only ratios of one round say something.
            Ok::<_, ()>(if server == 0 { 1.0 } else { 2.0 } * if order.len() > 4 { 10.0 } else { 1.0 })
        })
        .unwrap();
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        assert_eq!(rounds.ratio(1), (2.0, 2.0, 2.0));
        assert!((rounds.median(0) - 1.0).abs() < f64::EPSILON);
    }
}
