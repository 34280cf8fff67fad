"""Weights: read from GGUF files and from safetensors folders in Hugging Face format."""
