"""Medians and quartiles: the only statistics that survive a noisy machine."""

import statistics


def spread(values):
    """{'median', 'q1', 'q3', 'min', 'max', 'n'} of the values, or None if there are none."""
    values = sorted(v for v in values if v is not None)
    if not values:
        return None
    if len(values) == 1:
        q1 = q3 = values[0]
    else:
        q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": statistics.median(values),
        "q1": q1,
        "q3": q3,
        "min": values[0],
        "max": values[-1],
        "n": len(values),
    }


def median(summary):
    return summary["median"] if summary else None


def paired_ratio(above, below):
    """Spread of above[i] / below[i]; both lists are in order of the rounds."""
    return spread([a / b for a, b in zip(above, below) if a is not None and b])
