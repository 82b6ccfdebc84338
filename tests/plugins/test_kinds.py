import keras
import pytest

from keras_cvx import plugins
from keras_cvx.codings import GridCoding, YOLOv1Coding
from keras_cvx.plugins.kinds import fault

pytestmark = pytest.mark.host


class Weighted(keras.losses.Loss):
    def __init__(self, weight=1.0, *, name="weighted", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weight = weight


class Described(Weighted):
    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


class Fixed(Described):
    def __init__(self, name="fixed"):
        super().__init__(2.0, name=name)


class Scored(keras.metrics.Metric):
    def __init__(self, threshold=0.5, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)


class Automatic(keras.layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)


class Wide(keras.layers.Dense):
    def __init__(self, units, extra, **kwargs):
        super().__init__(units, **kwargs)


class Restored(Wide):
    @classmethod
    def from_config(cls, config):
        return cls(**config, extra=3)


class Finer(YOLOv1Coding):
    def __init__(self, finesse=2):
        super().__init__(finesse + 1)


class Incomplete(GridCoding):
    decode = None


class Half:
    def branches(self):
        pass

    def get_config(self):
        pass


class Reader:
    def __call__(self, path, images, on_error):
        pass


def function(*_):
    pass


def test_the_packages_own():
    for plugin in plugins.registered():
        assert fault(plugin.object, plugin.kind) is None, plugin.name


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Described, "loss"),
        (Fixed, "loss"),
        (function, "loss"),
        (function, "decoder"),
        (Automatic, "layer"),
        (Automatic, "decoder"),
        (Restored, "layer"),
        (keras.layers.Dense, "layer"),
        (keras.Sequential, "model"),
        (Incomplete, "coding"),
        (function, "assigner"),
        (function, "reader"),
        (Reader, "reader"),
        (function, "a kind of one's own"),
    ],
)
def test_what_can_be_of_a_kind(target, kind):
    assert fault(target, kind) is None


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (3, "reader", "must be a class or a function"),
        (keras.layers.Identity(), "layer", "must be a class or a function"),
        (lambda path: None, "reader", "and no lambda"),
        (Automatic, "loss", "must be a subclass of `keras.Loss`"),
        (Described, "metric", "must be a subclass of `keras.Metric`"),
        (Described, "decoder", "must be a subclass of `keras.Layer`"),
        (function, "layer", "must be a subclass of `keras.Layer`"),
        (function, "model", "must be a subclass of `keras.Model`"),
        (function, "coding", "must have `branches` and `decode` and `loss`"),
        (Half, "coding", "must have `decode` and `loss`"),
        (Half, "reader", "must have `__call__`"),
        (Reader, "assigner", "must have `get_config`, or no file"),
        (Weighted, "loss", r"of Loss knows nothing of the arguments \['weight'\] of its"),
        (Scored, "metric", r"of Metric knows nothing of the arguments \['threshold'\]"),
        (Wide, "layer", r"of Dense knows nothing of the arguments \['extra'\]"),
        (Finer, "coding", r"of YOLOv1Coding knows nothing of the arguments \['finesse'\]"),
    ],
)
def test_what_cannot(target, kind, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(fault(target, kind))
