"""What files say about themselves: a generative model made them, which one and how; nothing about the photo."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import av
import pytest
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.animation import encode_animation
from lelsd_core.editor.session import parse_recipe
from lelsd_core.images import save_picture
from lelsd_core.provenance import provenance

AMOUNTS = {"mouth": 2.5, "hair": -1.0}
PACKETS = {".png": "XML:com.adobe.xmp", ".jpg": "xmp", ".webp": "xmp", ".tif": "xmp"}
EXT, RDF = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def properties(packet: str | bytes) -> dict[str, str]:
    """The properties of an XMP packet."""
    (description,) = ElementTree.fromstring(packet).iter(f"{RDF}Description")
    return description.attrib


@pytest.fixture
def made_up(editor):
    """A random face."""
    return editor.random_face(3)


@pytest.mark.parametrize("ending", PACKETS)
def test_a_picture_says_how_it_was_made(made_up, tmp_path, ending):
    save_picture(made_up.original, tmp_path / f"out{ending}", provenance(made_up, AMOUNTS))
    with Image.open(tmp_path / f"out{ending}") as picture:
        facts = properties(picture.info[PACKETS[ending]])
    assert facts[f"{EXT}DigitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")
    assert facts[f"{EXT}AISystemUsed"] == "digiface-64"
    assert facts["{http://ns.adobe.com/xap/1.0/}CreatorTool"].startswith("lelsd ")
    assert parse_recipe(facts[f"{EXT}AIPromptInformation"]) == (AMOUNTS, {}, "digiface-64")


def test_a_png_says_it_in_texts_too(made_up, tmp_path):
    limited = made_up.with_layers({"hair": ("coarse",), "nose": ("fine",)})
    save_picture(made_up.original, tmp_path / "out.png", provenance(limited, {**AMOUNTS, "nose": 0.0}))
    with Image.open(tmp_path / "out.png") as picture:
        texts = picture.text
    assert texts["Model"] == "digiface-64"
    assert texts["Description"] == "A face made up by the generative model digiface-64."
    assert parse_recipe(texts["Recipe"]) == (AMOUNTS, {"hair": ("coarse",)}, "digiface-64")


@pytest.mark.parametrize("kind", ["gif", "mp4", "webp"])
def test_an_animation_says_it_too(made_up, kind):
    content = io.BytesIO(encode_animation([made_up.original], kind, about=provenance(made_up, AMOUNTS)))
    if kind == "webp":
        assert "digiface-64" in properties(Image.open(content).info["xmp"]).values()
        return
    told = av.open(content).metadata["comment"] if kind == "mp4" else Image.open(content).info["comment"].decode()
    assert told.startswith("A face made up by the generative model digiface-64. Made by lelsd ")
    assert json.loads(told[told.index("{") :])["amounts"] == AMOUNTS


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".gif"])
def test_edit_marks_what_it_writes_and_tells_nothing_about_the_photo(astronaut, tmp_path, ending):
    exif = Image.Exif()
    exif[0x010E] = "secret person"
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 11.0)
    astronaut.crop((90, 0, 390, 260)).save(tmp_path / "secret.jpg", exif=exif, comment=b"secret", quality=95)
    out = tmp_path / f"out{ending}"
    assert main(["edit", str(tmp_path / "secret.jpg"), str(out), "--set", "mouth=3", "--steps", "0", "--crop"]) == 0
    content = out.read_bytes()
    assert b"secret" not in content
    assert not Image.open(out).getexif().get_ifd(0x8825)
    if ending != ".bmp":
        assert b"digiface-64" in content
    if ending in PACKETS:
        kind = properties(Image.open(out).info[PACKETS[ending]])[f"{EXT}DigitalSourceType"]
        assert kind == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def test_a_picture_says_nothing_by_itself(made_up, tmp_path):
    save_picture(made_up.original, tmp_path / "out.png")
    assert not Image.open(tmp_path / "out.png").info
