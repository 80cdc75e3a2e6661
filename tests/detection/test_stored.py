"""Files of arrays: refused if they belong to something else, and computed again if they are damaged."""

import numpy as np
import pytest

from alexnet_jax.detection import stored
from alexnet_jax.errors import UserError

ARRAYS = {"a": np.arange(1000, dtype=np.float16), "b": np.zeros((0, 4))}


def test_arrays_come_back(tmp_path):
    path = tmp_path / "new" / "x.npz"
    assert not stored.exists(path, "weights 1")
    stored.save(path, "weights 1", ARRAYS)
    assert stored.exists(path, "weights 1")
    found = stored.load(path, "weights 1", ["a", "b"])
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert [file.name for file in path.parent.iterdir()] == ["x.npz"]


def test_what_a_kill_left_is_deleted_unless_a_process_is_still_writing_it(tmp_path):
    unfinished = [tmp_path / name / ".0123456789abcdef.writing" for name in (".", "features/train")]
    with stored.held(tmp_path):
        for file in unfinished:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        with pytest.raises(UserError, match="another process works in"), stored.held(tmp_path):
            pass
        assert all(file.exists() for file in unfinished)
    with stored.held(tmp_path):
        assert not any(file.exists() for file in unfinished)


def test_arrays_of_other_weights_are_refused(tmp_path):
    stored.save(tmp_path / "x.npz", "weights 1", ARRAYS)
    with pytest.raises(UserError, match="belongs to weights 1, not to weights 2: take another folder"):
        stored.load(tmp_path / "x.npz", "weights 2", ["a"])
    with pytest.raises(UserError, match="belongs to weights 1"):
        stored.exists(tmp_path / "x.npz", "weights 2")


def test_a_changed_byte_or_a_short_file_is_noticed_and_the_file_is_removed(tmp_path, capfd):
    path = tmp_path / "x.npz"
    stored.save(path, "weights 1", ARRAYS)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            found = stored.load(path, "weights 1", ["a", "b"])
        except UserError:
            continue  # in the text of the identity, if its checksum happened to be skipped
        if found is not None:  # a byte that does not matter, such as a date
            np.testing.assert_array_equal(found["a"], ARRAYS["a"])
        else:
            assert not path.exists()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert stored.load(path, "weights 1", ["a"]) is None
        assert not path.exists()
    assert "is damaged and removed" in capfd.readouterr().err
