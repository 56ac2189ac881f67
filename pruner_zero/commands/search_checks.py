"""What a search's settings must satisfy, found before a file is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pruner_zero.commands.schema import SearchCommandConfig
from pruner_zero.commands.workers import check_workers
from pruner_zero.data.corpus import NAMED_CORPORA
from pruner_zero.data.windows import check_seed
from pruner_zero.errors import UserError, check_distinct, suggest
from pruner_zero.metric import operator_set, terminal_set
from pruner_zero.model.loading import resolve_device
from pruner_zero.model.methods import Method, resolve_method, resolve_pattern
from pruner_zero.model.obs_update import NO_HOST
from pruner_zero.model.placement import check_memory
from pruner_zero.model.prune import MODES, UPDATES, check_options
from pruner_zero.model.sparsity import (
    NofM,
    SparsityPattern,
    Unstructured,
    parse_sparsity,
    with_scope,
)
from pruner_zero.search.config import check_scopes, check_simplification
from pruner_zero.tracking import check_tracker

_NO_FILES = ("on", "true", "false", "yes", "no", "none")  # nobody calls a ledger so


def checked(config: SearchCommandConfig) -> list[SparsityPattern]:
    """Find every mistake that can be found before a file is read.

    Returns:
        What is pruned: one sparsity, or those of a joint fitness.

    Raises:
        UserError: says which setting and what to write instead.
    """
    config.search.check()
    config.fitness.racing.check()
    place, fame = config.fitness.racing.place, config.search.hall_of_fame
    if place is not None and place > fame:
        raise UserError(
            f"fitness.racing.place={place} is beyond search.hall_of_fame={fame}, whose places "
            "candidates race for"
        )
    check_simplification(config.simplify)
    check_tracker(config.tracker)
    check_workers(config.workers, config.device, config.memory)
    operator_set(config.operators)
    terminal_set(config.terminals)
    for group in ("calibration", "fitness", "validation", "test"):
        part = getattr(config, group)
        for key in ("sequences", "windows", "length", "candidates"):
            value = getattr(part, key, None)
            least = 2 if key == "length" else 1
            if value is not None and value < least:
                raise UserError(f"{group}.{key} must be at least {least}")
    _check_domains(config)
    check_memory(config.memory)
    if (config.ledger or "").lower() in _NO_FILES:
        raise UserError(
            f"ledger={config.ledger}: off for none, null for the cache's own, or a file"
        )
    if config.fitness.score_memory < 0:
        raise UserError("fitness.score_memory must be at least 0")
    resolve_device(config.device)
    check_seed(config.seed)
    if config.mode not in MODES:
        raise UserError(f"unknown mode '{config.mode}': {suggest(config.mode, MODES)}")
    _check_targets(config)
    wanted = config.fitness.sparsity or [config.sparsity]
    patterns = [parse_sparsity(text, config.scope) for text in wanted]
    check_distinct("fitness.sparsity", patterns)
    models = [config.model.path or config.model.name, *config.fitness.models]
    check_distinct("fitness.models with the model of the search", models)
    check_distinct("test.baselines", config.test.baselines)
    if config.search.objectives == "parts" and len(patterns) == len(models) == 1:
        raise UserError(
            "search.objectives=parts needs several: add fitness.sparsity=[…] or fitness.models=[…]"
        )
    if all(isinstance(pattern, NofM) for pattern in patterns):
        check_scopes(config.search, patterns[0])
    _check_update(config)
    _check_pruning(config, patterns)
    return patterns


def _check_targets(config: SearchCommandConfig) -> None:
    """Refuse two settings of which one would silently win."""
    several, one = config.fitness.sparsity, config.sparsity
    if several and config.scope:
        raise UserError("scope is for one sparsity: drop it or fitness.sparsity")
    if several and one not in (SearchCommandConfig.sparsity, *several):
        raise UserError(f"sparsity={one} is not among fitness.sparsity: drop one of them")
    if config.scope and config.search.scopes:
        raise UserError("search.scopes lets the scope evolve: drop it or scope")


def _check_domains(config: SearchCommandConfig) -> None:
    for group in ("fitness", "validation", "test"):
        part = getattr(config, group)
        for name in part.domains or ():
            if name not in NAMED_CORPORA:
                raise UserError(f"{group}.domains: '{name}': {suggest(name, NAMED_CORPORA)}")
        beside = {*(part.domains or ())} - {config.corpus.name}
        if group != "test" and part.windows <= len(beside):
            raise UserError(
                f"{group}.windows={part.windows} is too few for {len(beside) + 1} texts: "
                "each needs one window at least"
            )


def _check_update(config: SearchCommandConfig) -> None:
    if (update := config.fitness.update) not in UPDATES:
        raise UserError(f"unknown fitness.update '{update}': {suggest(update, UPDATES)}")
    if update == "none":
        return
    if config.workers.kind != "local":
        raise UserError(
            f"fitness.update={update} needs workers=local: Hessians are not sent to workers"
        )
    if config.memory == "blockwise":
        raise UserError(NO_HOST)


def _check_pruning(config: SearchCommandConfig, patterns: Sequence[SparsityPattern]) -> None:
    """Check all that may be pruned by, in all scopes, with the update and in the final mode."""
    for setting, method, pattern in _prunings(config, patterns):
        try:
            check_options(method, pattern, config.mode, config.fitness.update, "uniform")
        except UserError as error:
            raise UserError(f"{setting}: {error}") from None


def _prunings(
    config: SearchCommandConfig, patterns: Sequence[SparsityPattern]
) -> Iterator[tuple[str, Method, SparsityPattern]]:
    """The setting that asks for it, the method, the sparsity in its scope."""
    typical = resolve_method("wanda")  # candidates may read activations
    for pattern in patterns:
        yield "scope", typical, pattern
        for method in map(resolve_method, config.test.baselines):
            if method.metric is not None:
                yield "test.baselines", method, resolve_pattern(method, str(pattern), None)
        if isinstance(pattern, Unstructured):
            for scope in config.search.scopes:
                yield "search.scopes", typical, with_scope(pattern, scope)
            for seed in config.search.known_metrics():
                yield "search.seeds", typical, with_scope(pattern, seed.scope)
