"""The memory estimate: parameters as transformers counts them, training states as torch holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import ROOT

pytest.importorskip("torch", reason="needs ponder[local]")

import torch
import transformers

from ponder.errors import UsageError
from ponder.train.trainer import Optimiser, Trainer
from ponder.training.memory import Shape, Work, estimate
from ponder.training.plan import plan, shape_of
from ponder.training.recipe import LINEARS, read

RECIPES = sorted((ROOT / "recipes" / "train").glob("*.toml"))
SIZES = {"vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6,
         "num_key_value_heads": 2, "intermediate_size": 80}  # fmt: skip


def config(kind: str, **more: Any) -> Any:
    return getattr(transformers, f"{kind}Config")(**(SIZES | more))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3", "Mistral"])
def test_parameters_are_those_of_transformers(kind: str, tied: bool) -> None:
    more = {"head_dim": 16} if kind in ("Qwen3", "Mistral") else {}
    made = config(kind, tie_word_embeddings=tied, **more)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made)
    shape = Shape.of(made)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    linears = {n.rpartition(".")[2]: tuple(m.weight.shape) for n, m in model.named_modules() if n.endswith("_proj")}
    assert shape.linears == linears and set(linears) == set(LINEARS)
    assert shape.layer == sum(p.numel() for p in model.model.layers[0].parameters())


@pytest.mark.parametrize(("sizes", "count"), [
    (Shape(24, 896, 14, 2, 4864, 151936, tied=True, bias=True), 494_032_768),  # Qwen2.5-0.5B
    (Shape(28, 1536, 12, 2, 8960, 151936, tied=True, bias=True), 1_543_714_304),
    (Shape(36, 2048, 16, 2, 11008, 151936, tied=True, bias=True), 3_085_938_688),
    (Shape(32, 4096, 32, 8, 14336, 128256), 8_030_261_248),  # Llama-3.1-8B
    (Shape(30, 576, 9, 3, 1536, 49152, tied=True), 134_515_008),  # SmolLM2-135M
])  # fmt: skip
def test_parameters_are_those_that_are_published(sizes: Shape, count: int) -> None:
    assert sizes.parameters == count


def test_an_adapter_has_as_many_parameters_as_in_peft() -> None:
    peft = pytest.importorskip("peft", reason="needs ponder[local]")
    made = config("Qwen2")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made)
    wanted = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    peft.inject_adapter_in_model(wanted, model)
    count = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert Shape.of(made).adapter(4, ["q_proj", "down_proj"]) == count


def test_a_model_of_another_form_is_refused() -> None:
    with pytest.raises(UsageError, match="gpt2"):
        Shape.of(transformers.GPT2Config())


def work(**more: Any) -> Work:
    return Work(**({"method": "sft", "dtype": "float32", "tokens": 64, "chains": 8, "problems": 4, "prompt": 8,
                    "length": 8} | more))  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_states_are_what_torch_holds(dtype: str) -> None:
    made = config("Llama", tie_word_embeddings=True)
    model = transformers.AutoModelForCausalLM.from_config(made, dtype=getattr(torch, dtype))
    trainer = Trainer(model, Optimiser(lr=1e-3), 1)
    trainer.update([model(input_ids=torch.arange(8)[None]).logits.float().square().mean()])
    size = lambda tensors: sum(t.numel() * t.element_size() for t in tensors)  # noqa: E731
    parameters = list(model.parameters())
    states = [v for p in parameters for k, v in trainer._adam.state[p].items() if k != "step"]
    found = estimate(Shape.of(made), work(dtype=dtype), 1e9)
    assert found.weights == size(parameters)
    assert found.gradients == size(p.grad for p in parameters if p.grad is not None)
    assert found.moments == size(states)


def kept(layers: int, dtype: torch.dtype) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights left out."""
    model: Any = transformers.AutoModelForCausalLM.from_config(config("Llama", num_hidden_layers=layers), dtype=dtype)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}
    alive: list[Any] = []

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(input_ids=torch.zeros(4, 64, dtype=torch.int64), use_cache=False)
    return sum(found.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_near_what_autograd_keeps(dtype: str) -> None:
    each = getattr(torch, dtype)
    measured = (kept(3, each) - kept(1, each)) / 2
    formula = Shape.of(config("Llama")).activations(each.itemsize) * 4 * 64
    assert 0.8 < formula / measured < 1.25


def test_what_is_sharded_is_divided() -> None:
    shape = Shape(4, 64, 4, 4, 128, 100)
    alone, eight = (estimate(shape, work(gpus=n, sharded=n > 1, mixed=True), 1e9) for n in (1, 8))
    assert eight.gradients == alone.gradients / 8 and eight.moments == alone.moments / 8
    engine = shape.parameters * 4
    assert eight.weights == engine + shape.parameters * 4 / 8 and alone.weights == engine + shape.parameters * 4
    assert alone.gathered == 0 < eight.gathered


def test_recomputing_keeps_less() -> None:
    shape = Shape(24, 896, 14, 2, 4864, 151936, tied=True, bias=True)
    plain, again = (estimate(shape, work(checkpointing=c, chains=512), 1e9).activations for c in (False, True))
    assert again < plain / 8


# --- shipped recipes ----------------------------------------------------------------------------------------------


def method(path: Path) -> str:
    import tomllib

    (found,) = {"sft", "steer", "prune", "distill"} & set(tomllib.loads(path.read_text()))
    return found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_fit_the_machine_that_they_name(path: Path) -> None:
    found = plan(read(method(path), path))
    assert found.found.fits, "\n".join(found.lines())
    assert not found.remarks


def test_there_are_recipes_for_each_size() -> None:
    sizes = {
        round(shape_of(read(method(path), path)).parameters / 1e9, 1)
        for path in RECIPES
        if path.name not in ("smollm2.toml", "terms.toml")
    }
    assert sizes == {0.5, 1.5, 3.1, 8.0}


def test_a_shape_must_be_that_of_the_model(tmp_path: Path) -> None:
    from ponder.tables import Place
    from ponder.training.recipe import parse

    config("Qwen2").save_pretrained(tmp_path)
    right = {"layers": 3, "hidden": 48, "heads": 6, "kv_heads": 2, "mlp": 80, "vocabulary": 97, "bias": True}
    top = {"model": str(tmp_path), "task": "arithmetic", "steer": {}}
    assert shape_of(parse("steer", top | {"shape": right}, Place("r", ""))) == shape_of(
        parse("steer", top, Place("r", ""))
    )
    with pytest.raises(UsageError, match=r"shape.mlp = 81: the model's config.json says 80"):
        shape_of(parse("steer", top | {"shape": right | {"mlp": 81}}, Place("r", "")))
    with pytest.raises(UsageError, match=r"not on this disk; add a \[shape\]"):
        shape_of(parse("steer", top | {"model": str(tmp_path / "none")}, Place("r", "")))


def test_bfloat16_with_a_small_rate_is_remarked(tmp_path: Path) -> None:
    from ponder.tables import Place
    from ponder.training.recipe import parse

    config("Llama").save_pretrained(tmp_path)
    top: dict[str, Any] = {"model": str(tmp_path), "task": "arithmetic", "dtype": "bfloat16", "steer": {}}
    assert "round most updates" in plan(parse("steer", top, Place("r", ""))).remarks[0]
    assert not plan(parse("steer", top | {"machine": {"mixed": True}}, Place("r", ""))).remarks
    assert not plan(parse("steer", top | {"adapter": {}}, Place("r", ""))).remarks
