"""The models of the step rows in PyTorch, written for speed on a CPU. Parameters have our names.

Notation: a sequence of n tokens has items s_i and times t_i, i = 0..n-1, oldest first; E is the item table
[n_items, d], P the position table [length, d]. LN is layer norm with weight and bias over d, variance without
correction, epsilon 1e-5. Linear layers are x W^T + b with W [out, in]. Sums over j run over j <= i (causal).

Frame of both sequence models (`items.weight` = E, `encoder.positions.weight` = P, `encoder.norm`):

    x_i = sqrt(d) E[s_i] + P[n - 1 - i]          position 0 is the newest token; dropout on x
    x   = block_l(x) for l = 0..n_layers - 1     `encoder.blocks.l`
    h_i = norm(x_i),   score of item a at token i: h_i . E[a]               tied output, not scaled

SASRec block (`attend.norm`, `attend.project` [3 d, d]: queries, keys, values, `attend.out` [d, d],
`feed_forward.norm`, `feed_forward.perceptron.up` and `.down` [d, d]); head m has the columns m d / n_heads .. of
queries, keys and values:

    q, k, v = project(norm(x))
    a_i = sum_j softmax_j(q_i . k_j / sqrt(d / n_heads)) v_j                dropout on the softmax
    z = x + out(a)                                                          heads side by side; dropout after out
    x' = z + down(relu(up(norm(z))))                                        dropout after relu and down

HSTU block (`attend.norm`, `attend.project` [4 d, d]: q, k, v, u, `attend.bias.position` [length], distance i - j
in place length - 1 - (i - j), `attend.bias.time` [48], `attend.out_norm`, `attend.out` [d, d]), one head:

    q, k, v, u = silu(project(norm(x)))
    a_i = 1 / n sum_j silu(q_i . k_j / sqrt(d) + position[i - j] + time[bucket(t_i - t_j)]) v_j
    x'  = x + out(u * out_norm(a))

bucket(gap) is the whole part of log2(gap + 1) of a gap in milliseconds, at most 47. After Zhai et al. (ICML 2024,
equations 1 to 3).

Losses of a sequence model, means over all T tokens with target y and negatives a:

    bce     softplus(-h . E[y]) + softplus(h . E[a])
    own     -log softmax over {y} and the token's negatives, at y
    shared  the same with one set of negatives for all tokens, less those equal to y
    full    -log softmax over all items, at y

DeepFM (`embedding.weight` = V [rows, 16], `linear.weight` = w [rows, 1], `dense_linear` [1, 13], `mlp.layers.0`
[400, 429], `.1` and `.2` [400, 400], `.3` [1, 400]), rows r_f of the 26 fields, dense values x; after Guo et al.
(IJCAI 2017):

    logit = dense_linear(x) + sum_f w[r_f] + 1/2 sum_d ((sum_f V[r_f, d])^2 - sum_f V[r_f, d]^2)
            + mlp(V[r_0] .. V[r_25], x)                                     relu between its layers
    loss  = mean of softplus(logit) - click logit
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from step_rows import D_FIELD, HIDDEN, N_DENSE, N_FIELDS, TABLE_ROWS

N_TIME_BUCKETS = 48


class SasrecAttend(nn.Module):
    def __init__(self, row):
        super().__init__()
        d = row.d_model
        self.norm, self.project, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.n_heads, self.dropout = row.n_heads, row.dropout

    def heads(self, x):
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def forward(self, x, _places):
        q, k, v = self.project(self.norm(x)).chunk(3, dim=-1)
        a = F.scaled_dot_product_attention(
            self.heads(q), self.heads(k), self.heads(v), is_causal=True, dropout_p=self.dropout)
        return x + F.dropout(self.out(a.transpose(1, 2).flatten(2)), self.dropout)


class Perceptron(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.up, self.down = nn.Linear(d, d), nn.Linear(d, d)


class FeedForward(nn.Module):
    def __init__(self, row):
        super().__init__()
        self.norm, self.perceptron = nn.LayerNorm(row.d_model), Perceptron(row.d_model)
        self.dropout = row.dropout

    def forward(self, x):
        inner = F.dropout(F.relu(self.perceptron.up(self.norm(x))), self.dropout)
        return x + F.dropout(self.perceptron.down(inner), self.dropout)


class SasrecBlock(nn.Module):
    def __init__(self, row):
        super().__init__()
        self.attend, self.feed_forward = SasrecAttend(row), FeedForward(row)

    def forward(self, x, places):
        return self.feed_forward(self.attend(x, places))


class RelativeBias(nn.Module):
    def __init__(self, row):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(row.length))
        self.time = nn.Parameter(torch.zeros(N_TIME_BUCKETS))

    def forward(self, scores, places):
        return scores + gather(self.position, places.distances) + gather(self.time, places.buckets)


class HstuAttend(nn.Module):
    def __init__(self, row):
        super().__init__()
        d = row.d_model
        self.norm, self.out_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.project, self.out = nn.Linear(d, 4 * d), nn.Linear(d, d)
        self.bias = RelativeBias(row)
        self.scale = d ** -0.5

    def forward(self, x, places):
        q, k, v, u = F.silu(self.project(self.norm(x))).chunk(4, dim=-1)
        scores = self.bias((q * self.scale) @ k.transpose(1, 2), places)
        a = (F.silu(scores) * places.mask) @ v
        return x + self.out(u * self.out_norm(a))


class HstuBlock(nn.Module):
    def __init__(self, row):
        super().__init__()
        self.attend = HstuAttend(row)

    def forward(self, x, places):
        return self.attend(x, places)


class Places:
    """What the blocks of HSTU share: where to look up their biases."""

    def __init__(self, timestamps):
        n, device = timestamps.shape[1], timestamps.device
        steps = torch.arange(n, device=device)
        self.distances = n - 1 - (steps[:, None] - steps[None, :]).clamp_(min=0)
        self.mask = torch.ones(n, n, device=device).tril_().div_(n)
        gaps = (timestamps[:, :, None] - timestamps[:, None, :]).clamp_(min=0)
        # Powers of two up to gap + 1. (What torch.compile makes of frexp does not build.)
        powers = 2 ** torch.arange(1, N_TIME_BUCKETS, device=device)
        self.buckets = torch.bucketize(gaps + 1, powers, right=True)


def gather(table, indices):
    """table[indices]; the backward of `index_select` is faster than those of indexing and embedding."""
    return table.index_select(0, indices.flatten()).view(indices.shape)


class Encoder(nn.Module):
    def __init__(self, row):
        super().__init__()
        block = {"sasrec": SasrecBlock, "hstu": HstuBlock}[row.model]
        self.positions = nn.Embedding(row.length, row.d_model)
        self.blocks = nn.ModuleList(block(row) for _ in range(row.n_layers))
        self.norm = nn.LayerNorm(row.d_model)
        self.scale, self.dropout = math.sqrt(row.d_model), row.dropout

    def forward(self, vectors, timestamps):
        x = F.dropout(vectors * self.scale + self.positions.weight.flip(0), self.dropout)
        places = None if timestamps is None else Places(timestamps)
        for block in self.blocks:
            x = block(x, places)
        return self.norm(x)


class SequenceModel(nn.Module):
    def __init__(self, row, sparse):
        super().__init__()
        sparse = sparse and row.loss != "full"  # which touches every item
        self.items = nn.Embedding(row.n_items, row.d_model, sparse=sparse)
        self.encoder = Encoder(row)
        self.loss = {"bce": self.bce, "own": self.own, "shared": self.shared, "full": self.full}[row.loss]

    def forward(self, batch):
        hidden = self.encoder(self.items(batch["items"]), batch.get("timestamps")).flatten(0, 1)
        return self.loss(hidden, batch["targets"], batch.get("negatives"))

    def bce(self, hidden, targets, negatives):
        positive = (hidden * self.items(targets)).sum(-1)
        negative = (hidden * self.items(negatives.squeeze(1))).sum(-1)
        return (F.softplus(-positive) + F.softplus(negative)).mean()

    def own(self, hidden, targets, negatives):
        candidates = self.items(torch.cat([targets[:, None], negatives], dim=1))
        # torch.compile fuses this product with the lookup, which it cannot with a batched matrix product.
        logits = (candidates * hidden[:, None]).sum(-1)
        return (logits.logsumexp(-1) - logits[:, 0]).mean()

    def shared(self, hidden, targets, negatives):
        positive = (hidden * self.items(targets)).sum(-1, keepdim=True)
        logits = hidden @ self.items(negatives).T
        logits = logits.masked_fill(targets[:, None] == negatives, -torch.inf)
        return (torch.cat([positive, logits], dim=1).logsumexp(-1) - positive.squeeze(1)).mean()

    def full(self, hidden, targets, _negatives):
        items = self.items.weight
        if not hasattr(F, "linear_cross_entropy"):  # before PyTorch 2.15, and it stores the logits
            return F.cross_entropy(hidden @ items.T, targets)
        return F.linear_cross_entropy(hidden, items, targets, options=nn.LinearCrossEntropyOptions())


class Layers(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)


class DeepFm(nn.Module):
    def __init__(self, _row, sparse):
        super().__init__()
        self.embedding = nn.Embedding(TABLE_ROWS, D_FIELD, sparse=sparse)
        self.linear = nn.Embedding(TABLE_ROWS, 1, sparse=sparse)
        self.dense_linear = nn.Linear(N_DENSE, 1)
        sizes = [N_FIELDS * D_FIELD + N_DENSE, *HIDDEN, 1]
        self.mlp = Layers(nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))

    def forward(self, batch):
        rows, dense = batch["sparse"], batch["dense"]
        v = self.embedding(rows)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(-1)
        x = torch.cat([v.flatten(1), dense], dim=1)
        layers = self.mlp.layers
        for layer in layers[:-1]:
            x = F.relu(layer(x))
        first_order = self.linear(rows).sum((1, 2)) + self.dense_linear(dense).squeeze(1)
        logits = first_order + pairs + layers[-1](x).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, batch["clicks"])


def build(row, sparse=False):
    """The model of a row; `sparse` asks for sparse gradients of the large tables."""
    return (DeepFm if row.model == "deepfm" else SequenceModel)(row, sparse)
