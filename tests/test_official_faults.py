"""The eleven faults of the paper's own code (IVRL/LELSD), each as a test that this one has not got it."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import lelsd_core
from lelsd_core.directions import Direction, move
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import Sphere, discover
from lelsd_core.localization import localization_score
from lelsd_core.weights.safetensors import read_safetensors
from tests.test_discovery_options import Pair
from tests.toy import SIZE, Halves, Painter

PACKAGE = Path(lelsd_core.__file__).parent
SEARCH = ("discovery/search", "discovery/samples", "discovery/sphere")
QUICK = DiscoverConfig(parts=("left",), steps=5, batch=4, samples=16)


def sources() -> dict[Path, ast.Module]:
    """Every source file, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def names_in(tree: ast.AST) -> set[str]:
    """All names and attributes that a piece of code mentions."""
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return plain | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_1_a_move_in_z_goes_along_the_direction_not_along_the_code():
    codes = torch.tensor([[3.0, 0, 0, 0, 0, 0]])
    along = Direction("d", "painter", "a" * 64, "Z", torch.eye(6)[1])
    assert move(codes, [along], [2.0]).tolist() == [[3, 2, 0, 0, 0, 0]]
    seen: list[torch.Tensor] = []
    painter = Painter()
    painter.paint, paint = lambda z: seen.append(z.detach()) or paint(z), painter.paint
    first = next(discover(painter, Halves(), replace(QUICK, layers=("8.paint",), slots=("z",), lr=0.0)))
    steps = seen[-1] - painter.sample(range(1_000_000, 1_000_004))  # chosen layers and Z together
    along = F.cosine_similarity(steps, first.directions[0].vector.expand(4, -1)).abs()
    torch.testing.assert_close(along, torch.ones(4), atol=1e-5, rtol=0)


def test_2_vectors_are_normalised_over_columns_from_the_start_to_the_end():
    for norm, lengths in (("whole", [1.0]), ("slot", [1.0, 1.0])):
        for progress in discover(Pair(), Halves(), replace(QUICK, norm=norm, lr=0.3)):
            vector = progress.directions[0].vector
            parts = [vector] if norm == "whole" else vector.split(3)
            assert [float(part.norm()) for part in parts] == pytest.approx(lengths, abs=1e-5)


def test_3_unit_norm_works_in_s(editor):
    config = replace(QUICK, parts=("hair",), space="S", norm="slot", slots=("*.gain",), steps=1, batch=1)
    space = editor.generator.space("S")
    *_, last = discover(editor.generator, editor.segmenter, config)
    for slot, part in zip(space.slots, space.split(last.directions[0].vector), strict=True):
        assert float(part.norm()) == pytest.approx(float(slot.name.endswith("gain")), abs=1e-5)


def test_4_the_default_config_is_accepted_by_its_own_check():
    checked = replace(DiscoverConfig(), parts=("left",)).check(Painter(), Halves())
    assert checked.difference == "l2"


def test_5_widths_of_s_come_from_the_network_not_from_a_table(editor):
    for generator in (editor.generator, Pair()):
        space = generator.spaces[-1]
        sphere = Sphere(space, replace(QUICK, space=space.name), torch.zeros(0, space.width))
        assert sphere.units(torch.randn(1, space.width)).shape == (1, space.width)
    widths = [node.value for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert 9088 not in widths, "columns of S of the 1024-pixel StyleGAN2"


def test_6_every_map_gets_its_mask_from_the_segmenters_own_output():
    mask = (torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    change = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    once = F.interpolate(mask, (32, 32), mode="bilinear", antialias=True)
    by_hand = float((change.square() * once).sum() / change.square().sum())
    for _ in ("after a 4-pixel map", "after an 8-pixel map"):
        localization_score(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), mask)
        score = float(localization_score(torch.zeros_like(change), change, mask))
        assert score == pytest.approx(by_hand, rel=1e-4)
    sizes: list[int] = []
    segmenter = Halves()
    segmenter.segment, segment = lambda s: sizes.append(SIZE) or segment(s), segmenter.segment
    next(discover(Pair(), segmenter, replace(QUICK, layers=("8.first", "8.second"))))
    assert len(sizes) == 2, "segmented once before and once after, however many maps are scored"


def test_7_the_search_asks_no_segmenter_or_generator_what_class_it_is():
    for name in (*SEARCH, "discovery/plateau", "measure/evaluation", "measure/calibration"):
        assert "isinstance" not in names_in(sources()[PACKAGE / f"{name}.py"]), name
    for node in ast.walk(sources()[PACKAGE / "discovery/search.py"]):
        assert not isinstance(node, ast.FunctionDef) or node.end_lineno - node.lineno < 60


def test_8_there_is_one_synthesis_loop():
    loops = [
        path.name
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "synthesize" and path.parent.name == "generators"
    ]
    assert loops == ["base.py"]


def test_9_a_step_never_leaves_the_device():
    for name in (*SEARCH, "localization"):
        mentioned = names_in(sources()[PACKAGE / f"{name}.py"])
        assert not mentioned & {"PIL", "Image", "numpy", "to_pil", "np"}, name


def test_10_a_saved_direction_is_numbers_and_facts(tmp_path):
    *_, last = discover(Painter(), Halves(), QUICK)
    last.directions[0].save(tmp_path / "d.safetensors")
    tensors, facts = read_safetensors(tmp_path / "d.safetensors", "direction")
    assert list(tensors) == ["vector"]
    assert facts["facts"]["segmenter"] == "halves"
    for path in [
        PACKAGE / f"{name}.py" for name in ("discovery/search", "discovery/run_state", "directions", "formats/weights")
    ]:
        assert not names_in(sources()[path]) & {"pickle", "dill"}, path.name


def test_11_two_users_with_one_seed_share_nothing(editor):
    mine, yours = editor.random_face(3), editor.random_face(3)
    mine.codes.add_(1.0)
    assert not torch.equal(mine.codes, yours.codes)
    assert torch.equal(yours.codes, editor.random_face(3).codes)
