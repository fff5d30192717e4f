"""Matrix factors and linear models with `implicit`, SciPy, LAPACK and scikit-learn: the peers of `ials`, `bpr`, `ease` and `slim`.

    python linear_peers.py als DATASET [--factors 64 --iterations 5 --alpha 11 --regularization 1 --solver cg]
    python linear_peers.py bpr DATASET [--factors 64 --iterations 100 --learning-rate 0.01 --regularization 0.01]
    python linear_peers.py ease DATASET [--regularization 500]
    python linear_peers.py slim DATASET --model-file FILE [--l1 1 --l2 10 --max-items 100]
    python linear_peers.py top-k DATASET --model-file FILE [-k 10]
    python linear_peers.py score DATASET --model-file FILE --alpha 11 --regularization 1

Models are fitted on all events before the test part and print one line of JSON: the seconds of the fit alone, without reading
the dataset, and with --score the NDCG@10 and HR@10 of the test part as `forecart evaluate` has them: all items ranked, those of
the history left out, a tie counting half, scores of `als` and `ease` from the newest 50 events. Users of `als` are solved
once more for the final items, as a server would; users of `bpr` have the factors that they were trained with. `score` does as
`als` with the items' factors of a model file of `ials`; `slim` compares the weights of a model file of `slim`, fitted on the same
events, with those of an elastic net without negative weights, of evenly spaced items; `top-k` times `implicit` on lists for all users from those factors.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

TILE_USERS = 512


def read_dataset(folder, max_history):
    """Choices before the test part, [n_users, n_items + 1] of ones, those among the newest `max_history` events of each
    user, and the items of the test part of each user."""
    offsets = np.fromfile(folder / "offsets.u64", dtype=np.uint64).astype(np.int64)
    items = np.fromfile(folder / "items.u32", dtype=np.uint32).astype(np.int64)
    test_start = offsets[:-1] + np.fromfile(folder / "test_start.u32", dtype=np.uint32)
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    is_before = (np.arange(len(items)) < test_start[users]) & (items > 0)
    n_items = json.loads((folder / "manifest.json").read_text())["counts"]["n_items"] + 1
    is_recent = is_before & (np.arange(len(items)) >= test_start[users] - max_history)

    def ones(chosen):
        places = (users[chosen], items[chosen])
        matrix = csr_matrix((np.ones(chosen.sum(), np.float32), places), shape=(len(offsets) - 1, n_items))
        matrix.data[:] = 1.0  # repeats count once
        matrix.sort_indices()
        return matrix

    tests = [(user, items[start:end]) for user, (start, end) in enumerate(zip(test_start, offsets[1:])) if end > start]
    return ones(is_before), ones(is_recent), tests


def accuracy(score_tile, matrix, tests):
    """NDCG@10 and HR@10 of one test event a user; `score_tile` gives the scores of some users."""
    gains, hits = [], []
    for first in range(0, len(tests), TILE_USERS):
        tile = tests[first:first + TILE_USERS]
        users = np.array([user for user, _ in tile])
        scores = np.array(score_tile(users), dtype=np.float64)
        scores[:, 0] = -np.inf
        for row, (user, targets) in enumerate(tile):
            target = targets[0]
            score = scores[row, target] if target > 0 else -np.inf
            scores[row, matrix.indices[matrix.indptr[user]:matrix.indptr[user + 1]]] = -np.inf
            scores[row, target] = score
            rank = 1 + (scores[row] > score).sum() + ((scores[row] == score).sum() - 1) / 2
            hit = target > 0 and rank <= 10
            gains.append(1 / np.log2(rank + 1) if hit else 0.0)
            hits.append(hit)
    return {"ndcg_at_10": float(np.mean(gains)), "hr_at_10": float(np.mean(hits)), "n_users": len(gains)}


def fold_in(items, matrix, users, alpha, regularization):
    """Scores of users whose factors are solved exactly for `items`: Hu, Koren and Volinsky, equation 4."""
    gram = items.T @ items + regularization * np.eye(items.shape[1])
    factors = np.zeros((len(users), items.shape[1]))
    for row, user in enumerate(users):
        chosen = items[matrix.indices[matrix.indptr[user]:matrix.indptr[user + 1]]]
        if len(chosen):
            factors[row] = np.linalg.solve(gram + (alpha - 1) * chosen.T @ chosen, alpha * chosen.sum(0))
    return factors @ items.T


def als(arguments, matrix, recent):
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=arguments.factors, iterations=arguments.iterations, alpha=arguments.alpha,
        regularization=arguments.regularization, use_cg=arguments.solver == "cg", num_threads=arguments.threads,
        random_state=arguments.seed)
    start = time.perf_counter()
    model.fit(matrix, show_progress=False)
    seconds = time.perf_counter() - start
    items = model.item_factors.astype(np.float64)
    return seconds, lambda users: fold_in(items, recent, users, arguments.alpha, arguments.regularization)


def bpr(arguments, matrix, _recent):
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=arguments.factors, iterations=arguments.iterations, learning_rate=arguments.learning_rate,
        regularization=arguments.regularization, num_threads=arguments.threads, random_state=arguments.seed)
    start = time.perf_counter()
    model.fit(matrix, show_progress=False)
    seconds = time.perf_counter() - start
    return seconds, lambda users: model.user_factors[users] @ model.item_factors.T


def ease(arguments, matrix, recent):
    """Steck, WWW 2019, with LAPACK's Cholesky inverse of a symmetric matrix in single precision."""
    from scipy.linalg import lapack

    start = time.perf_counter()
    known = matrix[:, 1:]
    gram = (known.T @ known).toarray(order="F").astype(np.float32, copy=False)
    gram[np.diag_indices_from(gram)] += arguments.regularization
    factor, info = lapack.spotrf(gram, lower=1, clean=0, overwrite_a=1)
    assert info == 0, "not positive definite"
    inverse, info = lapack.spotri(factor, lower=1, overwrite_c=1)
    assert info == 0, "singular"
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    seconds = time.perf_counter() - start

    def score_tile(users):
        scores = recent[users][:, 1:] @ weights
        return np.hstack([np.zeros((len(users), 1)), scores])

    return seconds, score_tile


def slim(arguments, matrix):
    """Ning and Karypis, ICDM 2011: each column by `ElasticNet(positive=True)`, whose objective is divided by the users."""
    import safetensors.numpy
    from sklearn.linear_model import ElasticNet

    tensors = safetensors.numpy.load_file(arguments.model_file)
    starts, items, values = (tensors[f"model.{name}"] for name in ("offsets", "items", "values"))
    n_users, n_items = matrix.shape
    ours = csr_matrix((values, items, starts.astype(np.int64)), shape=(n_items, n_items)).tocsc()
    known = matrix.tocsc().astype(np.float64)
    l1, l2 = arguments.l1, arguments.l2
    model = ElasticNet(alpha=(l1 + l2) / n_users, l1_ratio=l1 / (l1 + l2), fit_intercept=False, positive=True,
                       tol=1e-10, max_iter=10_000)
    chosen = np.flatnonzero(np.diff(known.indptr))
    chosen = chosen[::max(1, len(chosen) // arguments.max_items)][:arguments.max_items]
    largest, n_weights, seconds = 0.0, 0, 0.0
    for item in chosen:
        target = known[:, [item]].toarray().ravel()
        others = known.copy()
        others.data[others.indptr[item]:others.indptr[item + 1]] = 0.0
        start = time.perf_counter()
        model.fit(others, target)
        seconds += time.perf_counter() - start
        difference = ours[:, [item]].toarray().ravel() - model.coef_
        largest = max(largest, float(np.abs(difference).max()))
        n_weights += int((model.coef_ != 0).sum())
    return {"items": len(chosen), "weights": n_weights, "largest_difference": largest, "seconds": seconds}


def read_items(path):
    import safetensors.numpy

    return safetensors.numpy.load_file(path)["model.vectors"]


def top_k(arguments, matrix):
    from implicit.cpu.als import AlternatingLeastSquares

    items = read_items(arguments.model_file)
    model = AlternatingLeastSquares(factors=items.shape[1], num_threads=arguments.threads)
    rng = np.random.default_rng(1)
    model.item_factors = items
    # Whose values they are does not matter for the time.
    model.user_factors = rng.standard_normal((matrix.shape[0], items.shape[1])).astype(np.float32)
    users = np.arange(1, matrix.shape[0])
    start = time.perf_counter()
    listed, _ = model.recommend(users, matrix[users], N=arguments.k, filter_already_liked_items=True)
    return {"seconds": time.perf_counter() - start, "users": len(users), "listed": int(listed.size)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["als", "bpr", "ease", "slim", "top-k", "score"])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model-file", type=Path)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--alpha", type=float, default=11.0)
    parser.add_argument("--regularization", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--solver", choices=["cg", "cholesky"], default="cg")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--l1", type=float, default=1.0)
    parser.add_argument("--l2", type=float, default=10.0)
    parser.add_argument("--max-items", type=int, default=100, help="columns of `slim` to compare (default 100)")
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--max-users", type=int, default=10**9, help="users to score, evenly spaced (default all)")
    parser.add_argument("--max-history", type=int, default=50, help="newest events that a score may use (default 50)")
    arguments = parser.parse_args()
    matrix, recent, tests = read_dataset(arguments.dataset, arguments.max_history)
    tests = tests[::max(1, len(tests) // arguments.max_users)]
    if arguments.what == "slim":
        return print(json.dumps(slim(arguments, matrix)))
    if arguments.what == "top-k":
        return print(json.dumps(top_k(arguments, matrix)))
    if arguments.what == "score":
        items = read_items(arguments.model_file).astype(np.float64)
        score_tile = lambda users: fold_in(items, recent, users, arguments.alpha, arguments.regularization)
        return print(json.dumps(accuracy(score_tile, matrix, tests)))
    seconds, score_tile = {"als": als, "bpr": bpr, "ease": ease}[arguments.what](arguments, matrix, recent)
    result = {"seconds": seconds}
    if arguments.score:
        result.update(accuracy(score_tile, matrix, tests))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
