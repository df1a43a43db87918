"""Which node a branch is: one that was asked for before, to go on with, or a new one under a free name."""

from __future__ import annotations

import re
from dataclasses import replace

from riverrun.errors import SettingError
from riverrun.runs import Node, RunError, Tree
from riverrun.runs.node import TRUNK
from riverrun.train.plan import Plan
from riverrun.train.recipe import Recipe, differences
from riverrun.train.session import recorded_recipe


def known_branch(tree: Tree, plan: Plan, parent: Node, start: int, end: int | None) -> Node | None:
    """The branch of that recipe and fork, if there is one.

    What its parent was fed since does not make it another branch, as far as it begins after the decay's end.
    """
    for node in tree.nodes():
        if _begins(node, parent, start) and _read(plan, recorded_recipe(node), end) == _read(
            plan, plan.recipe, end
        ):
            return node
    return None


def named_branch(tree: Tree, name: str, recipe: Recipe, parent: Node, start: int, own_feed: bool) -> Node:
    """The branch of that name, new, or of that fork and recipe.

    Feeds that it has from its parent were settled when it was made; only with a feed of its own are they compared.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == TRUNK:
        raise SettingError(
            f"--name: got {name!r}; letters, digits, dots, dashes and underscores make a name, and trunk is taken"
        )
    node = tree.branch(name)
    if not node.exists:
        return node
    fork = node.parent
    if fork is not None and not _begins(node, parent, start):
        raise RunError(
            f"--name: {name} is there already, from step {fork.step:,} of {fork.node}; take another name, or go on "
            f"with it by --from {fork.node} --at {fork.step}"
        )
    recorded = recorded_recipe(node)
    if not own_feed:
        recipe = replace(recipe, data=replace(recipe.data, feeds=recorded.data.feeds))
    changed = differences(recorded, recipe)
    if changed:
        raise RunError(f"--name: {name} is there already: {changed[0]}; take another name")
    return node


def free_name(tree: Tree, stem: str) -> Node:
    """A node that nobody has begun yet."""
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 1_000_000))
    return next(node for node in map(tree.branch, names) if not node.path.exists())


def _begins(node: Node, parent: Node, start: int) -> bool:
    """Whether a node forked there; from which save of that position does not matter, for all hold the same."""
    try:
        fork = node.parent
    except RunError:
        return False
    return fork is not None and (fork.node, fork.step) == (parent.id, start)


def _read(plan: Plan, recipe: Recipe, end: int | None) -> object:
    """A recipe as far as its run reads it, up to the decay's end."""
    feeds = recipe.data.feeds
    if end is not None:
        feeds = tuple(feed for feed in feeds if plan.samples_at(feed.at) < plan.sizes.samples(end))
    return replace(recipe, data=replace(recipe.data, feeds=feeds)).to_dict()
