"""The rules of urban tagging as they are written, clip by clip and threshold by threshold: slow, and obvious.

Nothing here is shared with the package.
"""


def slow_counts(truth, scores, branch, threshold):
    complete, unknown = branch
    tp = fp = fn = 0
    for clip in range(len(truth)):
        Y = [bool(truth[clip][k]) for k in complete]
        P = [scores[clip][k] >= threshold for k in complete]
        u = unknown is not None and bool(truth[clip][unknown])
        q = unknown is not None and scores[clip][unknown] >= threshold
        both = [y and p for y, p in zip(Y, P, strict=True)]
        tp += sum(both)
        tp += 1 if u and (any(P) or q) and not any(both) else 0
        fp += sum((not y) and p and (not u) for y, p in zip(Y, P, strict=True))
        fp += 1 if (not u) and (not any(Y)) and q and (not all(P)) else 0
        fn += sum(y and not p for y, p in zip(Y, P, strict=True))
        fn += 1 if u and (not any(Y)) and not (any(P) or q) else 0
    return tp, fp, fn


def slow_thresholds(scores, branch):
    return sorted({float(row[k]) for row in scores for k in branch[0] if row[k] >= 0.01} | {1.0})


def slow_point(tp, fp, fn):
    return tp / max(tp + fp, 0.5), tp / max(tp + fn, 0.5)


def slow_area(points):
    """(P, R) at rising thresholds."""
    falling = sorted(reversed(points), key=lambda point: point[1])  # stable: ties stay in falling order
    curve = [(1.0, 0.0), *falling, (0.0, 1.0)]
    return sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in zip(curve[:-1], curve[1:], strict=True))


def slow_metrics(truth, scores, branches):
    own = [slow_thresholds(scores, branch) for branch in branches]
    counts = [
        {t: slow_counts(truth, scores, branch, t) for t in thresholds}
        for branch, thresholds in zip(branches, own, strict=True)
    ]
    areas = [slow_area([slow_point(*table[t]) for t in sorted(table)]) for table in counts]
    union = sorted({t for thresholds in own for t in thresholds})
    sums = []
    for t in union:
        rows = [table[min(s for s in table if s >= t)] for table in counts]
        sums.append(tuple(sum(column) for column in zip(*rows, strict=True)))
    precision, recall = slow_point(*sums[min(i for i, t in enumerate(union) if t >= 0.5)])
    return {
        "micro_auprc": slow_area([slow_point(*row) for row in sums]),
        "micro_f1": 2 * precision * recall / (precision + recall) if precision and recall else 0.0,
        "macro_auprc": sum(areas) / len(areas),
        "class_auprc": areas,
    }
