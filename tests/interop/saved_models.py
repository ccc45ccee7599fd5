"""Takes what the command line saves back to Python: transformers and peft load it, and compute the same.

    python tests/interop/saved_models.py [CASE...]

in a virtual environment with tests/fixtures/requirements.txt, from anywhere. Not part of the tests, which need no Python. For
every family a model is trained for three steps by `deno task train`, whole, with LoRA, and with LoRA merged in; and the adapters of
peft_settings go on for three steps by their own alphas, patterns and layers. Each result is
loaded by `from_pretrained` (and `PeftModel.from_pretrained`), which must find every weight and no other, and must give the
logits of the engine and, to 1e-3, the loss of `deno task eval`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from common import *  # noqa: E402,F403
from peft import PeftModel  # noqa: E402
from transformers import (AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification,  # noqa: E402
                          AutoTokenizer)

PROJECT = Path(__file__).parents[2]
FIXTURES = PROJECT / "tests" / "fixtures"
T = 13


def deno(*words):
    result = subprocess.run(["deno", "run", "-A", "--no-check", *map(str, words)], cwd=PROJECT, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}\n{result.stderr[-3000:]}")
    return result.stdout


def loss_of_eval(model, data, adapter):
    flags = ["--adapter", adapter] if adapter else []
    return json.loads(deno("suites/cli/main.ts", "eval", "--model", model, "--data", data, "--seq-len", T,
                           "--batch-size", 2, "--json", *flags))["loss"]


def load(kind, folder, adapter):
    # Weights that are missing would be made up, so none may be; AutoModel takes the class from `architectures`.
    model, found = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"] and not found["mismatched_keys"], found
    assert type(model).__name__ == json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    return (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()


@torch.no_grad()
def compare(name, kind, folder, batch, adapter=None, loss=None):
    model = load(kind, folder, adapter)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(batch, file)
        file.flush()
        ours = json.loads(deno("tests/interop/logits.ts", folder, file.name, *([adapter] if adapter else [])))["logits"]
    inputs = {"input_ids": torch.tensor(batch["tokens"])}
    if "padding" in batch:
        inputs |= {"attention_mask": 1 - torch.tensor(batch["padding"])}
        if any(map(any, batch["tokenTypes"])):
            inputs |= {"token_type_ids": torch.tensor(batch["tokenTypes"])}
    theirs = model(**inputs).logits
    ours = torch.tensor(ours).view(theirs.shape)
    difference = (ours - theirs).abs()
    if "padding" in batch and theirs.ndim == 3:
        difference = difference * inputs["attention_mask"][..., None]
    error = difference.max().item()
    assert error < 1e-4, f"{name}: logits differ by {error}"
    text = f"{name}: logits within {error:.1e} of {theirs.abs().max().item():.2f}"
    if loss is not None:
        expected = loss(model)
        found = loss_of_eval(folder, loss.data, adapter)
        assert abs(found - expected) < 1e-3, f"{name}: loss {found} here, {expected} there"
        text += f", loss {found:.6f} here, {expected:.6f} there"
    print(text, flush=True)


class NextTokenLoss:
    """Mean loss over the windows of a token file, as `deno task eval` takes it."""

    def __init__(self, data):
        self.data = data
        self.tokens = torch.from_numpy(np.fromfile(data, "<u2").astype(np.int64))

    def __call__(self, model):
        count = (len(self.tokens) - 1) // T
        rows = self.tokens[: count * T].view(count, T)
        targets = self.tokens[1 : count * T + 1].view(count, T)
        return F.cross_entropy(model(input_ids=rows).logits.flatten(0, 1), targets.flatten()).item()


def train(model, data, out, *flags):
    deno("suites/cli/main.ts", "train", "--model", model, "--data", data, "--seq-len", T, "--batch-size", 2, "--steps", 3,
         "--lr", "0.01", "--save", out, "--quiet", "--fresh", *flags)


def causal(name, folder, *, saved_alone=False):
    """`saved_alone`: what is saved is a part of the model that was read, whose adapters are for that part."""
    base, data = FIXTURES / name / "model", FIXTURES / name / "tokens.u16"
    if not data.exists():
        data = FIXTURES / ("families/gemma3_text" if saved_alone else "llama_tiny") / "tokens.u16"
    loss = NextTokenLoss(data)
    batch = {"tokens": loss.tokens[: 2 * T].view(2, T).tolist()}
    train(base, data, folder / "whole")
    compare(f"{name}, whole", AutoModelForCausalLM, folder / "whole", batch, loss=loss)
    train(base, data, folder / "merged", "--methods", "lora", "--merge")
    compare(f"{name}, merged", AutoModelForCausalLM, folder / "merged", batch, loss=loss)
    base = folder / "whole" if saved_alone else base
    for targets in ("query-value", "all-linear"):
        adapter = folder / targets
        train(base, data, adapter, "--methods", "lora", "--lora-targets", targets)
        compare(f"{name}, adapter of {targets}", AutoModelForCausalLM, base, batch, adapter=str(adapter), loss=loss)


def adapter_settings(folder):
    """Adapters of peft that training goes on with: what is saved is for peft what it is here, settings included."""
    settings = FIXTURES / "peft_settings"
    for name, expected in json.loads((settings / "expected.json").read_text())["adapters"].items():
        base = FIXTURES / f"peft_{expected['base']}" / "base"
        loss = NextTokenLoss(base.parent / "held_out.u16")
        train(base, base.parent / "tokens.u16", folder / name, "--methods", "lora", "--adapter", settings / name)
        batch = {"tokens": loss.tokens[: 2 * T].view(2, T).tolist()}
        compare(name, AutoModelForCausalLM, base, batch, adapter=str(folder / name), loss=loss)


def bert_like(family, task, folder):
    """A model of the fixtures, whose data are ids."""
    base = FIXTURES / "families" / family / task / "model"
    kind = AutoModelForMaskedLM if task == "masked_lm" else AutoModelForSequenceClassification
    generator = torch.Generator().manual_seed(1)
    padding = torch.zeros(2, T, dtype=torch.long)
    padding[1, 9:] = 1
    tokens = torch.randint(4, 131, (2, T), generator=generator)
    tokens[padding == 1] = json.loads((base / "config.json").read_text())["pad_token_id"]
    batch = {"tokens": tokens.tolist(), "padding": padding.tolist(), "tokenTypes": torch.zeros(2, T, dtype=torch.long).tolist()}
    name = f"{family} for {task}"
    train(base, "random", folder / "whole")
    compare(f"{name}, whole", kind, folder / "whole", batch)
    train(base, "random", folder / "merged", "--methods", "lora", "--merge")
    compare(f"{name}, merged", kind, folder / "merged", batch)
    train(base, "random", folder / "adapter", "--methods", "lora", "--lora-targets", "all-linear")
    compare(f"{name}, adapter", kind, base, batch, adapter=str(folder / "adapter"))


def bert(task, folder):
    preset, kind = {"classification": ("bert-nano", AutoModelForSequenceClassification),
                    "masked_lm": ("bert-nano-mlm", AutoModelForMaskedLM)}[task]
    if task == "classification":
        data = folder / "data.jsonl"
        rows = [{"text": f"{word} {i}", "label": label} for i in range(20) for label, word in enumerate(("yes", "no", "maybe"))]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        data = folder / "data.txt"
        data.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    train(preset, data, folder / "whole", "--tokenizer", "bytes")
    vocabulary = json.loads((folder / "whole" / "config.json").read_text())["vocab_size"]
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, vocabulary, (2, T), generator=generator)
    padding = torch.zeros(2, T, dtype=torch.long)
    padding[1, 9:] = 1
    batch = {"tokens": tokens.tolist(), "padding": padding.tolist(),
             "tokenTypes": torch.randint(0, 2, (2, T), generator=generator).tolist()}
    compare(f"bert for {task}, whole", kind, folder / "whole", batch)
    train(folder / "whole", data, folder / "merged", "--methods", "lora", "--merge")
    compare(f"bert for {task}, merged", kind, folder / "merged", batch)
    train(folder / "whole", data, folder / "adapter", "--methods", "lora")
    compare(f"bert for {task}, adapter", kind, folder / "whole", batch, adapter=str(folder / "adapter"))


def tokenizer(folder):
    """A byte-pair tokenizer that training made encodes as transformers does with its files."""
    data = folder / "data.txt"
    data.write_text("The white whale, the white whale! He swam; and we 12 rowed after him.\n" * 40)
    train("gpt2-nano", data, folder / "model", "--tokenizer", "bpe300")
    theirs = AutoTokenizer.from_pretrained(folder / "model")
    text = "The whale — swam, 12 naïve rowers."
    assert theirs.decode(theirs(text)["input_ids"]) == text
    ids = theirs(data.read_text()[: 8 * 71])["input_ids"]
    batch = {"tokens": [ids[:T], ids[T : 2 * T]]}
    compare("gpt2-nano with its own tokenizer", AutoModelForCausalLM, folder / "model", batch)


CASES = {
    "gpt2": lambda folder: causal("gpt2_tiny", folder),
    "llama": lambda folder: causal("llama_tiny", folder),
    "llama-tied": lambda folder: causal("llama3_rope", folder),
    "qwen2": lambda folder: causal("qwen2_tiny", folder),
    **{name: lambda folder, name=name: causal(f"families/{name}", folder) for name in (
        "qwen3", "qwen3_untied", "mistral_window", "smollm3", "olmo2", "phi3", "phi3_untied", "gemma2", "gemma3_text",
        "gpt_neox", "gpt_neox_serial", "opt")},
    "gemma3_whole": lambda folder: causal("families/gemma3_whole", folder, saved_alone=True),
    **{f"{family}-{task}": lambda folder, family=family, task=task: bert_like(family, task, folder)
       for family in ("roberta", "distilbert") for task in ("classification", "masked_lm")},
    "adapter-settings": adapter_settings,
    "bert-classification": lambda folder: bert("classification", folder),
    "bert-masked-lm": lambda folder: bert("masked_lm", folder),
    "tokenizer": tokenizer,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    for case in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            CASES[case](Path(folder))
