"""Networks as files: crops in, logits out; the model card."""
