"""Checkpoints of riverrun as inputs: a readout's tensors under the names of Hugging Face's format."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import torch

from riverrun.errors import CheckpointError, CorpusError, nearest
from riverrun.merge.headers import Stored, read_header
from riverrun.merge.inputs import RAW, Input
from riverrun.models import DecoderConfig
from riverrun.models.hugging_face import stored_parts, write_description
from riverrun.runs import Checkpoint, Node
from riverrun.train.plan import build_plan
from riverrun.train.session import recorded_recipe
from riverrun.train.sources import open_sources


def open_checkpoint(path: Path, readout: str) -> Input:
    """The tensors of `readout` ("raw", "ema-25", ...); manifest, sizes and headers are checked, contents are not yet.

    Raises:
        CheckpointError: the checkpoint is damaged or lies outside of a run, or it has no such readout.
    """
    checkpoint = Checkpoint(path, int(path.name))
    node = Node(path.parent.parent)
    if not node.exists:
        raise CheckpointError(
            f"{path}: lies outside of its run, whose node.json tells the model's shape; name it where it was saved"
        )
    tracks = checkpoint.manifest["tracks"]
    filled = [RAW, *(name for name, updated in tracks.items() if updated)]
    if readout not in filled:
        raise CheckpointError(f"{path}: has no readout {readout!r} to merge{nearest(readout, filled)}")
    decoder = _decoder(node)
    prefix = "model." if readout == RAW else f"track.{readout}."
    return Input(
        path=path,
        tensors=_split(path, _tensors(checkpoint, prefix), decoder),
        config={
            "decoder": asdict(replace(decoder, attention="auto")),  # which kernel computes it is no matter
            "tokenizer": node.facts["data"]["tokenizer"],
        },
        position=checkpoint.step,
        checkpoint=checkpoint,
    )


def write_checkpoint_description(checkpoint: Checkpoint, target: Path, dtype: str) -> None:
    """Write config.json and the tokenizer, as `riverrun export` does."""
    node = Node(checkpoint.path.parent.parent)
    tokenizer = open_sources(recorded_recipe(node).data)[0][0].tokenizer
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer_file = Path(scratch) / "tokenizer.json"
        tokenizer.save(tokenizer_file)
        write_description(
            target,
            _decoder(node),
            tokenizer_file=tokenizer_file,
            end_of_text=tokenizer.end_of_text,
            dtype=getattr(torch, dtype),
        )


def _decoder(node: Node) -> DecoderConfig:
    recipe = recorded_recipe(node)
    corpus = open_sources(recipe.data)[0][0]
    if corpus.tokenizer.hash != node.facts["data"]["tokenizer"]:
        raise CorpusError(
            f"corpus {corpus.directory}: its tokenizer is not the one that {node.path} was trained with; put that "
            "corpus back"
        )
    return build_plan(recipe, corpus.vocabulary).decoder


def _tensors(checkpoint: Checkpoint, prefix: str) -> dict[str, Stored]:
    """The tensors under a prefix, from every file of the manifest that is not in a part of the checkpoint."""
    found: dict[str, Stored] = {}
    for name, expected in checkpoint.manifest["files"].items():
        if "/" in name or not name.endswith(".safetensors"):
            continue
        file = checkpoint.path / name
        if not file.is_file():
            raise CheckpointError(f"{checkpoint.path}: {name} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise CheckpointError(
                f"{checkpoint.path}: {name} has {file.stat().st_size} bytes, {expected['bytes']} were written"
            )
        header = read_header(file)
        wanted = {key.removeprefix(prefix): value for key, value in header.items() if key.startswith(prefix)}
        if twice := sorted(wanted.keys() & found.keys()):
            raise CheckpointError(
                f"{checkpoint.path}: {twice[0]} lies in pieces in several files, which cannot be merged; export the "
                "readout with riverrun export, and merge what that writes"
            )
        found |= wanted
    return found


def _split(path: Path, tensors: dict[str, Stored], decoder: DecoderConfig) -> dict[str, Stored]:
    """The pieces that Hugging Face's format keeps apart; each is some rows of a tensor, in one piece."""
    layout = stored_parts(decoder)
    pieces: dict[str, Stored] = {}
    for name, stored in tensors.items():
        if name not in layout or stored.shape[0] != sum(layout[name].values()):
            raise CheckpointError(f"{path}: {name} does not fit the model that the run's recipe describes")
        first = 0
        for part, rows in layout[name].items():
            pieces[part] = stored.rows(first, rows)
            first += rows
    if missing := [name for name in layout if name not in tensors]:
        raise CheckpointError(f"{path}: has no {missing[0]}; it belongs to another recipe")
    return pieces
