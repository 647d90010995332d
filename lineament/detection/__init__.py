"""Finding faces and their keypoints, and reading eyes: ONNX networks and the arithmetic around them."""
