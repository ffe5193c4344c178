"""Directions of others: each published layout becomes the vector that it means; what does not fit is told."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lelsd_core import Direction, UserError, load_generator, seeds
from lelsd_core.__main__ import main
from lelsd_core.directions import edited_codes
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.generators import Generator
from lelsd_core.imports import Choices, import_directions, kept_sign, read_foreign
from tests import official
from tests.hostile import CALLS, CONTAINERS
from tests.planted import FACTORS, measured, planted
from tests.toy import PictureHalves

ROWS, WIDTH, STYLES = 8, 64, 11  # of the small StyleGAN2: W+ is 8 × 64, S 11 × 64, 4 of them toRGB
RANDOM = torch.Generator().manual_seed(0)
W, PLUS, S = (torch.randn(*shape, generator=RANDOM) for shape in ((WIDTH,), (ROWS, WIDTH), (STYLES, WIDTH)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official.small_rosinality(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="module")
def generator(file: Path) -> Generator:
    return load_generator(file)


def written(content: Any, path: Path) -> Path:
    """The content in the format of the path's ending; without one, pickled."""
    if path.suffix == ".npy":
        np.save(path, content.numpy())
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in content.items()})
    elif path.suffix:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    return path


def imported(path: Path | str, generator: Generator, **choices: Any) -> list[Direction]:
    return import_directions(read_foreign(path), generator, Choices(**choices))


def check(direction: Direction, space: str, vector: Tensor) -> None:
    assert direction.space == space
    torch.testing.assert_close(direction.vector, vector.flatten() / vector.norm())


def convolutions(styles: Tensor) -> Tensor:
    """Those rows of S that are not toRGB layers'; and the same with zeros for these."""
    return styles[[0, 2, 3, 5, 6, 8, 9]]


def without_pictures(styles: Tensor) -> Tensor:
    whole = styles.clone()
    whole[[1, 4, 7, 10]] = 0
    return whole


LAYOUTS = {  # file name: content, space, vector
    "smile.pt": (W[None], "W", W),
    "pose.pt": (PLUS[None], "W+", PLUS),
    "stylegan_w_boundary.npy": (W[None].double(), "W", W),
    "plus.npy": (PLUS.double(), "W+", PLUS),
    "styles.npz": ({"s": S[None]}, "S", S),
    "padded.npz": ({"s": torch.nn.functional.pad(S, (0, 32))[None]}, "S", S),
    "styles.npy": (S.flatten(), "S", S),
    "channels.npy": (convolutions(S).flatten(), "S", without_pictures(S)),
    "list.pt": (list(S), "S", S),
    "arrays": ([row[None].numpy() for row in convolutions(S)], "S", without_pictures(S)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_becomes_the_vector_that_it_means(name: str, generator: Generator, tmp_path: Path) -> None:
    content, space, vector = LAYOUTS[name]
    (direction,) = imported(written(content, tmp_path / name), generator)
    check(direction, space, vector)
    direction.check(generator)
    assert direction.name == Path(name).stem
    assert direction.facts["source_file"] == name
    assert direction.facts["length"] == pytest.approx(float(vector.norm()))
    assert (direction.score, direction.low) == (None, -direction.high)


def test_boundaries_fit_two_spaces_until_one_is_chosen(generator: Generator, tmp_path: Path) -> None:
    path = written(W[None], tmp_path / "stylegan_age_boundary.npy")
    with pytest.raises(UserError, match=r"64 numbers, which fit Z and W of small_rosinality; choose with --space"):
        imported(path, generator)
    for space in ("Z", "W"):
        check(imported(path, generator, space=space)[0], space, W)
    with pytest.raises(UserError, match="no latent space named 'V'"):
        imported(path, generator, space="V")


def test_a_sefa_factor_has_its_vectors_in_columns(generator: Generator, tmp_path: Path) -> None:
    vectors = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=RANDOM))[0]
    path = written({"ckpt": "stylegan2.pt", "eigvec": vectors}, tmp_path / "factor.pt")
    found = imported(path, generator)
    assert [each.name for each in found] == [f"factor-{i}" for i in range(10)]
    check(found[3], "W", vectors[:, 3])
    check(imported(path, generator, pick=("41",), name="lighter")[0], "W", vectors[:, 41])


def test_components_move_the_rows_that_are_named(generator: Generator, tmp_path: Path) -> None:
    components = torch.randn(60, 1, WIDTH, generator=RANDOM)
    content = {"mean": torch.zeros(1, WIDTH), "comp": components, "std": torch.arange(60.0)}
    path = written(content, tmp_path / "ffhq_pca.pt")
    assert len(imported(path, generator)) == 10, "the published uses are left to --pick"
    (row,) = imported(path, generator, pick=("34",), rows=(2, 4))
    expected = torch.zeros(ROWS, WIDTH)
    expected[2:4] = components[34, 0]
    check(row, "W+", expected)
    assert row.facts["deviation"] == 34
    (eyes,) = imported(path, generator, pick=("eye_openness",))
    assert eyes.vector.unflatten(0, (ROWS, WIDTH)).any(1).tolist() == [False] * 7 + [True]
    for rows in ((7, 9), (3, 3), (-1, 2)):
        with pytest.raises(UserError, match=r"are not in W.* it has rows 0 to 7"):
            imported(path, generator, pick=("34",), rows=rows)
    with pytest.raises(UserError, match=r"no direction in ffhq_pca.pt named 'eye_opennes'; did you mean eye_openness"):
        imported(path, generator, pick=("eye_opennes",))


def official_lelsd(path: Path, space: str, vectors: Any, **more: Any) -> Path:
    """A whole object of the official repository's class, as its `save` writes it."""
    module = ModuleType("lelsd")
    module.LELSD = type("LELSD", (), {"__module__": "lelsd", "__qualname__": "LELSD"})
    sys.modules["lelsd"] = module
    try:
        found = module.LELSD()
        found.latent_space, found.latent_dirs = space, vectors
        found.semantic_parts, found.device, found.loss = ["mouth"], torch.device("cuda"), torch.nn.L1Loss()
        vars(found).update(more)
        torch.save(found, path)
    finally:
        del sys.modules["lelsd"]
    return path


def test_official_lelsd_objects_are_read_without_their_class(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    for space, vectors in (("Z", torch.stack([W, 2 * W])), ("W", torch.stack([W, W])), ("W+", PLUS[None])):
        found = imported(official_lelsd(path, space, vectors.requires_grad_()), generator)
        assert len(found) == len(vectors)
        check(found[0], space, vectors[0].detach())
        assert found[0].facts["semantic_parts"] == ["mouth"]
    layers = [row[None] for row in S] + [torch.ones(1, 16)]  # the last one is not used
    check(imported(official_lelsd(path, "S+", layers, s_layers_to_apply=None), generator)[0], "S", S)
    alone = torch.zeros_like(S)
    alone[3] = S[3]
    check(imported(official_lelsd(path, "S3", layers, s_layers_to_apply=[3]), generator)[0], "S", alone)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_stylespace_rates_become_channels(protocol: int, generator: Generator, tmp_path: Path) -> None:
    rates = [np.zeros((WIDTH, 11)) for _ in range(STYLES)]
    rates[5][12, 7], rates[2][40, 7], rates[8][3, 10] = 0.9, 0.7, 0.8
    path = tmp_path / "semantic_top_32"
    path.write_bytes(pickle.dumps(rates, protocol))
    found = {each.name.removeprefix("semantic_top_32-"): each for each in imported(path, generator)}
    assert list(found)[6:] == ["mouth", "neck", "clothes", "hair"]
    expected = torch.zeros_like(S)
    expected[5, 12] = 1
    check(found["mouth"], "S", expected)
    assert found["mouth"].facts["channel"] == "5_12"
    assert found["mouth"].facts["rate"] == pytest.approx(0.9)
    (second,) = imported(path, generator, pick=("mouth-2",))
    assert second.facts["channel"] == "2_40"


def test_a_channel_of_s_moves_the_factor_that_it_carries() -> None:
    """In the planted generator, two channels of 16.conv1 are the red and the blue of the left blob."""
    network = planted()
    layer = [slot.name for slot in network.space("S").slots].index("16.conv1")
    (red,) = imported(f"{layer}_0", network, parts=("left",))
    codes = network.sample([1, 2, 3])
    start = network.lift(codes, "Z", "S")
    moved = edited_codes(network, start, "S", [red], [red.high]).codes
    change = measured(network.synthesize(moved, "S").image) - measured(network.synthesize(start, "S").image)
    colour = [factor.kind == "colour" and factor.side == "left" for factor in FACTORS].index(True)
    others = change[:, [i for i in range(len(FACTORS)) if i != colour]].abs().amax(1)
    assert (change[:, colour] > 8 * others).all()
    found = calibrate(network, PictureHalves(), red, range(500_000, 500_016))
    assert found.score > 0.99


def test_ranges_are_where_pictures_change_as_much_as_is_allowed(generator: Generator, tmp_path: Path) -> None:
    """A vector of any length: the range is in units of length 1, and a weaker layer goes further."""
    short, long = (imported(written(each, tmp_path / "a.pt"), generator)[0] for each in (W, 100 * W))
    assert short.high == pytest.approx(long.high)
    (row,) = imported(written(W, tmp_path / "a.pt"), generator, rows=(7, 8))
    assert row.high > 2 * short.high


def test_the_sign_stays_as_it_was_published(generator: Generator, tmp_path: Path) -> None:
    (direction,) = imported(written(W, tmp_path / "a.pt"), generator)
    turned = replace(direction, vector=-direction.vector, low=-1.0, high=2.0, ends=("darker", "brighter"))
    kept = kept_sign(turned, direction)
    assert torch.equal(kept.vector, direction.vector)
    assert (kept.low, kept.high, kept.ends) == (-2.0, 1.0, ("brighter", "darker"))
    assert kept_sign(direction, direction) is direction


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pt", torch.ones(7), "holds 7 numbers; the spaces of small_rosinality have Z 64, W 64, W. 512, S 704"),
        ("a.pt", torch.full((64,), torch.nan), "not finite, or all 0"),
        ("a.npy", torch.zeros(512), "not finite, or all 0"),
        (
            "a.pt",
            torch.ones(18, 64),
            "holds 18 rows of 64 numbers; W. of small_rosinality has 8 of 64.*--shorten takes",
        ),
        ("a.pt", torch.ones(6, 64), r"holds 6 rows of 64 numbers.*made for another generator\.$"),
        ("a.pt", torch.ones(8, 60), "holds 8 rows of 60 numbers"),
        (
            "a.pt",
            torch.ones(6048, 512),
            "StyleCLIP's table of all channels; multiply it by the difference of two texts",
        ),
        ("a.pt", [torch.ones(64)] * 5, "holds styles of 5 layers; small_rosinality has 11"),
        ("a.pt", [torch.ones(64)] * 10 + [torch.ones(60)], "holds 60 styles for 32.torgb; small_rosinality has 64"),
        ("a.pt", [torch.ones(64)] * 10 + [torch.ones(70)], "holds 70 styles for 32.torgb"),
        ("a.pt", {"g_ema": {}, "args": 1}, r"what it holds \(g_ema, args\) are no directions known here"),
        ("a.pt", [torch.ones(1), "text"], "a str stands where the numbers of a direction were expected"),
        ("a.pt", "text", "a str stands where"),
        ("a.pt", torch.ones(0), "a Tensor stands where"),
        ("ffhq_PCA.npz", {"X_comp": W, "X_mean": W}, "components are of W behind one more nonlinearity"),
        ("a.pt", {"comp": torch.ones(3, 1, 64)}, "'std' is missing"),
    ],
)
def test_what_does_not_fit_is_told(name: str, content: Any, words: str, generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        imported(written(content, tmp_path / name), generator)


def test_a_larger_generators_first_rows_are_taken_if_that_is_wished(generator: Generator, tmp_path: Path) -> None:
    rows = torch.cat([PLUS, torch.ones(10, WIDTH)])
    check(imported(written(rows, tmp_path / "a.pt"), generator, shorten=True)[0], "W+", PLUS)


def test_other_architectures_take_what_fits_them(tmp_path: Path) -> None:
    network = load_generator("digiface-64")
    check(imported(written(torch.ones(100), tmp_path / "z.npy"), network)[0], "Z", torch.ones(100))
    for content, words in (
        (torch.ones(18, 100), "moves rows of W.*; digiface-64 has Z, S"),
        ([torch.ones(64)] * 26, "holds styles of 26 layers; digiface-64 has 0"),
        (torch.ones(512), "holds 512 numbers; the spaces of digiface-64 have Z 100"),
    ):
        with pytest.raises(UserError, match=words):
            imported(written(content, tmp_path / "a.pt"), network)
    with pytest.raises(UserError, match="no channel 6_113 in S of digiface-64: no S"):
        imported("6_113", network)


def test_channels_and_files_that_do_not_exist_are_told(generator: Generator, tmp_path: Path) -> None:
    for place, words in (("11_0", "layers 0 to 10"), ("3_64", "this one with 64 channels")):
        with pytest.raises(UserError, match=f"no channel {place} in S of small_rosinality: .*{words}"):
            imported(place, generator)
    with pytest.raises(UserError, match=r"There is no file .*smile.pt, nor is it a channel of S"):
        read_foreign(tmp_path / "smile.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", CALLS)
def test_hostile_files_are_refused_and_not_run(name: str, container: str, tmp_path: Path) -> None:
    mark, keep, path = tmp_path / "ran", tmp_path / "keep" / "file", tmp_path / f"smile.{container}"
    keep.parent.mkdir()
    keep.touch()
    path.write_bytes(CONTAINERS[container](CALLS[name](mark)))
    with pytest.raises(UserError, match=r"directions were expected.*\.$"):
        read_foreign(path)
    assert not mark.exists()
    assert keep.exists()


def test_hostile_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + "\n"
    (tmp_path / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**28 + 1))
    (tmp_path / "page.npy").write_text("<html>not found</html>")
    said = {}
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(UserError) as caught:
            read_foreign(path)
        said[path.name] = str(caught.value)
    assert "would take more than 256 MB" in said["bomb.npz"]
    assert "it is a web page" in said["page.npy"]
    assert all(words.endswith(".") and "\n" not in words for words in said.values())


# ---- the command


def test_the_command_writes_one_file_or_a_folder_and_shows_them(file: Path, tmp_path: Path, capsys) -> None:
    smile, out = written(W, tmp_path / "smile.pt"), tmp_path / "out.safetensors"
    assert main(["directions", "import", str(smile), str(out), "--generator", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["directions"][0]["name"], told["source"]) == ("out", "a vector")
    check(Direction.load(out), "W", W)
    factor = written({"eigvec": torch.eye(WIDTH)}, tmp_path / "factor.pt")
    assert main(["directions", "import", str(factor), str(tmp_path / "some"), "--generator", str(file)]) == 0
    said = capsys.readouterr().out
    assert "54 more can be chosen with --pick: 10, 11, 12, 13, 14, 15 and 48 more." in said
    assert "does not say whose weights it belongs to" in said
    assert len(list((tmp_path / "some").iterdir())) == 10
    assert main(["directions", "show", str(out), str(tmp_path / "some")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 11
    assert "out: less – more (small_rosinality): look in W, " in said[0]
    assert said[0].endswith("From smile.pt.")


def test_the_range_of_an_import_is_measured_where_its_part_is_named(file, tmp_path, monkeypatch) -> None:
    smile, out = written(W, tmp_path / "smile.pt"), tmp_path / "out.safetensors"
    monkeypatch.setattr(seeds, "HELD_OUT", seeds.HELD_OUT[:8])
    networks = ["--generator", str(file), "--segmenter", "digiface-parts"]
    assert main(["directions", "import", str(smile), str(out), *networks, "--parts", "hair"]) == 0
    direction = Direction.load(out)
    check(direction, "W", W)
    assert 0 < direction.score < 1
    assert direction.parts == ("hair",)
    assert direction.facts["source_file"] == "smile.pt"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["imprt", "a", "b"], "no action of directions named 'imprt'; did you mean import"),
        (["import", "a.pt"], "takes two names: FILE and OUT"),
        (["import", "a.pt", "b.safetensors"], "There is no file a.pt"),
        (
            ["import", "{factor}", "{here}/b.safetensors"],
            "factor.pt holds 64 directions (SeFa); name a folder for them",
        ),
        (["import", "{factor}", "{here}/no/b.safetensors"], "There is no folder"),
        (["import", "{factor}", "{here}/b", "--pick", "64"], "no direction in factor.pt named '64'"),
        (["import", "{factor}", "{here}/b", "--generator", "digiface-46"], "did you mean digiface-64"),
        (["import", "{factor}", "{here}/b", "--parts", "moth"], "no part named 'moth'; did you mean mouth"),
        (
            ["show", "{factor}"],
            "factor.pt is a file of torch.save, or another archive, not a direction of this project; others'",
        ),
        (["show", "{here}"], "There are no directions"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], words: str, tmp_path: Path, capsys) -> None:
    factor = written({"eigvec": torch.eye(WIDTH)}, tmp_path / "factor.pt")
    assert main(["directions", *(each.format(here=tmp_path, factor=factor) for each in arguments)]) == 1
    assert words in capsys.readouterr().err
