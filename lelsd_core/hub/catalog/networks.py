"""Encoders for inversion, segmenters, backbones of LPIPS, face detector and recogniser: name → entry. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from lelsd_core.hub.catalog.entry import NOT_STATED, Entry, File, Source
from lelsd_core.hub.catalog.shared import E4E, E4E_LICENCE, FFHQ, HAIR, STYLEGENE, VISION_MODELS

BISENET = "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567"

INVERTERS: Mapping[str, Entry] = {
    "e4e-ffhq": Entry(
        kind="inverter",
        about="encoder4editing for faces, and the generator that it was trained with",
        sources=(
            Source(
                *E4E,
                File(
                    "e4e_ffhq_encode.pt",
                    "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999",
                    1_201_649_680,
                ),
                sure="A",
            ),
            Source(
                *STYLEGENE,
                File("e4e_ffhq_encode.pt", "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999"),
                sure="B",
            ),
            Source(*HAIR, File("pretrained_models/encoder4editing/e4e_ffhq_encode.pt", megabytes=1200), sure="A"),
        ),
        licence=E4E_LICENCE,
        data=FFHQ,
    ),
    "e4e-cars": Entry(
        kind="inverter",
        about="encoder4editing for cars, and the generator that it was trained with",
        sources=(
            Source(
                *E4E,
                File(
                    "e4e_cars_encode.pt",
                    "f1743d4a9fe701643916062d7c40a4ec3d5daaa153de1ef941285d3ed3758330",
                    1_077_493_298,
                ),
                sure="B",
            ),
        ),
        licence=E4E_LICENCE,
        data=NOT_STATED,
    ),
    "e4e-church": Entry(
        kind="inverter",
        about="encoder4editing for churches, and the generator that it was trained with",
        sources=(
            Source(
                *E4E,
                File(
                    "e4e_church_encode.pt",
                    "590f00e84b6461ba05467f7b0c705972f0ed729f4e399d3e21bfdb1b781e1c93",
                    959_033_364,
                ),
                sure="B",
            ),
        ),
        licence=E4E_LICENCE,
        data=NOT_STATED,
    ),
    "e4e-horse": Entry(
        kind="inverter",
        about="encoder4editing for horses, and the generator that it was trained with",
        sources=(
            Source(
                *E4E,
                File(
                    "e4e_horse_encode.pt",
                    "bfcd7ac19571fab277d933d3133a1249d89f49ba948cfcc399ea271201f5c95f",
                    959_033_364,
                ),
                sure="B",
            ),
        ),
        licence=E4E_LICENCE,
        data=NOT_STATED,
    ),
}

SEGMENTERS: Mapping[str, Entry] = {
    "bisenet": Entry(
        kind="segmenter",
        about="BiSeNet, parts of a face",
        sources=(
            Source(
                "ManyOtherFunctions/face-parse-bisent",
                "0073b233a5a3c4b1377d4dbf49245017938a72b5",
                File("79999_iter.pth", BISENET, 53_289_463),
                sure="A",
            ),
            Source(
                "vivym/face-parsing-bisenet",
                "768606b84908769d31ddd78b2e1105319839edfa",
                File("79999_iter.pth", BISENET, 53_289_463),
                sure="A",
            ),
            Source(*HAIR, File("pretrained_models/BiSeNet/face_parsing_79999_iter.pth"), sure="A"),
        ),
        licence="code MIT",
        data="CelebAMask-HQ, non-commercial",
    ),
    "cocostuff": Entry(
        kind="segmenter",
        about="DeepLabV2, 182 things and stuffs",
        by_hand=(
            "deeplabv2_resnet101_msc-cocostuff164k-100000.pth",
            "the releases of https://github.com/kazuto1011/deeplab-pytorch",
        ),
        licence="code MIT",
        data="COCO-Stuff 164k, licence not stated",
    ),
    "deeplabv3": Entry(
        kind="segmenter",
        about="DeepLabV3, 20 kinds of objects",
        by_hand=(
            "deeplabv3_resnet101_coco-586e9e4e.pth",
            "https://download.pytorch.org/models/deeplabv3_resnet101_coco-586e9e4e.pth",
        ),
        licence="BSD-3",
        data="COCO, licence not stated",
    ),
    "deeplabv3-resnet50": Entry(
        kind="segmenter",
        about="DeepLabV3 with a smaller network",
        by_hand=(
            "deeplabv3_resnet50_coco-cd0a2569.pth",
            "https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth",
        ),
        licence="BSD-3",
        data="COCO, licence not stated",
    ),
    "deeplabv3-mobilenet": Entry(
        kind="segmenter",
        about="DeepLabV3 with a network for phones",
        by_hand=(
            "deeplabv3_mobilenet_v3_large-fc3c493d.pth",
            "https://download.pytorch.org/models/deeplabv3_mobilenet_v3_large-fc3c493d.pth",
        ),
        licence="BSD-3",
        data="COCO, licence not stated",
    ),
    "maskformer-cocostuff": Entry(
        kind="segmenter",
        about="MaskFormer, 171 things and stuffs",
        sources=(
            Source(
                "facebook/maskformer-resnet101-coco-stuff",
                "main",  # its page shows the commit d32f8da, shortened
                File("model.safetensors", megabytes=242),
                sure="B",
                beside=(File("config.json"),),
            ),
        ),
        licence=NOT_STATED,
        data="COCO-Stuff 164k, licence not stated",
    ),
}

PERCEPTUAL: Mapping[str, Entry] = {
    "lpips-vgg": Entry(
        kind="perceptual",
        about="VGG16, the backbone of LPIPS",
        sources=(
            Source(
                "ByteDance/LatentSync-1.5",
                "32a20d29aead0498e3e885e90dbbe8027da1b61b",
                File(
                    "auxiliary/vgg16-397923af.pth",
                    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                    553_433_881,
                ),
                sure="C",
            ),
            Source(
                "timm/vgg16.tv_in1k",
                "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
                File("model.safetensors", megabytes=550),
                sure="A",
            ),
        ),
        licence="BSD-3",
    ),
    "lpips-alex": Entry(
        kind="perceptual",
        about="AlexNet, the backbone of LPIPS",
        sources=(Source(*VISION_MODELS, File("alexnet.safetensors", megabytes=244), sure="A"),),
        licence=NOT_STATED,
    ),
    "lpips-squeeze": Entry(
        kind="perceptual",
        about="SqueezeNet 1.1, the backbone of LPIPS",
        sources=(Source(*VISION_MODELS, File("squeezenet1_1.safetensors", megabytes=5), sure="C"),),
        licence=NOT_STATED,
    ),
}

FACES: Mapping[str, Entry] = {
    "yunet": Entry(
        kind="detector",
        about="YuNet, faces and five points of each",
        sources=(
            Source(
                "opencv/face_detection_yunet",
                "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310",
                File(
                    "face_detection_yunet_2023mar.onnx",
                    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                    232_589,
                ),
                sure="A",
            ),
        ),
        licence="MIT",
    ),
    "sface": Entry(
        kind="recogniser",
        about="SFace, how alike two faces are",
        sources=(
            Source(
                "opencv/face_recognition_sface",
                "3d7082438a6e4551e840c9b2bb60b71e8da4b524",
                File(
                    "face_recognition_sface_2021dec.onnx",
                    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
                    38_696_353,
                ),
                sure="C",
            ),
        ),
        licence="Apache-2.0",
    ),
}
