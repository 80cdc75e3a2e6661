"""Words for WordNet ids."""

import pytest

from alexnet_jax.data.class_words import words_of


def test_wordnet_ids_have_words():
    names = ("n01440764", "n03000684", "n99999999", "cat")
    assert words_of(names) == ("tench, Tinca tinca", "chain saw, chainsaw", "n99999999", "cat")
    assert words_of(("cat", "dog")) == ("cat", "dog")


@pytest.mark.parametrize("name", ["words.txt", "synset_words.txt", "LOC_synset_mapping.txt"])
def test_words_in_the_folder_take_precedence(name, tmp_path):
    (tmp_path / name).write_text("n00000001\ta thing, an object\nn00000002 another\n")
    assert words_of(("n00000001", "n00000002"), tmp_path) == ("a thing, an object", "another")
