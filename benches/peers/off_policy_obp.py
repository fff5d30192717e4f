#!/usr/bin/env python3
"""Values of a policy that was not in place, by the Open Bandit Pipeline (obp), and the log they come from.

    off_policy_obp.py OUT.json --log FOLDER [--repeat 20]     a campaign of the Open Bandit data, e.g. .../bts/all
    off_policy_obp.py OUT.json --generated 300                the fixture crates/eval/tests/fixtures/off_policy.json
    off_policy_obp.py OUT.json --log random/all --bts bts/all a log of one policy, asked for another one whose log there is

The policy asked about has a probability of each item in each slot, the same for all users: a softmax of items' clicks over
impressions in that slot, smoothed. The model of rewards is that smoothed rate itself. Both are made of the log's first half,
and are only there to have numbers to compare. With --bts the policy is the shop's own Thompson sampling (its prior, and 100,000 draws, by
obp) and the model of rewards is the mean of that prior, which knows nothing of either log; the clicks over rows of the folder
after --bts, which that policy drew, are what its value should be. The last line on standard output is a JSON object: seconds of the estimates (median), and their values.
"""

import argparse
import csv
import json
import statistics
import time
from pathlib import Path

import numpy as np
from obp.ope import (
    DirectMethod,
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
)
from obp.policy import BernoulliTS

CLIP = 2.0
SMOOTHING, TEMPERATURE = 20.0, 0.02


def open_bandit(folder):
    """Action, slot from 0, reward and propensity of each impression, oldest first."""
    folder = Path(folder)
    with open(folder / f"{folder.name}.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["timestamp"])
    column = lambda name, kind: np.array([kind(row[name]) for row in rows])
    slots = column("position", int)
    return column("item_id", int), slots - slots.min(), column("click", int), column("propensity_score", float)


def generated(n_rows):
    generator = np.random.default_rng(5)
    n_actions, n_slots = 6, 3
    logits = generator.normal(0, 1, (n_actions, n_slots))
    policy = np.exp(logits) / np.exp(logits).sum(axis=0)
    rates = generator.beta(2, 6, (n_actions, n_slots))
    slots = generator.integers(0, n_slots, n_rows)
    actions = np.array([generator.choice(n_actions, p=policy[:, slot]) for slot in slots])
    clicks = (generator.random(n_rows) < rates[actions, slots]).astype(int)
    return actions, slots, clicks, policy[actions, slots]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--log", help="folder of a campaign")
    parser.add_argument("--bts", help="folder of a campaign that Thompson sampling drew: the policy that is asked about")
    parser.add_argument("--generated", type=int, help="rows to generate in place of a log")
    parser.add_argument("--repeat", type=int, default=20, help="times that all estimates are made")
    arguments = parser.parse_args()
    log = open_bandit(arguments.log) if arguments.log else generated(arguments.generated)
    actions, slots, rewards, propensities = log
    n_rows, n_actions, n_slots = len(actions), int(actions.max()) + 1, int(slots.max()) + 1
    clicks, shown = np.zeros((n_actions, n_slots)), np.zeros((n_actions, n_slots))
    half = slice(0, n_rows // 2)
    np.add.at(clicks, (actions[half], slots[half]), rewards[half])
    np.add.at(shown, (actions[half], slots[half]), 1)
    rate = (clicks + SMOOTHING * rewards[half].mean()) / (shown + SMOOTHING)
    policy = np.exp((rate - rate.max()) / (TEMPERATURE if arguments.log else 0.1))
    policy /= policy.sum(axis=0)
    truth = {}
    if arguments.bts:
        sampling = BernoulliTS(n_actions=n_actions, len_list=n_slots, is_zozotown_prior=True,
                               campaign=Path(arguments.bts).name, random_state=42)
        policy = sampling.compute_batch_action_dist(n_sim=100_000)[0]
        alpha, beta = np.array(sampling.alpha), np.array(sampling.beta)
        rate = np.repeat((alpha / (alpha + beta))[:, None], n_slots, axis=1)
        clicks = open_bandit(arguments.bts)[2]
        truth = {"truth": clicks.mean(), "truth_clicks": int(clicks.sum()), "logged": rewards.mean()}

    rows = dict(reward=rewards.astype(float), action=actions, position=slots, pscore=propensities,
                action_dist=np.broadcast_to(policy, (n_rows, n_actions, n_slots)).copy())
    model = dict(estimated_rewards_by_reg_model=np.broadcast_to(rate, (n_rows, n_actions, n_slots)).copy())
    estimators = {
        "ips": InverseProbabilityWeighting(),
        "ips_clipped": InverseProbabilityWeighting(lambda_=CLIP),
        "snips": SelfNormalizedInverseProbabilityWeighting(),
        "direct_method": DirectMethod(),
        "doubly_robust": DoublyRobust(),
        "doubly_robust_clipped": DoublyRobust(lambda_=CLIP),
    }
    seconds = []
    for _ in range(arguments.repeat):
        start = time.perf_counter()
        values = {name: float(estimator.estimate_policy_value(**rows, **model))
                  for name, estimator in estimators.items()}
        seconds.append(time.perf_counter() - start)
    arguments.out.write_text(json.dumps({
        "clip": CLIP,
        "actions": actions.tolist(),
        "slots": slots.tolist(),
        "rewards": rewards.tolist(),
        "propensities": propensities.tolist(),
        # [n_actions, n_slots]
        "policy": policy.tolist(),
        "expected_rewards": rate.tolist(),
        "obp": values,
    }) + "\n")
    print(json.dumps({"seconds": statistics.median(seconds), "values": values, **truth}))


if __name__ == "__main__":
    main()
