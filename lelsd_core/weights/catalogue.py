"""What is known of published weights: a file, a copy of it on the Hub, and the entry that has a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lelsd_core.errors import UserError, unknown_name

NOT_STATED = "not stated"


@dataclass(frozen=True)
class File:
    """One file of a repository.

    Args:
        path: in the repository.
        sha256: None where nobody has seen it.
        bytes: None where only `megabytes` is known.
        megabytes: about; for people, and for the check of the disk.
    """

    path: str
    sha256: str | None = None
    bytes: int | None = None
    megabytes: float | None = None

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def size(self) -> int:
        """Bytes, exactly if known, otherwise about; 0 if not even that is known."""
        return self.bytes or int(1e6 * (self.megabytes or 0))


@dataclass(frozen=True)
class HubSource:
    """One copy on the Hub: a repository at a revision, the file that is loaded, and those that must lie beside it."""

    repository: str
    revision: str
    file: File
    sure: str
    beside: tuple[File, ...] = ()

    @property
    def files(self) -> tuple[File, ...]:
        """All files, the one that is loaded first."""
        return (self.file, *self.beside)

    def __str__(self) -> str:
        return f"{self.repository}/{self.file.path}"


@dataclass(frozen=True)
class Entry:
    """Published weights with a name.

    Args:
        kind: "generator", "inverter", "segmenter", "perceptual" (LPIPS), "detector" or "recogniser".
        about: what it is, for people.
        sources: copies on the Hub, best first; the files may differ, what they hold does not.
        licence, data: licence of the weights; training data and its licence.
        within: entries whose file holds this network too; such a file is used first if it is here.
        by_hand: file and address, where the Hub has no copy that is known.
        resolution: width and height of a generator's pictures.
        frame: how its pictures are framed: "ffhq" (faces, aligned as FFHQ's), "square", "wide" (square with a
            black bar above and below), or None for no generator.
        inverter, segmenter: names of the entries that belong to a generator.
        directions: Hub repositories of its published directions.
        memory: GB that a measurement found; None: three times the file.
    """

    kind: str
    about: str
    licence: str
    sources: tuple[HubSource, ...] = ()
    data: str = NOT_STATED
    within: tuple[str, ...] = ()
    by_hand: tuple[str, str] | None = None
    resolution: int | None = None
    frame: str | None = None
    inverter: str | None = None
    segmenter: str | None = None
    directions: tuple[str, ...] = ()
    memory: float | None = None

    @property
    def megabytes(self) -> float:
        """Size of what the first source downloads, 10⁶ bytes; 0 if unknown."""
        return sum(file.size for file in self.sources[0].files) / 1e6 if self.sources else 0.0

    @property
    def memory_gb(self) -> float | None:
        """Memory that loading and running it takes, in GB: measured, or three times the file; None if unknown."""
        return self.memory or (max(0.1, round(3 * self.megabytes / 1000, 1)) if self.megabytes else None)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the entries that a generator is used with."""
        return tuple(name for name in (self.inverter, self.segmenter) if name)


DRAGGAN = ("DragGan/DragGan-Models", "87f7e5149260af3f7ca87ef12e527d6300bc44c7")
E4E = ("public-data/e4e", "fdd18714fc6b639487adbd901f16f67eb24ba786")
HAIR = ("AIRI-Institute/HairFastGAN", "47855f8ea72b02294649385211a1ae1fd7dcb58e")
STYLEGENE = ("wmpscc/StyleGene", "e301280ac9a63ba7ebb4be3311128bb6c9cb9ae2")
VISION_MODELS = ("theunnecessarythings/vision_models", "1cb71ed300bf5b1913894c0f000a0146cfb4b431")
ZEQIANG = ("ZeqiangLai/StyleGAN2", "bb4e00dc8ac0afbb9e0a5b6f72754c679673ee2e")
ZEQIANG_PKL = ("ZeqiangLai/StyleGAN2-pkl", "422f40439ddaa6d041cf698347f08e9bdf9f6036")

NVIDIA = "NVIDIA HubSource Code License, non-commercial"
FFHQ = "FFHQ, CC BY-NC-SA 4.0, non-commercial"
LSUN = "LSUN, licence not stated"
AFHQ = "AFHQ, non-commercial"
E4E_LICENCE = "code MIT; its decoder under the NVIDIA HubSource Code License, non-commercial"


GENERATORS: Mapping[str, Entry] = {
    "ffhq-1024": Entry(
        kind="generator",
        about="StyleGAN2 config-f, faces",
        sources=(
            HubSource(
                *ZEQIANG,
                File(
                    "stylegan2-ffhq-config-f.pt",
                    "646c7e7c5e3fc4cf8e83dcfe5dce505cc74b61d8982c09563932aa15c4baf18c",
                    132_717_355,
                ),
                sure="A",
            ),
            HubSource(
                *STYLEGENE,
                File(
                    "stylegan2-ffhq-config-f.pt",
                    "d0d7c5e71531c816b8cf01037393ee4fb65ed09dcb6434cc0197771e3051199b",
                    132_729_083,
                ),
                sure="B",
            ),
            HubSource(
                *DRAGGAN,
                File(
                    "stylegan2-ffhq1024x1024.pkl",
                    "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
                    381_624_121,
                ),
                sure="A",
            ),
            HubSource(*HAIR, File("pretrained_models/StyleGAN/ffhq.pt", megabytes=133), sure="A"),
        ),
        licence=NVIDIA,
        data=FFHQ,
        within=("e4e-ffhq",),
        resolution=1024,
        frame="ffhq",
        inverter="e4e-ffhq",
        segmenter="bisenet",
        memory=1.5,
    ),
    "ffhq-512": Entry(
        kind="generator",
        about="StyleGAN2, faces",
        sources=(
            HubSource(
                *DRAGGAN,
                File(
                    "stylegan2-ffhq-512x512.pkl",
                    "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
                    megabytes=364,
                ),
                sure="A",
            ),
        ),
        licence=NVIDIA,
        data=FFHQ,
        resolution=512,
        frame="ffhq",
        segmenter="bisenet",
    ),
    "metfaces-1024": Entry(
        kind="generator",
        about="StyleGAN2-ADA, faces in works of art",
        sources=(
            HubSource(
                *ZEQIANG_PKL,
                File(
                    "ada/metfaces.pkl",
                    "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f",
                    megabytes=382,
                ),
                sure="A",
            ),
            HubSource(*ZEQIANG, File("ada/metfaces.pt", megabytes=133), sure="A"),
        ),
        licence=NVIDIA,
        data="MetFaces, CC BY-NC 2.0, non-commercial",
        resolution=1024,
        frame="ffhq",
        segmenter="bisenet",
        memory=1.5,
    ),
    "afhq-cat-512": Entry(
        kind="generator",
        about="StyleGAN2-ADA, cats' faces",
        sources=(
            HubSource(*ZEQIANG, File("ada/afhqcat.pt", megabytes=124), sure="A"),
            HubSource(*ZEQIANG_PKL, File("ada/afhqcat.pkl"), sure="A"),
            HubSource(*DRAGGAN, File("stylegan2-afhqcat-512x512.pkl"), sure="A"),
        ),
        licence=NVIDIA,
        data=AFHQ,
        resolution=512,
        frame="square",
        segmenter="deeplabv3",
    ),
    "afhq-dog-512": Entry(
        kind="generator",
        about="StyleGAN2-ADA, dogs' faces",
        sources=(
            HubSource(
                *ZEQIANG_PKL,
                File("ada/afhqdog.pkl", "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662"),
                sure="A",
            ),
            HubSource(*ZEQIANG, File("ada/afhqdog.pt", megabytes=124), sure="A"),
        ),
        licence=NVIDIA,
        data=AFHQ,
        resolution=512,
        frame="square",
        segmenter="deeplabv3",
    ),
    "afhq-wild-512": Entry(
        kind="generator",
        about="StyleGAN2-ADA, wild animals' faces",
        sources=(
            HubSource(
                *ZEQIANG,
                File(
                    "ada/afhqwild.pt",
                    "92c614909f6fb4834b3a9d18d19ce8211b748669aa7aeabf00dc6343f0bc3d0d",
                    megabytes=124,
                ),
                sure="A",
            ),
            HubSource(*ZEQIANG_PKL, File("ada/afhqwild.pkl"), sure="A"),
        ),
        licence=NVIDIA,
        data=AFHQ,
        resolution=512,
        frame="square",
    ),
    "lsun-car-512": Entry(
        kind="generator",
        about="StyleGAN2 config-f, cars",
        sources=(
            HubSource(
                *ZEQIANG,
                File(
                    "stylegan2-car-config-f.pt",
                    "c69f161fd576801027cbaa8b09142b5dd9f508034b2d0f4a2a0cdcbc1d587c9c",
                    123_949_595,
                ),
                sure="A",
            ),
        ),
        licence=NVIDIA,
        data=LSUN,
        within=("e4e-cars",),
        resolution=512,
        frame="wide",
        inverter="e4e-cars",
        segmenter="deeplabv3",
    ),
    "lsun-church-256": Entry(
        kind="generator",
        about="StyleGAN2 config-f, churches",
        sources=(
            HubSource(
                *ZEQIANG,
                File(
                    "stylegan2-church-config-f.pt",
                    "596f59f0ab72d3d5e821846dbf53fff0406c0103ff4fa46ae0a2508d80b3a2d0",
                    120_878_283,
                ),
                sure="A",
            ),
        ),
        licence=NVIDIA,
        data=LSUN,
        within=("e4e-church",),
        resolution=256,
        frame="square",
        inverter="e4e-church",
        segmenter="cocostuff",
    ),
    "lsun-horse-256": Entry(
        kind="generator",
        about="StyleGAN2 config-f, horses",
        sources=(
            HubSource(
                *ZEQIANG,
                File(
                    "stylegan2-horse-config-f.pt",
                    "894bc6a08a6bbe4c22bf91195dd4fdd4ee7f6859e06ce3517e7b3bfa9a8b2565",
                    120_878_283,
                ),
                sure="A",
            ),
        ),
        licence=NVIDIA,
        data=LSUN,
        within=("e4e-horse",),
        resolution=256,
        frame="square",
        inverter="e4e-horse",
        segmenter="deeplabv3",
    ),
    "lsun-cat-256": Entry(
        kind="generator",
        about="StyleGAN2 config-f, cats",
        sources=(
            HubSource(
                *ZEQIANG,
                File(
                    "stylegan2-cat-config-f.pt",
                    "ff1036877c8964ba7c9e84316e67ea26bea64bbfcf6bd6c645f45589d248727f",
                    120_878_283,
                ),
                sure="A",
            ),
        ),
        licence=NVIDIA,
        data=LSUN,
        resolution=256,
        frame="square",
        segmenter="deeplabv3",
    ),
    "biggan-deep-128": Entry(
        kind="generator",
        about="BigGAN-deep, 1000 classes of ImageNet",
        sources=(
            HubSource(
                "osanseviero/BigGAN-deep-128",
                "86e3d82ec07f2513c0942d138a7b38133cfc2036",
                File("pytorch_model.bin", megabytes=211),
                sure="A",
                beside=(File("config.json", bytes=630),),
            ),
        ),
        licence="code MIT; weights DeepMind's, terms not stated",
        data="ImageNet, licence not stated",
        resolution=128,
        frame="square",
        segmenter="cocostuff",
    ),
}


BISENET = "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567"

INVERTERS: Mapping[str, Entry] = {
    "e4e-ffhq": Entry(
        kind="inverter",
        about="encoder4editing for faces, and the generator that it was trained with",
        sources=(
            HubSource(
                *E4E,
                File(
                    "e4e_ffhq_encode.pt",
                    "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999",
                    1_201_649_680,
                ),
                sure="A",
            ),
            HubSource(
                *STYLEGENE,
                File("e4e_ffhq_encode.pt", "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999"),
                sure="B",
            ),
            HubSource(*HAIR, File("pretrained_models/encoder4editing/e4e_ffhq_encode.pt", megabytes=1200), sure="A"),
        ),
        licence=E4E_LICENCE,
        data=FFHQ,
    ),
    "e4e-cars": Entry(
        kind="inverter",
        about="encoder4editing for cars, and the generator that it was trained with",
        sources=(
            HubSource(
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
            HubSource(
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
            HubSource(
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
            HubSource(
                "ManyOtherFunctions/face-parse-bisent",
                "0073b233a5a3c4b1377d4dbf49245017938a72b5",
                File("79999_iter.pth", BISENET, 53_289_463),
                sure="A",
            ),
            HubSource(
                "vivym/face-parsing-bisenet",
                "768606b84908769d31ddd78b2e1105319839edfa",
                File("79999_iter.pth", BISENET, 53_289_463),
                sure="A",
            ),
            HubSource(*HAIR, File("pretrained_models/BiSeNet/face_parsing_79999_iter.pth"), sure="A"),
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
            HubSource(
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
            HubSource(
                "ByteDance/LatentSync-1.5",
                "32a20d29aead0498e3e885e90dbbe8027da1b61b",
                File(
                    "auxiliary/vgg16-397923af.pth",
                    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                    553_433_881,
                ),
                sure="C",
            ),
            HubSource(
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
        sources=(HubSource(*VISION_MODELS, File("alexnet.safetensors", megabytes=244), sure="A"),),
        licence=NOT_STATED,
    ),
    "lpips-squeeze": Entry(
        kind="perceptual",
        about="SqueezeNet 1.1, the backbone of LPIPS",
        sources=(HubSource(*VISION_MODELS, File("squeezenet1_1.safetensors", megabytes=5), sure="C"),),
        licence=NOT_STATED,
    ),
}

FACES: Mapping[str, Entry] = {
    "yunet": Entry(
        kind="detector",
        about="YuNet, faces and five points of each",
        sources=(
            HubSource(
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
            HubSource(
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


CATALOG: Mapping[str, Entry] = {**GENERATORS, **INVERTERS, **SEGMENTERS, **PERCEPTUAL, **FACES}

__all__ = ["CATALOG", "Entry", "File", "HubSource", "entry_of", "names_of", "needed_by"]


def entry_of(name: str) -> Entry:
    """What is known of published weights. UserError for an unknown name, the nearest names offered."""
    if name not in CATALOG:
        raise UserError(unknown_name("published weights", name, CATALOG))
    return CATALOG[name]


def names_of(kind: str) -> tuple[str, ...]:
    """Names of all entries of a kind."""
    return tuple(name for name, entry in CATALOG.items() if entry.kind == kind)


def needed_by(name: str) -> tuple[str, ...]:
    """Names of all that published weights are used with, themselves last unless another of these holds them."""
    entry = entry_of(name)
    return entry.parts if set(entry.parts) & set(entry.within) else (*entry.parts, name)
