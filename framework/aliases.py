"""Former names of modules and of class members, under which stored runs, releases and users' code may know them.

A module can still be imported by its former name. A hyperparameter, method or constant of a class can still be set,
overridden and read by its former name, in stored configurations, checkpoints and releases, in an experiment's file and
on the command line. Identities of runs always use the first name, so that renaming changes no identity.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "datamodules.arrays": "datamodules.shards.arrays",
    "datamodules.audio_data": "datamodules.streaming.audio_data",
    "datamodules.bad_clips": "datamodules.streaming.bad_clips",
    "datamodules.cache": "framework.cache",
    "datamodules.chorale_clips": "datamodules.bach.clips",
    "datamodules.chorale_layouts": "datamodules.bach.layouts",
    "datamodules.chorale_packing": "datamodules.bach.packing",
    "datamodules.chorale_songs": "datamodules.bach.songs",
    "datamodules.chorale_splits": "datamodules.bach.splits",
    "datamodules.chorales": "datamodules.bach.corpus",
    "datamodules.clipping": "datamodules.packing.segmenting",
    "datamodules.downloads": "datamodules.streaming.downloads",
    "datamodules.flac": "datamodules.shards.flac",
    "datamodules.held_out": "datamodules.streaming.held_out",
    "datamodules.index": "datamodules.shards.index",
    "datamodules.labels": "datamodules.streaming.labels",
    "datamodules.loader": "datamodules.streaming.loader",
    "datamodules.loudness": "framework.audio.integrated_loudness",
    "datamodules.midi_files": "datamodules.packing.midi",
    "datamodules.note_clips": "datamodules.bach.note_clips",
    "datamodules.note_shards": "datamodules.shards.pieces",
    "datamodules.pack": "datamodules.packing.pack",
    "datamodules.parallel": "datamodules.packing.parallel",
    "datamodules.plan": "datamodules.streaming.plan",
    "datamodules.pop909_layouts": "datamodules.pop909.layouts",
    "datamodules.pop909_songs": "datamodules.pop909.songs",
    "datamodules.reader": "datamodules.shards.reader",
    "datamodules.recordings": "datamodules.packing.recordings",
    "datamodules.remote": "datamodules.shards.remote",
    "datamodules.roll_pictures": "framework.music.roll_pictures",
    "datamodules.shard_files": "datamodules.shards.files",
    "datamodules.shards": "datamodules.shards.writer",
    "datamodules.song_files": "framework.music.song_files",
    "datamodules.song_layouts": "framework.music.layouts",
    "datamodules.song_levels": "datamodules.streaming.song_levels",
    "datamodules.song_midi": "framework.music.song_midi",
    "datamodules.songs": "framework.music.songs",
    "datamodules.soundfont": "framework.music.soundfont",
    "datamodules.stem_clips": "datamodules.bach.stem_clips",
    "datamodules.stretches": "datamodules.shards.spans",
    "datamodules.tar": "datamodules.shards.tar",
    "framework.audio.folders": "framework.folders",
    "framework.commands.experiment": "framework.workflow.experiment",
    "framework.commands.parser": "framework.workflow.parser",
    "framework.commands.trained": "framework.workflow.trained",
    "framework.evaluation.distances": "framework.audio.distances",
    "framework.evaluation.judge": "framework.evaluation.validation",
    "framework.evaluation.metrics.structure": "framework.music.structure",
    "framework.evaluation.metrics.symbolic": "framework.music.symbolic",
    "framework.generators.autoencoder": "framework.generators.codecs.autoencoder",
    "framework.generators.channels_last": "framework.inference.channels_last",
    "framework.generators.code_language_model": "framework.generators.latent.code_language_model",
    "framework.generators.code_transformer": "framework.generators.latent.code_transformer",
    "framework.generators.codec": "framework.generators.codecs.codec",
    "framework.generators.dac": "framework.generators.codecs.dac",
    "framework.generators.ddsp": "framework.generators.ddsp.system",
    "framework.generators.ddsp_networks": "framework.generators.ddsp.networks",
    "framework.generators.encodec": "framework.generators.codecs.encodec",
    "framework.generators.incremental": "framework.inference.incremental",
    "framework.generators.latent_diffusion": "framework.generators.latent.latent_diffusion",
    "framework.generators.layers": "framework.inference.layers",
    "framework.generators.musegan": "framework.generators.musegan.system",
    "framework.generators.musegan_networks": "framework.generators.musegan.networks",
    "framework.generators.musegan_paper": "framework.generators.musegan.paper",
    "framework.generators.musegan_tracks": "framework.generators.musegan.tracks",
    "framework.generators.pretrained": "framework.generators.latent.pretrained",
    "framework.generators.quantisation": "framework.generators.codecs.quantisation",
    "framework.generators.streaming": "framework.generators.codecs.streaming",
    "framework.generators.unet": "framework.generators.wholesong.unet",
    "framework.generators.vae": "framework.generators.codecs.vae",
    "framework.generators.wavenet": "framework.generators.wavenet.system",
    "framework.generators.wavenet_eager": "framework.generators.wavenet.eager",
    "framework.generators.wavenet_network": "framework.generators.wavenet.network",
    "framework.generators.wavenet_queue": "framework.generators.wavenet.queue",
    "framework.generators.wavenet_sampling": "framework.generators.wavenet.sampling",
    "framework.generators.wavenet_weights": "framework.generators.wavenet.weights",
    "framework.generators.wholesong": "framework.generators.wholesong.system",
    "framework.generators.wholesong_networks": "framework.generators.wholesong.networks",
    "framework.native.streams": "framework.inference.compiled",
    "framework.native.wavenet": "framework.generators.wavenet.compiled",
    "framework.runs.liveness": "framework.liveness",
    "framework.runs.processes": "framework.processes",
    "framework.runs.releasing": "framework.export.release",
}
"""Today's name of each module by its former name."""
FIRST_NAMES = {today: former for former, today in MODULES.items() if former != "datamodules.cache"}


MEMBERS: dict[str, dict[str, str]] = {
    "framework.generators.codecs.codec:Codec": {"codebooks": "n_codebooks", "code_terms": "code_losses"},
    "framework.generators.codecs.dac:DAC": {"codebook_dimensions": "codebook_dim"},
    "framework.generators.codecs.encodec:Encodec": {"dimension": "latent_dim", "trained_books": "trained_codebooks"},
    "framework.generators.codecs.vae:VAE": {"dimension": "latent_dim"},
    "framework.generators.dcgan:PianorollDCGAN": {"steps_a_minute": "steps_per_minute"},
    "framework.generators.ddsp.system:DDSP": {"latents": "latent_dim"},
    "framework.generators.ddsp.system:DDSPPyTorch": {"loudness_deviation": "loudness_std"},
    "framework.generators.diffwave:UnconditionalDiffWave": {"labels": "num_classes"},
    "framework.generators.latent.code_language_model:CodeLanguageModel": {
        "books": "n_codebooks",
        "labels": "num_classes",
    },
    "framework.generators.musegan.system:MuseGAN": {"latent": "latent_dim", "beats_a_minute": "tempo_bpm"},
    "framework.generators.specgrad:SpecGrad": {"deviation": "std"},
    "framework.generators.wavenet.system:WaveNet": {"mel_deviation": "mel_std", "labels": "num_classes"},
    "framework.generators.wholesong.system:WholeSongLevel": {"beats_a_minute": "tempo_bpm"},
    "framework.hyperparameters:Hyperparameters": {"judging": "not_in_identity"},
    "framework.paradigms.adversarial:Adversarial": {
        "discriminating": "discriminators_active",
        "judge": "discriminate",
        "watch": "on_generator_losses",
    },
    "framework.paradigms.classification:Classification": {"classes": "num_classes", "deviation": "std"},
    "framework.paradigms.diffusion:Diffusion": {
        "levels": "timesteps",
        "first_beta": "beta_start",
        "last_beta": "beta_end",
        "distance": "loss_type",
        "clamped": "clip_sample",
    },
    "framework.paradigms.noise_driven:NoiseDriven": {"latent": "latent_dim", "labels": "num_classes"},
    "framework.paradigms.system:System": {
        "accumulate": "accumulate_grad_batches",
        "descend": "step_optimizer",
        "judged": "eval_generator",
        "parts": "micro_batches",
        "terms": "training_losses",
        "weight": "loss_weight",
    },
    "framework.synthesizer:Synthesizer": {
        "analyse": "batch_from_audio",
        "copies": "reconstructs_input",
        "truth": "reference",
        "whole_frames": "pad_to_hop",
    },
}
"""Today's name of each hyperparameter, method and constant by its former name, for each class `module:Class`.

They hold for the class and its subclasses.
"""


def first_name(module: str) -> str:
    """Return the name that a module had when it was first in identities of runs."""
    return FIRST_NAMES.get(module, module)


class FormerNames(MetaPathFinder):
    """An import hook that finds modules by their former names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import a former name; None for any other, and for what is a package of that name today."""
        today = MODULES.get(name)
        return None if today is None or today.startswith(f"{name}.") else ModuleSpec(name, _Today(today))


class _Today(Loader):
    """Gives a former name the module of today."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It has been executed under its own name, whose specification the import has replaced.
        module.__spec__ = self.spec


def install() -> None:
    """Let former names be imported."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, FormerNames())


def attributes_of(module: str) -> Callable[[str], Any]:
    """Return a `__getattr__` for a package that was a module before: it gives the names of this module."""

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(module), name)

    return __getattr__


def members_of(cls: type) -> Mapping[str, str]:
    """Return today's name of each renamed member of a class and its parents, by its former name."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= MEMBERS.get(f"{base.__module__}:{base.__qualname__}", {})
    return found


def with_todays_names(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a class's members by their names of today; a value under such a name has precedence."""
    today = members_of(cls)
    return {today.get(n, n): v for n, v in values.items() if n not in today or today[n] not in values}


def with_first_names(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a class's members by the names that identities of runs have for them."""
    first = {today: former for former, today in members_of(cls).items()}
    return {first.get(name, name): value for name, value in values.items()}


@functools.cache
def announce(former: str, today: str) -> None:
    """Print once in a process that a name has changed."""
    print(f"note: {former} is now called {today}", file=sys.stderr)


class FormerHyperparameter:
    """Gives a class and its instances the value of a hyperparameter under its former name."""

    def __init__(self, today: str) -> None:
        self.today = today

    def __get__(self, instance: Any, owner: type) -> Any:
        return getattr(owner if instance is None else instance, self.today)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self.today, value)
