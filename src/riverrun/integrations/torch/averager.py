"""Averages of a module that somebody else trains."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from riverrun.averaging import HalfLife, History, Profile, Track, applied, parse_profile, profile_named
from riverrun.averaging.arguments import check_step
from riverrun.integrations.torch.host_copy import HostCopy
from riverrun.schedules.fields import unknown_name
from riverrun.sharding import forget_gathered, own_part, shard, shards, spread

# What wrappers put into the names of parameters.
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")


class Averager:
    """Averages of a module's trainable parameters, kept in fp32 whatever their dtype.

    The module may be plain, compiled, wrapped by DDP, or sharded by FSDP2 (then each rank averages its shards, without
    communication); wrap and shard it first. Buffers and frozen parameters are left alone.

    Args:
        model: the module. Its parameters must stay the same tensors, as an optimizer's must.
        tracks: the profiles to keep, or their specs ("half-life:25"); nested ones.
        history: makes a history of the parameters (`History` itself, or a partial of it with settings), from which
            `applied` gives any other profile; None for none.
        every: updates of the averages are made at steps divisible by it; the gap enters the weights.
        device: "cpu" spares a GPU's memory: copies are then made on a stream of their own, and averaged there by a
            thread. Default: the averages lie beside the parameters. A history has its own place.

    Attributes:
        names: of the tracks, such as "ema-25".
        step: the position of the last update that was taken in; 0 before the first.

    Raises:
        ValueError: no trainable parameters, a profile that cannot be kept online, or the same one twice, a device that
            is neither "cpu" nor the parameters'.
    """

    def __init__(
        self,
        model: nn.Module,
        tracks: Sequence[Profile | str] = (HalfLife(25),),
        history: Callable[[list[Tensor]], History] | None = None,
        *,
        every: int = 1,
        device: torch.device | str | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every: got {every}; must be a number of steps, at least 1")
        self._model = _unwrapped(model)
        self._every = every
        forget_gathered(model)
        self._params = {
            _plain(name): parameter
            for name, parameter in self._model.named_parameters()
            if parameter.requires_grad
        }
        if not self._params:
            raise ValueError("model: has no trainable parameters to average")
        live = self._live()
        here = live[0].device
        on = here if device is None else torch.device(device)
        if on.type != "cpu" and on not in (here, torch.device(here.type)):
            raise ValueError(
                f"device: got {on}; must be cpu, or left out to be {here}, as the parameters are"
            )
        self._copies = HostCopy(live) if on.type == "cpu" and here.type != "cpu" else None
        beside = self._copies.tensors if self._copies is not None else live
        profiles = [parse_profile(track) if isinstance(track, str) else track for track in tracks]
        self._tracks = {profile.name: Track(beside, profile) for profile in profiles}
        if len(self._tracks) < len(profiles):
            raise ValueError(f"tracks: got {[profile.spec for profile in profiles]}; must differ")
        self._history = history(live) if history is not None else None
        self._applied: str | None = None
        self._raw: list[Tensor] | None = None  # the raw weights, while an average is in their place
        self.step = 0

    @property
    def names(self) -> list[str]:
        """Of the tracks, such as "ema-25"."""
        return list(self._tracks)

    @property
    def begun(self) -> list[str]:
        """Those of `names` that have taken in an update, and can be applied."""
        self._settle()
        return [name for name, track in self._tracks.items() if track.step]

    def update(self, step: int) -> None:
        """Take in the parameters after update ``step``, 1 or more: call it after each ``optimizer.step()``.

        Raises:
            ValueError: ``step`` is not above the last one.
            RuntimeError: an average is in the model's place.
        """
        if self._applied is not None:
            raise RuntimeError(f"update: {self._applied} is in the model's place; leave `applied` first")
        if step % self._every:
            return
        step = check_step(step, self.step)
        live = self._live()
        if self._copies is None:
            self._update_tracks(live, step)
        else:
            self._copies.take(live, lambda copies: self._update_tracks(copies, step))
        if self._history is not None:
            self._history.update(live, step)
        self.step = step

    def _update_tracks(self, params: list[Tensor], step: int) -> None:
        for track in self._tracks.values():
            track.update(params, step)

    @contextmanager
    def applied(self, name: str) -> Iterator[None]:
        """Have an average in the model's place for a ``with`` block, however that ends; in the parameters' dtypes.

        The raw weights come back bit for bit. What the block saves of the model is the average.

        Args:
            name: of a track, "ema-25"; with a history, the name of any other profile too, "tail-0.2"; "raw" changes
                nothing, but within the block of an average, where it gives the raw weights.

        Raises:
            ValueError: an unknown name, or no update yet.
            RuntimeError: the model's parameters have been replaced.
        """
        if name == "raw" and self._raw is None:
            yield
            return
        values = self._raw if name == "raw" and self._raw is not None else self._values(name)
        before = self._applied, self._raw
        try:
            with applied(self._live(), values, keep=values[0].device) as found:
                self._applied, self._raw = name, self._raw or found
                forget_gathered(self._model)
                yield
        finally:
            forget_gathered(self._model)  # what was gathered in the block was the average
            self._applied, self._raw = before

    def average(self, name: str) -> dict[str, Tensor]:
        """An average by parameter name, in fp32, laid out as the parameters are.

        A track's own memory, which the next update changes; see `applied` for ``name``.
        """
        return self._by_name(self._values(name))

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name, numbers and text: for ``torch.save``, which ``weights_only=True`` reads, or a sharded save.

        The tensors are the averages themselves, as a module's state is: save them before the next update. Sharded ones
        are DTensors, but for a history's, which are this rank's shards. Shared by DDP's ranks: save it on one of them.
        """
        self._settle()
        state: dict[str, Any] = {
            "step": self.step,
            "tracks": {
                name: {
                    "profile": track.profile.spec,
                    "step": track.step,
                    "average": self._by_name(track.average),
                }
                for name, track in self._tracks.items()
            },
        }
        if self._history is not None:
            state["history"] = self._history.state_dict()
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Go on from `state_dict`, bit for bit; the tensors are copied.

        Args:
            state: what `state_dict` gave, of this module wrapped or sharded in any way: shards fit the same layout,
                whole tensors any.
            strict: whether the state must have just these tracks, and a history if this has one. Otherwise those that
                it has not begin with the next update, which then stands for all before; those it has on top are left.

        Raises:
            ValueError: tracks or parameters differ; nothing has been changed then.
        """
        self._settle()
        saved: Mapping[str, Any] = state["tracks"]
        if strict and (
            saved.keys() != self._tracks.keys() or ("history" in state) != (self._history is not None)
        ):
            raise ValueError(
                f"averages: got the state of {_listed(saved, 'history' in state)}; must be "
                f"{_listed(self._tracks, self._history is not None)}. "
                "With strict=False those that are missing begin now"
            )
        for name in self._tracks:
            if name in saved:
                self._check_shapes(name, saved[name]["average"])
        if self._history is not None and "history" in state:
            self._history.load_state_dict(state["history"])  # changes nothing either where shapes differ
        elif self._history is not None:
            start = self._history.start
            self._history.begin(start, [(start, start)])
        for name, track in self._tracks.items():
            if name not in saved:
                track.step = 0
                continue
            for average, (param_name, param) in zip(track.average, self._params.items(), strict=True):
                average.copy_(_part(saved[name]["average"][param_name], param))
            track.step = int(saved[name]["step"])
        self.step = int(state["step"])

    def _check_shapes(self, track: str, average: Mapping[str, Tensor]) -> None:
        odd = sorted(average.keys() ^ self._params.keys())
        if odd:
            where = "model" if odd[0] in self._params else "state"
            raise ValueError(
                f"averages: {odd[0]} is in the {where} alone ({track}); must be the same parameters"
            )
        for name, param in self._params.items():
            if average[name].shape != param.shape:
                raise ValueError(
                    f"averages: got shape {tuple(average[name].shape)} for {name} ({track}); "
                    f"must be {tuple(param.shape)}"
                )

    def _values(self, name: str) -> list[Tensor]:
        """What this rank holds of an average, in the order of the parameters."""
        self._check_same_parameters()
        self._settle()
        if name in self._tracks:
            track = self._tracks[name]
            if not track.step:
                raise ValueError(f"{name}: no average yet; call update first")
            return track.average
        profile = profile_named(name) if self._history is not None else None
        if profile is None or self._history is None:
            raise unknown_name("average", name, self.names)
        return self._history.reconstruct(profile).tensors

    def _check_same_parameters(self) -> None:
        """Averages of tensors that the model has no more stand still, and would be put in nobody's place."""
        forget_gathered(self._model)
        now = {id(parameter) for parameter in self._model.parameters()}
        for name, parameter in self._params.items():
            if id(parameter) not in now:
                raise RuntimeError(
                    f"model: {name} is another tensor than when its averages began; build the Averager after "
                    "fully_shard, or whatever else replaces parameters"
                )

    def _by_name(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        return {
            name: spread(value, param)
            for (name, param), value in zip(self._params.items(), values, strict=True)
        }

    def _live(self) -> list[Tensor]:
        return shards(self._params.values())

    def _settle(self) -> None:
        if self._copies is not None:
            self._copies.settle()


def _unwrapped(model: nn.Module) -> nn.Module:
    """The module within DDP and `torch.compile`, in whatever order they wrap it."""
    while True:
        inner = (
            model.module if isinstance(model, DistributedDataParallel) else getattr(model, "_orig_mod", None)
        )
        if inner is None:
            return model
        model = inner


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _part(saved: Tensor, param: Tensor) -> Tensor:
    """What this rank needs of a saved average, laid out as its parameter or in any other way."""
    if isinstance(saved, DTensor):
        if isinstance(param, DTensor) and saved.placements == param.placements:
            return shard(saved)
        saved = saved.full_tensor()
    return own_part(saved.to(param.device), param) if isinstance(param, DTensor) else saved


def _listed(tracks: Mapping[str, Any], history: bool) -> str:
    names = [*tracks, *(["a history"] if history else [])]
    return ", ".join(names) or "no averages"
