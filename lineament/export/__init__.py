"""From a trained network to files that run without torch: ONNX, 8 bits, the card inside."""
