//! The reckoning: how far apart the normalised work of lanes (or classes) gets, and how evenly it is shared.

/// What each member was given, and how far ahead of each other it ever was.
///
/// Normalised work is a fraction; differences are kept times both weights, so that they are exact.
pub(crate) struct Lag {
    weights: Vec<i128>,
    done: Vec<i128>,
    dearest: Vec<i128>,
    /// By `(i, j)`: the least and the most by which `i` was ahead of `j`.
    extremes: Vec<(i128, i128)>,
    /// What each was given before the present window.
    before: Vec<i128>,
}

impl Lag {
    pub(crate) fn new(weights: &[u32]) -> Self {
        let n = weights.len();
        Lag {
            weights: weights.iter().map(|&weight| weight.into()).collect(),
            done: vec![0; n],
            dearest: vec![0; n],
            extremes: vec![(0, 0); n * n],
            before: vec![0; n],
        }
    }

    /// A job of `i` was dispatched.
    pub(crate) fn add(&mut self, i: usize, cost: u64) {
        self.done[i] += i128::from(cost);
        self.dearest[i] = self.dearest[i].max(cost.into());
        for j in 0..self.weights.len() {
            let ahead = self.ahead(i, j);
            for (at, ahead) in [(self.pair(i, j), ahead), (self.pair(j, i), -ahead)] {
                let (least, most) = self.extremes[at];
                self.extremes[at] = (least.min(ahead), most.max(ahead));
            }
        }
    }

    /// A stretch begins for `i`: what was before is not compared with what comes.
    pub(crate) fn begin(&mut self, i: usize) {
        for j in 0..self.weights.len() {
            for (i, j) in [(i, j), (j, i)] {
                let at = self.pair(i, j);
                self.extremes[at] = (self.ahead(i, j), self.ahead(i, j));
            }
        }
    }

    fn pair(&self, i: usize, j: usize) -> usize {
        i * self.weights.len() + j
    }

    /// By how much `i` is ahead of `j`, times both weights.
    pub(crate) fn ahead(&self, i: usize, j: usize) -> i128 {
        self.done[i] * self.weights[j] - self.done[j] * self.weights[i]
    }

    /// `(c_i + more_i)/w_i + (c_j + more_j)/w_j`, times both weights.
    fn bound(&self, (i, j): (usize, usize), more: impl Fn(usize) -> i128) -> i128 {
        (self.dearest[i] + more(i)) * self.weights[j] + (self.dearest[j] + more(j)) * self.weights[i]
    }

    /// The most by which `i` may be ahead of `j` when it was picked while `j` was Ready, times both weights.
    pub(crate) fn bound_when_picked(&self, (i, low_i): (usize, i128), (j, high_j): (usize, i128)) -> i128 {
        (self.dearest[i] + low_i) * self.weights[j] + high_j * self.weights[i]
    }

    /// Checks every pair's work over any stretch against `orders` times the bound, `more` added to each dearest job.
    ///
    /// Answers how much of the bound was used up by the pair that came nearest to it.
    pub(crate) fn check(&self, orders: i128, more: impl Fn(usize) -> i128) -> f64 {
        let mut used = 0f64;
        for i in 0..self.weights.len() {
            for j in 0..i {
                let (least, most) = self.extremes[self.pair(i, j)];
                let bound = orders * self.bound((i, j), &more);
                // A charge is rounded down by less than 2⁻³² of a unit: all of them together do not make one.
                assert!(most - least <= bound + 1, "{i} and {j} were {least}..{most} apart, of {bound}");
                used = used.max((most - least) as f64 / bound as f64);
            }
        }
        used
    }

    /// Ends the window if the mean of what members were given in it is ten times `orders` times the largest bound;
    /// answers Jain's index over it.
    pub(crate) fn window(&mut self, orders: i128, more: impl Fn(usize) -> i128) -> Option<f64> {
        let n = self.weights.len();
        let given = |i: usize| (self.done[i] - self.before[i]) as f64 / self.weights[i] as f64;
        let largest = |i: usize| (self.dearest[i] + more(i)) as f64 / self.weights[i] as f64;
        let two_largest = |(a, b): (f64, f64), part: f64| (a.max(part), b.max(part.min(a)));
        let (a, b) = (0..n).map(largest).fold((0.0, 0.0), two_largest);
        let bound = orders as f64 * (a + b);
        let sum: f64 = (0..n).map(given).sum();
        if sum < 10.0 * bound * n as f64 {
            return None;
        }
        let squares: f64 = (0..n).map(|i| given(i).powi(2)).sum();
        self.before.clone_from(&self.done);
        Some(sum.powi(2) / (n as f64 * squares))
    }
}

/// What the estimates of a lane's jobs in flight are off: now, and the most so far, too low and too high.
#[derive(Clone, Copy, Default)]
pub(crate) struct Errors {
    off: i128,
    pub(crate) low: i128,
    pub(crate) high: i128,
}

impl Errors {
    pub(crate) fn started(&mut self, cost: u64, expected: u64) {
        self.off += i128::from(cost) - i128::from(expected);
        self.low = self.low.max(self.off);
        self.high = self.high.max(-self.off);
    }

    pub(crate) fn ended(&mut self, cost: u64, expected: u64) {
        self.off -= i128::from(cost) - i128::from(expected);
    }
}
