"""PyTorch's legacy files, read without it: the same numbers, and one line for whatever else such a file may say."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch_layout as layout

from stylejax.errors import InputError
from stylejax.models import formats as layouts
from stylejax.models.convert import convert_weights
from stylejax.models.torch_file import MAX_PICKLES, read_torch

VALUES = np.arange(24, dtype=np.float32)
WHOLE = {"a": layout.tensor(layout.storage("0", 24), 0, (2, 3, 4), (12, 4, 1))}
BOMB = layout.tuple_of() + b"q\x01" + b"".join(b"h\x01\x86q\x01" for _ in range(200))
"""A tuple of two of a tuple of two …: its hash would take 2²⁰⁰ steps."""


def file_of(
    tensors: dict[str, bytes] | None = None,
    *,
    system: bytes = layout.SYSTEM,
    state: bytes = b"",
    keys: bytes = b"",
    data: bytes = b"",
) -> bytes:
    state = state or layout.state_pickle(WHOLE if tensors is None else tensors)
    tail = (keys or layout.keys_pickle(["0"])) + (data or layout.numbers(VALUES))
    return layout.MAGIC + layout.PROTOCOL + system + state + tail


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_tensors_are_views_of_their_storages(tmp_path: Path):
    store = layout.storage("0", 24)
    tensors = {
        "whole": layout.tensor(store, 0, (2, 3, 4), (12, 4, 1)),
        "offset": layout.tensor(store, 5, (3,), (1,)),
        "transposed": layout.tensor(store, 0, (4, 6), (1, 4)),
        "repeated": layout.tensor(store, 2, (2, 2), (0, 1)),
        "scalar": layout.tensor(store, 23, (), ()),
    }
    found = read_torch(written(tmp_path / "a.pth", file_of(tensors)))
    np.testing.assert_array_equal(found.load("whole"), VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(found.load("offset"), [5, 6, 7])
    np.testing.assert_array_equal(found.load("transposed"), VALUES.reshape(6, 4).T)
    np.testing.assert_array_equal(found.load("repeated"), [[2, 3], [2, 3]])
    assert found.load("scalar") == 23


@pytest.mark.parametrize("name", ["whole", "offset", "transposed"])
def test_pytorch_reads_the_same(tmp_path: Path, name: str):
    torch = pytest.importorskip("torch", reason="PyTorch is the second implementation")
    views = {"whole": (0, (2, 3, 4), (12, 4, 1)), "offset": (5, (3,), (1,)), "transposed": (0, (4, 6), (1, 4))}
    path = written(tmp_path / "a.pth", file_of({name: layout.tensor(layout.storage("0", 24), *views[name])}))
    np.testing.assert_array_equal(read_torch(path).load(name), torch.load(path, weights_only=True)[name].numpy())


def test_what_pytorch_writes_is_read(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="PyTorch is the second implementation")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3))
    torch.save(model.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    found = read_torch(tmp_path / "a.pth")
    assert list(found.tensors) == list(model.state_dict())
    for name, expected in model.state_dict().items():
        np.testing.assert_array_equal(found.load(name), expected.numpy())


def with_state(pickle: bytes) -> bytes:
    return file_of(state=b"\x80\x02" + pickle + b".")


HOSTILE = {
    "a function": (with_state(b"cos\nsystem\n" + layout.tuple_of(layout.text("true")) + b"R"), "asks for os.system"),
    "a function by protocol 4": (
        with_state(layout.text("os") + layout.text("system") + b"\x93)R"),
        "opcode STACK_GLOBAL",
    ),
    "an object": (with_state(b"(cos\nsystem\no"), "asks for os.system"),
    "an instance": (with_state(b"(ios\nsystem\n"), "opcode INST"),
    "a call of text": (with_state(layout.text("x") + b")R"), "calls a value that is not a function"),
    "a call of a nested tuple": (with_state(BOMB + b")R"), "calls a value that is not a function"),
    "a nested tuple as key": (with_state(b"}" + BOMB + b"Ns"), "keys that are not text"),
    "a nested tuple as storage": (file_of(keys=b"\x80\x02](" + BOMB + b"e."), "storages without a name"),
    "a memo of 2^31": (with_state(b"}r\xff\xff\xff\x7f"), "no plain state dict"),
    "an unknown memo": (with_state(b"j\xff\xff\xff\x7f"), "cannot be read"),
    "a long number": (with_state(b"\x8b\xff\xff\xff\x7f"), "cannot be read"),
    "a long text": (with_state(b"X\xff\xff\xff\x7f"), "cannot be read"),
    "an empty stack": (with_state(b"t"), "cannot be read"),
    "no end": (layout.MAGIC + b"N" * (2 * MAX_PICKLES), "cannot be read"),
    "not a dict": (with_state(b"]"), "no plain state dict"),
    "not tensors": (with_state(b"}" + layout.text("a") + b"Ns"), "no plain state dict"),
    "a storage of 2^40": (file_of(data=struct.pack("<q", 2**40)), "claims 1099511627776 numbers"),
    "a storage of -1": (file_of(data=struct.pack("<q", -1)), "claims -1 numbers"),
    "a storage that ends early": (
        file_of(data=layout.numbers(VALUES)[:-1]),
        "claims 24 numbers, more than the file has",
    ),
    "more than the storages": (file_of(data=layout.numbers(VALUES) + b"x"), "1 bytes follow the last storage"),
    "another size": (file_of({"a": layout.tensor(layout.storage("0", 25), 0, (25,), (1,))}), "a lies outside"),
    "another storage": (file_of({"a": layout.tensor(layout.storage("1", 24), 0, (24,), (1,))}), "a lies outside"),
    "a view beyond the end": (file_of({"a": layout.tensor(layout.storage("0", 24), 1, (24,), (1,))}), "a lies outside"),
    "a stride beyond the end": (
        file_of({"a": layout.tensor(layout.storage("0", 24), 0, (2,), (24,))}),
        "a lies outside",
    ),
    "a shape of 2^62": (file_of({"a": layout.tensor(layout.storage("0", 24), 0, (2**62,), (1,))}), "a lies outside"),
    "a shape of 0": (file_of({"a": layout.tensor(layout.storage("0", 24), 0, (0,), (1,))}), "a lies outside"),
    "a negative stride": (
        file_of({"a": layout.tensor(layout.storage("0", 24), 23, (2,), (-1,))}),
        "not a whole number",
    ),
    "fewer strides": (
        file_of({"a": layout.tensor(layout.storage("0", 24), 0, (2, 3), (1,))}),
        "tensor without a storage",
    ),
    "no storage": (file_of({"a": layout.tensor(b"N", 0, (2,), (1,))}), "tensor without a storage"),
    "another function's storage": (
        file_of({"a": layout.tensor(layout.storage("0", 24, b"N"), 0, (2,), (1,))}),
        "not a float32 vector",
    ),
    "big-endian": (file_of(system=layout.SYSTEM.replace(b"\x88u.", b"\x89u.")), "unknown protocol or byte order"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, name: str):
    content, reason = HOSTILE[name]
    path = written(tmp_path / "a.pth", content)
    with pytest.raises(InputError, match=reason) as caught:
        convert_weights(path)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path):
    whole = file_of()
    for size in range(len(layout.MAGIC), len(whole)):
        with pytest.raises(InputError):
            convert_weights(written(tmp_path / "a.pth", whole[:size]))


def test_a_shape_of_many_numbers_in_a_small_storage_is_refused_before_it_is_made(tmp_path: Path):
    """A stride of 0 repeats a number as often as the file says."""
    big = layout.tensor(layout.storage("0", 24), 0, (2**14, 2**14, 3, 3), (0, 0, 0, 0))
    path = written(tmp_path / "a.pth", file_of({"conv1_1.weight": big, "conv1_1.bias": WHOLE["a"]}))
    with pytest.raises(InputError, match="claims to hold 2415919128 numbers, more than any VGG"):
        convert_weights(path)


def test_what_only_pytorch_can_make_is_left_to_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    half = layout.tensor(layout.storage("0", 24, layout.HALF), 0, (24,), (1,))
    path = written(tmp_path / "a.pth", file_of({"conv1_1.weight": half}))

    def missing(*_: object) -> object:
        raise InputError("reading this file needs torch: install the extra")

    monkeypatch.setattr(layouts, "_import_optional", missing)
    with pytest.raises(InputError, match="needs torch: install the extra"):
        convert_weights(path)
