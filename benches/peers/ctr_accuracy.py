#!/usr/bin/env python3
"""Probabilities of a click beside scikit-learn and deepctr-torch, on the same rows, columns and parts.

    FORECART_PROGRAM=target/release/forecart PYTHON benches/peers/ctr_accuracy.py \\
        --ml100k ML100K_FOLDER --ipinyou IPINYOU_FOLDER --seeds 3

PYTHON has torch, pandas, scikit-learn, deepctr-torch 0.3.0, and requests and h5py, which that asks for.

ml100k: a rating of 4 or 5 is a click; user, item, age, gender, occupation, zip code and release year, all as categories; parts by time,
70 / 10 / 20. iPinYou: the one-hot columns as they are published, its own test part, the last tenth of the other for validation.

Each peer is trained with its defaults (deepctr-torch: Adam with 0.001, batches of 256, embeddings of 8 columns as ours) until validation log loss has not
improved for 3 epochs, and takes the epoch that was best, as ours do. The peer of `lr` is scikit-learn's LogisticRegression with the best C of five
on validation; that of `fm` is deepctr-torch's DeepFM without hidden layers, that of `dcn-v2` its DCN with a matrix of weights a layer. Ours are the defaults
with their calibration on validation; peers are not calibrated. Prints a line a model: mean and standard deviation over the seeds on the test part, ours with
the bootstrap interval of the first seed, and the best validation log loss before calibration.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

warnings.filterwarnings("ignore")
MODELS = ["lr", "fm", "deepfm", "dcn-v2"]
N_DIMS = 8
PATIENCE = 3
MAX_EPOCHS = 50


def forecart(*arguments):
    program = os.environ.get("FORECART_PROGRAM", "target/release/forecart")
    command = [program, *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ml100k(source, work):
    """The ratings with what is known of users and items, as CSV, prepared."""
    def read(ending):
        table = pd.read_csv(source / f"ml-100k.{ending}", sep="\t", dtype=str)
        return table.rename(columns=lambda name: name.split(":")[0])

    rows = read("inter").merge(read("user"), on="user_id").merge(read("item"), on="item_id", how="left")
    rows["click"] = (rows.rating.astype(float) >= 4).astype(int)
    rows["time"] = rows.timestamp.astype(int) * 1000
    columns = ["user_id", "item_id", "age", "gender", "occupation", "zip_code", "release_year"]
    rows = rows.sort_values(["time", "user_id", "item_id"])[["click", *columns, "time"]]
    rows.to_csv(work / "ml100k.csv", index=False)
    kinds = "".join(f'{name} = "category"\n' for name in columns)
    (work / "ml100k.toml").write_text(f'[samples]\ntime = "time"\nsplit = "time"\n[samples.columns]\n{kinds}')
    forecart("prepare", "-c", work / "ml100k.toml", "--samples", work / "ml100k.csv", "--out", work / "ml100k")
    return work / "ml100k"


def ipinyou(source, work):
    """The published lines, with the names of their features."""
    names = json.dumps(str(source / "featindex.fm.txt"))
    (work / "ipinyou.toml").write_text(f"[samples]\nfeature_names = {names}\n")
    forecart("prepare", "-c", work / "ipinyou.toml", "--samples", source / "train.fm.txt", "--test",
             source / "test.fm.txt", "--out", work / "ipinyou")
    return work / "ipinyou"


def read(folder):
    """Labels, the part of each row, and its categories as numbers: 0 for what the training part does not have."""
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = np.fromfile(folder / "parts.u8", dtype=np.uint8)
    labels, fields = None, {}
    for at, column in enumerate(manifest["columns"]):
        if column["role"] == "label":
            labels = np.fromfile(folder / f"c{at}.f64").astype(int)
        elif column["role"] == "feature":
            codes = np.fromfile(folder / f"c{at}.u32", dtype=np.uint32).astype(np.int64)
            known = np.zeros(codes.max() + 1, dtype=np.int64)
            seen = np.unique(codes[parts == 0])
            known[seen] = np.arange(1, len(seen) + 1)
            fields[column["name"]] = (known[codes], len(seen) + 1)
    return labels, parts, fields


def logistic(labels, parts, fields):
    """Test probabilities of the best of five, and its validation log loss."""
    starts = np.cumsum([0, *(size for _, size in fields.values())])
    columns = np.stack([rows for rows, _ in fields.values()], axis=1) + starts[:-1]
    n, n_fields = columns.shape
    x = csr_matrix((np.ones(columns.size), columns.ravel(), np.arange(0, columns.size + 1, n_fields)),
                   shape=(n, starts[-1]))
    best = None
    for c in (0.01, 0.03, 0.1, 0.3, 1.0):
        model = LogisticRegression(C=c, max_iter=1000).fit(x[parts == 0], labels[parts == 0])
        loss = log_loss(labels[parts == 1], model.predict_proba(x[parts == 1])[:, 1])
        if best is None or loss < best[1]:
            best = (model.predict_proba(x[parts == 2])[:, 1], loss)
    return best


def network(name, labels, parts, fields, seed):
    """Test probabilities at the epoch that validation chose, and its log loss."""
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import DCN, DeepFM

    torch.manual_seed(seed)
    np.random.seed(seed)
    columns = [SparseFeat(field, vocabulary_size=size, embedding_dim=N_DIMS)
               for field, (_, size) in fields.items()]
    if name == "dcn-v2":
        model = DCN(columns, columns, cross_parameterization="matrix", seed=seed)
    else:
        hidden = () if name == "fm" else (256, 128)
        model = DeepFM(columns, columns, dnn_hidden_units=hidden, seed=seed)
    model.compile(torch.optim.Adam(model.parameters(), 1e-3), "binary_crossentropy", metrics=[])
    inputs = [{field: rows[parts == part] for field, (rows, _) in fields.items()} for part in range(3)]
    best = None
    for epoch in range(MAX_EPOCHS):
        model.fit(inputs[0], labels[parts == 0], batch_size=256, epochs=1, verbose=0)
        predicted = [model.predict(inputs[part], 4096)[:, 0].astype(float) for part in (1, 2)]
        loss = log_loss(labels[parts == 1], predicted[0])
        if best is None or loss < best[1]:
            best = (predicted[1], loss, epoch)
        elif epoch - best[2] >= PATIENCE:
            break
    return best[:2]


def ours(folder, name, seed):
    """The test metrics of our model, and its best validation log loss."""
    report = forecart("evaluate", "--data", folder, "--models", name, "--seed", seed, "--allow-leaks")
    row = next(row for row in report["rows"] if row["model"] == name)
    found = {one["metric"]: one for one in row["measured"]["measurements"]}
    with tempfile.TemporaryDirectory() as work:
        trained = forecart("train", "--data", folder, "--model", name, "--seed", seed, "--out", f"{work}/m")
    curve = [epoch["validation_log_loss"] for epoch in trained["training"]["curve"]]
    return found["auc"], found["logloss"], min(curve), row["calibration"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ml100k", type=Path)
    parser.add_argument("--ipinyou", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as work:
        made = [make(source, Path(work)) for make, source in ((ml100k, arguments.ml100k), (ipinyou, arguments.ipinyou))
                if source]
        for folder in made:
            labels, parts, fields = read(folder)
            truth = labels[parts == 2]
            for name in MODELS:
                seeds = range(1, arguments.seeds + 1)
                with contextlib.redirect_stdout(io.StringIO()):  # what deepctr-torch prints
                    theirs = [logistic(labels, parts, fields)] if name == "lr" else [
                        network(name, labels, parts, fields, seed) for seed in seeds]
                peer = np.array([[roc_auc_score(truth, p), log_loss(truth, p), loss] for p, loss in theirs])
                found = [ours(folder, name, seed) for seed in seeds]
                own = np.array([[auc["value"], loss["value"], validation] for auc, loss, validation, _ in found])
                print(json.dumps({
                    "data": folder.name, "model": name, "metrics": ["test auc", "test log loss", "validation log loss"],
                    "ours": own.mean(0).round(4).tolist(), "ours sd": own.std(0).round(4).tolist(),
                    "auc interval": found[0][0]["interval"], "log loss interval": found[0][1]["interval"],
                    "calibration": [calibration for *_, calibration in found],
                    "peer": peer.mean(0).round(4).tolist(), "peer sd": peer.std(0).round(4).tolist(),
                }), flush=True)


if __name__ == "__main__":
    main()
