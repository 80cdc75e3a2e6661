r"""Tables 1 and 2 of the paper: every net of them, trained, and every ensemble.

    alexnet-jax sweep --config=configs/tables.py:ilsvrc2010 --workdir=runs/tables/ilsvrc2010 \
        --config.data.source=folder:DIR
    alexnet-jax sweep --config=configs/tables.py:ilsvrc2012 --workdir=runs/tables/ilsvrc2012
    alexnet-jax sweep --config=configs/tables.py:fall2009 --workdir=runs/tables/fall2009
    alexnet-jax report --tables --workdir=runs/tables

The last prints both tables, our figures beside the paper's; a cell that nobody ran says so. Not run yet.
The folders of Fall 2009 and Fall 2011 are ``ImageNet-Fall2009`` and ``ImageNet-Fall2011``, where the command
is given (links will do).

ilsvrc2010: 1 CNN, ten views of each test image.
ilsvrc2012 (the default): five CNNs; two with a sixth convolution that learned from Fall 2011 first; all
    seven together.
fall2009: the net with a sixth convolution on half of Fall 2009, tested on the other half.
"""

from alexnet_jax.sweep import Ensemble, Member, Published, Sweep, one_of

_2012 = "ILSVRC-2012 validation"


def ilsvrc2012() -> Sweep:
    members = (
        Member("1 CNN", "alexnet.py", seeds=(0, 1, 2, 3, 4), published=Published(_2012, 40.7, 18.2)),
        Member("Fall 2011", "alexnet.py:sixth_conv,fall2011"),
        Member(
            "1 CNN*",
            "alexnet.py:sixth_conv,fine_tune",
            init_from="Fall 2011",
            published=Published(_2012, 39.0, 16.6),
        ),
    )
    ensembles = (
        Ensemble("5 CNNs", ("1 CNN",), Published(_2012, 38.1, 16.4)),
        Ensemble("7 CNNs*", ("1 CNN", "1 CNN*"), Published(_2012, 36.7, 15.4)),
    )
    return Sweep(members, seeds=(0, 1), views=10, ensembles=ensembles)


def ilsvrc2010() -> Sweep:
    cnn = Member("1 CNN", "alexnet.py:ilsvrc2010", published=Published("ILSVRC-2010 test", 37.5, 17.0))
    return Sweep((cnn,), views=10)


def fall2009() -> Sweep:
    published = Published("half of Fall 2009", 67.4, 40.9)
    return Sweep((Member("1 CNN", "alexnet.py:sixth_conv,fall2009", published=published),), views=10)


def sweep(variants: str = "") -> Sweep:
    known = {"ilsvrc2012": ilsvrc2012, "ilsvrc2010": ilsvrc2010, "fall2009": fall2009}
    return one_of(variants, known)
