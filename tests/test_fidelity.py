"""Metrics: known errors give known numbers, and a missing network is reported."""

from __future__ import annotations

from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

from lelsd_core import UserError
from lelsd_core.evaluation.identity import SAME_PERSON, DlibRecogniser, load_recogniser
from lelsd_core.evaluation.metrics import NO_FACES, InversionMetrics, MetricNetworks
from lelsd_core.evaluation.perceptual import PerceptualTarget, load_lpips
from lelsd_core.faces import Nudge
from lelsd_core.images import to_tensor
from lelsd_core.weights.cache import local

ALEX = local("lpips-alex")

POINTS = ((22.4, 30.0), (41.9, 30.0), (32.4, 39.5), (32.4, 53.3))


def measure(before: torch.Tensor, after: torch.Tensor, **networks) -> InversionMetrics:
    """Metrics with some of the networks."""
    return MetricNetworks(**networks).measure(before, after)


def picture(seed: int, size: int = 64) -> torch.Tensor:
    """A smooth random picture."""
    small = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(0.4 * small, (size, size), mode="bicubic").clamp(-1, 1)


def field(number: int, value: int | bytes | str) -> bytes:
    """One field of a protocol buffer: a small number, or bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    length = len(data)
    prefix = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + prefix + data


def tensor_info(name: str, *shape: int) -> bytes:
    """ONNX's ValueInfoProto of a float tensor."""
    sizes = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sizes)))


@pytest.fixture(scope="module")
def sface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with SFace's input, whose embedding is the mean of each channel."""
    node = field(1, "data") + field(2, "fc1") + field(4, "GlobalAveragePool")
    graph = field(1, node) + field(2, "g") + field(11, tensor_info("data", 1, 3, 112, 112))
    graph += field(12, tensor_info("fc1", 1, 3, 1, 1))
    path = tmp_path_factory.mktemp("sface") / "face_recognition_sface.onnx"
    path.write_bytes(field(1, 7) + field(7, graph) + field(8, field(2, 11)))
    return path


@pytest.fixture(scope="module")
def alex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's convolutions with random weights, under torchvision's names."""
    torch.manual_seed(0)
    state = torchvision.models.alexnet(weights=None).features.state_dict()
    path = tmp_path_factory.mktemp("lpips") / "alexnet.safetensors"
    save_file({f"features.{name}": tensor for name, tensor in state.items()}, path)
    return path


def test_known_errors_have_known_numbers():
    before = picture(1)
    metrics = measure(before, before + 0.1 * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1))
    assert metrics.l1 == pytest.approx(0.2 / 3, rel=1e-4)
    assert metrics.l2 == pytest.approx(0.02 / 3, rel=1e-4)


def test_what_cannot_be_measured_is_none_and_has_a_sentence():
    metrics = measure(picture(1), picture(2))
    assert (metrics.identity, metrics.identity_network) == (None, None)
    assert metrics.missing == (NO_FACES,)
    assert measure(picture(1), picture(2), points=POINTS).missing == ()


@pytest.mark.filterwarnings("ignore:.*weight.*:UserWarning")
def test_lpips_is_the_packages_own(alex):
    before, after = picture(1), picture(2)
    expected = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    torch.manual_seed(0)
    state = torchvision.models.alexnet(weights=None).features.state_dict()
    expected.net.load_state_dict({name: state[name.split(".", 1)[1]] for name in expected.net.state_dict()})
    metrics = measure(before, after, backbone=alex)
    assert metrics.lpips == pytest.approx(float(expected(before, after).detach()), rel=1e-4)
    assert metrics.lpips > 0.001
    assert measure(before, before, backbone=alex).lpips == 0


def example(name: str) -> torch.Tensor:
    """A picture of LPIPS's official example, (1, 3, 64, 64)."""
    return to_tensor(Image.open(Path(__file__).parent / "data" / "lpips" / f"{name}.png"))


def test_the_shipped_backbone_is_torchvisions():
    kernel = load_file(ALEX)["features.0.weight"][0, 0, 0].float()
    published = torch.tensor([0.11864, 0.094069, 0.095435, 0.055822, 0.021575, 0.049963])  # torchvision's own
    assert torch.allclose(kernel[[0, 1, 2, -3, -2, -1]], published, rtol=5e-4)


def test_the_shipped_backbone_gives_the_official_examples_figures():
    """Of lpips_2imgs.py in richzhang/PerceptualSimilarity, as it prints them."""
    figures = [measure(example("ex_ref"), example(name), backbone=ALEX).lpips for name in ("ex_p0", "ex_p1")]
    assert [round(figure, 3) for figure in figures] == [0.722, 0.138]
    exact = (0.7218807, 0.1375656)  # with the weights in float32
    assert figures == pytest.approx(exact, abs=1e-4)


def test_a_perceptual_target_is_lpips_of_each_picture_with_its_gradient():
    network, face = load_lpips(ALEX), example("ex_ref")
    pictures = torch.cat([example("ex_p0"), example("ex_p1"), face, torch.zeros_like(face)]).requires_grad_()
    target = PerceptualTarget(network, face)
    distances, expected = target.distance(pictures), network(pictures, face).flatten()
    assert distances.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert distances[2] < 1e-6
    (gradient,) = torch.autograd.grad(distances.sum(), pictures)
    (other,) = torch.autograd.grad(expected[:2].sum(), pictures)
    assert torch.allclose(gradient[:2], other[:2], atol=1e-5)
    assert gradient.isfinite().all()
    with torch.inference_mode():  # as where pictures are only measured
        load_lpips.cache_clear()
        target = PerceptualTarget(load_lpips(ALEX), face)
    (again,) = torch.autograd.grad(target.distance(pictures).sum(), pictures)
    assert torch.allclose(again, gradient)
    nearer = (pictures - 10 * gradient).detach()
    assert (target.distance(nearer)[:2] < distances[:2]).all()


def test_vgg_is_known_by_its_convolutions(tmp_path):
    with torch.device("meta"):
        state = torchvision.models.vgg16().features.state_dict()
    filled = {f"features.{n}": torch.full(t.shape, 0.01, dtype=torch.float16) for n, t in state.items()}
    save_file(filled | {"head.fc.weight": torch.zeros(2)}, tmp_path / "vgg.safetensors")
    assert measure(picture(1), picture(1), backbone=tmp_path / "vgg.safetensors").lpips == 0


def test_a_backbone_may_come_as_a_torch_file(alex, tmp_path):
    torch.save(load_file(alex) | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "alexnet.pth")
    pair = picture(1), picture(2)
    assert measure(*pair, backbone=tmp_path / "alexnet.pth").lpips == measure(*pair, backbone=alex).lpips


def test_large_pictures_are_compared_at_256(alex):
    small = [picture(seed, 256) for seed in (1, 2)]
    large = [tensor.repeat_interleave(2, 2).repeat_interleave(2, 3) for tensor in small]
    numbers = [measure(*pair, backbone=alex).lpips for pair in (small, large)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)


def test_pictures_too_small_for_alexnet_are_enlarged():
    assert 0.01 < measure(picture(1, 16), picture(2, 16)).lpips < 1


def test_identity_is_the_cosine_of_the_embeddings_of_the_aligned_faces(sface):
    red, purple = (torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 64, 64) for rgb in ((1.0, -1, -1), (1.0, -1, 1)))
    assert measure(red, red, sface=sface, points=POINTS).identity == pytest.approx(1)
    assert measure(red, purple, sface=sface, points=POINTS).identity == pytest.approx(2**-0.5, abs=1e-3)
    aside, small = red.clone(), [(16 + x / 2, 16 + y / 2) for x, y in POINTS]
    aside[..., :10, :] = 1.0  # above a face of half the size
    assert measure(red, aside, sface=sface, points=small).identity == pytest.approx(1)
    assert measure(red, aside, sface=sface, points=POINTS).identity < 0.99
    assert measure(red, red, sface=sface, points=POINTS).identity_network == "sface"


def astronauts(photo: Image.Image, *corners: tuple[int, int]) -> list[np.ndarray]:
    """Chips (150, 150, 3) of a photo, by their upper left corners."""
    return [np.asarray(photo)[y : y + 150, x : x + 150] for x, y in corners]


def test_embeddings_are_dlibs(astronaut):
    """Against dlib 20.0.1's own evaluation of its file, in float32."""
    face, sleeve = astronauts(astronaut, (150, 50), (100, 300))
    recogniser = load_recogniser(DlibRecogniser, local("face-identity"))
    assert 1 - recogniser.compare([face, face[:, ::-1]]) == pytest.approx(0.2462, abs=0.005)
    assert 1 - recogniser.compare([face, sleeve]) == pytest.approx(0.8030, abs=0.005)
    chips = torch.from_numpy(face.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    first = [-0.05501, 0.06535, 0.00713, 0.01306, -0.17218, -0.00902]
    assert recogniser.network(chips)[0, :6].tolist() == pytest.approx(first, abs=0.01)


def test_identity_tells_a_person_from_others(astronaut, editor):
    aligner, points = editor.aligner, editor.metric_networks.points
    (face,) = aligner.find(astronaut)
    person = aligner.cut(astronaut, face).picture
    turned = aligner.cut(astronaut, face, Nudge(turn=5, scale=1.05)).picture
    with torch.no_grad():
        others = [to_tensor(editor.random_face(seed).original) for seed in (0, 1, 2)]
    dark, *different = (measure(person, other, points=points) for other in (0.7 * turned - 0.3, *others))
    assert dark.identity_network == "face-identity"
    assert dark.identity > SAME_PERSON["face-identity"] + 0.2
    assert all(metrics.identity < SAME_PERSON["face-identity"] for metrics in different)


def test_a_file_of_another_kind_is_no_embedder():
    with pytest.raises(UserError, match="not a face-identity"):
        DlibRecogniser(local("face-mesh"))


def test_files_of_other_things_are_refused_in_a_sentence(sface, tmp_path):
    same = picture(1)
    (tmp_path / "x.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"x.onnx .*SFace"):
        measure(same, same, sface=tmp_path / "x.onnx", points=POINTS)
    with pytest.raises(UserError, match=r"x.onnx .*VGG16 or AlexNet"):
        measure(same, same, backbone=tmp_path / "x.onnx")
    save_file({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"part.safetensors .*LPIPS"):
        measure(same, same, backbone=tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="differ in size"):
        measure(same, picture(1, 32))
