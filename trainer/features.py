"""What a network's frozen layers make of a whole section: computed once, kept on disk, looked up for every pick."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from numpy.typing import NDArray

from infer.card import ModelCard, write_card
from infer.errors import OutputError
from infer.files import writing
from infer.sessions import SLICE_SUFFIX, Model
from infer.slice_engine import Part, copy_window, parts
from infer.workers import work_through
from trainer.augmentation import Augmentation, SectionCopy
from trainer.dataset import LabelledSection
from trainer.graph import to_onnx
from trainer.networks import image_of_patches
from trainer.recipes import Recipe
from trainer.slicegraph import slice_graph

FEATURES = ".features"
"""A folder beside the run folders, for all of them."""

TILE = 256
"""Traces and samples of a tile, at most. Surroundings are computed twice, a third more of everything on F3; two tiles
of VGG16 side by side take 1.5 GB."""

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two: layers that see patches and stay as they are, and after them those that are trained.

    The first are convolutions and poolings without padding, one after the other, so that they are the same function of
    the section everywhere: a patch's features are `positions` x `positions` vectors, `step` traces or samples apart.
    """

    network: keras.Model
    layer: str  # the last of those that stay
    patch_size: int
    reach: int  # traces, and samples, that one vector sees: a vector is the features of a patch of that size
    step: int

    @classmethod
    def after(cls, network: keras.Model, layer: str) -> Cut:
        """The network cut after the layer of that name."""
        reach = step = 1
        for frozen in _between(network, "imagenet_scaling", layer):
            sizes = frozen.kernel_size if isinstance(frozen, layers.Conv2D) else frozen.pool_size
            reach += (sizes[0] - 1) * step
            step *= frozen.strides[0]
        return cls(network, layer, network.input_shape[1], reach, step)

    @property
    def positions(self) -> int:
        """Vectors along either axis of a patch."""
        return (self.patch_size - self.reach) // self.step + 1

    @property
    def channels(self) -> int:
        """Numbers in a vector."""
        return int(self.network.get_layer(self.layer).output.shape[-1])

    def frozen(self) -> keras.Model:
        """The layers that stay as a patch model: patches as large as a vector sees to vectors `[batch, channel]`."""
        patches, x = image_of_patches(self.reach)
        for layer in _between(self.network, "imagenet_scaling", self.layer):
            x = layer(x)
        return keras.Model(patches, layers.Flatten(name="vector")(x), name="frozen")

    def trained(self) -> keras.Model:
        """The layers after them: features `[batch, sample, trace, channel]` to probabilities. It shares its weights."""
        x = features = layers.Input((self.positions, self.positions, self.channels), name="features")
        for layer in _between(self.network, self.layer, None):
            x = layer(x)
        return keras.Model(features, x, name=f"{self.network.name}-trained")

    def sha256(self, scaled: NDArray[np.float32]) -> str:
        """Of all that the features of a section depend on."""
        geometry = self.layer, self.patch_size, self.reach, self.step, scaled.shape
        digest = hashlib.sha256(repr(geometry).encode())
        digest.update(np.ascontiguousarray(scaled, "<f4").tobytes())
        for layer in _between(self.network, "imagenet_scaling", self.layer):
            for weights in layer.get_weights():
                digest.update(np.ascontiguousarray(weights, "<f4").tobytes())
        return digest.hexdigest()


def _between(network: keras.Model, after: str, last: str | None) -> Iterator[Any]:
    """The layers after the one of a name, to the last one or the one of another name."""
    names = [layer.name for layer in network.layers]
    return iter(network.layers[names.index(after) + 1 : None if last is None else names.index(last) + 1])


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The vectors of one section at every place where one of its patches can have one.

    The patch around a trace begins with the vector at the trace's own index, and so it is with samples: the map
    reaches over the section's edges, where patches do.
    """

    vectors: NDArray[np.float16]  # [trace, sample, channel], mapped from a file
    positions: int
    step: int

    def windows(self, traces: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features `[patch, sample, trace, channel]` of the patches around these samples of the section."""
        within = np.arange(self.positions) * self.step
        trace, sample = traces[:, None] + within, samples[:, None] + within
        found: NDArray[np.float16] = self.vectors[trace[:, None, :], sample[:, :, None]]
        return found.astype(np.float32)


@dataclass(frozen=True, eq=False)
class LabelledFeatures(LabelledSection):
    """A labelled section whose picks show the features of their patches in the place of these."""

    maps: tuple[FeatureMap, ...]  # of the section's copies, the first of the section itself
    copies: tuple[SectionCopy, ...]

    def patches(self, which: NDArray[np.int64], patch_size: int) -> NDArray[np.float32]:  # noqa: ARG002 - the cut's own
        """The features `[patch, sample, trace, channel]` of the patches around the picks at positions `which`."""
        return self.maps[0].windows(self.picks.trace[which], self.picks.sample[which])

    def changed_patches(
        self,
        which: NDArray[np.int64],
        patch_size: int,
        augmentation: Augmentation,  # noqa: ARG002 - the section was changed, and not its patches
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """The same, each in one of the section's copies."""
        features = self.patches(which, patch_size)
        chosen = rng.integers(len(self.copies), size=which.size)
        for number, (copy, of_copy) in enumerate(zip(self.copies, self.maps, strict=True)):
            if number:
                in_copy = which[chosen == number]
                traces = copy.traces(self.picks.trace[in_copy], self.scaled.shape[0])
                features[chosen == number] = of_copy.windows(traces, self.picks.sample[in_copy])
        return features


def trained_part(
    network: keras.Model,
    labelled: LabelledSection,
    recipe: Recipe,
    folder: Path,
    copies: tuple[SectionCopy, ...] = (),
    say: Say = lambda _: None,
) -> tuple[keras.Model, LabelledSection]:
    """What the recipe trains of the network, and the labelled section as that sees it.

    folder: where feature maps are kept. copies: of the section, to train on too. `say` is told what takes long.

    Raises OutputError: the folder takes no more.
    """
    if recipe.frozen_to is None:
        return network, labelled
    cut, all_copies = Cut.after(network, recipe.frozen_to), (SectionCopy(), *copies)
    maps = tuple(feature_map(cut, copy.of(labelled.scaled), folder, say) for copy in all_copies)
    return cut.trained(), LabelledFeatures(labelled.scaled, labelled.picks, maps, all_copies)


def whole_network(network: keras.Model, trained: keras.Model) -> keras.Model:
    """The network with the weights of the part of it that was trained."""
    for layer in trained.layers if trained is not network else ():
        if layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return network


def feature_map(cut: Cut, scaled: NDArray[np.float32], folder: Path, say: Say = lambda _: None) -> FeatureMap:
    """The features of a section: from the folder, where they are there, and otherwise computed and left there.

    scaled: float32 `[trace, sample]`, in ±1.

    Raises OutputError: the folder takes no more.
    """
    path = folder / f"{cut.sha256(scaled)[:32]}.npy"
    if not path.is_file():
        say(f"Computing {cut.layer} of the whole section, to keep it in {folder}.")
        _write_features(cut, scaled, path)
    return FeatureMap(np.load(path, mmap_mode="r"), cut.positions, cut.step)


def _write_features(cut: Cut, scaled: NDArray[np.float32], path: Path) -> None:
    traces, samples = (size + (cut.positions - 1) * cut.step for size in scaled.shape)
    with tempfile.TemporaryDirectory() as folder, writing(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path.parent, 2 * traces * samples * cut.channels)
        shape = traces, samples, cut.channels
        vectors = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        _compute(cut, scaled, _slice_model(cut, Path(folder)), vectors)
        vectors.flush()
        del vectors  # closes the file


def _check_room(folder: Path, size: int) -> None:
    """A disk that is full under a mapped file ends the process."""
    if shutil.disk_usage(folder).free < size:
        raise OutputError(f"The features of the section take {size / 1e6:,.0f} MB, and {folder} has no room for them.")


def _slice_model(cut: Cut, folder: Path) -> Model:
    """The layers that stay as a slice model: its facies are channels."""
    path = folder / f"frozen{SLICE_SUFFIX}"
    names, colours = tuple(map(str, range(cut.channels))), ("#000000",) * cut.channels
    card = ModelCard("frozen", cut.reach, names, colours, amplitude_clip=1.0)
    onnx.save(slice_graph(to_onnx(cut.frozen()), card).model, path)
    write_card(path, card)
    return Model(path, "cpu")  # a GPU's memory is TensorFlow's by now


def _compute(cut: Cut, scaled: NDArray[np.float32], model: Model, vectors: NDArray[np.float16]) -> None:
    """Fill `vectors` `[trace, sample, channel]` tile by tile."""
    of_tiles, along = zip(*(parts(np.arange(size), TILE) for size in vectors.shape[:2]), strict=True)
    tiles = list(itertools.product(*along))
    before = cut.patch_size // 2

    def start_worker() -> Callable[[tuple[Part, ...]], int]:
        runner = model.tile_runner(*of_tiles)

        def compute(tile: tuple[Part, ...]) -> int:
            trace, sample = (part.first for part in tile)
            copy_window(scaled, trace - before, sample - before, runner.input)
            of_tile = vectors[trace : trace + of_tiles[0], sample : sample + of_tiles[1]]
            of_tile[:] = runner.run().transpose(1, 2, 0)
            return 1

        return compute

    work_through(tiles, start_worker, min(model.workers, len(tiles)), len(tiles))
