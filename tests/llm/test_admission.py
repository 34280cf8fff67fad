"""The bounded queue: what those are told that find it full."""

import pytest

from llm.engine.admission import FIRST_GUESS, LEAST_COST, AdmissionQueue
from llm.errors import QueueFullError


def test_a_crowd_that_is_refused_is_not_told_to_come_back_all_at_once() -> None:
    timeout_s = 60
    queue = AdmissionQueue(10 * LEAST_COST, timeout_s)
    for _ in range(10):
        queue.take_place(1)
    told = [_refused(queue) for _ in range(500)]
    assert told == sorted(told)
    assert told[0] == 1
    assert told[-1] == timeout_s
    a_second = FIRST_GUESS / LEAST_COST
    assert max(told.count(second) for second in set(told) - {1, timeout_s}) <= a_second + 1


def _refused(queue: AdmissionQueue) -> int:
    with pytest.raises(QueueFullError) as refused:
        queue.take_place(1)
    return refused.value.retry_after_s
