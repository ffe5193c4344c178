"""Weights that torchvision offers itself: downloaded as it does, into the same cache, and only when asked for.

name  --torchvision's table-->  URL with the start of a SHA-256 in it  --torch.hub-->  file in torch's cache
"""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

import torch

from lelsd_core.errors import UserError

TORCHVISION = "torchvision"  # what a person gives as weights
OFFERED: Mapping[str, str] = {  # key of `files.NETWORKS` -> what torchvision's `get_weight` calls its weights
    "deeplabv3": "DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1",
    "deeplabv3-resnet50": "DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1",
    "deeplabv3-mobilenet": "DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1",
}


def torchvision_file(name: str) -> Path:
    """The file of a network's weights, downloaded if it is not in torch's cache.

    Raises:
        UserError: torchvision offers none for it, there is no connection, or the bytes have another SHA-256.
    """
    if name not in OFFERED:
        raise UserError(f"torchvision offers no weights for {name}, only for {', '.join(OFFERED)}.")
    from torchvision.models import get_weight  # a second to import

    url = get_weight(OFFERED[name]).url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), torch.hub.HASH_REGEX.search(path.name)[1])
    except (OSError, RuntimeError, HTTPException) as problem:  # no connection, file or room; another SHA-256
        reason = " ".join(str(problem).split())[:120]
        raise UserError(
            f"{path.name} could not be downloaded ({reason}); get it from {url} in another way and give its path as "
            "weights."
        ) from None
    return path
