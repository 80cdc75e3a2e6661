"""Tables 1 and 2 of the paper: every net of them, trained, and every ensemble.

    alexnet-jax sweep --config=tables:ilsvrc2010 --workdir=runs/tables/ilsvrc2010
    alexnet-jax sweep --config=tables:ilsvrc2012 --workdir=runs/tables/ilsvrc2012
    alexnet-jax sweep --config=tables:fall2009 --workdir=runs/tables/fall2009
    alexnet-jax report --tables --workdir=runs/tables

The last prints both tables, our figures beside the paper's; a cell that nobody ran says so. Not run yet.
The folders of images are ``ILSVRC2010``, ``ImageNet-Fall2009`` and ``ImageNet-Fall2011``, where a command is
given (links will do); TFDS has ILSVRC-2012.

ilsvrc2012 (the default): five CNNs; two with a sixth convolution that learned from Fall 2011 first; all
    seven together. 9 trainings.
ilsvrc2010: the same, with two nets of Fall 2011 of its own; the paper has one CNN. What begins with Fall 2011
    may have seen some of its test images.
fall2009: the net with a sixth convolution on half of Fall 2009, tested on the other half.

What begins with Fall 2011 has 99 % of it, where the paper has all; the last hundredth says how that went.
"""

from alexnet_jax.paper.published import FALL2009, TABLE1, TABLE2
from alexnet_jax.sweep import Ensemble, Member, Published, Sweep, one_of


def _both_tables(variants: tuple[str, ...], published: dict[str, Published]) -> Sweep:
    """Nets for a set that variants of configs/alexnet.py name."""
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
