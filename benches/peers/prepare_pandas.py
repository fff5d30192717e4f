"""CSV to a packed dataset with pandas: the steps of `forecart import` + `forecart prepare`.

    python prepare_pandas.py EVENTS.csv OUT_FOLDER

Steps, as in prepare.toml: read, check every row, write the event log as Parquet by month; drop exact
duplicates, 5-core by users and items to a fixed point, vocabularies by count, sort by user, time and
row, sessions numbered within users, leave-one-out split, packed columns and vocabularies to disk.
Written as one process that keeps its frame between the two halves, which favors this side.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def import_log(path, out):
    frame = pd.read_csv(path)
    frame["row_number"] = np.arange(len(frame))
    good = frame["user_id"].notna() & frame["item_id"].notna() & frame["event"].notna()
    good &= frame["timestamp"].notna() & (frame["timestamp"] > 0)
    for name in ("price", "quantity"):
        good &= np.isfinite(frame[name].fillna(0.0))
    rejected = int((~good).sum())
    frame = frame[good]
    frame["month"] = pd.to_datetime(frame["timestamp"], unit="ms").dt.strftime("%Y-%m")
    frame.to_parquet(out / "events", partition_cols=["month"], index=False)
    (out / "log.json").write_text(json.dumps({"rejected": rejected, "n_rows": len(frame)}))
    return frame.drop(columns="month")


def k_core(frame, k):
    while True:
        n = len(frame)
        frame = frame[frame.groupby("user_id")["item_id"].transform("size") >= k]
        frame = frame[frame.groupby("item_id")["user_id"].transform("size") >= k]
        if len(frame) == n:
            return frame


def prepare(frame, out):
    columns = [name for name in frame.columns if name != "row_number"]
    frame = frame.drop_duplicates(subset=columns)
    frame = k_core(frame, 5)
    frame = frame.sort_values(["user_id", "timestamp", "row_number"])
    users, user_names = pd.factorize(frame["user_id"])
    new_session = (frame["session_id"] != frame["session_id"].shift()).to_numpy(copy=True)
    new_session[1:] &= users[1:] == users[:-1]
    sessions = pd.Series(new_session).groupby(users).cumsum().to_numpy()
    new_user = np.concatenate([[True], users[1:] != users[:-1]])
    sessions = sessions - sessions[new_user][users]
    sizes = np.bincount(users)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    held_out = np.where(sizes >= 3, 1, 0)
    test_start = sizes - held_out
    validation_start = test_start - held_out
    position = np.arange(len(frame)) - offsets[users]
    training = position < validation_start[users]
    items = frame["item_id"]
    counts = items[training].value_counts()
    counts = counts.reindex(items.unique(), fill_value=0).rename_axis("item").reset_index(name="n")
    counts = counts.sort_values(["n", "item"], ascending=[False, True])
    index = pd.Series(np.arange(1, len(counts) + 1), index=counts["item"])
    item_indices = items.map(index).to_numpy()
    events, event_names = pd.factorize(frame["event"])
    np.save(out / "offsets.npy", offsets)
    np.save(out / "items.npy", item_indices.astype(np.uint32))
    np.save(out / "timestamps.npy", frame["timestamp"].to_numpy())
    np.save(out / "events.npy", events.astype(np.uint8))
    np.save(out / "sessions.npy", sessions.astype(np.uint32))
    np.save(out / "validation_start.npy", validation_start.astype(np.uint32))
    np.save(out / "test_start.npy", test_start.astype(np.uint32))
    counts.to_parquet(out / "items.parquet", index=False)
    pd.DataFrame({"user": user_names}).to_parquet(out / "users.parquet", index=False)
    pd.DataFrame({"event": event_names}).to_parquet(out / "event_names.parquet", index=False)
    return {"n_users": len(user_names), "n_items": len(counts), "n_events": len(frame),
            "n_train": int(training.sum()), "n_test": int(held_out.sum())}


def main():
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True)
    frame = import_log(source, out)
    counts = prepare(frame, out)
    (out / "counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
