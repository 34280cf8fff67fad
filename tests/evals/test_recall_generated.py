"""Generated chats as conversations that recall is tuned on."""

from evals.recall.generated import generated_conversations


def test_every_kind_of_fact_is_asked_for_once_in_the_same_order_and_its_evidence_tells_it() -> None:
    conversations = list(generated_conversations([100, 101]))
    assert len({conversation.name for conversation in conversations}) == len(conversations) == 4
    for first, second in zip(conversations[::2], conversations[1::2], strict=True):
        asked = [question.text for question in first.questions]
        assert len(set(asked)) == len(asked)
        assert asked == [question.text for question in second.questions]
        assert first.passages != second.passages
    for conversation in conversations:
        texts = {passage.key: passage.text for passage in conversation.passages}
        assert len(texts) == len(conversation.passages)
        assert all(
            passage.said_at < conversation.asked_at for passage in conversation.passages if passage.said_at
        )
        for question in conversation.questions:
            [evidence] = question.evidence
            assert question.answer is None or question.answer in texts[evidence]
        assert sum(question.answer is not None for question in conversation.questions) > 10
