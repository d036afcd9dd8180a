"""Counts of events and of units: exact bounds, e-values, and tests of the split."""

from math import exp, isnan, log

from mpmath import mp, mpf
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint, proportions_chisquare, score_test_proportions_2indep

from arms import agree

mp.dps = 50


# --- One look: Clopper and Pearson's bounds. ---


def clopper_pearson(events, units, alpha):
    """statsmodels' bounds, from quantiles of the beta distribution."""
    if units == 0:
        return [0.0, 1.0]
    low, high = map(float, proportion_confint(events, units, alpha=alpha, method="beta"))
    return [0.0 if isnan(low) else low, 1.0 if isnan(high) else high]


def exact_bounds():
    cases = [
        (0, 0),
        (0, 1),
        (1, 1),
        (1, 2),
        (0, 10),
        (10, 10),
        (3, 10),
        (1, 1000),
        (999, 1000),
        (19, 300),
        (0, 10**9),
        (3, 10**6),
        (3, 10**9),
        (10**9, 10**9),
        (20_000, 40_000),
        (1000, 10**6),
        (10**6, 2 * 10**6),
        (10**6 - 2, 10**6),
    ]
    found = []
    for events, units in cases:
        for alpha in (0.05, 0.001):
            low, high = clopper_pearson(events, units, alpha)
            if 0 < units <= 1000:
                known = stats.binomtest(events, units).proportion_ci(1 - alpha, method="exact")
                agree("low", low, known.low, 8)
                agree("high", high, known.high, 8)
            found.append(
                {
                    "name": f"{events} of {units} at {alpha}",
                    "events": events,
                    "units": units,
                    "alpha": alpha,
                    "low": low,
                    "high": high,
                }
            )
    return found


def one_looks():
    """The difference by two exact intervals, each with half of alpha; p is the level at which an end is 0."""
    found = []
    for control, treatment, alpha in (
        ((300, 2), (300, 19), 0.05),
        ((300, 19), (300, 2), 0.05),
        ((50, 0), (50, 0), 0.05),
        ((50, 0), (50, 50), 0.05),
        ((30, 0), (30, 30), 0.05),
        ((100, 0), (100, 100), 0.05),
        ((1, 0), (1, 1), 0.05),
        ((100_000, 12), (400, 3), 0.01),
        ((10**6, 20_000), (500, 19), 0.05),
        ((5000, 4), (5000, 4), 0.05),
        ((2000, 1995), (2000, 2000), 0.1),
    ):

        def bounds(level):
            (cl, ch), (tl, th) = (clopper_pearson(s, n, level / 2) for n, s in (control, treatment))
            return tl - ch, th - cl

        # The distance of 0 from the nearer end: positive where 0 is outside.
        outside = lambda ln: max(bounds(exp(ln))[0], -bounds(exp(ln))[1])
        p = exp(optimize.brentq(outside, -600, 0, xtol=1e-12)) if outside(0.0) > 0 else 1.0
        low, high = bounds(alpha)
        found.append(
            {
                "name": f"{control} against {treatment}",
                "control": control,
                "treatment": treatment,
                "alpha": alpha,
                "low": low,
                "high": high,
                "p": p,
            }
        )
    return found


# --- Any number of looks: mixtures of betas over the likeliest rates. An arm is its units and its sum. ---


def log_mixture(arm):
    """ln of the chance of the units in their order, averaged over Beta(1/2, 1/2) and Beta(1/2, 99/2)."""
    n, s = map(mpf, arm)
    parts = [mp.beta(mpf("0.5") + s, b + n - s) / mp.beta(mpf("0.5"), b) for b in (mpf("0.5"), mpf("49.5"))]
    return mp.log(sum(parts) / 2)


def mixture_agrees(arm):
    """The same by its definition: scipy's densities, integrated."""
    n, s = arm

    def integral(b):
        # With rate = x², the density has no pole at 0; the likelihood is scaled to be at most 1.
        rate = lambda x: mpf(x) ** 2
        density = lambda x: 2 * (1 - rate(x)) ** (b - 1) / mp.beta(0.5, b)
        return mp.quad(lambda x: density(x) * rate(x) ** s * (1 - rate(x)) ** (n - s), mp.linspace(0, 1, 41))

    agree(
        f"mixture of {arm}",
        float(mp.log((integral(mpf("0.5")) + integral(mpf("49.5"))) / 2)),
        float(log_mixture(arm)),
        6,
    )


def log_likelihood(arm, rate):
    n, s = map(mpf, arm)
    rate = min(max(mpf(rate), mpf(0)), mpf(1))
    if (s > 0 and rate == 0) or (n > s and rate == 1):
        return -mp.inf
    return (s * mp.log(rate) if s else 0) + ((n - s) * mp.log1p(-rate) if n > s else 0)


def null_rate(control, treatment, compare, value):
    """Control's likeliest rate under a difference or a ratio of exactly `value`: a root of a cubic, or of a quadratic
    (Miettinen and Nurminen, Statistics in Medicine 4, 1985)."""
    (n0, s0), (n1, s1), d = map(mpf, control), map(mpf, treatment), mpf(value)
    n, s = n0 + n1, s0 + s1
    if compare == "ratio":
        b = n1 * d + s1 + n0 + s0 * d
        return (b - mp.sqrt(b * b - 4 * n * d * s)) / (2 * n * d)
    a2, a1, a0 = ((n1 + 2 * n0) * d - n - s) / n, ((n0 * d - n - 2 * s0) * d + s) / n, s0 * d * (1 - d) / n
    q = (a2 / 3) ** 3 - a1 * a2 / 6 + a0 / 2
    p = (mp.sign(q) or 1) * mp.sqrt(max((a2 / 3) ** 2 - a1 / 3, mpf(0)))
    angle = mp.acos(min(max(q / p**3, mpf(-1)), mpf(1))) if p else mpf(0)
    return 2 * p * mp.cos((mp.pi + angle) / 3) - a2 / 3


def null_rate_agrees(control, treatment, compare, value):
    """A ratio's is statsmodels'. A difference's is searched by scipy: the cubic of statsmodels 0.15 has the events of
    an arm where the paper has its units."""
    (n0, s0), (n1, s1) = control, treatment
    if compare == "ratio":
        known = score_test_proportions_2indep(s1, n1, s0, n0, value=value, compare=compare, return_results=True)
        return agree("null rate", float(null_rate(control, treatment, compare, value)), float(known.prop2_null))
    total = lambda base: -float(log_likelihood(control, base) + log_likelihood(treatment, base + value))
    ends = max(0.0, -value) + 1e-12, min(1.0, 1 - value) - 1e-12
    known = optimize.minimize_scalar(total, bounds=ends, method="bounded", options={"xatol": 1e-12})
    return agree("likelihood", -float(known.fun), float(largest(control, treatment, compare, value)))


def largest(control, treatment, compare, value):
    """ln of the greatest likelihood of both arms at this difference or ratio exactly."""
    raised = (lambda base: base + mpf(value)) if compare == "diff" else (lambda base: base * mpf(value))
    total = lambda base: log_likelihood(control, base) + log_likelihood(treatment, raised(base))
    least, most = (max(0, -mpf(value)), min(1, 1 - mpf(value))) if compare == "diff" else (0, min(1, 1 / mpf(value)))
    return max(total(base) for base in (null_rate(control, treatment, compare, value), mpf(least), mpf(most)))


def log_e(control, treatment, compare, value):
    """ln of the e-value against a difference, or a ratio, of at most `value`."""
    rates = [mpf(s) / n for n, s in (control, treatment)]
    allowed = rates[0] + mpf(value) if compare == "diff" else rates[0] * mpf(value)
    if rates[1] <= allowed:
        best = log_likelihood(control, rates[0]) + log_likelihood(treatment, rates[1])
    else:
        best = largest(control, treatment, compare, value)
    return log_mixture(control) + log_mixture(treatment) - best


def log_e_equal(control, treatment):
    n, s = (a + b for a, b in zip(control, treatment))
    pooled = mpf(s) / n
    best = log_likelihood(control, pooled) + log_likelihood(treatment, pooled)
    return log_mixture(control) + log_mixture(treatment) - best


ARMS = [
    ((5000, 5), (5000, 30)),
    ((5000, 30), (5000, 5)),
    ((800, 0), (40, 3)),
    ((40, 3), (800, 0)),
    ((300, 0), (300, 0)),
    ((300, 300), (300, 300)),
    ((300, 0), (300, 300)),
    ((1, 0), (1, 1)),
    ((1, 1), (1, 0)),
    ((20_000, 400), (20_000, 0)),
    ((100_000, 10_500), (100_000, 19_000)),
    ((1_000_000, 900), (500, 9)),
    ((500, 9), (1_000_000, 900)),
    ((50_000_000, 5000), (50_000_000, 5600)),
    ((100, 12.5), (120, 31.75)),
    ((120, 119.5), (100, 0.25)),
]


# Control's likeliest rate is 0, and many units see every step away from it.
NO_EVENT_IN_A_MILLION = ((1_000_000, 0), (500, 150))


def e_values():
    for arm in ((300, 0), (40, 3), (120, 119.5), (1, 1), (500, 9)):
        mixture_agrees(arm)
    for control, treatment in (((5000, 5), (5000, 30)), ((100, 12.5), (120, 31.75)), ((1000, 105), (900, 190))):
        for compare, value in (("diff", 0.001), ("diff", -0.15), ("ratio", 1.25), ("ratio", 0.5)):
            null_rate_agrees(control, treatment, compare, value)
    return [
        {
            "name": f"{c} against {t}",
            "control": c,
            "treatment": t,
            "equal": float(log_e_equal(c, t)),
            "differences": [[d, float(log_e(c, t, "diff", d))] for d in (0.0, 0.01, -0.15, 0.002)],
            "ratios": [[r, float(log_e(c, t, "ratio", r))] for r in (1.0, 1.5, 0.8, 5.0)],
        }
        for c, t in [*ARMS, NO_EVENT_IN_A_MILLION]
    ]


def lower_difference(control, treatment, alpha):
    """The difference below which e-values exceed 1 / alpha."""
    out = lambda d: float(log_e(control, treatment, "diff", d) + mp.log(mpf(alpha)))
    seen = treatment[1] / treatment[0] - control[1] / control[0]
    far = -1 + 1e-12
    return optimize.brentq(out, far, seen, xtol=1e-15, rtol=1e-14) if out(far) > 0 else -1.0


def upper_ratio(control, treatment, alpha):
    """The ratio above which e-values of the inverse ratio exceed 1 / alpha; none where a million is not above it."""
    out = lambda ln: float(log_e(treatment, control, "ratio", exp(-ln)) + mp.log(mpf(alpha)))
    if control[1] == 0 or out(log(1e6)) <= 0:
        return None
    seen = (treatment[1] / treatment[0]) / (control[1] / control[0])
    near = log(seen) if seen > 0 else -log(1e6)
    return exp(optimize.brentq(out, near, log(1e6), xtol=1e-14, rtol=1e-14))


def bounds():
    """Bounds at any number of looks: of each arm, of the difference, of the ratio."""
    found = []
    for control, treatment in ARMS:
        for alpha in (0.05, 0.001):
            found.append(
                {
                    "name": f"{control} against {treatment} at {alpha}",
                    "control": control,
                    "treatment": treatment,
                    "alpha": alpha,
                    "rate": rate_bounds(treatment, alpha),
                    "low": lower_difference(control, treatment, alpha),
                    "high": -lower_difference(treatment, control, alpha),
                    "ratio": upper_ratio(control, treatment, alpha),
                }
            )
    return found


def rate_bounds(arm, alpha):
    out = lambda rate: float(log_mixture(arm) - log_likelihood(arm, rate) + mp.log(mpf(alpha)))
    seen, ends = arm[1] / arm[0], []
    for end, limit in ((0.0, 1e-300), (1.0, 1 - 1e-16)):
        is_bounded = seen != end and out(limit) > 0
        ends.append(optimize.brentq(out, limit, seen, xtol=1e-16, rtol=1e-14) if is_bounded else end)
    return ends


def conditional():
    """The e-value of events alone: the mean of the likelihood ratio over shares above the weight, as an integral."""
    found = []
    for control, treatment, weight in (
        (0, 0, 0.5),
        (0, 1, 0.5),
        (1, 0, 0.5),
        (0, 17, 0.5),
        (17, 0, 0.5),
        (3, 12, 0.3),
        (12, 3, 0.7),
        (50, 50, 0.5),
        (200, 260, 0.5),
        (0, 5, 0.02),
        (40, 9, 0.05),
        (2, 90, 0.95),
        (9000, 9400, 0.5),
        (60_000, 61_500, 0.5),
        (500_000, 503_000, 0.5),
        (10, 3000, 0.99),
        (40, 15, 0.5),
        (300, 100, 0.5),
        (0, 3, 0.999),
    ):
        w, n = mpf(weight), control + treatment
        ratio = lambda share: (share / w) ** treatment * ((1 - share) / (1 - w)) ** control
        peak = max(w, mpf(treatment) / n) if n else w
        sd = mp.sqrt(peak * (1 - peak) / n) + mpf(1) / n if n else mpf(1)
        steps = sorted({w, mpf(1), *(min(max(peak + k * sd, w), mpf(1)) for k in (*range(-40, 41, 2), -150, 150))})
        mean = mp.quad(ratio, steps) / (1 - w)
        found.append(
            {
                "name": f"{control} and {treatment} at {weight}",
                "control": control,
                "treatment": treatment,
                "weight": weight,
                "log_e": float(mp.log(mean)),
                "p": float(min(1, 1 / mean)),
            }
        )
    return found


# --- The split. ---


def chi_squareds():
    found = []
    for counts, weights in (
        ([5200, 4800], [0.5, 0.5]),
        ([480, 330, 0, 190], [0.5, 0.3, 0.0, 0.2]),
        ([5, 5], [1.0, 1.0]),
        ([0, 10], [1.0, 1.0]),
        ([0, 600], [0.5, 0.5]),
        ([1000, 1000], [0.5, 0.5]),
        ([99_400, 600], [0.995, 0.005]),
        ([12, 9, 30, 7], [1.0, 1.0, 2.0, 1.0]),
        ([500_100_000, 499_900_000], [0.5, 0.5]),
        ([7, 0], [1.0, 0.0]),
    ):
        used = [(c, w) for c, w in zip(counts, weights) if w > 0]
        units, total = sum(counts), sum(w for _, w in used)
        p = None
        if len(used) > 1:
            p = float(stats.chisquare([c for c, _ in used], [units * w / total for _, w in used]).pvalue)
        if counts == [5200, 4800]:
            agree("two shares", p, float(proportions_chisquare(5200, 10_000, value=0.5)[1]))
        found.append({"name": f"{counts} by {weights}", "counts": counts, "weights": weights, "p": p})
    return found


def log_factor(counts, weights, k):
    """Dirichlet-multinomial over multinomial, the orders of units being equally likely under both."""
    total = sum(weights)
    used = [(mpf(c), mpf(w) / mpf(total)) for c, w in zip(counts, weights) if w > 0]
    each = sum(mp.loggamma(k * w + c) - mp.loggamma(k * w) - c * mp.log(w) for c, w in used)
    return float(each + mp.loggamma(k) - mp.loggamma(k + sum(counts)))


def by_scipy(counts, weights, k):
    """The same by scipy's two distributions."""
    return stats.dirichlet_multinomial.logpmf(counts, [k * w for w in weights], sum(counts)) - stats.multinomial.logpmf(
        counts, sum(counts), weights
    )


def bayes_factors():
    found = []
    for counts, weights, k in (
        ([0, 0], [0.5, 0.5], 100),
        ([1, 0], [0.5, 0.5], 100),
        ([200, 0], [0.5, 0.5], 100),
        ([520, 480], [0.5, 0.5], 100),
        ([1590, 1410], [0.5, 0.5], 100),
        ([240, 122, 51], [0.6, 0.3, 0.1], 40),
        ([99_400, 600], [0.995, 0.005], 100),
        ([0, 3000, 9], [0.3, 0.69, 0.01], 1000),
        ([5_010_000, 4_990_000], [0.5, 0.5], 100),
    ):
        factor = log_factor(counts, weights, k)
        if sum(counts) > 1:
            agree(f"{counts}", factor, float(by_scipy(counts, weights, k)), 7)
        found.append(
            {"name": f"{counts} by {weights}, {k}", "counts": counts, "weights": weights, "k": k, "log_factor": factor}
        )
    return found


def balances():
    """Units, each an arm and a batch, enter one by one: the factor of all, and the smallest p so far."""
    found = []
    for name, weights, units in (
        ("equal", [[0.5, 0.5]], [(i % 2, 0) for i in range(400)]),
        ("one arm loses a third", [[0.5, 0.5]], [(int(i % 5 < 2), 0) for i in range(1000)]),
        ("lost at first, made up for later", [[0.5, 0.5]], [(0, 0)] * 60 + [(1, 0)] * 60),
        ("three arms, one small", [[0.6, 0.38, 0.02]], [((0, 1, 0, 1, 0, 2)[i % 6], 0) for i in range(300)]),
        (
            "two batches at once",
            [[0.5, 0.5], [0.1, 0.9]],
            [(i // 2 % 2, 0) if i % 2 else (int(i % 10 > 2), 1) for i in range(800)],
        ),
        ("one unit", [[0.9, 0.1]], [(1, 0)]),
        ("none", [[0.5, 0.5]], []),
    ):
        counts, highest = [[0] * len(w) for w in weights], 0.0
        whole = lambda: sum(log_factor(c, w, 100) for c, w in zip(counts, weights))
        for arm, batch in units:
            counts[batch][arm] += 1
            highest = max(highest, whole())
        found.append({"name": name, "weights": weights, "units": units, "log_factor": whole(), "p": exp(-highest)})
    return found


def left_in():
    """Of these mature units, how many of control's are in a metric, and the most and the fewest of the arm's with
    which the selections are not told to differ, at 1 % for one metric and one arm."""
    found = []
    for mature, control in (
        ([1000, 1000], 900),
        ([1000, 1000], 1000),
        ([1000, 1000], 0),
        ([20_000, 500], 10_000),
        ([60, 60], 30),
        ([10**6, 10**6], 950_000),
        ([1, 1], 0),
    ):
        told = lambda arm: log_e_equal((mature[0], control), (mature[1], arm)) >= mp.log(100)
        near = round(control / mature[0] * mature[1])
        fewest, most = edge(told, near, 0), edge(told, near, mature[1])
        found.append(
            {"name": f"{control} of {mature}", "mature": mature, "control": control, "fewest": fewest, "most": most}
        )
    return found


def edge(told, inside, end):
    """The last whole number towards `end` that is not told."""
    if not told(end):
        return end
    outside = end
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (inside, middle) if told(middle) else (middle, outside)
    return inside
