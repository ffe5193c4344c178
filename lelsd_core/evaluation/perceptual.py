"""LPIPS: how different two pictures look, as people judge it; 0 = equal.

    picture, face (1, 3, R, R)  --AlexNet or VGG16, features of unit length-->  weighted squared distance, its mean

The backbone is AlexNet, which ships (`local("lpips-alex")`), so that figures compare between machines. VGG16's, used
where its file is given, are on another scale. Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as
a Perceptual Metric" (CVPR 2018); its heads, version 0.1, come with PyPI's lpips.
"""

from __future__ import annotations

import warnings
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from lelsd_core.errors import UserError, reading
from lelsd_core.weights.layouts import weights_of
from lelsd_core.weights.pickles import read_pickled
from lelsd_core.weights.safetensors import is_safetensors

if TYPE_CHECKING:
    from lpips import LPIPS

SIDES = (32, 256)  # smallest and largest width in pixels at which pictures are compared; AlexNet needs 31
FEATURES = "features."
EXPECTED = "the weights of torchvision's VGG16 or AlexNet were expected, .safetensors or .pth"


class PerceptualTarget:
    """LPIPS from one face, whose features are computed once: fast enough to be minimised.

    Args:
        network: from `load_lpips`, on the device of the pictures.
        face: the face (1, 3, R, R) in [-1, 1], or one for each picture (B, 3, R, R).
    """

    def __init__(self, network: LPIPS, face: Tensor) -> None:
        self.network = network
        with torch.inference_mode(False), torch.no_grad():  # features of inference mode could not be minimised with
            self.face = self.features(face)

    def features(self, picture: Tensor) -> list[Tensor]:
        """Five maps (B, C, h, w) of features of unit length; pictures are brought into `SIDES` first."""
        picture, (least, most) = picture.float(), SIDES
        if (side := min(max(picture.shape[-1], least), most)) != picture.shape[-1]:
            picture = F.interpolate(picture, (side, side), mode="area")
        maps = self.network.net(self.network.scaling_layer(picture))
        return [F.normalize(each, dim=1, eps=1e-10) for each in maps]  # unlike lpips's own, its gradient is finite at 0

    def distance(self, picture: Tensor) -> Tensor:
        """LPIPS (B,) of pictures (B, 3, R, R) in [-1, 1] from the face, with its gradient."""
        return sum(each.mean((1, 2, 3)) for each in self.maps(picture))

    def maps(self, picture: Tensor) -> list[Tensor]:
        """Where pictures differ: a map (B, 1, h, w) for each of the five layers; LPIPS is the sum of their means."""
        pairs = zip(self.network.lins, self.features(picture), self.face, strict=True)
        return [head((features - face).square()) for head, features, face in pairs]

    def of(self, rows: Tensor | slice) -> PerceptualTarget:
        """The target of some of the faces."""
        chosen = copy(self)
        chosen.face = [features[rows] for features in self.face]
        return chosen


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # weights of inference mode would allow no gradient
def load_lpips(backbone: Path, device: str | torch.device = "cpu") -> LPIPS:
    """LPIPS's published heads on a backbone, without gradients for its weights.

    Args:
        backbone: weights of AlexNet or VGG16 under torchvision's names, .safetensors or .pth.
        device: "cpu", "cuda", "mps".

    Raises:
        UserError: the file is not one of LPIPS's backbones.
    """
    import lpips  # slow to import

    with reading(backbone.name, EXPECTED):
        tensors = load_file(backbone) if is_safetensors(backbone) else weights_of(read_pickled(backbone)).tensors
        tensors = {name: tensor.float().clone() for name, tensor in tensors.items() if name.startswith(FEATURES)}
    kind = "vgg" if sum(tensor.ndim == 4 for tensor in tensors.values()) == 13 else "alex"
    with warnings.catch_warnings(), torch.device("meta"):  # the weights are loaded below
        warnings.simplefilter("ignore")  # torchvision's, about deprecated arguments that lpips uses
        network = lpips.LPIPS(net=kind, pnet_rand=True, pretrained=False, verbose=False)
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{kind}.pth"
    network.load_state_dict(
        {name: tensor.clone() for name, tensor in weights_of(read_pickled(heads)).tensors.items()},
        strict=False,
        assign=True,
    )
    try:
        convolutions = {name: tensors[FEATURES + name.split(".", 1)[1]] for name in network.net.state_dict()}
        network.net.load_state_dict(convolutions, assign=True)
    except (KeyError, RuntimeError):
        raise UserError(f"{backbone.name} is no backbone of LPIPS; {EXPECTED}.") from None
    return network.to(device).requires_grad_(False)
