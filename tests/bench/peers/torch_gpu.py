"""PyTorch on a GPU: matrix products, copies and whole training steps. Needs torch, nothing else.

    python3 tests/bench/peers/torch_gpu.py matmul gpt2:b4:t1024 bert-large:b4:t512:f32-sdpa,bf16-sdpa

Prints a JSON object a line for each case and variant, on standard output. A variant that cannot run (no such operator
in this PyTorch, out of memory) is a line with `error`; the others go on.
"""

import argparse
import contextlib
import dataclasses
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

VARIANTS = ("f32-eager", "f32-sdpa", "bf16-sdpa", "f16-sdpa", "bf16-eager", "f16-eager")
DEFAULT_VARIANTS = VARIANTS[:4]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Letters as in the kernels: C hidden, H heads, V vocabulary, T positions; the feed-forward is 4 C wide."""

    layers: int
    C: int
    H: int
    V: int = 50257
    T: int = 1024


MODELS = {
    "gpt2-tiny": Sizes(2, 64, 2, V=512, T=64),  # not for figures: small enough to check this program on a CPU
    "gpt2-nano": Sizes(4, 128, 4, V=512, T=128),
    "gpt2-mini": Sizes(6, 384, 6, V=512, T=256),
    "gpt2": Sizes(12, 768, 12),
    "gpt2-medium": Sizes(24, 1024, 16),
    "gpt2-large": Sizes(36, 1280, 20),
    "gpt2-xl": Sizes(48, 1600, 25),
    "bert-tiny": Sizes(2, 64, 2, V=515, T=64),
    "bert-nano": Sizes(2, 256, 16, V=515, T=128),
    "bert-base": Sizes(12, 768, 12, V=30522, T=512),
    "bert-large": Sizes(24, 1024, 16, V=30522, T=512),
}

# m, n, k of C [m, n] = A [m, k] · B [k, n]: a square, and what a GPT-2 step multiplies.
PRODUCTS = [
    ((4096, 4096, 4096), "f32"),
    ((4096, 4096, 4096), "f16"),
    ((4096, 4096, 4096), "bf16"),
    ((512, 1024, 1024), "f32"),
    ((512, 4096, 1024), "f32"),
    ((4096, 768, 3072), "f32"),
    ((4096, 50257, 768), "f32"),
]


class Skipped(Exception):
    """A variant that this PyTorch or this device does not have."""


class Attention(nn.Module):
    """Query, key and value from one product, as GPT-2 has it. Without `sdpa`, a product, a softmax and a product."""

    def __init__(self, sizes, causal, sdpa):
        super().__init__()
        self.heads, self.causal, self.sdpa = sizes.H, causal, sdpa
        self.c_attn = nn.Linear(sizes.C, 3 * sizes.C)
        self.c_proj = nn.Linear(sizes.C, sizes.C)

    def forward(self, x, mask=None):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).split(C, dim=2))
        if self.sdpa:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(C // self.heads))
            if self.causal:
                scores = scores.masked_fill(mask[:T, :T], float("-inf"))
            mixed = F.softmax(scores, dim=-1).to(v.dtype) @ v
        return self.c_proj(mixed.transpose(1, 2).reshape(B, T, C))


class Gpt2Block(nn.Module):
    def __init__(self, sizes, sdpa):
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.C)
        self.attn = Attention(sizes, causal=True, sdpa=sdpa)
        self.ln_2 = nn.LayerNorm(sizes.C)
        self.c_fc = nn.Linear(sizes.C, 4 * sizes.C)
        self.c_proj = nn.Linear(4 * sizes.C, sizes.C)

    def forward(self, x, mask):
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    """GPT-2 with the head tied to the embedding; the loss is the mean over all positions."""

    def __init__(self, sizes, sdpa):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(sizes.V, sizes.C), nn.Embedding(sizes.T, sizes.C)
        self.h = nn.ModuleList(Gpt2Block(sizes, sdpa) for _ in range(sizes.layers))
        self.ln_f = nn.LayerNorm(sizes.C)
        mask = None if sdpa else torch.triu(torch.ones(sizes.T, sizes.T, dtype=torch.bool), 1)
        self.register_buffer("mask", mask, persistent=False)
        start_like_hugging_face(self)
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):  # Radford et al. 2019: onto the residual stream
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * sizes.layers))

    def loss(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x, self.mask)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


class BertBlock(nn.Module):
    """Norms after the branches: of the sum, not of a branch's input."""

    def __init__(self, sizes, sdpa):
        super().__init__()
        self.attn = Attention(sizes, causal=False, sdpa=sdpa)
        self.attn_norm = nn.LayerNorm(sizes.C, eps=1e-12)
        self.intermediate = nn.Linear(sizes.C, 4 * sizes.C)
        self.output = nn.Linear(4 * sizes.C, sizes.C)
        self.output_norm = nn.LayerNorm(sizes.C, eps=1e-12)

    def forward(self, x):
        x = self.attn_norm(x + self.attn(x))
        return self.output_norm(x + self.output(F.gelu(self.intermediate(x))))


class Bert(nn.Module):
    """BERT with a classifier of two labels on the first token."""

    def __init__(self, sizes, sdpa):
        super().__init__()
        self.words, self.positions = nn.Embedding(sizes.V, sizes.C), nn.Embedding(sizes.T, sizes.C)
        self.types = nn.Embedding(2, sizes.C)
        self.norm = nn.LayerNorm(sizes.C, eps=1e-12)
        self.layer = nn.ModuleList(BertBlock(sizes, sdpa) for _ in range(sizes.layers))
        self.pooler, self.classifier = nn.Linear(sizes.C, sizes.C), nn.Linear(sizes.C, 2)
        start_like_hugging_face(self)

    def loss(self, tokens, labels):
        placed = self.words(tokens) + self.positions.weight[: tokens.shape[1]]
        x = self.norm(placed + self.types(torch.zeros_like(tokens)))
        for block in self.layer:
            x = block(x)
        return F.cross_entropy(self.classifier(torch.tanh(self.pooler(x[:, 0]))), labels)


def start_like_hugging_face(model):
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


@dataclasses.dataclass(frozen=True)
class Case:
    """`MODEL:bB:tT[:VARIANT,...]`."""

    name: str
    model: str
    batch: int
    sequence: int
    variants: tuple


def parse_case(text):
    name, *rest = text.split(":")
    known = f"expected matmul or MODEL:bB:tT[:VARIANT,...] with MODEL of {', '.join(MODELS)}"
    if name not in MODELS or len(rest) not in (2, 3):
        raise argparse.ArgumentTypeError(f"unknown case {text}: {known}")
    if not (rest[0][:1] == "b" and rest[0][1:].isdigit() and rest[1][:1] == "t" and rest[1][1:].isdigit()):
        raise argparse.ArgumentTypeError(f"sizes of {text} are {rest[0]}:{rest[1]}: expected bB:tT, as in b4:t1024")
    batch, sequence = int(rest[0][1:]), int(rest[1][1:])
    if batch < 1 or not 1 <= sequence <= MODELS[name].T:
        raise argparse.ArgumentTypeError(f"{text} is impossible: {name} has {MODELS[name].T} positions")
    variants = tuple(rest[2].split(",")) if len(rest) == 3 else DEFAULT_VARIANTS
    for variant in variants:
        if variant not in VARIANTS:
            raise argparse.ArgumentTypeError(f"unknown variant {variant}: expected {', '.join(VARIANTS)}")
    return Case(f"{name}:b{batch}:t{sequence}", name, batch, sequence, variants)


def batches(case, count, device):
    """Tokens that mostly count up by a fixed stride, so that there is something to learn, and targets."""
    V, shape = MODELS[case.model].V, (count, case.batch, case.sequence + 1)
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(V, shape[:2] + (1,), generator=generator)
    tokens = (first + 7 * torch.arange(shape[2])) % V
    noise = torch.rand(shape, generator=generator) < 0.1
    tokens = torch.where(noise, torch.randint(V, shape, generator=generator), tokens).to(device)
    if case.model.startswith("bert"):
        return [(rows[:, :-1], rows[:, 0] % 2) for rows in tokens]
    return [(rows[:, :-1], rows[:, 1:]) for rows in tokens]


def loss_scaler(device):
    if hasattr(torch, "amp") and hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device)
    if device == "cpu":
        raise Skipped("this PyTorch has no loss scaling on the CPU")
    return torch.cuda.amp.GradScaler()


class Training:
    """One model and its optimizer; `step` is what is timed."""

    def __init__(self, case, dtype, sdpa, device):
        if sdpa and not hasattr(F, "scaled_dot_product_attention"):
            raise Skipped(f"torch {torch.__version__} has no scaled_dot_product_attention")
        self.device, self.dtype = device, dtype
        self.scaler = loss_scaler(device) if dtype == "f16" else None
        torch.manual_seed(1)
        family = Bert if case.model.startswith("bert") else Gpt2
        self.model = family(MODELS[case.model], sdpa).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.01)

    def step(self, tokens, targets):
        self.optimizer.zero_grad(set_to_none=True)
        f32 = self.dtype == "f32"
        with contextlib.nullcontext() if f32 else torch.autocast(self.device, dtype=DTYPES[self.dtype]):
            loss = self.model.loss(tokens, targets)
        if self.scaler is None:
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss.detach()


class Memory:
    """Device memory of this process; all null on a CPU, where the allocator does not count."""

    def __init__(self, device):
        self.counts = device == "cuda"
        self.baseline = self.used()  # opens the device: what is in use then is no model's

    def empty(self):
        gc.collect()
        if self.counts:
            # Workspaces of cuBLAS are allocated by the first product and kept: each variant pays for its own.
            getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
            torch.cuda.empty_cache()

    def reset(self):
        if self.counts:
            torch.cuda.reset_peak_memory_stats()

    def peak(self):
        return torch.cuda.max_memory_allocated() if self.counts else None

    def reserved(self):
        return torch.cuda.max_memory_reserved() if self.counts else None

    def driver(self):
        """What nvidia-smi says of this process; null where it does not list it, as in most containers."""
        if not self.counts:
            return None
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        try:
            rows = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired):
            return None
        cells = [[cell.strip() for cell in row.split(",")] for row in rows]
        own = [int(row[-1]) for row in cells if row[0] == str(os.getpid()) and row[-1].isdigit()]
        return sum(own) * 2**20 if own else None

    def used(self):
        """Memory in use on the whole device, by all processes."""
        if not self.counts:
            return None
        free, total = torch.cuda.mem_get_info()
        return total - free

    def observed(self):
        """What the device has in use beyond the baseline: the allocator's reserve, kernels, workspaces of libraries."""
        return self.used() - self.baseline if self.counts else None


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def train(case, variant, memory, options):
    """One line: times of the steps after the warm-up, losses of all, and the peak from before the first step on."""
    device, (dtype, attention) = options.device, variant.split("-")
    memory.empty()
    training = Training(case, dtype, attention == "sdpa", device)
    data = batches(case, options.warmup + options.steps, device)
    synchronize(device)
    memory.reset()
    ms, losses = [], []
    for index, (tokens, targets) in enumerate(data):
        synchronize(device)
        started = time.perf_counter()
        loss = training.step(tokens, targets)
        synchronize(device)
        if index >= options.warmup:
            ms.append(1000 * (time.perf_counter() - started))
        losses.append(loss.item())
    median = statistics.median(ms)
    return {
        "case": case.name,
        "dtype": dtype,
        "attention": attention,
        "ms": [round(value, 4) for value in ms],
        "medianMs": median,
        "peakBytes": memory.peak(),
        "reservedBytes": memory.reserved(),
        "driverBytes": memory.driver(),
        "observedBytes": memory.observed(),
        "tokensPerSecond": 1000 * case.batch * case.sequence / median,
        "loss": losses,
        "lossScale": training.scaler.get_scale() if training.scaler else None,
        "parameters": sum(weight.numel() for weight in training.model.parameters()),
        "warmup": options.warmup,
    }


def time_repeated(run, options):
    """Milliseconds of one run, many times: short ones are timed several at once, so that a sample lasts about 1 ms."""
    cuda = options.device == "cuda"

    def sample(repeats):
        if not cuda:
            started = time.perf_counter()
            for _ in range(repeats):
                run()
            return 1000 * (time.perf_counter() - started) / repeats
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / repeats

    for _ in range(options.warmup):
        run()
    repeats = max(1, min(200, math.ceil(1 / max(sample(5 if cuda else 1), 1e-3))))
    return [sample(repeats) for _ in range(max(20, options.steps))]


def products(options):
    """Lines of products, then of a copy. Operands are the same in all runs of a product: small ones stay in caches."""
    generator = torch.Generator(options.device).manual_seed(1)
    shrink = 1 if options.device == "cuda" else 16

    def random(rows, columns, dtype):
        return torch.randn(rows, columns, generator=generator, device=options.device).to(DTYPES[dtype])

    for shape, dtype in PRODUCTS:
        m, n, k = (size // shrink for size in shape)
        row = {"case": f"matmul:{m}x{n}x{k}", "dtype": dtype, "attention": None}
        try:
            a, b = random(m, k, dtype), random(k, n, dtype)
            out = torch.empty(m, n, dtype=DTYPES[dtype], device=options.device)
            ms = time_repeated(lambda: torch.mm(a, b, out=out), options)
        except RuntimeError as error:
            yield {**row, "error": str(error).splitlines()[0]}
            continue
        median = statistics.median(ms)
        yield {**row, "ms": ms, "medianMs": median, "teraflops": 2 * m * n * k / median / 1e9}
    count = 2**28 // shrink**2  # f32 values
    source = torch.randn(count, generator=generator, device=options.device)
    target = torch.empty_like(source)
    ms = time_repeated(lambda: target.copy_(source), options)
    median = statistics.median(ms)
    moved = 2 * 4 * count  # read and written
    row = {"case": f"copy:{4 * count}", "dtype": "f32", "attention": None, "ms": ms, "medianMs": median}
    yield {**row, "gigabytesPerSecond": moved / median / 1e6}


def lines(cases, options):
    memory = Memory(options.device)
    for case in cases:
        if case == "matmul":
            yield from products(options)
            continue
        for variant in case.variants:
            try:
                yield train(case, variant, memory, options)
            except (Skipped, RuntimeError) as error:  # OutOfMemoryError is a RuntimeError
                dtype, attention = variant.split("-")
                reason = str(error).splitlines()[0]
                yield {"case": case.name, "dtype": dtype, "attention": attention, "error": reason}


RATES = {"teraflops": ("TFLOP/s", 1), "gigabytesPerSecond": ("GB/s", 1), "tokensPerSecond": ("tokens/s", 1),
         "peakBytes": ("MB peak", 1e6)}


def summary(line):
    name = "  ".join(str(line[key]) for key in ("case", "dtype", "attention") if line[key])
    if "error" in line:
        return f"{name}: did not run: {line['error']}"
    rates = [f"{line[key] / unit:.1f} {what}" for key, (what, unit) in RATES.items() if line.get(key)]
    return ", ".join([f"{name}: {line['medianMs']:.3f} ms", *rates])


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "cases",
        metavar="CASE",
        nargs="+",
        type=lambda text: text if text == "matmul" else parse_case(text),
        help=f"matmul, or MODEL:bB:tT[:VARIANT,...]; MODEL of {', '.join(MODELS)}; "
        f"VARIANT of {', '.join(VARIANTS)}, the first four where none is named",
    )
    parser.add_argument("--steps", type=int, default=15, help="timed steps (default 15)")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them (default 5)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda",
                        help="cpu is for checking this program (default cuda)")
    parser.add_argument("--json", action="store_true", help="the lines alone: no summaries on standard error")
    options = parser.parse_args()
    if options.steps < 1 or options.warmup < 1:
        parser.error("--steps and --warmup are counts: expected 1 or more")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no CUDA device: expected one, or --device cpu")
    return options


def main():
    options = parse_options()
    torch.set_float32_matmul_precision("highest")  # no TF32
    if options.device == "cuda":
        # f16 products sum in f32 to the end, also where k is split among workgroups.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    where = {
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else None,
        "f32Products": torch.get_float32_matmul_precision(),
    }
    for line in lines(options.cases, options):
        print(json.dumps({**line, **where}), flush=True)
        if not options.json:
            print(summary(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
