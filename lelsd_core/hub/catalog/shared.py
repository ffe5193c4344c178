"""What several entries share: repositories at their pinned revisions, and licences."""

from __future__ import annotations

DRAGGAN = ("DragGan/DragGan-Models", "87f7e5149260af3f7ca87ef12e527d6300bc44c7")
E4E = ("public-data/e4e", "fdd18714fc6b639487adbd901f16f67eb24ba786")
HAIR = ("AIRI-Institute/HairFastGAN", "47855f8ea72b02294649385211a1ae1fd7dcb58e")
STYLEGENE = ("wmpscc/StyleGene", "e301280ac9a63ba7ebb4be3311128bb6c9cb9ae2")
VISION_MODELS = ("theunnecessarythings/vision_models", "1cb71ed300bf5b1913894c0f000a0146cfb4b431")
ZEQIANG = ("ZeqiangLai/StyleGAN2", "bb4e00dc8ac0afbb9e0a5b6f72754c679673ee2e")
ZEQIANG_PKL = ("ZeqiangLai/StyleGAN2-pkl", "422f40439ddaa6d041cf698347f08e9bdf9f6036")

NVIDIA = "NVIDIA Source Code License, non-commercial"
FFHQ = "FFHQ, CC BY-NC-SA 4.0, non-commercial"
LSUN = "LSUN, licence not stated"
AFHQ = "AFHQ, non-commercial"
E4E_LICENCE = "code MIT; its decoder under the NVIDIA Source Code License, non-commercial"
