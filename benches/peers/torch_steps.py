"""Training steps of PyTorch: the peer of `forecart bench step`, on the CPU, or on a GPU to see what one would bring.

    python torch_steps.py ROW FOLDER --steps N --json [--compile] [--sparse] [--threads 2] [--device cuda]

The protocol is in step_rows.py, the models are in torch_models.py; `forecart bench step ROW --write FOLDER` writes
what both sides start from.
"""

import argparse
import contextlib
import json
import statistics
import time
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

import torch_models
from step_rows import BETAS, EPSILON, LEARNING_RATE, N_BATCHES, N_CHECKED, STEP_ROWS


def peak_memory_bytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def load(row, folder, model):
    """Fills the parameters of `model` and returns the batches as PyTorch wants them."""
    tensors = safetensors.numpy.load_file(folder / "step.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(tensors.pop(name)).view_as(parameter))
    batches = [{} for _ in range(N_BATCHES)]
    for key, values in tensors.items():
        prefix, index, name = key.split(".")
        assert prefix == "batches", f"{row.model} has no parameter {key}"
        if name == "offsets":
            assert (np.diff(values.astype(np.int64)) == row.length).all(), "not all sequences are full"
            continue
        if values.dtype != np.float32:
            values = values.astype(np.int64)
        if name in ("items", "timestamps"):
            values = values.reshape(row.batch_size, row.length)
        batches[int(index)][name] = torch.from_numpy(values)
    return batches


def optimizers(model):
    """Adam with fused kernels; rows of tables with sparse gradients go to SparseAdam."""
    settings = {"lr": LEARNING_RATE, "betas": BETAS, "eps": EPSILON}
    tables = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding) and m.sparse]
    rest = [p for p in model.parameters() if all(p is not table for table in tables)]
    adam = torch.optim.Adam(rest, fused=True, **settings)
    return [adam, torch.optim.SparseAdam(tables, **settings)] if tables else [adam]


def run(row_name, folder, n_steps, compiled, sparse, device):
    start_memory_bytes = peak_memory_bytes()
    row = STEP_ROWS[row_name]
    model = torch_models.build(row, sparse)
    batches = load(row, folder, model)
    model.to(device)
    adams = optimizers(model)
    forward = torch.compile(model) if compiled else model

    def step(batch):
        batch = {name: values.to(device) for name, values in batch.items()}
        precision = torch.autocast(device, torch.bfloat16) if row.bf16 else contextlib.nullcontext()
        with precision:
            loss = forward(batch)
        for adam in adams:
            adam.zero_grad(set_to_none=True)
        loss.backward()
        for adam in adams:
            adam.step()
        return loss.item()

    losses = [step(batches[0]) for _ in range(N_CHECKED)]
    times_ms = []
    for index in range(n_steps):
        start = time.perf_counter()
        step(batches[index % N_BATCHES])
        times_ms.append((time.perf_counter() - start) * 1e3)
    on_gpu = {"device_memory_bytes": torch.cuda.max_memory_allocated()} if device == "cuda" else {}
    return {
        "row": row_name,
        "step_ms_median": statistics.median(times_ms),
        "losses": losses,
        "start_memory_bytes": start_memory_bytes,
        "peak_memory_bytes": peak_memory_bytes(),
        **on_gpu,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=STEP_ROWS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10, help="timed steps (default 10)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    parser.add_argument("--json", action="store_true", help="one line of JSON; the only format")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--sparse", action="store_true", help="sparse gradients of large tables")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where (default cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(run(arguments.row, arguments.folder, arguments.steps, arguments.compile,
                         arguments.sparse, arguments.device)))


if __name__ == "__main__":
    main()
