"""Two arms: means, proportions, ratios, a covariate, several of them, and the relative difference."""

import sys
from math import copysign, inf, isclose, sqrt

import numpy as np
import statsmodels.api as sm
from gbstats.frequentist.tests import FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest
from gbstats.models.statistics import ProportionStatistic, RatioStatistic, SampleMeanStatistic
from mpmath import mp, mpf
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from tea_tasting.aggr import Aggregates
from tea_tasting.metrics import Mean, RatioOfMeans

mp.dps = 50

CONTROL = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
TREATMENT = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 28.25, 24.0]
# A unit's failures and decisions.
RATIO_C = [(1, 9), (0, 4), (3, 12), (0, 8), (2, 9), (1, 15), (0, 1), (4, 11), (0, 7), (1, 10)]
RATIO_T = [(2, 9), (3, 5), (1, 12), (0, 8), (6, 13), (2, 11), (1, 2), (0, 6), (5, 14)]
# A unit's outcome and a number from before it entered.
CUPED_C = [(3.1, 2.8), (5.2, 4.9), (1.4, 2.2), (8.8, 8.1), (4.4, 5.0), (6.1, 5.2), (2.9, 3.6), (7.3, 7.7)]
CUPED_T = [(4.0, 2.9), (6.6, 5.5), (2.7, 2.0), (9.1, 7.4), (5.9, 5.1), (7.7, 6.9), (3.2, 2.6), (8.9, 8.8), (5.0, 4.1)]


def agree(what, one, other, digits=9):
    if not isclose(one, other, rel_tol=10.0**-digits, abs_tol=1e-300):
        sys.exit(f"{what}: the packages differ: {one} and {other}")


def of_values(values):
    return len(values), float(np.mean(values)), float(np.var(values, ddof=1))


def of_counts(units, events):
    rate = events / units
    return units, rate, rate * (1 - rate)


def welch_of(control, treatment, alpha):
    """scipy's Welch test of two arms: units, mean and variance of a unit."""
    (nc, mc, vc), (nt, mt, vt) = control, treatment
    found = stats.ttest_ind_from_stats(mt, sqrt(vt), nt, mc, sqrt(vc), nc, equal_var=False)
    a, b = vc / nc, vt / nt
    df = (a + b) ** 2 / (a * a / (nc - 1) + b * b / (nt - 1))
    agree("df", 2 * stats.t.sf(abs(found.statistic), df), found.pvalue)
    multiplier, se = float(stats.t.isf(alpha / 2, df)), sqrt(a + b)
    return {
        "alpha": alpha,
        "df": df,
        "se": se,
        "multiplier": multiplier,
        "low": mt - mc - multiplier * se,
        "high": mt - mc + multiplier * se,
        "p": float(found.pvalue),
    }


def fieller(statistic, at, control_z, multiplier):
    """The lifts that a test does not reject, by inverting it: `statistic` is the test's at a lift, `at` the lift that
    is seen. None where control's mean is not significantly different from 0."""
    if abs(control_z) <= multiplier:
        return None
    outside = lambda lift: abs(statistic(lift)) - multiplier
    ends = []
    for sign in (-1.0, 1.0):
        step = 1e-12
        while outside(at + sign * step) <= 0:
            step *= 2
        ends.append(optimize.brentq(outside, at, at + sign * step, xtol=1e-15, rtol=1e-14))
    return ends


def relative(control, treatment, multiplier):
    """Fieller's interval: scipy's Welch statistic of the treatment against (1 ± lift) times control."""
    (nc, mc, vc), (nt, mt, vt) = control, treatment

    def statistic(lift):
        factor = 1 + copysign(lift, lift * mc)
        scaled = factor * mc, abs(factor) * sqrt(vc), nc
        # Nothing less nothing is no difference.
        return np.nan_to_num(stats.ttest_ind_from_stats(mt, sqrt(vt), nt, *scaled, equal_var=False).statistic)

    if mc == 0:
        return None
    return fieller(statistic, (mt - mc) / abs(mc), mc / sqrt(vc / nc) if vc else inf, multiplier)


def by_regression(control, treatment, multiplier):
    """The same interval by statsmodels: contrasts of a regression on the arm, with the HC2 covariance."""
    arm = np.repeat([0, 1], [len(control), len(treatment)])
    fit = sm.OLS(np.array(control + treatment), np.column_stack([1 - arm, arm])).fit(cov_type="HC2")
    statistic = lambda lift: float(fit.t_test([-1 - lift, 1]).tvalue.item())
    mc, mt = fit.params
    return fieller(statistic, mt / mc - 1, fit.tvalues[0], multiplier)


def delta_agrees(name, control, treatment, alpha, lift):
    """The delta method's interval, of gbstats, is Fieller's where control's mean is known well."""
    mean = lambda n, m, v: SampleMeanStatistic(n=n, sum=n * m, sum_squares=(n - 1) * v + n * m * m)
    config = FrequentistConfig(alpha=alpha, difference_type="relative")
    low, high = TwoSidedTTest(mean(*control), mean(*treatment), config).compute_result().ci
    for found, known in zip(lift, (low, high)):
        if abs(found - known) > 1e-3 * (high - low):
            sys.exit(f"{name}: {found} is far from the delta method's {known}")


def lifts():
    proportion = lambda name, c, t, alpha=0.05: (name, "proportion", of_counts(*c), of_counts(*t), alpha)
    numbers = lambda name, c, t, alpha=0.05: (name, "mean", c, t, alpha)
    cases = [
        proportion("a tenth", (4000, 400), (4000, 480)),
        proportion("at one percent", (950, 190), (50, 14), 0.01),
        proportion("rare", (100_000, 30), (100_000, 55)),
        proportion("no event in the treatment", (1000, 40), (1000, 0)),
        proportion("no event in control", (1000, 0), (1000, 40)),
        proportion("all in the treatment", (300, 290), (300, 300)),
        proportion("very unequal arms", (2_000_000, 31_415), (500, 12)),
        proportion("huge", (10**9, 10**8), (10**9, 100_100_000)),
        proportion("hardly an event in control", (5000, 4), (5000, 40)),
        proportion("too few events in control", (5000, 3), (5000, 40)),
        numbers("fifteen units", of_values(CONTROL), of_values(TREATMENT)),
        numbers("negative means", of_values([-x for x in CONTROL]), of_values([-x for x in TREATMENT])),
        numbers("from negative to positive", (400, -3.0, 4.0), (380, 1.5, 9.0)),
        numbers("from positive to negative", (400, 3.0, 4.0), (380, -1.5, 9.0)),
        numbers("control's mean is near 0", (400, 0.05, 4.0), (400, 1.0, 4.0)),
        numbers("control's mean is just clear of 0", (400, 0.2, 4.0), (400, 1.0, 4.0)),
        numbers("control's mean is 0", (400, 0.0, 4.0), (400, 1.0, 4.0)),
        numbers("two units each", (2, 10.0, 0.02), (2, 11.0, 0.08)),
        numbers("two units each, too far apart", (2, 10.0, 20.0), (2, 11.0, 30.0)),
        numbers("only control varies", (50, 7.0, 3.0), (60, 7.5, 0.0)),
        numbers("only the treatment varies", (50, 7.0, 0.0), (60, 7.5, 3.0)),
        numbers("large numbers", (10_000, 1e9, 1e14), (10_000, 1.002e9, 1.1e14)),
        numbers("small numbers", (10_000, 1e-9, 1e-20), (200, 1.1e-9, 1.3e-20)),
        numbers("millions of units", (5_000_000, 12.5, 900.0), (3_000_000, 12.53, 950.0)),
    ]
    found = []
    for name, kind, control, treatment, alpha in cases:
        answer = welch_of(control, treatment, alpha)
        lift = relative(control, treatment, answer["multiplier"])
        if min(control[0], treatment[0]) >= 10_000 and name != "rare":
            delta_agrees(name, control, treatment, alpha, lift)
        found.append({"name": name, "kind": kind, "control": control, "treatment": treatment, **answer, "lift": lift})
    units = next(case for case in found if case["name"] == "fifteen units")
    for end, known in zip(units["lift"], by_regression(CONTROL, TREATMENT, units["multiplier"])):
        agree("Fieller", end, known)
    return found


def aggregates(pairs):
    ys, xs = np.array(pairs, dtype=float).T
    cov = np.cov(ys, xs)
    return Aggregates(
        count_=len(pairs),
        mean_={"y": ys.mean(), "x": xs.mean()},
        var_={"y": cov[0, 0], "x": cov[1, 1]},
        cov_={("x", "y"): cov[0, 1]},
    )


def sample(values):
    return SampleMeanStatistic(n=len(values), sum=float(sum(values)), sum_squares=float(sum(v * v for v in values)))


def product_sum(pairs):
    return float(sum(y * x for y, x in pairs))


def pairs_case(name, control, treatment, stat, tea=None):
    """gbstats' absolute answer for two arms of pairs; tea-tasting's is the same, where it is asked."""
    one, other = stat(control), stat(treatment)
    test = TwoSidedTTest(one, other, FrequentistConfig(alpha=0.05, difference_type="absolute"))
    low, high = test.confidence_interval
    found = {
        "name": name,
        "control": control,
        "treatment": treatment,
        "difference": test.point_estimate,
        "se": sqrt(test.variance),
        "df": test.dof,
        "low": low,
        "high": high,
    }
    if tea is not None:
        known = tea.analyze_aggregates(aggregates(control), aggregates(treatment))
        for key, value in (
            ("low", known.effect_size_ci_lower),
            ("high", known.effect_size_ci_upper),
            ("difference", known.effect_size),
        ):
            agree(f"{name}: {key}", found[key], value)
        found["p"] = known.pvalue
    else:
        found["p"] = float(2 * stats.t.sf(abs(test.critical_value), test.dof))
    return found


def ratio_statistic(pairs):
    ys, xs = zip(*pairs)
    return RatioStatistic(
        n=len(pairs), m_statistic=sample(ys), d_statistic=sample(xs), m_d_sum_of_products=product_sum(pairs)
    )


def ratios():
    tea = RatioOfMeans("y", "x", confidence_level=0.95, equal_var=False, use_t=True)
    large = [(y + i % 3, x + i % 5) for i in range(40) for y, x in RATIO_T]
    return [
        pairs_case("failures by decisions", RATIO_C, RATIO_T, ratio_statistic, tea),
        pairs_case("very unequal arms", large, RATIO_C, ratio_statistic, tea),
        pairs_case("two units", [(1, 3), (2, 5)], [(2, 3), (1, 4)], ratio_statistic, tea),
        pairs_case("negative numerators", [(-y - 1, x) for y, x in RATIO_C], RATIO_T, ratio_statistic, tea),
    ]


def covariate(name, control, treatment, tea=None):
    """The slope within the arms is that of statsmodels' regression on the arm and the covariate. gbstats compares what
    it leaves of each unit's number: its own slope, and tea-tasting's, is over both arms as if they were one."""
    ys, xs = np.array(control + treatment).T
    arm = np.repeat([0.0, 1.0], [len(control), len(treatment)])
    fit = sm.OLS(ys, np.column_stack([np.ones_like(ys), arm, xs])).fit()
    theta, centre = float(fit.params[2]), float(xs.mean())

    left = lambda pairs: sample([y - theta * (x - centre) for y, x in pairs])
    found = pairs_case(name, control, treatment, left, tea)
    agree(name, found["difference"], float(fit.params[1]))
    # The relative difference: both adjusted means have the same centre, whose variance they share.
    arms = [left(arm) for arm in (control, treatment)]
    means = [arm.mean for arm in arms]
    own = [arm.variance / arm.n for arm in arms]
    shared = theta**2 * float(np.var(xs, ddof=1)) / len(xs)
    covariance = np.diag(own) + shared
    multiplier = float(stats.t.isf(0.025, found["df"]))

    def statistic(lift):
        contrast = np.array([-1 - lift, 1])
        return float(contrast @ means / np.sqrt(contrast @ covariance @ contrast))

    control_z = means[0] / np.sqrt(covariance[0, 0])
    found["lift"] = fieller(statistic, means[1] / means[0] - 1, control_z, multiplier)
    found["multiplier"] = multiplier
    return found


def covariates():
    # With equal means of the covariate, tea-tasting's slope over both arms is the slope within them.
    equal = [(y + 0.25 * i, x) for i, (y, x) in enumerate(CUPED_C)]
    tea = Mean("y", "x", confidence_level=0.95, equal_var=False, use_t=True)
    many = [(y + (i * 7 % 11) / 10, x + (i * 5 % 13) / 10) for i in range(50) for y, x in CUPED_T]
    return [
        covariate("one slope within the arms", CUPED_C, CUPED_T),
        covariate("equal means of the covariate", CUPED_C, equal, tea),
        covariate("very unequal arms", many, CUPED_C),
        covariate("negative slope", [(20 - y, x) for y, x in CUPED_C], [(21 - y, x) for y, x in CUPED_T]),
    ]


def sequences():
    """gbstats' sequential test is the two-sided sequence. The one-sided bound is the paper's formula."""
    found = []
    for control, treatment, planned, alpha in (
        ((4000, 400), (4000, 480), 5000, 0.05),
        ((20_000, 400), (1000, 35), 30_000, 0.01),
        ((60, 30), (60, 42), 100_000, 0.05),
        ((10**8, 10**6), (10**8, 1_004_000), 10**6, 0.05),
        ((500, 250), (500, 250), 1000, 0.001),
    ):
        test = SequentialTwoSidedTTest(
            *(ProportionStatistic(n=n, sum=s) for n, s in (control, treatment)),
            SequentialConfig(alpha=alpha, difference_type="absolute", sequential_tuning_parameter=planned),
        )
        low, high = map(float, test.confidence_interval)
        n, level = control[0] + treatment[0], 2 * mpf(alpha)
        x = n * (-2 * mp.log(level) + mp.log(1 - 2 * mp.log(level))) / planned
        reach = mp.sqrt(2 * (x + 1) / x * mp.log(1 + mp.sqrt(x + 1) / level)) * mp.sqrt(test.variance)
        found.append(
            {
                "name": f"{control} against {treatment}",
                "control": control,
                "treatment": treatment,
                "planned": planned,
                "alpha": alpha,
                "low": low,
                "high": high,
                "p": float(test.p_value),
                "lower": float(test.point_estimate - reach),
                "upper": float(test.point_estimate + reach),
            }
        )
    return found


def regressions():
    """Lin's adjusted difference: statsmodels' regression on the arm, centred covariates and their products. Residual
    variances are of one regression per arm."""
    rng = np.random.default_rng(7)
    found = []
    for name, sizes, k in (
        ("two covariates", (40, 35), 2),
        ("very unequal arms", (300, 12), 3),
        ("one covariate", (8, 9), 1),
    ):
        rows = []
        for arm, n in enumerate(sizes):
            x = rng.normal(2, 1 + arm, (n, k))
            y = 3 + 0.4 * arm + x @ (0.5 + np.arange(k) + 0.7 * arm) + rng.normal(0, 1, n)
            rows.append(np.round(np.column_stack([y, x]), 3))
        found.append({"name": name, "control": rows[0].tolist(), "treatment": rows[1].tolist(), **lin(rows)})
    return found


def lin(rows):
    every = np.vstack(rows)
    arm, k, total = np.repeat([0.0, 1.0], [len(r) for r in rows]), every.shape[1] - 1, len(every)
    centred = every[:, 1:] - every[:, 1:].mean(axis=0)
    design = np.column_stack([np.ones(total), arm, centred, centred * arm[:, None]])
    difference = float(sm.OLS(every[:, 0], design).fit().params[1])
    fits = [sm.OLS(r[:, 0], sm.add_constant(r[:, 1:])).fit() for r in rows]
    apart = fits[1].params[1:] - fits[0].params[1:]
    parts, dfs = [], []
    for r, fit in zip(rows, fits):
        # The centre is common to both arms: an arm's part of its uncertainty, where slopes differ.
        of_centre = (len(r) / total) ** 2 * float(np.var(r[:, 1:] @ apart, ddof=1))
        parts.append((float(fit.scale) + of_centre) / len(r))
        dfs.append(len(r) - 1 - k)
    df = sum(parts) ** 2 / sum(p * p / d for p, d in zip(parts, dfs))
    se = sqrt(sum(parts))
    multiplier = float(stats.t.isf(0.025, df))
    return {
        "difference": difference,
        "se": se,
        "df": df,
        "low": difference - multiplier * se,
        "high": difference + multiplier * se,
        "p": float(2 * stats.t.sf(abs(difference) / se, df)),
    }


def adjusted():
    """statsmodels' adjusted p-values."""
    ps = [0.039, 0.001, 0.008, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216, 0.9, 0.008]
    found = []
    for name, values in (("twelve", ps), ("one", [0.03]), ("equal", [0.02, 0.02, 0.02]), ("0 and 1", [0.0, 1.0, 0.5])):
        by = lambda method: multipletests(values, method=method)[1].tolist()
        found.append(
            {"name": name, "values": values, "benjamini_hochberg": by("fdr_bh"), "bonferroni": by("bonferroni")}
        )
    return found
