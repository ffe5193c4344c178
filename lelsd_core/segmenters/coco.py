"""Class names of COCO networks, a hierarchy of groups above them, and the segmenter around such a network.

COCO-Stuff: Caesar, Uijlings, Ferrari, "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018; channel i of the
public DeepLabV2 is class i + 1 of its list. Objects: Pascal VOC's 21 classes in torchvision's order, under COCO's
names. The hierarchy is COCO-Stuff's own, with everyday names for its groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.networks import Normalise
from lelsd_core.segmenters.base import Parts, Segmenter


def split(text: str) -> tuple[str, ...]:
    """Splits names at commas and joins their words by single blanks."""
    return tuple(" ".join(name.split()) for name in text.split(","))


OBJECTS = split("""
background, airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorcycle,
person, potted plant, sheep, couch, train, tv
""")
COCO_STUFF = split("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile,
cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other,
floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other,
hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow,
plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea,
shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other,
towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood,
water-other, waterdrops, window-blind, window-other, wood
""")
GROUPS = """
vehicle: bicycle, car, motorcycle, airplane, bus, train, truck, boat;
animal: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe;
vegetation: tree, grass, bush, branch, leaves, flower, moss, straw, plant-other, potted plant;
sky: clouds, sky-other, fog;
water: river, sea, water-other, waterdrops;
building: house, skyscraper, building-other, bridge, roof, tent;
wall: wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood;
floor: floor-marble, floor-other, floor-stone, floor-tile, floor-wood, carpet, rug, mat;
ceiling: ceiling-other, ceiling-tile;
any window: window, window-blind, window-other;
any door: door, door-stuff;
ground: dirt, gravel, ground-other, mud, sand, snow, pavement, platform, playingfield, railroad, road;
terrain: hill, mountain, rock, stone, solid-other;
structure: cage, fence, net, railing, stairs, structural-other;
furniture: chair, couch, bed, dining table, table, desk, desk-stuff, bench, cabinet, cupboard, counter, shelf,
    toilet, mirror, mirror-stuff, light, furniture-other;
textile: banner, blanket, cloth, clothes, curtain, napkin, pillow, towel, textile-other;
food: banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, fruit, vegetable, salad,
    food-other;
street: road, pavement, traffic light, fire hydrant, street sign, stop sign, parking meter;
architecture: building, wall, roof, any window, any door, ceiling, structure;
nature: vegetation, sky, water, terrain
"""
HIERARCHY: Mapping[str, tuple[str, ...]] = {  # members by group; a group may contain the groups before it
    name.strip(): split(members) for name, members in (group.split(":") for group in GROUPS.split(";"))
}


class ClassSegmenter(Segmenter):
    """Segmenter whose parts are the classes of a network, with the groups that have two or more members among them.

    The network maps pictures (B, 3, H, W) that `normalise` has prepared to logits (B, P, h, w) of the P classes.
    """

    def __init__(self, network: nn.Module, normalise: Normalise, classes: tuple[str, ...]) -> None:
        super().__init__()
        groups: dict[str, tuple[str, ...]] = {}
        for name, members in HIERARCHY.items():
            present = tuple(member for member in members if member in classes or member in groups)
            if len(present) > 1:
                groups[name] = present
        if "background" in classes:
            groups["object"] = tuple(name for name in classes if name != "background")
        self.network, self.normalise, self.parts = network, normalise, Parts(classes, groups)

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities at a quarter of the network's input size: 182 classes at full size would take 200 MB each."""
        size = self.normalise.size // 4
        logits = self.network(self.normalise(image))
        return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False).softmax(1)
