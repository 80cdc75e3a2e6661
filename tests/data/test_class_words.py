"""Words for WordNet ids."""

import pytest

from alexnet_jax.data.class_words import listed, without_words, words_of


def test_wordnet_ids_have_words():
    names = ("n01440764", "n03000684", "n99999999", "cat")
    assert words_of(names) == ("tench, Tinca tinca", "chain saw, chainsaw", "n99999999", "cat")
    assert words_of(("cat", "dog")) == ("cat", "dog")


@pytest.mark.parametrize("name", ["words.txt", "synset_words.txt", "LOC_synset_mapping.txt"])
def test_words_in_the_folder_take_precedence(name, tmp_path):
    (tmp_path / name).write_text("n00000001\ta thing, an object\nn00000002 another\n")
    assert words_of(("n00000001", "n00000002"), tmp_path) == ("a thing, an object", "another")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "line",
    [
        "{}\t{}", "{} {}", "{},{}", "{}, {}", '"{}","{}"', '{},"{}"', "{};{}", "  {}   {}  ",
    ],
)  # fmt: skip
def test_words_in_other_encodings_and_with_other_separators(encoding, line, tmp_path):
    known = {"n00000001": "crème, a thing", "n00000002": 'another "one" here'}
    text = "".join(f"{line.format(*pair)}\r\n" for pair in known.items())
    (tmp_path / "words.txt").write_bytes(text.encode(encoding))
    assert words_of(tuple(known), tmp_path) == tuple(known.values())


def test_lines_that_are_no_words_are_passed_over(tmp_path):
    (tmp_path / "words.txt").write_text("id,words\nn00000001\n\nn00000002,two\nn000000034,too long\n")
    names = ("n00000001", "n00000002", "n00000003")
    words = words_of(names, tmp_path)
    assert words == ("n00000001", "two", "n00000003")
    assert without_words(names, words) == ["n00000001", "n00000003"]
    assert without_words(("cat",), ("cat",)) == []


def test_a_list_of_classes_has_names_or_ids_and_words(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("\ufeffcat\n\n  wild dog \r\ncat\n")
    assert listed(file) == (("cat", "wild dog", "cat"),) * 2
    file.write_text("n01440764 a tench\nn01443537\nn00000001\n")
    words = ("a tench", "goldfish, Carassius auratus", "n00000001")
    assert listed(file) == (("n01440764", "n01443537", "n00000001"), words)
    file.write_text("x" * 10**6 + "y")
    with pytest.raises(ValueError, match=r"has 1,000,001 bytes, more than 1,000,000"):
        listed(file)
