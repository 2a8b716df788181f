"""Make the default bundle: an untrained LSTM whose zero head is persistence.

    python scripts/make_default_bundle.py [DIRECTORY]

Needs TensorFlow (`make test` installs it in .venv-dev). The network takes one target's inputs, so
it fits every schema. What is learnt is learnt online, by the readout.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras

from slotcast_models.bundle import DEFAULT, NETWORK, STEP, Manifest, NetworkSpec, save_bundle
from slotcast_models.export import export_step
from slotcast_models.network import build_network

CELLS = (("lstm", 32),)
INPUTS = 3


def main() -> None:
    """Write the bundle directory."""
    keras.utils.set_random_seed(7)
    network = build_network(CELLS, INPUTS, 1)
    program = export_step(network)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / NETWORK
        network.save(path)
        saved = path.read_bytes()
    spec = NetworkSpec(
        cells=CELLS,
        rows="target",
        inputs=INPUTS,
        outputs=1,
        width=sum(2 * units for _, units in CELLS),
        parameters=network.count_params(),
        training="untrained; the head is zero, so the network forecasts no change",
    )
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    save_bundle(
        target, Manifest(name="default", network=spec, files={}), {STEP: program, NETWORK: saved}
    )
    print(f"wrote {target}: {len(program)} bytes of step program, {spec.parameters} parameters")


if __name__ == "__main__":
    main()
