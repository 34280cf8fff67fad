"""The remote engine: a model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama)."""
