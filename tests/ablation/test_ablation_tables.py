"""The recipes of the ablations say what the paper says."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from rbt import cli
from rbt.ablation.tables import Plan, ablation_names, load_ablation, make_plans, varied_keys
from rbt.cli.ablate import SIZES, TABLES, description
from rbt.errors import ConfigError
from rbt.trainer.config import RunConfig, Shape

# Tables 1 to 3 of the paper: row -> figures
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "table-1": {
        "static": {"SQuAD 2.0 F1": 78.3, "MNLI-m": 84.3, "SST-2": 92.5},
        "dynamic": {"SQuAD 2.0 F1": 78.7, "MNLI-m": 84.0, "SST-2": 92.9},
    },
    "table-2": {
        "segment-pair": {"SQuAD 1.1 F1": 90.4, "SQuAD 2.0 F1": 78.7, "MNLI-m": 84.0, "SST-2": 92.9, "RACE": 64.2},
        "sentence-pair": {"SQuAD 1.1 F1": 88.7, "SQuAD 2.0 F1": 76.2, "MNLI-m": 82.9, "SST-2": 92.1, "RACE": 63.0},
        "full-sentences": {"SQuAD 1.1 F1": 90.4, "SQuAD 2.0 F1": 79.1, "MNLI-m": 84.7, "SST-2": 92.5, "RACE": 64.8},
        "doc-sentences": {"SQuAD 1.1 F1": 90.6, "SQuAD 2.0 F1": 79.7, "MNLI-m": 84.7, "SST-2": 92.7, "RACE": 65.6},
    },
    "table-3": {
        "256": {"perplexity": 3.99, "MNLI-m": 84.7, "SST-2": 92.7},
        "2K": {"perplexity": 3.68, "MNLI-m": 85.2, "SST-2": 92.9},
        "8K": {"perplexity": 3.77, "MNLI-m": 84.6, "SST-2": 92.8},
    },
}
BASE = Shape(layers=12, hidden=768, heads=12, feed_forward=3072)


def plans_of(table: str, size: str = "paper", *settings: str) -> dict[str, Plan]:
    """Plans by row."""
    return {plan.row.name: plan for plan in make_plans(load_ablation(table), size, settings)}


def test_the_command_line_names_what_is_shipped() -> None:
    assert ablation_names() == sorted(TABLES) == sorted(PAPER)
    assert all(tuple(load_ablation(name).sizes) == SIZES for name in TABLES)


@pytest.mark.parametrize("table", PAPER)
def test_figures_are_those_of_the_paper(table: str) -> None:
    ablation = load_ablation(table)
    assert {row.name: dict(row.paper) for row in ablation.rows} == PAPER[table]


@pytest.mark.parametrize("table", PAPER)
def test_paper_size_is_base_with_rows_of_512_tokens_and_the_default_optimizer(table: str) -> None:
    for plan in plans_of(table).values():
        assert (plan.model.shape, plan.model.dropout, plan.model.attention_dropout) == (BASE, 0.1, 0.1)
        assert (plan.pack.max_tokens, plan.pack.short_sequence_probability) == (512, 0.0)
        schedule = plan.schedule
        assert (schedule.beta1, schedule.beta2, schedule.epsilon, schedule.weight_decay) == (0.9, 0.98, 1e-6, 0.01)
        assert (schedule.clip_norm, plan.data.masked_fraction) == (0.0, 0.15)


@pytest.mark.parametrize("table", ["table-1", "table-2"])
def test_tables_1_and_2_are_a_million_steps_of_256_rows(table: str) -> None:
    for plan in plans_of(table).values():
        assert (plan.schedule.max_steps, plan.data.global_batch) == (1_000_000, 256)
        assert (plan.schedule.peak_learning_rate, plan.schedule.warmup_steps) == (1e-4, 10_000)


def test_table_1_differs_in_ten_static_masks_alone() -> None:
    plans = plans_of("table-1")
    assert varied_keys(list(plans.values())) == ["data.static_masks"]
    assert (plans["static"].data.static_masks, plans["dynamic"].data.static_masks) == (10, 0)


def test_the_dynamic_row_of_table_1_is_segment_pair_of_table_2() -> None:
    """Whose figures are the same in the paper."""
    for size in SIZES:
        assert plans_of("table-1", size)["dynamic"].settings() == plans_of("table-2", size)["segment-pair"].settings()
    shared = {"SQuAD 2.0 F1", "MNLI-m", "SST-2"}
    assert PAPER["table-1"]["dynamic"] == {key: PAPER["table-2"]["segment-pair"][key] for key in shared}


def test_table_2_differs_in_the_format_alone() -> None:
    for size in SIZES:
        plans = plans_of("table-2", size)
        assert varied_keys(list(plans.values())) == ["pack.format"]
        assert all(plan.pack.format == name for name, plan in plans.items())


def test_table_3_has_the_papers_batches_steps_and_rates() -> None:
    found = {
        name: (plan.data.global_batch, plan.schedule.max_steps, plan.schedule.peak_learning_rate)
        for name, plan in plans_of("table-3").items()
    }
    assert found == {"256": (256, 1_000_000, 1e-4), "2K": (2048, 125_000, 7e-4), "8K": (8192, 31_250, 1e-3)}
    warmups = {name: plan.schedule.warmup_steps for name, plan in plans_of("table-3").items()}
    assert warmups == {"256": 10_000, "2K": 10_000, "8K": 1500}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("settings", [(), ("data.global_batch=3", "schedule.max_steps=64")])
def test_table_3_reads_the_same_number_of_rows_in_every_row(size: str, settings: tuple[str, ...]) -> None:
    plans = plans_of("table-3", size, *settings)
    assert len({plan.data.global_batch * plan.schedule.max_steps for plan in plans.values()}) == 1
    batches = {name: plan.data.global_batch for name, plan in plans.items()}
    assert (batches["2K"] / batches["256"], batches["8K"] / batches["256"]) == (8, 32)


def test_settings_reach_all_rows_over_their_own() -> None:
    plans = plans_of("table-3", "mini", "schedule.peak_learning_rate=2e-4", "model.layers=3", "run.log_every=7")
    assert {plan.schedule.peak_learning_rate for plan in plans.values()} == {2e-4}
    assert {plan.model.shape.layers for plan in plans.values()} == {3}
    assert {plan.run.log_every for plan in plans.values()} == {7}
    warm = plans_of("table-3", "mini", "schedule.warmup_steps=5")
    assert {plan.schedule.warmup_steps for plan in warm.values()} == {5}


def test_run_is_that_of_the_recipe() -> None:
    plans = make_plans(load_ablation("table-1"), "mini", ["run.log_every=7"], RunConfig(validate_every=5))
    assert all((plan.run.log_every, plan.run.validate_every) == (7, 5) for plan in plans)


def test_a_setting_of_another_command_is_left_to_it() -> None:
    assert plans_of("table-1", "mini", "bpe.vocab_size=600", "source.0.kind=book") == plans_of("table-1", "mini")


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ("table-1", ["data.static_masks=3"], "expected rows of table-1 that differ; found static and dynamic alike"),
        ("table-2", ["pack.format=doc-sentences"], "found segment-pair and sentence-pair alike"),
        ("table-3", ["schedule.max_steps=100"], "expected a multiple of 8, by which row 2K divides it; found 100"),
        ("table-3", ["data.global_batch=many"], "[data] global_batch: expected a whole number; found 'many'"),
        ("table-3", ["model.layer=1"], "unknown key 'layer' in [model]"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(table: str, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_plans(load_ablation(table), "mini", settings)


def test_unknown_tables_and_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match="expected a table, one of table-1, table-2, table-3; found 'table-4'"):
        load_ablation("table-4")
    with pytest.raises(ConfigError, match="expected a size of table-1, one of paper, mini; found 'large'"):
        make_plans(load_ablation("table-1"), "large")


def test_the_list_has_a_line_for_every_row() -> None:
    result = CliRunner().invoke(cli.main, ["ablate", "--list"])
    lines = result.output.splitlines()
    assert (result.exit_code, lines) == (0, description())
    rows = [line.split()[0] for line in lines if line.startswith("    ")]
    assert rows == [name for table in TABLES for _ in SIZES for name in PAPER[table]]
    assert "    8K              full-sentences: 31,250 steps of 8,192 rows, peak 0.001, warm-up 1,500" in lines
