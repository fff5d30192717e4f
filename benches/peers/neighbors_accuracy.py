#!/usr/bin/env python3
"""Accuracy of item-kNN beside `implicit` with the same hyperparameters, on the same split.

    FORECART_PROGRAM=target/release/forecart PYTHON benches/peers/neighbors_accuracy.py \\
        Beauty.txt Sports_and_Outdoors.txt ml-100k.inter

PYTHON has the packages of `IMPLICIT` in `run`. Each log is prepared with `loo-full`; both sides learn from the training
part, see the whole history before the test event, leave out seen items, and rank the target among all items at
1 + #greater + #equal/2. `implicit` counts an item among its own neighbors, hence K + 1. Prints a line a log and model.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix

N_NEIGHBORS = 100
CASES = [
    ("cosine", "", lambda: CosineRecommender(K=N_NEIGHBORS + 1)),
    ("tf-idf", 'weighting = "tf-idf"', lambda: TFIDFRecommender(K=N_NEIGHBORS + 1)),
    ("bm25", 'weighting = "bm25"\nsimilarity = "dot"\nbm25_k1 = 1.2\nbm25_b = 0.75',
     lambda: BM25Recommender(K=N_NEIGHBORS + 1, K1=1.2, B=0.75)),
]


def parts(folder):
    """How often each user chose each item in training, and before the test event; the test items, 0 where there is none."""
    offsets = np.fromfile(folder / "offsets.u64", dtype=np.uint64).astype(np.int64)
    items = np.fromfile(folder / "items.u32", dtype=np.uint32).astype(np.int64)
    start = {part: offsets[:-1] + np.fromfile(folder / f"{part}_start.u32", dtype=np.uint32)
             for part in ("validation", "test")}
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    shape = len(offsets) - 1, json.loads((folder / "manifest.json").read_text())["counts"]["n_items"] + 1

    def before(part):
        kept = (np.arange(len(items)) < start[part][users]) & (items > 0)
        return csr_matrix((np.ones(kept.sum()), (users[kept], items[kept])), shape=shape)

    targets = np.zeros(shape[0], dtype=np.int64)
    has_test = start["test"] < offsets[1:]
    targets[has_test] = items[start["test"][has_test]]
    return before("validation"), before("test"), targets, has_test


def measured(model, history, targets, has_test):
    """NDCG@10 and HR@10."""
    users = np.flatnonzero(has_test)
    ndcg = hits = 0.0
    for chunk in np.array_split(users, len(users) // 500 + 1):
        scores = (history[chunk] @ model.similarity).toarray()
        rows = np.arange(len(chunk))
        of_target = scores[rows, targets[chunk]][:, None]
        scores[history[chunk].nonzero()] = -np.inf
        scores[:, 0] = -np.inf
        scores[rows, targets[chunk]] = of_target[:, 0]
        rank = 1 + (scores > of_target).sum(axis=1) + ((scores == of_target).sum(axis=1) - 1) / 2
        hit = (rank <= 10) & (targets[chunk] > 0)
        ndcg += (hit / np.log2(rank + 1)).sum()
        hits += hit.sum()
    return ndcg / len(users), hits / len(users)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path)
    arguments = parser.parse_args()
    forecart = os.environ.get("FORECART_PROGRAM", "forecart")
    for log in arguments.logs:
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            config = work / "config.toml"
            config.write_text('[split]\nkind = "loo-full"\n')

            def run(*command):
                command = [forecart, *map(str, command), "--config", str(config)]
                return subprocess.run(command, check=True, capture_output=True, text=True).stdout

            run("import", log, "--out", work / "log")
            run("prepare", "--data", work / "log", "--out", work / "dataset")
            train, history, targets, has_test = parts(work / "dataset")
            for name, keys, peer in CASES:
                config.write_text(f"[models.item-knn]\nn_neighbors = {N_NEIGHBORS}\n{keys}\n")
                report = json.loads(run(
                    "evaluate", "--data", work / "dataset", "--models", "item-knn", "--no-baselines",
                    "--max-history", 60000, "--json"))
                ours = {row["metric"]: row["mean"] for row in report["models"][0]["metrics"]}
                model = peer()
                model.fit(train, show_progress=False)
                ndcg, hits = measured(model, history, targets, has_test)
                print(f"{log.stem} {name}: NDCG@10 ours {ours['ndcg@10']:.4f} implicit {ndcg:.4f}, "
                      f"HR@10 ours {ours['hr@10']:.4f} implicit {hits:.4f}", flush=True)


if __name__ == "__main__":
    main()
