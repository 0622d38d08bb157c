"""Slices of a model, from its files and from its parameters."""

import pytest
import torch

from nashlens.errors import ModelError
from nashlens.models.registry import ARCHITECTURES
from nashlens.models.sharded import build_shards, read_shards
from nashlens.models.skeleton import skeleton
from nashlens.models.split import TENSOR_PARALLEL, tensor_problem

CPU = torch.device("cpu")


def config_of(folder):
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("name", ["random", "random_qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_slices_of_all_shards_make_up_the_files(planted, tensors, name, dtype):
    stored = tensors(planted[name])
    shards = read_shards(planted[name], config_of(planted[name]), [CPU, CPU], dtype)
    for key, values in stored.items():
        parts = [shard.get_parameter(key) for shard in shards]
        held = [part for part in parts if not part.is_meta]
        assert all(part.dtype == dtype and not part.requires_grad for part in held)
        whole = torch.from_numpy(values).to(dtype)
        if key.split(".")[-2] in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
            assert torch.equal(torch.cat(held), whole), key
        elif key.split(".")[-2] in ("o_proj", "down_proj"):
            assert torch.equal(torch.cat(held, dim=1), whole), key
        else:
            assert len(held) == (2 if "layers" in key else 1)
            assert all(torch.equal(part, whole) for part in held), key


def test_missing_and_misshapen_weights_are_named(hf_folder, tensors):
    from safetensors.numpy import save_file

    key = "model.layers.2.mlp.up_proj.weight"
    stored, config = tensors(hf_folder), config_of(hf_folder)
    save_file(stored | {key: stored[key][:-2]}, hf_folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"layers\.2\.mlp\.up_proj\.weight has shape"):
        read_shards(hf_folder, config, [CPU, CPU], torch.float32)
    del stored[key]
    save_file(stored, hf_folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lack model\.layers\.2\.mlp\.up_proj\.weight"):
        read_shards(hf_folder, config, [CPU, CPU], torch.float32)


def test_what_cannot_be_split_is_refused(planted):
    config = config_of(planted["random"])
    values = config.to_dict() | {"num_attention_heads": 8, "num_key_value_heads": 4}
    assert tensor_problem(values, 2) is None
    assert "num_key_value_heads 4 cannot be split over 8 GPUs evenly" in tensor_problem(values, 8)
    no_groups = values | {"num_key_value_heads": None}
    assert "num_key_value_heads 8 cannot" in tensor_problem(no_groups, 3)
    assert "intermediate_size 97" in tensor_problem(values | {"intermediate_size": 97}, 2)
    assert "needs at least 2 GPUs, and there are 1" in tensor_problem(values, 1)
    assert "GPT2LMHeadModel cannot" in tensor_problem({"architectures": ["GPT2LMHeadModel"]}, 2)
    with pytest.raises(ModelError, match="over 3 GPUs evenly"):
        build_shards(config, [CPU] * 3, lambda *_: pytest.fail("read before it was refused"))
    assert set(TENSOR_PARALLEL) <= set(ARCHITECTURES)


def test_a_skeleton_allocates_nothing(planted):
    assert all(p.is_meta for p in skeleton(config_of(planted["random"])).parameters())
