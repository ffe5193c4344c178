"""What a picture's file says about itself: that a generative model changed it, which one, and by which amounts.

The digital source type is what sites read that mark such pictures: a composite for an edited photo, a made-up picture
for a random face. Nothing is said about the photo, and no date.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from PIL.PngImagePlugin import PngInfo

from lelsd_core import __version__
from lelsd_core.editor import Session

PROGRAM = f"lelsd {__version__}"
EDITED, MADE_UP = "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"  # of which these are two
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 {properties}/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
XMP_IN_PNG, XMP_IN_TIFF = "XML:com.adobe.xmp", 700


def provenance(session: Session, amounts: Mapping[str, float]) -> dict[str, Any]:
    """Arguments of Pillow's `save` by which a picture of an edit says how it was made.

    PNG gets an XMP packet and texts, JPEG the packet and a comment, WebP and TIFF the packet, GIF the comment, and BMP
    nothing: each format ignores the arguments of the others.

    Args:
        session: the face.
        amounts: by direction name.
    """
    model, recipe, made_up = session.generator, session.recipe(amounts), session.matrix is None
    kind, what = (MADE_UP, "A face made up by") if made_up else (EDITED, "A photo edited with")
    story = f"{what} the generative model {model}."
    properties = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + kind,
        "Iptc4xmpExt:AISystemUsed": model,
        "Iptc4xmpExt:AIPromptInformation": recipe,
        "xmp:CreatorTool": PROGRAM,
    }
    xmp = XMP.format(properties="\n ".join(f"{name}={quoteattr(value)}" for name, value in properties.items()))
    png = PngInfo()
    png.add_itxt(XMP_IN_PNG, xmp)
    for name, text in {"Software": PROGRAM, "Description": story, "Model": model, "Recipe": recipe}.items():
        png.add_text(name, text)
    comment = f"{story} Made by {PROGRAM}. {recipe}"
    return {"pnginfo": png, "xmp": xmp.encode(), "tiffinfo": {XMP_IN_TIFF: xmp.encode()}, "comment": comment}
