#!/usr/bin/env python3
"""Writes statistics-golden.json: answers that serin-core's statistics have to give to six digits.

Everything is computed here a second way: moments as exact fractions in two passes, Student's and
the chi-squared distribution by integrating their densities, Benjamini and Hochberg's values by
their definition, the likeliest pair of rates by golden section. To renew:
python3 statistics_golden.py > statistics-golden.json
"""

import json
import sys
from fractions import Fraction
from math import atan, cos, exp, inf, lgamma, log, log1p, pi, sqrt


def integral(f, a, b, steps=4000):
    """Simpson's rule."""
    h = (b - a) / steps
    inner = sum(f(a + i * h) * (4 if i % 2 else 2) for i in range(1, steps))
    return (f(a) + inner + f(b)) * h / 3


def student_sf(t, df):
    """P(T > t) for t > 0. With t = √df · tan(u) the density becomes cos(u)^(df - 1)."""
    scale = exp(lgamma((df + 1) / 2) - lgamma(df / 2)) / sqrt(pi)
    start = atan(t / sqrt(df))
    # What is behind this angle is nothing beside what is before it.
    end = min(pi / 2, start + 12 / sqrt(df))
    return scale * integral(lambda u: max(cos(u), 0.0) ** (df - 1), start, end)


def student_critical(alpha, df):
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 * student_sf(middle, df) > alpha else (low, middle)
    return high


def chi_squared_sf(x, df):
    """With t = s², the density has no pole at 0."""
    density = lambda s: 2 * s ** (df - 1) * exp(-s * s / 2 - log(2) * df / 2 - lgamma(df / 2))
    return integral(density, sqrt(x), sqrt(x) + 12)


def mean(values):
    return sum(map(Fraction, values)) / len(values)


def cross(ys, xs):
    """The sum of the products of the distances from the means, exactly."""
    my, mx = mean(ys), mean(xs)
    return sum((Fraction(y) - my) * (Fraction(x) - mx) for y, x in zip(ys, xs))


def fixed(control, treatment, alpha):
    """Welch's answer for two arms, each a mean, a variance of one unit and a number of units."""
    (mc, vc, nc), (mt, vt, nt) = control, treatment
    a, b = float(vc) / nc, float(vt) / nt
    difference, se = float(mt - mc), sqrt(a + b)
    df = (a + b) ** 2 / (a * a / (nc - 1) + b * b / (nt - 1))
    reach = student_critical(alpha, df) * se
    p = 2 * student_sf(abs(difference) / se, df)
    return {"control_mean": float(mc), "treatment_mean": float(mt), "difference": difference, "se": se, "df": df,
            "alpha": alpha, "low": difference - reach, "high": difference + reach, "p": p}


def of_counts(units, events):
    rate = Fraction(events, units)
    return rate, rate * (1 - rate), units


def of_numbers(values):
    return mean(values), cross(values, values) / (len(values) - 1), len(values)


def of_ratio(pairs):
    ys, xs = zip(*pairs)
    n, ratio = len(pairs), mean(ys) / mean(xs)
    variance = sum((Fraction(y) - ratio * Fraction(x)) ** 2 for y, x in pairs) / (n - 1) / mean(xs) ** 2
    return ratio, variance, n


def of_cuped(control, treatment):
    arms = [tuple(zip(*arm)) for arm in (control, treatment)]
    theta = sum(cross(*arm) for arm in arms) / sum(cross(xs, xs) for _, xs in arms)
    x_mean = mean([x for _, xs in arms for x in xs])
    return [of_numbers([Fraction(y) - theta * (Fraction(x) - x_mean) for y, x in zip(*arm)]) for arm in arms]


def information(n, alpha, planned):
    return n * (-2 * log(alpha) + log(1 - 2 * log(alpha))) / planned


def sequence(control, treatment, planned, alpha):
    """The asymptotic confidence sequence of two proportions; p by bisection of the level."""
    (mc, vc, nc), (mt, vt, nt) = of_counts(*control), of_counts(*treatment)
    difference, se, n = float(mt - mc), sqrt(vc / nc + vt / nt), nc + nt
    x = information(n, alpha, planned)
    width = lambda level: se * sqrt(2 * (x + 1) / x * log(sqrt(x + 1) / level))
    low, high = 1e-12, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if width(middle) > abs(difference) else (low, middle)
    x1 = information(n, 2 * alpha, planned)
    reach = se * sqrt(2 * (x1 + 1) / x1 * log(1 + sqrt(x1 + 1) / (2 * alpha)))
    return {"control": control, "treatment": treatment, "planned": planned, "alpha": alpha, "se": se,
            "low": difference - width(alpha), "high": difference + width(alpha), "p": high,
            "lower": difference - reach, "upper": difference + reach}


def bayes_factor(rows, weights, k):
    """As a product of each unit's predicted chance over its weight, row by row."""
    factor, seen, all_seen = 0.0, [k * w for w in weights], k
    for row in rows:
        for arm, count in enumerate(row):
            for _ in range(count):
                factor += log(seen[arm] / all_seen / weights[arm])
                seen[arm], all_seen = seen[arm] + 1, all_seen + 1
    return {"rows": rows, "weights": weights, "k": k, "log_factor": factor}


def chi_squared(counts, weights):
    used = [(c, w / sum(weights)) for c, w in zip(counts, weights) if w > 0]
    expected = [sum(counts) * w for _, w in used]
    statistic = sum((c - e) ** 2 / e for (c, _), e in zip(used, expected))
    return {"counts": counts, "weights": weights, "p": chi_squared_sf(statistic, len(used) - 1)}


def log_likelihood(units, events, rate):
    if (events and rate <= 0) or (units > events and rate >= 1):
        return -inf
    return (events * log(rate) if events else 0) + ((units - events) * log1p(-rate) if units > events else 0)


def rare(control, treatment, alarm):
    """ln of the e-value: each arm's mixture of Betas over the likeliest pair that the null allows."""
    pair = lambda p: log_likelihood(*control, p) + log_likelihood(*treatment, p + alarm)
    low, high, golden = max(0.0, -alarm), min(1.0, 1 - alarm), (sqrt(5) - 1) / 2
    for _ in range(200):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if pair(a) > pair(b) else (a, high)
    best = pair((low + high) / 2)
    rates = [events / units for units, events in (control, treatment)]
    if rates[1] <= rates[0] + alarm:
        best = log_likelihood(*control, rates[0]) + log_likelihood(*treatment, rates[1])
    beta = lambda a, b: lgamma(a) + lgamma(b) - lgamma(a + b)
    mean_of = lambda n, s: sum(exp(beta(0.5 + s, b + n - s) - beta(0.5, b)) / 2 for b in (0.5, 49.5))
    mixture = log(mean_of(*control)) + log(mean_of(*treatment))
    return {"control": control, "treatment": treatment, "alarm": alarm, "log_e": mixture - best}


def benjamini_hochberg(p_values):
    """The smallest level at which the step-up procedure rejects, by its definition."""
    m = len(p_values)
    step = lambda q: q * m / sum(other <= q for other in p_values)
    return [min([1.0] + [step(q) for q in p_values if q >= p]) for p in p_values]


def main():
    far = [1e9 + x for x in (4.0, 7.0, 13.0, 16.0, 10.25, 9.5, 0.125)]
    control = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    treatment = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 28.25, 24.0]
    # A unit's failures and decisions; then a unit's outcome and what it was before it entered.
    ratio_c = [(1, 9), (0, 4), (3, 12), (0, 8), (2, 9), (1, 15), (0, 1), (4, 11), (0, 7), (1, 10)]
    ratio_t = [(2, 9), (3, 5), (1, 12), (0, 8), (6, 13), (2, 11), (1, 2), (0, 6), (5, 14)]
    cuped_c = [(3.1, 2.8), (5.2, 4.9), (1.4, 2.2), (8.8, 8.1), (4.4, 5.0), (6.1, 5.2), (2.9, 3.6), (7.3, 7.7)]
    cuped_t = [(4.0, 2.9), (6.6, 5.5), (2.7, 2.0), (9.1, 7.4), (5.9, 5.1), (7.7, 6.9), (3.2, 2.6), (8.9, 8.8), (5.0, 4.1)]
    case = lambda c, t, answer: {"control": c, "treatment": t, **answer}
    golden = {
        "moments": {"values": far, "mean": float(mean(far)), "variance": float(cross(far, far) / (len(far) - 1))},
        "proportions": [case(c, t, fixed(of_counts(*c), of_counts(*t), alpha)) for c, t, alpha in (
            ([4000, 400], [4000, 480], 0.05), ([950, 190], [50, 14], 0.01))],
        "means": case(control, treatment, fixed(of_numbers(control), of_numbers(treatment), 0.05)),
        "ratio": case(ratio_c, ratio_t, fixed(of_ratio(ratio_c), of_ratio(ratio_t), 0.05)),
        "cuped": case(cuped_c, cuped_t, fixed(*of_cuped(cuped_c, cuped_t), 0.05)),
        "sequence": [sequence([4000, 400], [4000, 480], 5000, 0.05), sequence([20000, 400], [1000, 35], 30000, 0.01)],
        "width_at_plan": sqrt(2 * (1 + 1 / information(1, 0.05, 1)) * log(sqrt(information(1, 0.05, 1) + 1) / 0.05)),
        "chi_squared": [chi_squared([5200, 4800], [0.5, 0.5]), chi_squared([480, 330, 0, 190], [0.5, 0.3, 0.0, 0.2])],
        "bayes_factor": [bayes_factor([[520, 480], [530, 470], [540, 460]], [0.5, 0.5], 100),
                         bayes_factor([[130, 70, 20], [110, 52, 31]], [0.6, 0.3, 0.1], 40)],
        "rare": [rare([5000, 5], [5000, 30], 0.0), rare([5000, 5], [5000, 105], 0.01), rare([800, 0], [40, 3], 0.002),
                 rare([300, 9], [300, 7], 0.0), rare([400, 40], [400, 4], -0.15)],
        "benjamini_hochberg": (lambda ps: {"p_values": ps, "adjusted": benjamini_hochberg(ps)})(
            [0.039, 0.001, 0.008, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216, 0.9, 0.008]),
    }
    check(golden)
    line = lambda value: ",\n  ".join(map(json.dumps, value)) if isinstance(value, list) else json.dumps(value)
    shown = (f'"{k}": ' + (f"[\n  {line(v)}\n]" if isinstance(v, list) else line(v)) for k, v in golden.items())
    sys.stdout.write("{\n" + ",\n".join(shown) + "\n}\n")


def check(golden):
    """Known answers: of published tables, and of other libraries for the same data."""
    near = lambda found, known, digits=6: abs(found / known - 1) < 10.0**-digits or sys.exit(f"{found}, not {known}")
    near(student_critical(0.05, 10), 2.2281388519649385)
    near(student_sf(12.706204736174698, 1), 0.025)
    near(chi_squared_sf(3.841458820694124, 1), 0.05)
    near(golden["sequence"][0]["se"], 0.00699285)
    near(golden["sequence"][0]["low"], -0.00131005, 5)
    near(golden["sequence"][0]["high"], 0.04131005)
    near(golden["sequence"][0]["p"], 0.0835112, 5)
    near(golden["sequence"][0]["lower"], 0.00050500, 4)
    near(golden["width_at_plan"], 3.035, 3)
    near(golden["chi_squared"][0]["p"], 6.33425e-5, 5)
    near(exp(golden["bayes_factor"][0]["log_factor"]), 33.4825)


if __name__ == "__main__":
    main()
