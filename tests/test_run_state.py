"""A discovery that was interrupted continues from its checkpoint exactly where it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core.directions import Direction
from lelsd_core.discovery.search import discover
from lelsd_core.errors import UserError
from lelsd_core.weights.catalogue import generator_spec
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors
from tests.toy import QUICK as LONG
from tests.toy import Halves, Painter

QUICK = replace(LONG, steps=40)
CONFIGS = {
    "one": QUICK,
    "two": replace(QUICK, count=2, steps=20),
    "halving": replace(QUICK, schedule="halving"),
    "free": replace(QUICK, count=2, steps=20, norm="free", draw="batch", least=0.0, beta2=0.999),
    "constant": replace(QUICK, schedule="constant"),
    "patience": replace(QUICK, steps=400, patience=3, look=5),
}


def figures(progress) -> tuple:
    """All of a progress that can be compared."""
    vectors = [d.vector.tolist() for d in progress.directions]
    return progress.step, progress.score, progress.seen, progress.left_out, progress.held_out, vectors


@pytest.mark.parametrize("cut", [7, 10, 33])
@pytest.mark.parametrize("case", CONFIGS)
def test_a_resumed_run_equals_an_unbroken_one(case, cut, tmp_path):
    file, config = tmp_path / "run.safetensors", CONFIGS[case]
    unbroken = [figures(p) for p in discover(Painter(), Halves(), config)]
    run = discover(Painter(), Halves(), config, checkpoint=file, every=5)
    for _ in range(cut):
        next(run)
    run.close()
    resumed = [figures(p) for p in discover(Painter(), Halves(), config, checkpoint=file, every=5)]
    assert resumed == unbroken[cut // 5 * 5 :]


def test_a_finished_run_tells_its_result_again(tmp_path):
    file = tmp_path / "run.safetensors"
    *_, last = discover(Painter(), Halves(), QUICK, checkpoint=file)
    again = list(discover(Painter(), Halves(), QUICK, checkpoint=file))
    assert [figures(p) for p in again] == [figures(last)]


def test_the_network_that_ships_resumes_too(editor, tmp_path):
    config = replace(generator_spec("digiface-64").discover, parts=("mouth",), steps=6, batch=2)
    networks, file = (editor.generator, editor.segmenter), tmp_path / "run.safetensors"
    *_, unbroken = discover(*networks, config)
    run = discover(*networks, config, checkpoint=file, every=2)
    for _ in range(3):
        next(run)
    *_, resumed = discover(*networks, config, checkpoint=file, every=2)
    assert figures(resumed) == figures(unbroken)


def test_nothing_in_the_file_is_code(tmp_path):
    file = tmp_path / "run.safetensors"
    next(discover(Painter(), Halves(), QUICK, checkpoint=file, every=1))
    tensors, facts = read_safetensors(file, "discovery")
    assert set(tensors) == {"vectors", "best", "random", "exp_avg", "exp_avg_sq"}
    assert facts["task"]["config"]["parts"] == ["left"]


def test_micro_batches_may_change_between_two_runs(tmp_path):
    file = tmp_path / "run.safetensors"
    next(discover(Painter(), Halves(), QUICK, checkpoint=file, every=1))
    assert next(discover(Painter(), Halves(), replace(QUICK, micro=2), checkpoint=file)).step == 2


def test_a_file_from_before_there_were_truncation_and_other_settings_goes_on(tmp_path):
    file = tmp_path / "run.safetensors"
    next(discover(Painter(), Halves(), QUICK, checkpoint=file, every=1))
    tensors, facts = read_safetensors(file, "discovery")
    for name in ("truncation", "draw", "beta2"):
        del facts["task"]["config"][name]
    write_safetensors(file, tensors, facts)
    with pytest.raises(UserError, match="belongs to another discovery"):
        next(discover(Painter(), Halves(), replace(QUICK, beta2=0.9), checkpoint=file))
    assert next(discover(Painter(), Halves(), QUICK, checkpoint=file)).step == 2


def test_a_file_of_another_discovery_is_refused(tmp_path):
    file = tmp_path / "run.safetensors"
    next(discover(Painter(), Halves(), QUICK, checkpoint=file, every=1))
    given = [Direction("known", "painter", "a" * 64, "Z", torch.eye(6)[0])]
    for config, against, word in ((replace(QUICK, seed=5), [], "config"), (QUICK, given, "given")):
        with pytest.raises(UserError, match=rf"belongs to another discovery \(another {word}\)"):
            next(discover(Painter(), Halves(), config, checkpoint=file, against=against))


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    file = tmp_path / "run.safetensors"
    next(discover(Painter(), Halves(), QUICK, checkpoint=file, every=1))
    tensors, facts = read_safetensors(file, "discovery")
    write_safetensors(file, tensors | {"vectors": torch.zeros(2, 2)}, facts)
    with pytest.raises(UserError, match="not a whole checkpoint of a discovery: shapes"):
        next(discover(Painter(), Halves(), QUICK, checkpoint=file))
    file.write_bytes(b"not a checkpoint at all")
    with pytest.raises(UserError, match="a file of an unknown kind, not a discovery"):
        next(discover(Painter(), Halves(), QUICK, checkpoint=file))
    Direction("d", "painter", "a" * 64, "Z", torch.eye(6)[0]).save(file)
    with pytest.raises(UserError, match="is a direction of this project, not a discovery"):
        next(discover(Painter(), Halves(), QUICK, checkpoint=file))
