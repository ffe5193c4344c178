"""What directions are worth, on held-out samples: `evaluation`, `calibration` of sliders, `ablation` of choices."""
