"""The rows that measure one training step, and what their two sides agree on.

Both sides start from the same weights and train on the same batches:

    forecart bench step ROW --write FOLDER                writes FOLDER/step.safetensors
    forecart bench step ROW --steps N --json              trains, prints one line of JSON
    python torch_steps.py ROW FOLDER --steps N --json     reads the file, does the same

`forecart bench step ROW` makes in memory what `--write` writes, from a fixed seed.

The file. Parameters have the names of torch_models.py; a bias `[n]` may be written `[1, n]`. Batch `b` of
`N_BATCHES` has, oldest token first and sequences end to end,

    batches.b.items        u32 [n_tokens]          the token read, below n_items
    batches.b.offsets      u64 [batch_size + 1]    sequence s is tokens offsets[s]..offsets[s + 1]
    batches.b.timestamps   u64 [n_tokens]          hstu: milliseconds, never falling within a sequence
    batches.b.targets      u32 [n_tokens]          the item to predict
    batches.b.negatives    u32 [n_tokens, n_negatives] (own), [n_negatives] (shared), or absent (full softmax)

or, for deepfm,

    batches.b.sparse       u32 [batch_size, n_fields]   rows of the one table of all fields
    batches.b.dense        f32 [batch_size, n_dense]
    batches.b.clicks       f32 [batch_size]             0 or 1

Every sequence is full (`length` tokens), so that neither side gains from what the other pads. Own negatives
are never the token's target; a shared negative may be, and is left out of that token's softmax. Nothing else
about the values is fixed: weights should be of the size that training starts with, and biases not all zero.

The run. `N_CHECKED` steps on batch 0, then N timed steps, step i on batch i mod N_BATCHES. In the first
ones every row of a table is touched in each step or in none, which is what makes lazy and dense Adam agree.
A timed step is all work from the arrays of the batch in memory (in any integer type and, for sequences,
any layout) to updated weights and the loss as a number: time buckets, sorting of indices and clearing of
gradients belong to it. Adam: learning rate 1e-3, betas .9 and .999, epsilon 1e-8, no decay.

The line of JSON, the last on standard output:

    {"row": ROW, "step_ms_median": of the N timed steps, "losses": [of the N_CHECKED steps],
     "start_memory_bytes": peak resident memory before anything of the row is read or made,
     "peak_memory_bytes": the same at the end}
"""

from dataclasses import dataclass

N_BATCHES = 4
N_CHECKED = 6
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class StepRow:
    """One step: a model, its sizes, its loss, and how it is run."""

    what: str
    model: str  # sasrec, hstu, deepfm
    loss: str = "bce"  # bce, own, shared, full: see torch_models.py
    length: int = 50
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 1
    dropout: float = 0.0
    n_negatives: int = 1
    n_items: int = 12_101
    batch_size: int = 128
    bf16: bool = False  # products of rounded values: autocast in PyTorch
    n_steps: int = 60  # timed steps of one run: some seconds
    tolerance: float = 2e-5  # relative, of the checked losses

    @property
    def is_checked(self):
        """Dropout masks differ from side to side."""
        return self.dropout == 0.0


# DeepFM: fields with rows of their own in one table of TABLE_ROWS.
N_FIELDS, N_DENSE, TABLE_ROWS, D_FIELD, HIDDEN = 26, 13, 1_000_000, 16, (400, 400, 400)

STEP_ROWS = {
    "sasrec-50": StepRow("SASRec, length 50, one negative", "sasrec"),
    "sasrec-200": StepRow("SASRec, length 200, one negative", "sasrec", length=200, n_steps=20),
    "sasrec-50-dropout": StepRow(
        "SASRec, length 50, 2 heads, dropout .2", "sasrec", n_heads=2, dropout=0.2),
    "hstu-50-own": StepRow(
        "HSTU, length 50, 128 own negatives a token", "hstu", "own", n_negatives=128, n_steps=20),
    "hstu-50-shared": StepRow(
        "HSTU, length 50, 128 shared negatives", "hstu", "shared", n_negatives=128),
    "full-softmax": StepRow(
        "SASRec, length 50, full softmax over 12,101 items", "sasrec", "full", n_steps=10),
    "full-softmax-bf16": StepRow(
        "SASRec, length 50, full softmax over 12,101 items, bf16", "sasrec", "full", bf16=True,
        n_steps=10, tolerance=1e-2),
    "deepfm": StepRow(
        "DeepFM, 26 sparse fields in 1 M x 16, 13 dense, batch 4096", "deepfm", batch_size=4096,
        n_steps=40),
    # PyTorch's own losses of six steps differ by 1.2e-4 here, eager and compiled, CPU and GPU.
    "sasrec-d256": StepRow(
        "SASRec, d 256, 4 layers, 4 heads, length 200, f32", "sasrec", length=200, d_model=256,
        n_layers=4, n_heads=4, n_steps=5, tolerance=2e-4),
    "sasrec-d256-bf16": StepRow(
        "SASRec, d 256, 4 layers, 4 heads, length 200, bf16", "sasrec", length=200, d_model=256,
        n_layers=4, n_heads=4, bf16=True, n_steps=8, tolerance=1e-2),
}
