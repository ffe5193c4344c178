"""Names of what DeepLab networks see, and the hierarchy above them; classes are never spoken of by number.

COCO-Stuff: Caesar, Uijlings, Ferrari, "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018; channel i of the
public DeepLabV2 is class i + 1 of its list. Objects: Pascal VOC's 21 classes, as torchvision orders them, under
COCO's names. The hierarchy follows COCO-Stuff's own, with everyday names above it.
"""

from __future__ import annotations

from collections.abc import Mapping


def listed(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(" ".join(name.split()) for name in text.split(","))


OBJECTS = listed("""
background, airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorcycle,
person, potted plant, sheep, couch, train, tv
""")
COCO_STUFF = listed("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra,
giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard,
sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate,
wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza,
donut, cake, chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop,
mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock,
vase, scissors, teddy bear, hair drier, toothbrush, hair brush, banner, blanket, branch, bridge,
building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds,
counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone,
floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill,
house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow,
plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand,
sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent,
textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone,
wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
""")
HIERARCHY: Mapping[str, tuple[str, ...]] = {
    "vehicle": listed("bicycle, car, motorcycle, airplane, bus, train, truck, boat"),
    "animal": listed("bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe"),
    "vegetation": listed("""
        tree, grass, bush, branch, leaves, flower, moss, straw, plant-other, potted plant
    """),
    "sky": listed("clouds, sky-other, fog"),
    "water": listed("river, sea, water-other, waterdrops"),
    "building": listed("house, skyscraper, building-other, bridge, roof, tent"),
    "wall": listed("wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood"),
    "floor": listed("floor-marble, floor-other, floor-stone, floor-tile, floor-wood, carpet, rug, mat"),
    "ceiling": listed("ceiling-other, ceiling-tile"),
    "any window": listed("window, window-blind, window-other"),
    "any door": listed("door, door-stuff"),
    "ground": listed("""
        dirt, gravel, ground-other, mud, sand, snow, pavement, platform, playingfield, railroad, road
    """),
    "terrain": listed("hill, mountain, rock, stone, solid-other"),
    "structure": listed("cage, fence, net, railing, stairs, structural-other"),
    "furniture": listed("""
        chair, couch, bed, dining table, table, desk, desk-stuff, bench, cabinet, cupboard, counter, shelf, toilet,
        mirror, mirror-stuff, light, furniture-other
    """),
    "textile": listed("banner, blanket, cloth, clothes, curtain, napkin, pillow, towel, textile-other"),
    "food": listed("""
        banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, fruit, vegetable, salad,
        food-other
    """),
    "street": listed("road, pavement, traffic light, fire hydrant, street sign, stop sign, parking meter"),
    "architecture": ("building", "wall", "roof", "any window", "any door", "ceiling", "structure"),
    "nature": ("vegetation", "sky", "water", "terrain"),
}


def groups_of(classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The hierarchy above some classes: groups of fewer than two of them are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for name, members in HIERARCHY.items():
        inside = tuple(member for member in members if member in classes or member in found)
        if len(inside) > 1:
            found[name] = inside
    if "background" in classes:
        found["object"] = tuple(name for name in classes if name != "background")
    return found
