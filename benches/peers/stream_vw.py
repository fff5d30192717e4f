"""Online logistic regression with Vowpal Wabbit: the peer of the model `ftrl`.

    python stream_vw.py FILE [--bits 22] [--arguments "--ftrl"]

The library reads the file itself, without a cache, in its own driver; Python only waits. Prints one line of JSON: seconds from
before the first byte to after the last row, rows, average progressive loss in nats, and peak memory of the process.
"""

import argparse
import json
import resource
import time

import vowpalwabbit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--bits", type=int, default=22)
    parser.add_argument("--arguments", default="", help="further arguments of Vowpal Wabbit")
    arguments = parser.parse_args()
    text = f"-d {arguments.file} -b {arguments.bits} --loss_function logistic --quiet --no_stdin {arguments.arguments}"
    start = time.perf_counter()
    workspace = vowpalwabbit.Workspace(text)
    seconds = time.perf_counter() - start
    n_rows = workspace.get_weighted_examples()
    print(json.dumps({
        "seconds": seconds,
        "rows": n_rows,
        "log_loss": workspace.get_sum_loss() / n_rows,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "version": vowpalwabbit.__version__,
    }))


if __name__ == "__main__":
    main()
