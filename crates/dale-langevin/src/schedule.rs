//! Noise schedules V(t), B(t) (section 4.4), and grids of noise levels (section 19.2).
//!
//! All on the host in f64; a solver casts its final coefficients only.

use crate::error::DiffusionError;
use crate::score::Level;

/// The forward process: how variance and drift of `y = log x` grow with t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// Geometric Brownian motion of constant coefficients, the paper's (section 4.1).
    Constant {
        /// Diffusion rate; the paper: 0.8.
        sigma: f64,
        /// Drift rate of x; the paper: sigma^2 / 2.
        mu: f64,
        /// End of time, T; the paper: 1.
        horizon: f64,
    },
    /// sd(t) = sd_min (sd_max / sd_min)^t on t in [0, 1], without drift of y. Time 0 is level
    /// `sd_min`, not the data.
    GeometricSd {
        /// sd(0).
        sd_min: f64,
        /// sd(1).
        sd_max: f64,
    },
}

/// The most levels of a grid, and the most steps at one of them.
pub(crate) const MOST_LEVELS: usize = 1_000_000;

/// EDM's exponent, the `rho` of [`Grid::edm`].
pub const EDM_RHO: f64 = 7.0;

impl Schedule {
    /// The constants of every experiment of the paper: sigma 0.8, mu = sigma^2 / 2, T = 1.
    pub const PAPER: Self = Self::Constant { sigma: 0.8, mu: 0.32, horizon: 1.0 };

    /// Whether the constants make a schedule.
    ///
    /// # Errors
    /// Naming the constant that is outside its domain.
    pub fn check(&self) -> Result<(), DiffusionError> {
        match *self {
            Self::Constant { sigma, mu, horizon } => {
                DiffusionError::above_zero("sigma", sigma)?;
                DiffusionError::above_zero("horizon", horizon)?;
                DiffusionError::finite("mu", mu)
            }
            Self::GeometricSd { sd_min, sd_max } => ordered(sd_min, sd_max),
        }
    }

    /// End of time, T.
    pub fn horizon(&self) -> f64 {
        match *self {
            Self::Constant { horizon, .. } => horizon,
            Self::GeometricSd { .. } => 1.0,
        }
    }

    /// V(t), the variance of the noise in y.
    pub fn variance(&self, t: f64) -> f64 {
        match *self {
            Self::Constant { sigma, .. } => sigma * sigma * t,
            Self::GeometricSd { .. } => self.sd(t).powi(2),
        }
    }

    /// B(t), the drift of y: the integral of mu - sigma^2 / 2.
    pub fn drift(&self, t: f64) -> f64 {
        match *self {
            Self::Constant { sigma, mu, .. } => (mu - sigma * sigma / 2.0) * t,
            Self::GeometricSd { .. } => 0.0,
        }
    }

    /// sd(t) = sqrt(V(t)).
    pub fn sd(&self, t: f64) -> f64 {
        match *self {
            Self::Constant { .. } => self.variance(t).sqrt(),
            Self::GeometricSd { sd_min, sd_max } => sd_min * (sd_max / sd_min).powf(t),
        }
    }

    /// Variance and drift at time t.
    pub fn level(&self, t: f64) -> Level {
        Level { variance: self.variance(t), drift: self.drift(t) }
    }

    /// The time at which the noise has the standard deviation `sd`: the inverse of
    /// [`Schedule::sd`].
    pub fn time_of_sd(&self, sd: f64) -> f64 {
        match *self {
            Self::Constant { sigma, .. } => (sd / sigma).powi(2),
            Self::GeometricSd { sd_min, sd_max } => (sd / sd_min).ln() / (sd_max / sd_min).ln(),
        }
    }
}

/// Noise levels from high to low; the sampler goes on from the last to noise 0. A grid of n
/// levels costs a first-order sampler n calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    levels: Vec<Level>,
}

impl Grid {
    /// A grid of given levels.
    ///
    /// # Errors
    /// When it is empty, a number is not finite, or the variances do not fall strictly to above 0.
    pub fn from_levels(levels: Vec<Level>) -> Result<Self, DiffusionError> {
        let mut before = f64::INFINITY;
        for (index, level) in levels.iter().enumerate() {
            if !(level.variance.is_finite() && level.variance > 0.0) {
                return Err(DiffusionError::setting("variance", level.variance, "above 0 and finite"));
            }
            if !level.drift.is_finite() {
                return Err(DiffusionError::setting("drift", level.drift, "a finite number"));
            }
            if level.variance >= before {
                return Err(DiffusionError::Levels { index, before: before.sqrt(), after: level.sd() });
            }
            before = level.variance;
        }
        if levels.is_empty() {
            return Err(DiffusionError::Shape { field: "levels", expected: vec![1], found: vec![0] });
        }
        Ok(Self { levels })
    }

    /// The grid of EDM without its final 0:
    /// sd_i = (sd_max^(1/rho) + i / (n - 1) (sd_min^(1/rho) - sd_max^(1/rho)))^rho
    /// for i in 0..n, n = `calls` (section 4.4); one call is the single level `sd_max`.
    ///
    /// # Errors
    /// Unless `0 < sd_min < sd_max`, `rho > 0`, all finite, and `calls` from 1 to 1,000,000.
    pub fn edm(sd_min: f64, sd_max: f64, rho: f64, calls: usize) -> Result<Self, DiffusionError> {
        ordered(sd_min, sd_max)?;
        DiffusionError::above_zero("rho", rho)?;
        let (low, high) = (sd_min.powf(1.0 / rho), sd_max.powf(1.0 / rho));
        Self::between(sd_min, sd_max, calls, |f| (high + f * (low - high)).powf(rho))
    }

    /// Standard deviations in equal ratios from `sd_max` to `sd_min`; one call is the single level
    /// `sd_max`.
    ///
    /// # Errors
    /// Unless `0 < sd_min < sd_max`, both finite, and `calls` from 1 to 1,000,000.
    pub fn geometric(sd_min: f64, sd_max: f64, calls: usize) -> Result<Self, DiffusionError> {
        ordered(sd_min, sd_max)?;
        Self::between(sd_min, sd_max, calls, |f| sd_max * (sd_min / sd_max).powf(f))
    }

    /// The levels of `schedule` at t_k = k / N T for k = N, ..., 1, N = `calls`, drift included.
    ///
    /// # Errors
    /// When the schedule is wrong, or `calls` is 0 or above 1,000,000.
    pub fn uniform_time(schedule: &Schedule, calls: usize) -> Result<Self, DiffusionError> {
        schedule.check()?;
        some("calls", calls)?;
        let time = |k: usize| k as f64 / calls as f64 * schedule.horizon();
        Self::from_levels((1..=calls).rev().map(|k| schedule.level(time(k))).collect())
    }

    /// Levels without drift whose sd is `at(f)`, f from 0 to 1; the ends are exact.
    fn between(sd_min: f64, sd_max: f64, calls: usize, at: impl Fn(f64) -> f64) -> Result<Self, DiffusionError> {
        some("calls", calls)?;
        let sd = |i: usize| match i {
            0 => sd_max,
            i if i + 1 == calls => sd_min,
            i => at(i as f64 / (calls - 1) as f64),
        };
        Self::from_levels((0..calls).map(|i| Level::of_sd(sd(i))).collect())
    }

    /// The levels, from high to low; all variances above 0.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Number of levels, at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// The highest level, where sampling starts.
    pub fn first(&self) -> Level {
        self.levels[0]
    }

    /// The steps `(from, to)` of a sampler; the last goes to [`Level::CLEAN`].
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (Level, Level)> + '_ {
        let to = |i: usize| self.levels.get(i + 1).copied().unwrap_or(Level::CLEAN);
        self.levels.iter().enumerate().map(move |(i, from)| (*from, to(i)))
    }
}

/// Refuses no calls, and more than [`MOST_LEVELS`].
pub(crate) fn some(field: &'static str, calls: usize) -> Result<(), DiffusionError> {
    match calls {
        0 => Err(DiffusionError::setting(field, calls, "at least 1")),
        1..=MOST_LEVELS => Ok(()),
        _ => Err(DiffusionError::setting(field, calls, format!("at most {MOST_LEVELS}"))),
    }
}

fn ordered(sd_min: f64, sd_max: f64) -> Result<(), DiffusionError> {
    DiffusionError::above_zero("sd_min", sd_min)?;
    DiffusionError::above_zero("sd_max", sd_max)?;
    if sd_min < sd_max {
        Ok(())
    } else {
        Err(DiffusionError::setting("sd_min", sd_min, format!("below sd_max = {sd_max}")))
    }
}
