"""Who extracts the facts: patterns, or the model of this service."""

from app.upkeep.writer import ModelWriter
from memory.facts.extractor import Extractor
from memory.facts.rules import RuleExtractor
from memory.facts.written import WrittenExtractor
from memory.strategies.remembering import RememberingStrategy


class Extractors:
    """Makes the extractor that a strategy asks for."""

    def __init__(self, writer: ModelWriter) -> None:
        self._writer = writer

    def of(self, strategy: RememberingStrategy) -> Extractor | None:
        """None where extraction is switched off."""
        if strategy.extractor == "off":
            return None
        rules = RuleExtractor()
        if not self._writer.is_meant_by(strategy.extractor):
            return rules
        return WrittenExtractor(self._writer.write, author=self._writer.author, otherwise=rules)
