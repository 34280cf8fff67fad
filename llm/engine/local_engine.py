"""The engine that runs a model in this process: a bounded queue, and a thread that computes."""

import hashlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import torch

from llm.engine.admission import AdmissionQueue
from llm.engine.block_files import BlockFiles
from llm.engine.blocks import Sharing
from llm.engine.idle_saver import IdleSaver
from llm.engine.interface import (
    NO_PREAMBLE,
    EngineStats,
    Generation,
    GenerationRequest,
    ModelInfo,
    Preamble,
    ScoreRequest,
    Scores,
)
from llm.engine.kv_store import KVStore
from llm.engine.prefix import PrefixJob
from llm.engine.reply import ReplyJob
from llm.engine.reservation import HeldPlace, submit_at_once
from llm.engine.scheduler import Scheduler
from llm.engine.score import ScoreJob
from llm.errors import EngineClosedError
from llm.loading import LoadedModel
from llm.model.hold import RULE, Hold
from llm.text.chat_format import ChatTokenizer

WORTH_PREPARING = 16
"""Tokens of a prefix that are not known: fewer are soon computed when its turn comes."""

log = logging.getLogger(__name__)


class LocalEngine:
    """`llm.engine.interface.Engine` in this process, on its processors or a GPU.

    Up to `max_running` requests run together; prompts of up to `max_waiting_tokens` tokens wait to be
    computed, each for up to `queue_timeout_s`. `kv_cache_bytes` bound all keys and values: those of
    running requests, and what is kept for later turns.
    `threads`: CPU threads of the model, by default one for each core.
    `prompt_lookup`: guess what repeats the context, and check it in one step, while few replies run.
    `preamble_share`: what of attention the preamble of a prompt keeps (`llm.model.hold`); by default what the
    model gives it.
    `kv_folder`: where keys and values of idle chats are kept, up to `kv_folder_bytes`; nowhere by default.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: ChatTokenizer,
        *,
        context_window: int,
        kv_cache_bytes: int,
        max_running: int = 16,
        max_waiting_tokens: int = 16384,
        queue_timeout_s: float = 60.0,
        threads: int | None = None,
        prompt_lookup: bool = True,
        preamble_share: float | None = None,
        kv_folder: Path | None = None,
        kv_folder_bytes: int = 0,
    ) -> None:
        self.decoder = loaded.decoder
        self.tokenizer = tokenizer
        fingerprint = _fingerprint(loaded, preamble_share)
        files = BlockFiles(kv_folder, fingerprint, kv_folder_bytes) if kv_folder is not None else None
        self.store = KVStore(fingerprint, kv_cache_bytes, files)
        self._saver = IdleSaver(self.store, files) if files is not None else None
        self._files = files
        self.queue = AdmissionQueue(max_waiting_tokens, queue_timeout_s)
        self._kv_cache_bytes = kv_cache_bytes
        self._model = ModelInfo(
            name=loaded.name,
            architecture=loaded.config.architecture,
            parameters=loaded.parameters,
            context_window=context_window,
            dtype=loaded.number_format,
            device=str(loaded.decoder.device),
            fingerprint=fingerprint,
            preamble_share=preamble_share,
        )
        self._scheduler = Scheduler(
            self.decoder,
            self.store,
            self.queue,
            max_running=max_running,
            max_bytes=kv_cache_bytes,
            prompt_lookup=prompt_lookup,
        )
        self._worker = threading.Thread(target=self._work, args=(threads,), name="engine", daemon=True)
        self._worker.start()

    @property
    def model(self) -> ModelInfo:
        return self._model

    @property
    def stats(self) -> EngineStats:
        waiting, waiting_tokens = self.queue.waiting
        store, done = self.store.stats, self._scheduler.counts
        return EngineStats(
            running=len(self._scheduler.running),
            waiting=waiting,
            waiting_tokens=waiting_tokens,
            found_tokens=done.found,
            computed_tokens=done.computed,
            generated_tokens=done.generated,
            kv_blocks=store.blocks,
            kv_bytes=store.nbytes,
            kv_max_bytes=self._kv_cache_bytes,
            kv_evicted_blocks=store.evicted_blocks,
            kv_disk_bytes=self._files.nbytes if self._files is not None else 0,
            drafted_tokens=done.drafted,
            accepted_tokens=done.accepted,
            prepared_tokens=done.prepared,
        )

    @property
    def can_prepare(self) -> bool:
        return True

    def reserve(self, request: GenerationRequest) -> HeldPlace:
        self._model.check_length(len(request.prompt), request.sampling.max_tokens)
        known = self.cached_tokens(request.prompt, request.owner, request.preamble)
        cost = self.queue.take_place(len(request.prompt) - known)
        return HeldPlace(
            start=lambda: self._start(request, cost), give_back=lambda: self.queue.give_place_back(cost)
        )

    def submit(self, request: GenerationRequest) -> Generation:
        return submit_at_once(self.reserve(request))

    def prepare(
        self,
        prefixes: Sequence[Sequence[int]],
        owner: str,
        conversation: str,
        preamble: Preamble = NO_PREAMBLE,
    ) -> None:
        for prefix in prefixes:
            self._model.check_length(len(prefix))
        sharing = self._sharing(owner, conversation, preamble)
        jobs = [
            PrefixJob(prefix, sharing, is_next=place == 0)
            for place, prefix in enumerate(prefixes)
            if len(prefix) - self.cached_tokens(prefix, owner, preamble) >= WORTH_PREPARING
        ]
        self.queue.set_prefixes(conversation, jobs)

    def cached_tokens(self, prompt: Sequence[int], owner: str, preamble: Preamble = NO_PREAMBLE) -> int:
        known = self.store.cached_tokens(prompt, self._sharing(owner, None, preamble))
        return max(0, min(known, len(prompt) - 1))

    def forget(self, conversation: str) -> None:
        self.queue.set_prefixes(conversation, [])
        self._scheduler.forget(conversation)
        self.store.forget(conversation)

    def is_cached(self, conversation: str) -> bool:
        return self.store.is_cached(conversation)

    def score(self, request: ScoreRequest) -> Future[Scores]:
        self._model.check_length(len(request.prompt), request.longest_candidate)
        known = self.cached_tokens(request.prompt, request.owner, request.preamble)
        cost = self.queue.take_place(len(request.prompt) - known + sum(map(len, request.candidates)))
        job = ScoreJob(request, self._sharing(request.owner, None, request.preamble))
        try:
            self.queue.add(job, cost)
        except EngineClosedError:
            self.queue.give_place_back(cost)
            raise
        job.result.add_done_callback(lambda _: self.queue.withdraw(job))  # if it was cancelled as it waited
        return job.result

    def close(self) -> None:
        for job in self.queue.close():
            job.refuse(EngineClosedError("the engine has been closed"))
        self._worker.join()
        if self._saver is not None:
            self._saver.close()

    def _start(self, request: GenerationRequest, cost: int) -> Generation:
        if request.conversation is not None:
            self.queue.set_prefixes(request.conversation, [])
        sharing = self._sharing(request.owner, request.conversation, request.preamble)
        job = ReplyJob(request, sharing, self.tokenizer, self._cancelled)
        self.queue.add(job, cost)
        return job.stream

    def _cancelled(self, job: ReplyJob) -> None:
        if self.queue.withdraw(job):
            job.end_cancelled()
            job.report_end()

    def _sharing(self, owner: str, conversation: str | None, preamble: Preamble) -> Sharing:
        share = self._model.preamble_share
        hold = Hold(preamble.tokens, share) if share is not None and preamble.tokens else None
        return Sharing(owner, conversation, preamble.public_tokens, hold)

    def _work(self, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self._scheduler.work()
        except Exception as error:
            log.exception("the engine has stopped")
            for job in [*self._scheduler.running, *self.queue.close()]:
                job.refuse(error)


def _fingerprint(loaded: LoadedModel, preamble_share: float | None) -> str:
    """Of all that keys and values rest on: those behind a preamble rest on its share too."""
    if preamble_share is None:
        return loaded.fingerprint
    return hashlib.sha256(f"{loaded.fingerprint} {RULE} {preamble_share}".encode()).hexdigest()[:16]
