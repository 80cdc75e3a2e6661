"""The error rates that the paper publishes for its networks, in %, by the names of its tables."""

from alexnet_jax.sweep.spec import Published

_2010, _2012 = "ILSVRC-2010 test", "ILSVRC-2012 validation"

TABLE1 = {"1 CNN": Published(_2010, 37.5, 17.0)}
TABLE2 = {
    "1 CNN": Published(_2012, 40.7, 18.2),
    "5 CNNs": Published(_2012, 38.1, 16.4),
    "1 CNN*": Published(_2012, 39.0, 16.6),
    "7 CNNs*": Published(_2012, 36.7, 15.4),
}
TABLE2_TEST_TOP5 = {"5 CNNs": 16.4, "7 CNNs*": 15.3}
FALL2009 = {"1 CNN": Published("half of Fall 2009", 67.4, 40.9)}
