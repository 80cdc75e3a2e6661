"""A network is not tested on people on which it was trained."""

import dataclasses

import pytest

from alexnet_jax import restore
from alexnet_jax.errors import UserError
from alexnet_jax.faces.identities import check_identities
from tests.faces.conftest import named


def check(net, people):
    notes = []
    check_identities(net, people, "pairs.txt", notes.append)
    return notes


@pytest.fixture
def net(trained):
    return restore(trained)


@pytest.mark.parametrize("name", ["Ada_B", "ada b", "ADA-B.", "Àda_B"])
def test_names_are_compared_without_case_spaces_and_accents(net, name):
    with pytest.raises(UserError, match=f"was trained on 1 of the people in pairs.txt .the first is {name}"):
        check(named(net, ["Carl_D", name]), ["Ada_B", "Eve_F"])
    assert check(named(net, ["Carl_D", "Ada_Bo"]), ["Ada_B", "Eve_F"]) == []


def test_networks_that_a_network_started_from_are_checked_too(trained, net):
    config = net.config.copy_and_resolve_references()
    config.init_from = str(trained)  # trained on the classes 0 to 9
    later = dataclasses.replace(named(net, ["x"]), config=config, workdir="later")
    assert check(later, ["Ada_B"]) == []
    with pytest.raises(UserError, match=f"{trained} was trained on 2 of the people in pairs.* is 3"):
        check(later, ["3", "7"])


def test_a_network_that_started_from_one_that_is_gone_gets_a_note(net):
    config = net.config.copy_and_resolve_references()
    config.init_from = "nowhere"
    (line,) = check(dataclasses.replace(net, config=config, workdir="later"), ["Ada_B"])
    assert line.startswith("alexnet-jax: note: later started from nowhere, which can't be read, so that")
