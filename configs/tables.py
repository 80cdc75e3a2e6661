"""Tables 1 and 2 of the paper and its result on Fall 2009: all networks and ensembles.

    alexnet-jax sweep --config=tables:ilsvrc2010 --workdir=runs/tables/ilsvrc2010
    alexnet-jax sweep --config=tables:ilsvrc2012 --workdir=runs/tables/ilsvrc2012
    alexnet-jax sweep --config=tables:fall2009 --workdir=runs/tables/fall2009
    alexnet-jax report --tables --workdir=runs/tables

Not run yet. The last command prints the tables, with our results beside the paper's. Missing results are
marked. The folders of images are ``ILSVRC2010``, ``ImageNet-Fall2009`` and ``ImageNet-Fall2011``
(or links to them) in the current directory. ILSVRC-2012 comes from TFDS.

ilsvrc2012 (the default): five networks of the paper; two networks with a sixth convolution, pre-trained on
    Fall 2011; the ensembles of the five and of all seven. 9 trainings.
ilsvrc2010: the same on ILSVRC-2010, where the paper has one network. Its two networks with a sixth
    convolution are pre-trained again on Fall 2011, which may contain some of the test images.
fall2009: the network with a sixth convolution on half of Fall 2009, tested on the other half.

Pre-training uses 99 % of Fall 2011, where the paper uses all of it. The last 1 % is for testing.
"""

from alexnet_jax.paper.published import FALL2009, TABLE1, TABLE2
from alexnet_jax.sweep import Ensemble, Member, Published, Sweep, one_of


def _both_tables(variants: tuple[str, ...], published: dict[str, Published]) -> Sweep:
    """Return the sweep for a data set that variants of configs/alexnet.py select."""
    members = (
        Member(
            "1 CNN",
            ":".join(("alexnet.py", *variants)),
            seeds=(0, 1, 2, 3, 4),
            published=published.get("1 CNN"),
        ),
        Member("Fall 2011", "alexnet.py:sixth_conv,fall2011"),
        Member(
            "1 CNN*",
            f"alexnet.py:{','.join(('sixth_conv', 'fine_tune', *variants))}",
            init_from="Fall 2011",
            published=published.get("1 CNN*"),
        ),
    )
    ensembles = (
        Ensemble("5 CNNs", ("1 CNN",), published.get("5 CNNs")),
        Ensemble("7 CNNs*", ("1 CNN", "1 CNN*"), published.get("7 CNNs*")),
    )
    return Sweep(members, seeds=(0, 1), views=10, ensembles=ensembles)


def ilsvrc2012() -> Sweep:
    return _both_tables((), TABLE2)


def ilsvrc2010() -> Sweep:
    return _both_tables(("ilsvrc2010",), TABLE1)


def fall2009() -> Sweep:
    member = Member("1 CNN", "alexnet.py:sixth_conv,fall2009", published=FALL2009["1 CNN"])
    return Sweep((member,), views=10)


def sweep(variants: str = "") -> Sweep:
    known = {"ilsvrc2012": ilsvrc2012, "ilsvrc2010": ilsvrc2010, "fall2009": fall2009}
    return one_of(variants, known)
