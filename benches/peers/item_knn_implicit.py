"""Item-kNN by cosine with `implicit`: the peer of `forecart train --model item-knn`.

    python item_knn_implicit.py DATASET MODEL_FILE [--threads 2]

Reads the training part of a dataset folder, fits 100 neighbors an item, and prints one line of JSON: the
seconds of `fit` alone, and the largest difference between the similarities of any item here and in the
model file. Which of several equally similar items are kept differs, so similarities are compared in
descending order. `implicit` counts the item itself as a neighbor, hence K = 101.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import safetensors.numpy
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix

N_NEIGHBORS = 100


def interactions(folder):
    """Which users chose which items before their validation events, [n_users, n_items] of ones."""
    offsets = np.fromfile(folder / "offsets.u64", dtype=np.uint64).astype(np.int64)
    items = np.fromfile(folder / "items.u32", dtype=np.uint32).astype(np.int64)
    train_end = offsets[:-1] + np.fromfile(folder / "validation_start.u32", dtype=np.uint32)
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    is_training = (np.arange(len(items)) < train_end[users]) & (items > 0)
    users, items = users[is_training], items[is_training]
    n_items = json.loads((folder / "manifest.json").read_text())["counts"]["n_items"] + 1
    matrix = csr_matrix((np.ones(len(users)), (users, items)), shape=(len(offsets) - 1, n_items))
    matrix.data[:] = 1.0  # repeats count once
    return matrix


def similarities(offsets, columns, values):
    """Each item's similarities to others in descending order, [n_items, N_NEIGHBORS], 0 past the last."""
    n_rows = len(offsets) - 1
    rows = np.repeat(np.arange(n_rows), np.diff(offsets))
    others = rows != columns
    rows, values = rows[others], values[others]
    order = np.lexsort((-values, rows))
    rows, values = rows[order], values[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    table = np.zeros((n_rows, N_NEIGHBORS + 1))
    table[rows, np.minimum(rank, N_NEIGHBORS)] = values
    return table[:, :N_NEIGHBORS]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model_file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    matrix = interactions(arguments.dataset)
    model = CosineRecommender(K=N_NEIGHBORS + 1, num_threads=arguments.threads)
    start = time.perf_counter()
    model.fit(matrix, show_progress=False)
    seconds = time.perf_counter() - start
    theirs = model.similarity
    ours = safetensors.numpy.load_file(arguments.model_file)
    difference = np.abs(
        similarities(theirs.indptr, theirs.indices, theirs.data)
        - similarities(ours["model.offsets"].astype(np.int64), ours["model.items"],
                       ours["model.values"])).max()
    print(json.dumps({"seconds": seconds, "largest_difference": float(difference)}))


if __name__ == "__main__":
    main()
