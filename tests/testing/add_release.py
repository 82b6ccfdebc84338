"""Writes what this version saves, for all later ones to load: python tests/testing/add_release.py

Of a released version the files stay as they are for ever; of the one in work they are made anew
when what it saves changes.
"""

import json
import pathlib
import shutil

import keras
import numpy as np
from keras import ops

import keras_cvx

RELEASES = pathlib.Path(__file__).with_name("releases")


def add(folder):
    """Configurations of all registered objects, and the models with what they are to give."""
    # Its folder is on the path of a script alone.
    from test_registered import CASES

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    configurations = {}
    for name, case in CASES.items():
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        made = case["factory"](**case["init_kwargs"])
        if isinstance(made, keras.Model):
            made.save(folder / f"{name}.keras")
            outputs = keras.tree.flatten(made(case["inputs"]))
            arrays = {f"output_{i}": ops.convert_to_numpy(x) for i, x in enumerate(outputs)}
            np.savez_compressed(folder / f"{name}.npz", input=case["inputs"], **arrays)
        else:
            configurations[name] = keras.saving.serialize_keras_object(made)
    text = json.dumps(configurations, indent=1, sort_keys=True)
    (folder / "configurations.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    add(RELEASES / keras_cvx.__version__)
