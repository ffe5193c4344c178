"""Generators: name → entry. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from lelsd_core.hub.catalog.entry import Entry, File, Source
from lelsd_core.hub.catalog.shared import AFHQ, DRAGGAN, FFHQ, HAIR, LSUN, NVIDIA, STYLEGENE, ZEQIANG, ZEQIANG_PKL

GENERATORS: Mapping[str, Entry] = {
    "ffhq-1024": Entry(
        kind="generator",
        about="StyleGAN2 config-f, faces",
        sources=(
            Source(
                *ZEQIANG,
                File(
                    "stylegan2-ffhq-config-f.pt",
                    "646c7e7c5e3fc4cf8e83dcfe5dce505cc74b61d8982c09563932aa15c4baf18c",
                    132_717_355,
                ),
                sure="A",
            ),
            Source(
                *STYLEGENE,
                File(
                    "stylegan2-ffhq-config-f.pt",
                    "d0d7c5e71531c816b8cf01037393ee4fb65ed09dcb6434cc0197771e3051199b",
                    132_729_083,
                ),
                sure="B",
            ),
            Source(
                *DRAGGAN,
                File(
                    "stylegan2-ffhq1024x1024.pkl",
                    "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
                    381_624_121,
                ),
                sure="A",
            ),
            Source(*HAIR, File("pretrained_models/StyleGAN/ffhq.pt", megabytes=133), sure="A"),
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
            Source(
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
            Source(
                *ZEQIANG_PKL,
                File(
                    "ada/metfaces.pkl",
                    "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f",
                    megabytes=382,
                ),
                sure="A",
            ),
            Source(*ZEQIANG, File("ada/metfaces.pt", megabytes=133), sure="A"),
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
            Source(*ZEQIANG, File("ada/afhqcat.pt", megabytes=124), sure="A"),
            Source(*ZEQIANG_PKL, File("ada/afhqcat.pkl"), sure="A"),
            Source(*DRAGGAN, File("stylegan2-afhqcat-512x512.pkl"), sure="A"),
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
            Source(
                *ZEQIANG_PKL,
                File("ada/afhqdog.pkl", "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662"),
                sure="A",
            ),
            Source(*ZEQIANG, File("ada/afhqdog.pt", megabytes=124), sure="A"),
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
            Source(
                *ZEQIANG,
                File(
                    "ada/afhqwild.pt",
                    "92c614909f6fb4834b3a9d18d19ce8211b748669aa7aeabf00dc6343f0bc3d0d",
                    megabytes=124,
                ),
                sure="A",
            ),
            Source(*ZEQIANG_PKL, File("ada/afhqwild.pkl"), sure="A"),
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
            Source(
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
            Source(
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
            Source(
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
            Source(
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
            Source(
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
