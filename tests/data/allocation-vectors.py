#!/usr/bin/env python3
"""Writes allocation-vectors.json: places and arms that any program has to compute alike.

XXH64 is written out here from its specification, so that the vectors don't depend on the
implementation that they test. To renew: python3 allocation-vectors.py > allocation-vectors.json
"""

import json
import struct
import sys

MASK = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotate(x, by):
    return ((x << by) | (x >> (64 - by))) & MASK


def mix(accumulator, lane):
    return rotate((accumulator + lane * P2) & MASK, 31) * P1 & MASK


def xxh64(data, seed=0):
    at, length = 0, len(data)
    if length >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed & MASK, (seed - P1) & MASK]
        while at + 32 <= length:
            for i, word in enumerate(struct.unpack_from("<4Q", data, at)):
                lanes[i] = mix(lanes[i], word)
            at += 32
        hash = sum(rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            hash = ((hash ^ mix(0, lane)) * P1 + P4) & MASK
    else:
        hash = (seed + P5) & MASK
    hash = (hash + length) & MASK
    while at + 8 <= length:
        hash = (rotate(hash ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= length:
        hash = (rotate(hash ^ (struct.unpack_from("<I", data, at)[0] * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        hash = rotate(hash ^ (byte * P5 & MASK), 11) * P1 & MASK
    hash = (hash ^ (hash >> 33)) * P2 & MASK
    hash = (hash ^ (hash >> 29)) * P3 & MASK
    return hash ^ (hash >> 32)


def place(purpose, salt, kind, unit):
    data = b""
    for part in (f"serin/{purpose}/1", salt, kind, unit):
        part = part.encode()
        data += struct.pack("<I", len(part)) + part
    return xxh64(data)


def is_below(place, bound):
    return place < int(min(max(bound, 0.0), 1.0) * 2**64)


def pick(place, weights):
    edge, last = 0.0, None
    for position, weight in enumerate(weights):
        if weight <= 0.0:
            continue
        edge, last = edge + weight, position
        if is_below(place, edge):
            break
    return last


def assigned(unit, layer_salt, holdout, slot, coverage, salt, weights):
    """A unit's arm, "held_out", or none where the experiment does not hold its place."""
    in_layer = place("layer", layer_salt, "borrower", unit)
    end = slot[0] + coverage * (slot[1] - slot[0])
    if is_below(in_layer, slot[0]) or not is_below(in_layer, end):
        return None
    if is_below(place("holdout", layer_salt, "borrower", unit), holdout):
        return "held_out"
    return pick(place("arm", salt, "borrower", unit), weights)


def shipped(place_, weights, control, holdback):
    """Whether a shipped experiment holds the unit back: control's first part stays where it is."""
    start = sum(weights[:control])
    return not is_below(place_, start) and is_below(place_, start + holdback)


def main():
    # Known answers of XXH64, as its own documentation and test suites have them.
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1
    texts = ["", "b-1", "b-17", "ünïcödé-☂", "a\u0000b", "x" * 31, "x" * 32, "x" * 33, "y" * 250]
    places = [
        {"purpose": purpose, "salt": salt, "kind": kind, "unit": unit, "place": f"{place(purpose, salt, kind, unit):016x}"}
        for purpose in ("layer", "holdout", "arm", "shadow")
        for salt in ("", "outreach-1", "a salt of more than thirty-two bytes")
        for kind in ("borrower", "loan")
        for unit in texts
    ]
    splits = [[1.0], [0.5, 0.5], [0.0, 1.0], [0.1, 0.2, 0.3, 0.4], [0.7, 0.0, 0.3], [1 / 3, 1 / 3, 1 / 3]]
    edges = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 0x1999999999999999, 0x199999999999999A, 0xB333333333333333]
    arms = [{"place": f"{at:016x}", "weights": weights, "arm": pick(at, weights)} for weights in splits for at in edges]
    # The demo's own layer and experiment, at two coverages of its slot.
    demo = {"layer_salt": "outreach-1", "holdout": 0.02, "slot": [0.0, 0.5], "salt": "outreach-score", "weights": [0.5, 0.5]}
    coverages = [0.3, 1.0]
    units = {f"b-{i}": [assigned(f"b-{i}", coverage=c, **demo) for c in coverages] for i in range(400)}
    # The arms of batches, whose salt names the batch; and who is held back once the second arm ships.
    batches = [
        {"salt": "s", "batch": batch, "unit": f"b-{i}", "weights": [0.2, 0.5, 0.3], "arm": pick(place("arm", f"s/batch/{batch}", "borrower", f"b-{i}"), [0.2, 0.5, 0.3])}
        for batch in (0, 1, 17)
        for i in range(20)
    ]
    held = [
        {"salt": "s", "unit": f"b-{i}", "weights": [0.5, 0.5], "control": 0, "holdback": 0.1, "held_back": shipped(place("arm", "s", "borrower", f"b-{i}"), [0.5, 0.5], 0, 0.1)}
        for i in range(60)
    ]
    line = lambda items: ",\n  ".join(json.dumps(item) for item in items)
    sys.stdout.write(f'{{"places": [\n  {line(places)}\n],\n"arms": [\n  {line(arms)}\n],\n"batches": [\n  {line(batches)}\n],\n"shipped": [\n  {line(held)}\n],\n"demo": {json.dumps({**demo, "coverages": coverages, "units": units})}\n}}\n')


if __name__ == "__main__":
    main()
