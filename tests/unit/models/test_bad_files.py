"""Model files that are damaged or made up: one line for each, and quickly."""

import json
import random
import struct
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nashlens.errors import ModelError
from nashlens.models.gguf_header import read_header
from nashlens.models.inspect import folder_facts, gguf_facts
from nashlens.models.tensor_files import read_entries
from nashlens.models.tokenizer import ChatTokenizer

MUTATIONS = 300


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def field(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


U32, U64 = (lambda x: struct.pack("<I", x)), (lambda x: struct.pack("<Q", x))
FIELDS = [
    field("general.architecture", 8, text("llama")),
    field("llama.block_count", 4, U32(2)),
    field("llama.embedding_length", 4, U32(8)),
    field("tokenizer.ggml.model", 8, text("llama")),
    field("tokenizer.ggml.tokens", 9, U32(8) + U64(3) + text("a") + text("b") + text("")),
    field("tokenizer.ggml.scores", 9, U32(6) + U64(3) + struct.pack("<3f", 1, 2, 3)),
]
TENSORS = text("token_embd.weight") + U32(2) + U64(8) + U64(3) + U32(0) + U64(0)


def gguf(fields=FIELDS, tensors=TENSORS, n_fields=None, n_tensors=1, data=96):
    head = b"GGUF" + U32(3) + U64(n_tensors) + U64(len(fields) if n_fields is None else n_fields)
    head += b"".join(fields) + tensors
    return head + b"\0" * (-len(head) % 32 + data)


def replaced(**fields):
    keys = {key.replace("__", "."): value for key, value in fields.items()}
    kept = [f for f in FIELDS if not any(text(key) == f[: len(text(key))] for key in keys)]
    return gguf([*kept, *keys.values()])


def block_count(kind, value):
    return replaced(llama__block_count=field("llama.block_count", kind, value))


def alignment(kind, value):
    return replaced(general__alignment=field("general.alignment", kind, value))


GGUF = {
    "an alignment of text": (alignment(8, text("x")), "alignment 'x', not a power of two"),
    "an alignment of numbers": (alignment(6, struct.pack("<f", 32.0)), "alignment 32.0, not a"),
    "an alignment of truth": (alignment(7, b"\1"), "alignment True, not a power of two"),
    "an alignment of 0": (alignment(4, U32(0)), "alignment 0, not a power of two"),
    "an alignment of 33": (alignment(4, U32(33)), "alignment 33, not a power of two"),
    "an alignment of 2^31": (alignment(4, U32(2**31)), "alignment 2147483648, not a power"),
    "a negative alignment": (alignment(5, b"\xe0\xff\xff\xff"), "alignment -32, not a power"),
    "2^31 blocks": (block_count(4, U32(2**31)), "n_layers is 2147483648: from 1 to 2000"),
    "2^64 - 1 blocks": (block_count(10, U64(2**64 - 1)), "n_layers is 18446744073709551615: from"),
    "no blocks": (block_count(4, U32(0)), "n_layers is 0: from 1 to 2000 is needed"),
    "2^64 - 1 fields": (gguf(n_fields=2**64 - 1), "18446744073709551615 fields"),
    "2^63 tensors": (gguf(n_tensors=2**63), "9223372036854775808 tensors"),
    "a field more": (gguf(n_fields=7), "not an intact GGUF file"),
    "a field twice": (gguf([*FIELDS, FIELDS[0]]), "field 'general.architecture' stands twice"),
    "a text of 2^62 bytes": (
        *(gguf([field("general.name", 8, U64(2**62))]), "text of 4611686018427387904 bytes"),
    ),
    "a list of 2^62 texts": (
        *(gguf([field("a", 9, U32(8) + U64(2**62))]), "list of 4611686018427387904 texts"),
    ),
    "a list of 2^62 numbers": (
        gguf([field("a", 9, U32(4) + U64(2**62))]),
        "ends inside the header",
    ),
    "a list of lists": (gguf([field("a", 9, U32(9) + U64(2))]), "array of unknown type 9"),
    "an unknown type": (gguf([field("a", 77, b"")]), "field 'a' has unknown type 77"),
    "another version": (b"GGUF" + U32(9) + b"\0" * 99, "version 9 (2 or 3"),
    "the other byte order": (b"GGUF\0\0\0\3" + b"\0" * 99, "version 50331648"),
    "short": (gguf(data=0), "and its tensors need"),
    "nothing": (b"", "it is empty"),
    "four bytes": (b"GGUF", "ends inside the header"),
    "not UTF-8": (gguf([field("a", 8, U64(1) + b"\xff")]), "is not UTF-8"),
    "zeros": (b"\0" * 4096, "not b'GGUF'"),
}


def one_line(call, path, words):
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        call(path)
    assert time.monotonic() - started < 5
    said = str(caught.value)
    assert words in said
    assert said.isprintable()
    assert len(said.replace(str(path), "")) < 300


def checked(path):
    problems = gguf_facts(path).problems
    if problems:
        raise ModelError("; ".join(problems))


@pytest.mark.parametrize(("raw", "words"), GGUF.values(), ids=GGUF)
def test_gguf_files_that_are_none(tmp_path, raw, words):
    (tmp_path / "m.gguf").write_bytes(raw)
    one_line(checked, tmp_path / "m.gguf", words)


def test_the_sound_gguf_file_is_sound(tmp_path):
    (tmp_path / "m.gguf").write_bytes(gguf())
    header = read_header(tmp_path / "m.gguf")
    assert header.fields["llama.block_count"] == 2
    assert header.lengths["tokenizer.ggml.tokens"] == 3


@pytest.mark.parametrize("head", [b"", b"GGUF" + U32(3) + U64(10**5) + U64(10**5)])
def test_three_gigabytes_of_zeros(tmp_path, head):
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(3_000_000_000)
    one_line(checked, path, "not an intact GGUF file")


def mutants(raw, end, seed):
    """Yield damaged copies: bits flipped, bytes changed, cut out, put in twice, or the end cut."""
    rng = random.Random(seed)
    for _ in range(MUTATIONS):
        damaged = bytearray(raw)
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.randrange(min(end, len(damaged)) or 1)
            how = rng.randrange(5)
            if how == 0:
                damaged[place] ^= 1 << rng.randrange(8)
            elif how == 1:
                damaged[place] = rng.choice([0, 1, 127, 128, 255])
            elif how == 2:
                del damaged[place : place + rng.choice([1, 4, 8])]
            elif how == 3:
                damaged[place:place] = damaged[place : place + rng.choice([1, 4, 8])]
            else:
                damaged[place : place + 8] = struct.pack(
                    "<q", rng.choice([-1, 2**31, 2**62, 10**9])
                )
        yield bytes(damaged)


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_gguf_headers_never_end_otherwise(tmp_path, seed):
    raw, path, refused = gguf(), tmp_path / "m.gguf", []
    for damaged in mutants(raw, len(raw) - 96, seed):
        path.write_bytes(damaged)
        try:
            checked(path)
        except ModelError as error:
            refused.append(str(error))
    assert len(refused) > MUTATIONS / 2
    assert not any("\n" in said for said in refused)


def saved(tmp_path, name="m.safetensors"):
    tensors = {"a": np.ones((2, 3), "<f4"), "b.weight": np.arange(5), "c": np.zeros((0, 4), "<f2")}
    save_file(tensors, tmp_path / name, metadata={"format": "np"})
    return tmp_path / name


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_safetensors_headers_never_end_otherwise(tmp_path, seed):
    path = saved(tmp_path)
    raw, refused = path.read_bytes(), []
    length = struct.unpack("<Q", raw[:8])[0]
    for damaged in mutants(raw, 8 + length, seed):
        path.write_bytes(damaged)
        try:
            found = read_entries(path)
        except ModelError as error:
            refused.append(str(error))
            continue
        # What we take for a file, the library does as well.
        assert set(load_file(path)) == set(found)
    assert len(refused) > MUTATIONS / 2
    assert not any("\n" in said for said in refused)


def header(text, data=b"", length=None):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(**changes):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes
    return json.dumps({"a": {k: v for k, v in entry.items() if v is not None}})


SAFETENSORS = {
    "a header of 2^63 bytes": (header("{}", length=2**63), "header has 9223372036854775808 bytes"),
    "a header of 2^64 - 1": (header("{}", length=2**64 - 1), "header has 18446744073709551615"),
    "a header of 1 GB": (header("{}", length=10**9), "header has 1000000000 bytes, the file 10"),
    "a byte more": (header("{}", length=3), "its header has 3 bytes, the file 10"),
    "nothing": (b"", "ends inside the header"),
    "seven bytes": (b"\0" * 7, "ends inside the header"),
    "an empty header": (header(""), "its header is no JSON"),
    "no JSON": (header("nonsense"), "its header is no JSON"),
    "not UTF-8": (header(b"\xff\xfe"), "its header is no JSON"),
    "a list": (header("[]"), "its header is no JSON object"),
    "100,000 lists": (header("[" * 100_000 + "]" * 100_000), "its header is no JSON"),
    "a tensor of text": (header('{"a": "b"}'), "tensor 'a' has no type, shape or place"),
    "no type": (header(tensor(dtype=None)), "tensor 'a' has no type"),
    "a shape of text": (header(tensor(shape="2")), "tensor 'a' has no type"),
    "an unknown type": (header(tensor(dtype="F4"), b"\0" * 8), "type F4 are not supported"),
    "a negative size": (header(tensor(shape=[-2]), b"\0" * 8), "has numbers that are none"),
    "half a row": (header(tensor(shape=[1.5]), b"\0" * 8), "has numbers that are none"),
    "a size of truth": (header(tensor(shape=[True]), b"\0" * 4), "has numbers that are none"),
    "2^62 rows": (header(tensor(shape=[2**62]), b"\0" * 8), "needs 18446744073709551616 bytes"),
    "a size of 10^400": (header(tensor(shape=[10**400]), b"\0" * 8), "has numbers that are none"),
    "beyond the end": (header(tensor(), b"\0" * 4), "lies at [0, 8] of 4"),
    "one place": (header(tensor(data_offsets=[0]), b"\0" * 8), "has numbers that are none"),
    "the wrong way": (header(tensor(data_offsets=[8, 0]), b"\0" * 8), "lies at [8, 0] of 8"),
    "a hole": (header(tensor(data_offsets=[4, 12]), b"\0" * 12), "starts at 4, not at 0"),
    "a tail": (header(tensor(), b"\0" * 99), "and its tensors end at"),
    "zeros": (b"\0" * 4096, "its header is no JSON"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "its header has"),
}


@pytest.mark.parametrize(("raw", "words"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_safetensors_files_that_are_none(tmp_path, raw, words):
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)
    one_line(read_entries, path, words)


CONFIGS = {
    "100,000 levels": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
    "100,000 lists": ("[" * 100_000, "nested too deep"),
    "10^12 layers": ({"num_hidden_layers": 10**12}, "n_layers is 1000000000000: from 1 to 2000"),
    "no layers": ({"num_hidden_layers": 0}, "n_layers is 0: from 1 to 2000"),
    "-1 layers": ({"num_hidden_layers": -1}, "n_layers is -1"),
    "layers in text": ({"num_hidden_layers": "two"}, "num_hidden_layers is 'two': a whole number"),
    "half a layer": ({"num_hidden_layers": 1.5}, "num_hidden_layers is '1.5': a whole number"),
    "layers of truth": ({"num_hidden_layers": True}, "num_hidden_layers is 'True': a whole"),
    "a list of heads": ({"num_attention_heads": [4]}, "num_attention_heads is '[4]': a whole"),
    "a map of widths": ({"hidden_size": {"a": 1}}, "hidden_size is "),
    "words in text": ({"vocab_size": "many"}, "vocab_size is 'many': a whole number is needed"),
    "10^12 words": ({"vocab_size": 10**12}, "vocab_size is 1000000000000: from 1 to"),
    "two bases": (
        {"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        "rope_theta is 10000.0, and 1000000.0 in rope_parameters",
    ),
    "two scalings": (
        {
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        "'factor': 4.0}, and rope_parameters {'rope_type': 'default', 'rope_theta': 1000000.0}",
    ),
    "two factors": (
        {
            "rope_scaling": {"type": "linear", "factor": 4.0},
            "rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        },
        "rope_scaling is {'type': 'linear', 'factor': 4.0}, and rope_parameters",
    ),
    "an escape": ({"architectures": ["\x1b[2J"]}, "architecture \\x1b[2J is not"),
    "an escape for a kind": ({"hidden_act": "\x1b[2J"}, "hidden_act is '\\x1b[2J': there is no"),
    "a list": ("[]", "a JSON object is needed"),
    "a number": ("3", "a JSON object is needed"),
    "a digit too many": ('{"a": ' + "9" * 5000 + "}", "cannot be read as JSON"),
    "not UTF-8": (b"\xff\xfe", "cannot be read as JSON"),
    "nothing": ("", "cannot be read as JSON"),
}


@pytest.mark.parametrize(("given", "words"), CONFIGS.values(), ids=CONFIGS)
def test_configurations_that_are_none(hf_folder, edit, given, words):
    path = hf_folder / "config.json"
    if isinstance(given, dict):
        edit(path, **given)
    else:
        path.write_bytes(given if isinstance(given, bytes) else given.encode())

    def check(folder):
        problems = folder_facts(folder).problems
        if problems:
            raise ModelError("; ".join(problems))

    one_line(check, hf_folder, words)


def test_weights_are_looked_at_before_any_job(hf_folder):
    path = hf_folder / "model.safetensors"
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[:-100])
    (problem,) = folder_facts(hf_folder).problems
    assert "model.safetensors: not an intact safetensors file" in problem


def test_tokens_beyond_the_embedding(planted):
    tokenizer = ChatTokenizer(planted["random"])
    assert tokenizer.beyond(tokenizer.vocab_size) == ""
    assert "the embedding has 20 rows: the two belong to different models" in tokenizer.beyond(20)
