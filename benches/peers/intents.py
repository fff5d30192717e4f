#!/usr/bin/env python3
"""What a customer asks, by scikit-learn and fastText: the peers of `tfidf-svm`, `fasttext` and `ensemble`.

    python intents.py TRAIN.csv TEST.csv [--text text --label category] [--chinese] [--seeds 3]

PYTHON has scikit-learn, jieba and fasttext-wheel. The files are CSV (or, by their ending, TSV) with a header.

Prints a line of JSON a model: accuracy and macro-F1 on the test file, seconds of the fit alone, bytes of what has to be kept to answer.
- `tfidf-svm`: TF-IDF of words 1-2 and of characters within words 2-5 (Chinese: words of jieba and characters 1-4), sublinear, LinearSVC with C = 0.7.
- `fasttext`: the library's defaults but for pairs of words, subwords of 3 to 5 letters (Chinese: 1 to 3), 25 passes and a learning rate of 0.5, as its tutorial
  ends with.
Texts are put in lower case, nothing is masked.
"""

import argparse
import csv
import json
import os
import pickle
import re
import statistics
import tempfile
import time

import fasttext
import jieba
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC


def read(path, text, label):
    delimiter = "\t" if path.endswith(".tsv") else ","
    quoting = csv.QUOTE_NONE if path.endswith(".tsv") else csv.QUOTE_MINIMAL
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter, quoting=quoting))
    return [row[text].lower() for row in rows], [row[label] for row in rows]


def words(text, chinese):
    return [word for word in jieba.lcut(text) if word.strip()] if chinese else re.findall(r"\w+|[^\w\s]", text)


def tfidf_svm(train, labels, test, chinese, seed):
    by_word = TfidfVectorizer(analyzer="word", tokenizer=lambda text: words(text, chinese), token_pattern=None,
                              ngram_range=(1, 2), sublinear_tf=True)
    by_character = TfidfVectorizer(analyzer="char" if chinese else "char_wb", sublinear_tf=True,
                                   ngram_range=(1, 4) if chinese else (2, 5))
    model = make_pipeline(make_union(by_word, by_character), LinearSVC(C=0.7, random_state=seed))
    start = time.perf_counter()
    model.fit(train, labels)
    seconds = time.perf_counter() - start
    n_bytes = sum(len(pickle.dumps(dict(part.vocabulary_))) + part.idf_.nbytes for part in (by_word, by_character))
    return model.predict(test), seconds, n_bytes + model[-1].coef_.nbytes


def fast_text(train, labels, test, chinese, seed):
    names = sorted(set(labels))
    lines = [" ".join(words(text, chinese)) for text in train]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "train")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"__label__{names.index(label)} {line}\n" for line, label in zip(lines, labels))
        start = time.perf_counter()
        model = fasttext.train_supervised(path, lr=0.5, epoch=25, wordNgrams=2, minn=1 if chinese else 3,
                                          maxn=3 if chinese else 5, thread=2, seed=seed, verbose=0)
        seconds = time.perf_counter() - start
        saved = os.path.join(folder, "model")
        model.save_model(saved)
        n_bytes = os.path.getsize(saved)
    # The binding's `predict` does not know NumPy 2; what it wraps does.
    found = [model.f.predict(" ".join(words(text, chinese)) + "\n", 1, 0.0, "strict") for text in test]
    return [names[int(answers[0][1].removeprefix("__label__"))] if answers else "" for answers in found], seconds, n_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--chinese", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    train, labels = read(arguments.train, arguments.text, arguments.label)
    test, truth = read(arguments.test, arguments.text, arguments.label)
    jieba.initialize()
    for model, seeds in ((tfidf_svm, 1), (fast_text, arguments.seeds)):
        runs = []
        for seed in range(1, seeds + 1):
            found, seconds, n_bytes = model(train, labels, test, arguments.chinese, seed)
            accuracy = sum(a == b for a, b in zip(found, truth)) / len(truth)
            runs.append((accuracy, f1_score(truth, found, average="macro"), seconds, n_bytes))
        accuracy, f1, seconds, n_bytes = (list(column) for column in zip(*runs))
        print(json.dumps({
            "model": model.__name__, "seeds": seeds, "accuracy": round(statistics.mean(accuracy), 4),
            "accuracy_std": round(statistics.pstdev(accuracy), 4), "macro_f1": round(statistics.mean(f1), 4),
            "seconds": round(statistics.median(seconds), 2), "bytes": n_bytes[0],
        }), flush=True)


if __name__ == "__main__":
    main()
