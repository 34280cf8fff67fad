"""Work that nobody waits for lets turns pass, and is done all the same."""

import asyncio

from app.chat.foreground import Foreground


def test_work_waits_until_no_turn_is_on_its_way() -> None:
    asyncio.run(_work_waits())


async def _work_waits() -> None:
    foreground, order = Foreground(longest_pause_s=60), []

    async def work() -> None:
        await foreground.let_pass()
        order.append("work")

    with foreground.turn():
        working = asyncio.create_task(work())
        with foreground.turn():
            await asyncio.sleep(0.05)
            order.append("one turn")
        await asyncio.sleep(0.05)
        order.append("the other")
    await working
    assert order == ["one turn", "the other", "work"]


def test_work_is_done_where_somebody_always_waits() -> None:
    asyncio.run(_work_is_done())


async def _work_is_done() -> None:
    foreground = Foreground(longest_pause_s=0.01)
    with foreground.turn():
        async with asyncio.timeout(60):
            await foreground.let_pass()
            await foreground.let_pass()
        assert foreground.is_busy


def test_a_turn_that_fails_is_waited_for_no_more() -> None:
    asyncio.run(_a_turn_fails())


async def _a_turn_fails() -> None:
    foreground = Foreground(longest_pause_s=60)
    try:
        with foreground.turn():
            raise ConnectionError
    except ConnectionError:
        pass
    async with asyncio.timeout(50):
        await foreground.let_pass()
    assert not foreground.is_busy
