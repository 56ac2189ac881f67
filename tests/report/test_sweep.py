"""What tells runs apart: varied settings, seeds, groups."""

from __future__ import annotations

from pruner_zero.report import read_run
from pruner_zero.report.comparison_figures import heat_figures, quantities, strips_figure
from pruner_zero.report.sweep import axes, groups
from tests.report.folders import results, write_run


def sweep(folder, sizes=(10, 9), modes=("rank", "oos"), seeds=(0, 1)):
    """A grid of runs; wikipedia test = 100 * place of the size + 10 * place of the mode + seed."""
    return [
        read_run(
            write_run(
                folder / f"{size}-{mode}-{seed}",
                ended=results(100.0 * sizes.index(size) + 10 * modes.index(mode) + seed),
                search__population_size=size,
                simplify=mode,
                seed=seed,
                cache=f"cache-{seed}",
            )
        )
        for size in sizes
        for mode in modes
        for seed in seeds
    ]


def test_axes_are_the_settings_that_differ_but_for_seeds(tmp_path):
    size, mode = axes(sweep(tmp_path))
    assert (size.key, size.levels) == ("search.population_size", ("9", "10"))  # by size
    assert size.places == (1, 1, 1, 1, 0, 0, 0, 0)
    assert (mode.key, mode.levels) == ("simplify", ("oos", "rank"))


def test_settings_that_change_together_are_one_axis(tmp_path):
    runs = [
        read_run(
            write_run(
                tmp_path / name, search__algorithm=name, search__population_size=size, operators=ops
            )
        )
        for name, size, ops in (("nsga2", 4, "paper"), ("random", 8, "wide"))
    ]
    (axis,) = axes(runs)
    assert axis.key == "search.algorithm"
    assert set(axis.others) == {"search.population_size", "operators"}


def test_groups_gather_seeds(tmp_path):
    runs = sweep(tmp_path)
    gathered = groups(runs, axes(runs))
    assert [group.label for group in gathered] == [
        "population_size 9, simplify oos",
        "population_size 9, simplify rank",
        "population_size 10, simplify oos",
        "population_size 10, simplify rank",
    ]
    assert all([run.setting("seed") for run in group.runs] == [0, 1] for group in gathered)


def test_unlike_runs_go_by_their_names(tmp_path):
    changed = {"search__algorithm": "nsga2", "operators": "wide", "terminals": "wide",
               "simplify": "oos", "sparsity": "2:4"}  # fmt: skip
    for names, labels in (
        (("first", "second"), ["first", "second"]),
        (("0", "1"), ["algorithm nsga2", "algorithm steady_state"]),  # jobs of a sweep
    ):
        runs = [
            read_run(write_run(tmp_path / name, **(changed if index else {})))
            for index, name in enumerate(names)
        ]
        assert sorted(group.label for group in groups(runs, axes(runs))) == sorted(labels)


def test_seeds_alone_are_one_group(tmp_path):
    runs = sweep(tmp_path, sizes=(4,), modes=("rank",), seeds=(0, 1, 2))
    assert axes(runs) == []
    (group,) = groups(runs, [])
    assert (group.label, len(group.runs)) == ("all runs", 3)


def test_heat_map_has_means_over_seeds_and_their_range(tmp_path):
    runs = sweep(tmp_path)
    varied = axes(runs)
    judged = quantities(runs)
    assert [name for name, _ in judged] == [
        "wikipedia test perplexity",
        "news test perplexity",
        "validation perplexity",
        "lowest search perplexity",
    ]
    ((title, plot),) = heat_figures(groups(runs, varied), varied, judged)
    assert title == ""
    wikipedia = plot.data[0]
    assert list(wikipedia.x) == ["9", "10"] and list(wikipedia.y) == ["oos", "rank"]
    assert [list(row) for row in wikipedia.z] == [[110.5, 10.5], [100.5, 0.5]]
    assert wikipedia.text[0][0] == "110.5<br><sub>110–111</sub>"
    assert wikipedia.hovertext[1][0].endswith("seed 0: 100.00<br>seed 1: 101.00")
    assert [trace.visible for trace in plot.data] == [True, False, False, False]


def test_a_third_setting_makes_a_map_each_and_a_hole_is_no_run(tmp_path):
    other = {"sparsity": "2:4", "search__population_size": 9}
    alone = read_run(write_run(tmp_path / "b", ended=results(), **other))
    runs = [*sweep(tmp_path / "a"), alone]
    varied = axes(runs)
    assert [axis.key for axis in varied] == ["search.population_size", "sparsity", "simplify"]
    maps = heat_figures(groups(runs, varied), varied, quantities(runs))
    assert [title for title, _ in maps] == ["simplify=oos", "simplify=rank"]
    assert [list(row) for row in maps[1][1].data[0].z] == [[100.5, 0.5], [45.0, None]]
    assert maps[1][1].data[0].hovertext[1][1] == "no run"


def test_strip_has_every_run_and_the_mean(tmp_path):
    runs = sweep(tmp_path)
    plot = strips_figure(groups(runs, axes(runs)), quantities(runs))
    assert sorted(plot.data[0].x) == [0, 1, 10, 11, 100, 101, 110, 111]
    assert list(plot.data[1].x) == [110.5, 100.5, 10.5, 0.5]
