"""The engine that runs a model in this process: a queue, and one thread that generates a reply at a time."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

import torch

from llm.engine.generation import EventStream
from llm.engine.interface import Failed, Finished, Generation, GenerationRequest, ModelInfo
from llm.engine.job_queue import JobQueue
from llm.engine.reply import Reply
from llm.engine.slots import SlotPool
from llm.errors import EngineClosedError, PromptTooLongError
from llm.loading import LoadedModel
from llm.model.decoder import Decoder
from llm.text.chat_format import ChatTokenizer

SCORE_CHUNK = 256

log = logging.getLogger(__name__)


class LocalEngine:
    """`llm.engine.interface.Engine` on the CPU of this process.

    Up to `max_waiting` requests wait while one runs. `kv_cache_bytes` bound what is kept for later turns.
    `threads`: CPU threads of the model, by default one for each core.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: ChatTokenizer,
        *,
        context_window: int,
        max_waiting: int,
        kv_cache_bytes: int,
        threads: int | None = None,
    ) -> None:
        self.decoder = loaded.decoder
        self.tokenizer = tokenizer
        self.slots = SlotPool(loaded.decoder.new_cache, kv_cache_bytes)
        self._model = ModelInfo(
            name=loaded.name,
            architecture=loaded.config.architecture,
            parameters=loaded.parameters,
            context_window=context_window,
            dtype=loaded.dtype,
            device="cpu",
            fingerprint=loaded.fingerprint,
        )
        self._running: _ReplyJob | None = None
        self._queue = JobQueue(max_waiting)
        self._worker = threading.Thread(target=self._work, args=(threads,), name="engine", daemon=True)
        self._worker.start()

    @property
    def model(self) -> ModelInfo:
        return self._model

    def reserve(self) -> "QueuePlace":
        return QueuePlace(self, self._queue)

    def submit(self, request: GenerationRequest) -> Generation:
        place = self.reserve()
        try:
            return place.submit(request)
        finally:
            place.release()

    def cached_tokens(self, prompt: Sequence[int], owner: str) -> int:
        return self.slots.cached_tokens(prompt, owner)

    def forget(self, conversation: str) -> None:
        self.slots.forget(conversation)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        self.check_length(len(token_ids), 0)
        job = _ScoreJob(self.decoder, self._queue, token_ids)
        self._queue.take_place()
        try:
            self._queue.add(job)
        except EngineClosedError:
            self._queue.give_place_back()
            raise
        return job.result.result()

    def close(self) -> None:
        self._queue.close()
        running = self._running  # read once: the engine's thread may end it meanwhile
        if running is not None:
            running.stream.cancel()
        self._worker.join()

    def check_length(self, prompt_tokens: int, max_tokens: int) -> None:
        """Raise PromptTooLongError if so many tokens pass the context window."""
        if not prompt_tokens:
            raise ValueError("a prompt has at least one token")
        if prompt_tokens + max_tokens > self._model.context_window:
            raise PromptTooLongError(prompt_tokens, max_tokens, self._model.context_window)

    def generate(self, job: "_ReplyJob") -> None:
        """Run a job on the engine's thread; of one that fails, nothing is kept."""
        request = job.request
        self._running = job
        if self._queue.is_closed:
            job.stream.cancel()
        slot = reply = None
        try:
            slot = self.slots.take(request.prompt, request.owner, request.conversation)
            reply = Reply(request, job.stream, slot, self.decoder, self.tokenizer)
            reply.generate()
        except Exception as error:
            log.exception("a generation failed")
            if slot is not None:
                self.slots.discard(slot)
            job.stream.put(_failure(error, reply))
        else:
            self.slots.give_back(slot)
        finally:
            self._running = None

    def _work(self, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._queue.work()


def _failure(error: Exception, reply: Reply | None) -> Failed:
    failed = Failed(f"{type(error).__name__}: {error}")
    if reply is not None:
        with suppress(Exception):  # the tokeniser itself may be at fault
            return Failed(failed.error, *reply.so_far())
    return failed


class QueuePlace:
    """`llm.engine.interface.Reservation` of a local engine."""

    def __init__(self, engine: LocalEngine, queue: JobQueue) -> None:
        queue.take_place()
        self._engine = engine
        self._queue = queue
        self._is_held = True

    def submit(self, request: GenerationRequest) -> Generation:
        self._engine.check_length(len(request.prompt), request.sampling.max_tokens)
        job = _ReplyJob(self._engine, self._queue, request)
        self._queue.add(job)
        self._is_held = False
        return job.stream

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._queue.give_place_back()


class _ReplyJob:
    def __init__(self, engine: LocalEngine, queue: JobQueue, request: GenerationRequest) -> None:
        self.request = request
        self.stream = EventStream(self._on_cancel)
        self._engine = engine
        self._queue = queue

    def run(self) -> None:
        self._engine.generate(self)

    def refuse(self) -> None:
        self.stream.put(Failed("the engine has been closed"))

    def _on_cancel(self) -> None:
        if self._queue.withdraw(self):
            self.stream.put(Finished("cancelled", "", (), 0))


class _ScoreJob:
    def __init__(self, decoder: Decoder, queue: JobQueue, token_ids: Sequence[int]) -> None:
        self.result: Future[list[float]] = Future()
        self._decoder = decoder
        self._queue = queue
        self._token_ids = token_ids

    def run(self) -> None:
        try:
            self.result.set_result(self._score())
        except Exception as error:
            self.result.set_exception(error)

    def refuse(self) -> None:
        self.result.set_exception(EngineClosedError("the engine has been closed"))

    def _score(self) -> list[float]:
        ids = self._token_ids
        cache = self._decoder.new_cache()
        scores: list[float] = []
        for start in range(0, len(ids) - 1, SCORE_CHUNK):
            if self._queue.is_closed:
                raise EngineClosedError("the engine has been closed")
            given = ids[start : min(start + SCORE_CHUNK, len(ids) - 1)]
            following = torch.tensor(ids[start + 1 : start + 1 + len(given)])
            log_probabilities = self._decoder.extend(given, cache, logits="all").log_softmax(dim=-1)
            scores += log_probabilities.gather(1, following.unsqueeze(1)).squeeze(1).tolist()
        return scores
