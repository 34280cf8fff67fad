"""Several service processes: forked from one that has loaded what takes long, the code and the models.

Run with a home folder for each. They begin at once, print a line of JSON each when they serve, and end when
nobody holds their input any more. A fork takes no threads along, so nothing here may start one before.
"""

import json
import os
import sys
from pathlib import Path

import torch

from app.models.chat import start_engine
from app.models.embedding import SentenceEmbedder
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from llm.loading import LoadedModel, load_model
from llm.text.chat_format import ChatTokenizer


def serve(home: Path, loaded: LoadedModel, tokenizer: ChatTokenizer, embedder: SentenceEmbedder) -> None:
    settings = Settings(home=home)
    with serve_in_thread(create_app(settings, start_engine(loaded, tokenizer, settings), embedder)) as url:
        print(json.dumps({"home": str(home), "pid": os.getpid(), "url": url}), flush=True)
        sys.stdin.read()


def main(homes: list[Path]) -> None:
    torch.set_num_threads(1)
    settings = Settings()
    loaded = load_model(settings.model, settings.models_folder, dtype="float32")
    tokenizer = ChatTokenizer(loaded.folder)
    embedder = SentenceEmbedder(settings)
    embedder.embed(["Is it warm?"])
    for home in homes:
        if os.fork() == 0:
            serve(home, loaded, tokenizer, embedder)
            os._exit(0)  # without clearing away all that was loaded, which takes seconds
    for _ in homes:
        os.wait()


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
