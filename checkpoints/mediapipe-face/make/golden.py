"""What MediaPipe itself makes of crops of a photo: the numbers that the tests hold the converted networks against.

    pip install mediapipe==0.10.14        (a tool for making, not a requirement)
    python checkpoints/mediapipe-face/make/golden.py tests/data/astronaut.png tests/data/golden/mediapipe_face.npz

Its own calculators run its own files on crops that need no resampling: the mesh on one that shows the whole face and on
one that cuts through an eye, the detector on one around the face.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np
from mediapipe.python import packet_creator, packet_getter
from mediapipe.python._framework_bindings.calculator_graph import CalculatorGraph

ROOT = Path(mp.__file__).parent
MESH = ROOT / "modules/face_landmark/face_landmark_with_attention.tflite"
DETECTOR = ROOT / "modules/face_detection/face_detection_short_range.tflite"
MESH_OUTPUTS = ("rough", "lips", "left_eye", "right_eye", "left_iris", "right_iris", "sure")
CROPS = {"whole": (128, 20), "cut": (216, 20), "near": (160, 40)}  # left and upper edge in the photo
GRAPH = """
input_stream: "image"
{streams}
node {{ calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:tensors"
  options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
    output_tensor_width: {size} output_tensor_height: {size}
    output_tensor_float_range {{ min: {low} max: 1.0 }} }} }} }}
node {{ calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:operators" }}
node {{ calculator: "InferenceCalculator" input_stream: "TENSORS:tensors" output_stream: "TENSORS:found"
  input_side_packet: "OP_RESOLVER:operators"
  options {{ [mediapipe.InferenceCalculatorOptions.ext] {{ model_path: "{path}" delegate {{ tflite {{}} }} }} }} }}
node {{ calculator: "SplitTensorVectorCalculator" input_stream: "found" {parts}
  options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{ {ranges} }} }} }}
{floats}
"""


def outputs(path: Path, picture: np.ndarray, low: float, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A file's outputs for a picture (S, S, 3) uint8, whose range it wants from `low` to 1."""
    text = GRAPH.format(
        size=len(picture),
        low=low,
        path=path,
        streams="\n".join(f'output_stream: "{name}"' for name in names),
        parts=" ".join(f'output_stream: "part_{name}"' for name in names),
        ranges=" ".join(f"ranges: {{ begin: {i} end: {i + 1} }}" for i in range(len(names))),
        floats="\n".join(
            f'node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:part_{name}" '
            f'output_stream: "FLOATS:{name}" }}'
            for name in names
        ),
    )
    graph, found = CalculatorGraph(graph_config=text), {}
    for name in names:
        graph.observe_output_stream(
            name, lambda stream, packet: found.update({stream: packet_getter.get_float_list(packet)})
        )
    graph.start_run()
    packet = packet_creator.create_image_frame(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
    graph.add_packet_to_input_stream("image", packet.at(0))
    graph.close_all_packet_sources()
    graph.wait_until_done()
    return {name: np.array(numbers, np.float32) for name, numbers in found.items()}


def main(photo: str, out: str) -> None:
    pixels = cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB)

    def crop(name: str, size: int) -> np.ndarray:
        x, y = CROPS[name]
        return pixels[y : y + size, x : x + size]

    result = {}
    for name in ("whole", "cut"):
        found = outputs(MESH, crop(name, 192), 0.0, MESH_OUTPUTS)
        result |= {f"{name}_{key}": found[key] for key in ("rough", "lips", "left_iris", "right_iris", "sure")}
    found = outputs(DETECTOR, crop("near", 128), -1.0, ("guesses", "scores"))
    result |= {f"near_{key}": value for key, value in found.items()}
    np.savez_compressed(out, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
